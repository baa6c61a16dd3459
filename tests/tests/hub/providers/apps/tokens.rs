use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{Clock as _, SystemClock},
    faults::{Fault, FaultBody},
    google,
};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::Hub,
    world::guest,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const AUDIENCE: &str = "https://hub.example.test/in/push";

async fn google() -> google::Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let options = google::Options::new(Arc::new(SystemClock));
    google::Google::start(listener, options, CancellationToken::new()).expect("a Google")
}

struct World {
    hub: Hub,
    google: google::Handle,
    tenant: Tenant,
    source: String,
}

impl World {
    async fn new() -> Self {
        let google = google().await;
        let origins = format!("https://www.googleapis.com={}", google.base_url());
        let hub = Hub::builder().set("SWITCHYARD_PROVIDER_ORIGINS", &origins).start().await;
        let _ = hub.push(guest("ledgers")).await.expect(201);
        let tenant = hub.tenant("acme").await;
        let wanted = json!({"config": {"audience": AUDIENCE}, "grants": ["emits:*"]});
        let installed = tenant.install("ledgers", &wanted).await;
        let source = text(&installed["sources"][0], "id");
        Self { hub, google, tenant, source }
    }

    fn token(&self, claims: &Value) -> String {
        self.google.signing_keys().sign(claims).expect("claims are signed")
    }

    async fn push(&self, token: &str) -> u16 {
        let authorization = format!("Bearer {token}");
        let path = format!("/in/{}", self.source);
        self.hub.without_key().raw("POST", &path, &[("authorization", &authorization)], "{}").await.status
    }

    fn fetched(&self) -> u64 {
        self.google.counts().iter().filter(|(name, _)| *name == "certs").map(|(_, count)| count.received).sum()
    }

    async fn seen(&self) -> usize {
        self.tenant.all("/events").await.iter().filter(|event| event["type"] == "token.seen").count()
    }
}

fn now() -> i64 {
    SystemClock.now_ms() / 1000
}

fn claims() -> Value {
    json!({"iss": "https://accounts.google.com", "aud": AUDIENCE, "sub": "1", "email": "push@project.example",
        "email_verified": true, "iat": now() - 60, "exp": now() + 3540})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[tokio::test]
async fn a_signed_token_proves_a_request_and_the_keys_are_fetched_once() {
    let world = World::new().await;
    for _ in 0..5 {
        assert_eq!(world.push(&world.token(&claims())).await, 200);
    }
    assert_eq!((world.seen().await, world.fetched()), (5, 1));
}

#[tokio::test]
async fn every_wrong_token_is_refused_alike() {
    let world = World::new().await;
    let good = world.token(&claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let wrong = [
        world.token(&with("aud", json!("https://other.example/"))),
        world.token(&with("iss", json!("https://evil.example"))),
        world.token(&with("exp", json!(now() - 61))),
        world.token(&with("iat", json!(now() + 120))),
        format!("{message}.{}", &signature[1..]),
        format!("{message}."),
        String::new(),
        "a".repeat(7_000),
    ];
    for token in &wrong {
        assert_eq!(world.push(token).await, 401, "{token:.60}");
    }
    assert_eq!(world.seen().await, 0);
    let rejections = world.tenant.list("/rejections").await;
    assert_eq!(rejections.len(), wrong.len());
    assert!(rejections.iter().all(|row| row["code"] == "unauthenticated"), "{rejections:?}");
}

#[tokio::test]
async fn a_key_that_was_rotated_in_is_found_at_once_and_one_that_was_forgotten_ends() {
    let world = World::new().await;
    let old = world.token(&claims());
    assert_eq!(world.push(&old).await, 200);
    world.google.signing_keys().rotate(false).expect("a new key");
    let new = world.token(&claims());
    assert_eq!((world.push(&new).await, world.push(&old).await, world.fetched()), (200, 200, 2));
    world.google.signing_keys().rotate(true).expect("a new key");
    assert_eq!(world.push(&world.token(&claims())).await, 200);
    assert_eq!(world.push(&old).await, 401, "its key is not published any more");
}

#[tokio::test]
async fn while_the_keys_cannot_be_fetched_requests_are_parked_and_judged_by_themselves_later() {
    let world = World::new().await;
    world.google.faults().arm("certs", Fault::FailBefore { status: 500, body: FaultBody::Html }, 1);
    assert_eq!(world.push(&world.token(&claims())).await, 503);
    let parked = world.tenant.list("/parked").await;
    assert_eq!(text(&parked[0], "code"), "keys_unavailable", "{parked:?}");
    let id = text(&parked[0], "id");
    until("the keys to be there again", async || {
        let judged = world.tenant.post(&format!("/parked/{id}/retry"), &Value::Null).await;
        match judged.status {
            200 if judged.json()["parked"] == false => Ok(()),
            // The hub was first.
            404 => Ok(()),
            _ => Err(judged.text),
        }
    })
    .await;
    assert_eq!(world.seen().await, 1);
}

#[tokio::test]
async fn a_run_may_check_a_token_as_well_and_its_answer_is_in_the_journal() {
    let world = World::new().await;
    let token = world.token(&claims());
    let _ = world.tenant.publish(&json!({"type": "entries.read", "data": {"token": token}})).await;
    let delivery = world.tenant.delivery_in("plugin:ledgers", "delivered").await;
    let calls = delivery["attempts"][0]["detail"]["calls"].to_string();
    assert!(calls.contains("crypto.verify-jwt issuer") && !calls.contains(&token), "{delivery}");
    assert_eq!(world.seen().await, 1);
    let forged = world.token(&with("aud", json!("them")));
    let _ = world.tenant.publish(&json!({"type": "entries.read", "data": {"token": forged}})).await;
    let dead = world.tenant.delivery_in("plugin:ledgers", "dead").await;
    assert_eq!(text(&dead, "code"), "invalid_token", "{dead}");
}
