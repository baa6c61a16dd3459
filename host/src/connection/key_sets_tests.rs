use std::{
    net::IpAddr,
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{Router, extract::State, response::IntoResponse as _, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use super::*;
use crate::{
    clock::{ManualClock, Timestamp},
    outbound::egress::{EgressGuard, EgressPolicy, Resolve},
};

struct Loopback;

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, EgressError> {
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }
}

/// An issuer whose answers a test sets.
struct Issuer {
    status: AtomicU16,
    body: Mutex<String>,
    cache: Mutex<&'static str>,
    asked: AtomicUsize,
    /// An answer takes a permit; a test that holds them all holds the answers.
    open: Semaphore,
}

struct World {
    issuer: Arc<Issuer>,
    sets: KeySets,
    clock: Arc<ManualClock>,
    url: String,
}

async fn answer(State(issuer): State<Arc<Issuer>>) -> axum::response::Response {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    let _permit = issuer.open.acquire().await.unwrap();
    let status = StatusCode::from_u16(issuer.status.load(Ordering::SeqCst)).unwrap();
    let (cache, body) = (*issuer.cache.lock().unwrap(), issuer.body.lock().unwrap().clone());
    (status, [("cache-control", cache)], body).into_response()
}

fn vector(id: &str) -> Value {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/vectors.json")).unwrap();
    vectors.into_iter().find(|case| case["id"] == id).unwrap()
}

/// The vectors' set, without the key of this name.
fn set_without(name: &str) -> String {
    let mut set = vector("google-oidc-00-keys")["expected"]["jwks"].clone();
    set["keys"].as_array_mut().unwrap().retain(|key| key["kid"] != name);
    set.to_string()
}

impl World {
    async fn new() -> Self {
        let issuer = Arc::new(Issuer {
            status: AtomicU16::new(200),
            body: Mutex::new(set_without("")),
            cache: Mutex::new("public, max-age=3600, must-revalidate"),
            asked: AtomicUsize::new(0),
            open: Semaphore::new(1000),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://issuer.example:{}/certs", listener.local_addr().unwrap().port());
        let router = Router::new().route("/certs", get(answer)).with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let policy = EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        let client = HttpClient::new(EgressGuard::new(policy, Arc::new(Loopback))).unwrap();
        let clock = ManualClock::starting_at(Timestamp(1_795_255_260_000));
        Self { issuer, sets: KeySets::new(client, clock.clone()), clock, url }
    }

    async fn asks_within(&self, case: &str, patience: Duration) -> Result<Value, JwtError> {
        let inputs = &vector(case)["inputs"];
        let token = inputs["headers"]["Authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let issuers: Vec<String> = serde_json::from_value(inputs["config"]["accepted_issuers"].clone()).unwrap();
        let expected = Expected {
            issuers: &issuers,
            audience: inputs["config"]["expected_audience"].as_str().unwrap(),
            at: Timestamp(1_795_255_260_000),
            leeway: Duration::from_secs(10),
        };
        let claims = self.sets.claims(&self.url, &token, &expected, patience).await?;
        Ok(serde_json::from_str(&claims).unwrap())
    }

    async fn asks(&self, case: &str) -> Result<Value, JwtError> {
        self.asks_within(case, Duration::from_secs(30)).await
    }

    async fn knows(&self) -> Result<Value, JwtError> {
        self.asks("google-oidc-01-valid").await
    }

    async fn stranger(&self) -> Result<Value, JwtError> {
        self.asks("google-oidc-n7-unknown-kid").await
    }

    fn asked(&self) -> usize {
        self.issuer.asked.load(Ordering::SeqCst)
    }

    fn fails(&self, status: u16) {
        self.issuer.status.store(status, Ordering::SeqCst);
    }

    fn publishes(&self, body: String) {
        *self.issuer.body.lock().unwrap() = body;
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

const UNKNOWN: Result<Value, JwtError> = Err(JwtError::Invalid(TokenError::UnknownKey));
const UNAVAILABLE: Result<Value, JwtError> = Err(JwtError::Unavailable);

#[tokio::test]
async fn a_set_is_fetched_once_and_again_when_its_age_is_over() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(world.knows().await.unwrap()["sub"], "113774264463038321964");
    }
    world.later(3599);
    world.knows().await.unwrap();
    assert_eq!(world.asked(), 1);
    world.later(1);
    world.knows().await.unwrap();
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_cause_one_fetch() {
    let world = Arc::new(World::new().await);
    let held = world.issuer.open.acquire_many(1000).await.unwrap();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.knows().await })
        })
        .collect();
    while world.asked() == 0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for one in asking {
        one.await.unwrap().unwrap();
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn an_unknown_key_fetches_three_times_and_then_once_in_half_a_minute() {
    let world = World::new().await;
    world.publishes(set_without("test-kid-1"));
    assert_eq!(world.knows().await, UNKNOWN);
    assert_eq!(world.asked(), 1, "what was fetched just now is not fetched again");
    // The issuer rotates: the new key is found by the first who needs it.
    world.publishes(set_without(""));
    world.knows().await.unwrap();
    assert_eq!(world.asked(), 2);
    for _ in 0..50 {
        assert_eq!(world.stranger().await, UNKNOWN);
    }
    assert_eq!(world.asked(), 4, "strangers cannot make the hub ask more often");
    world.later(30);
    for _ in 0..50 {
        assert_eq!(world.stranger().await, UNKNOWN);
    }
    assert_eq!(world.asked(), 5);
    world.knows().await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_no_token_fetches_nothing() {
    let world = World::new().await;
    assert_eq!(world.asks("google-oidc-n8-alg-none").await, Err(JwtError::Invalid(TokenError::Algorithm)));
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn an_old_set_serves_for_a_day_while_the_issuer_is_down() {
    let world = World::new().await;
    world.knows().await.unwrap();
    world.fails(503);
    world.later(3600 + 24 * 3600 - 1);
    world.knows().await.unwrap();
    for _ in 0..20 {
        world.knows().await.unwrap();
    }
    assert_eq!(world.asked(), 2, "a failed fetch is not repeated at once");
    assert_eq!(world.stranger().await, UNAVAILABLE, "an unknown key may be a new one");
    world.later(5);
    assert_eq!(world.knows().await, UNAVAILABLE, "not beyond its day");
    world.fails(200);
    world.later(5);
    world.knows().await.unwrap();
}

#[tokio::test]
async fn without_a_set_nothing_is_believed_and_nothing_is_refused() {
    let world = World::new().await;
    let hostile = [
        (200, "x".repeat(10 << 20)),
        (200, "<html>sign in</html>".to_owned()),
        (200, json!({"keys": []}).to_string()),
        (200, json!({"keys": [{"kty": "oct", "kid": "test-kid-1", "k": "AAAA"}]}).to_string()),
        (302, set_without("")),
        (404, set_without("")),
        (500, String::new()),
    ];
    for (status, body) in hostile {
        world.fails(status);
        let shown: String = body.chars().take(30).collect();
        world.publishes(body);
        assert_eq!(world.knows().await, UNAVAILABLE, "{status} {shown}");
        world.later(5);
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_it_was_told_to_and_the_fetch_goes_on() {
    let world = World::new().await;
    let held = world.issuer.open.acquire_many(1000).await.unwrap();
    assert_eq!(world.asks_within("google-oidc-01-valid", Duration::from_millis(20)).await, UNAVAILABLE);
    while world.asked() == 0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    world.knows().await.unwrap();
    assert_eq!(world.asked(), 1);
}

#[test]
fn the_age_is_read_leniently_and_kept_within_bounds() {
    let of =
        |field: &'static str| freshness(&HeaderMap::from_iter([(CACHE_CONTROL, field.parse().unwrap())])).as_secs();
    assert_eq!(freshness(&HeaderMap::new()).as_secs(), 300);
    assert_eq!(of("public, max-age=19800, must-revalidate, no-transform"), 19_800);
    assert_eq!(of("Max-Age=\"600\""), 600);
    assert_eq!(of("s-maxage=7200"), 300);
    assert_eq!((of("max-age=0"), of("no-store"), of("max-age=junk"), of("max-age=-5")), (300, 300, 300, 300));
    assert_eq!((of("max-age=31536000"), of("max-age=18446744073709551615")), (86_400, 86_400));
}
