use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Handle, Received, Verdict};
use switchyard_tests::{
    api::{Api, SOON, Tenant, faulty, text},
    hub::Hub,
    world::subscriber,
};

const ROUNDS: usize = 4;
const EVENTS_A_ROUND: usize = 40;

/// The published keys of a tenant, as anybody gets them.
async fn published(hub: &Api, tenant: &str) -> Vec<Value> {
    let reply = hub.without_key().get(&format!("/.well-known/switchyard/{tenant}/keys.json")).await;
    assert!(reply.header("cache-control").contains("max-age"), "{:?}", reply.headers);
    reply.expect(200)["keys"].as_array().cloned().expect("a set of keys")
}

async fn made(tenant: &Tenant, at: &Handle, more: Value) -> Value {
    let mut wanted = json!({"url": at.url("/hook"), "event_types": ["a.b"]});
    wanted.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    tenant.post("/endpoints", &wanted).await.expect(201)
}

async fn sent(tenant: &Tenant, at: &Handle, count: usize) -> Received {
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": count}})).await;
    at.wait_for("/hook", count, SOON).await.expect("it arrives").pop().expect("one")
}

#[tokio::test]
async fn a_v1a_delivery_is_verified_with_nothing_but_the_published_key_also_while_it_is_rotated() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = made(&tenant, &at, json!({"signing": "v1a"})).await;
    assert!(endpoint["secret"].is_null(), "the private key left the hub: {endpoint}");
    let keys = published(&hub, "acme").await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let old = text(&keys[0], "whpk");
    assert_eq!(endpoint["public_key"], old.as_str());
    for (name, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA"), ("use", "sig")] {
        assert_eq!(keys[0][name], value, "{keys:?}");
    }
    assert_eq!(URL_SAFE_NO_PAD.decode(text(&keys[0], "x")).expect("base64url").len(), 32);
    assert!(keys[0]["expires_at"].is_null() && text(&keys[0], "kid").len() == 32, "{keys:?}");

    at.set_secrets("/hook", &[&old]).expect("a public key");
    let first = sent(&tenant, &at, 1).await;
    assert_eq!(first.verdict, Verdict::Verified);
    assert!(first.header("webhook-signature").is_some_and(|value| value.starts_with("v1a,")), "{:?}", first.headers);

    let path = format!("/endpoints/{}/rotate-secret", text(&endpoint, "id"));
    let rotated = tenant.post(&path, &json!({"grace_s": 3600})).await.expect(200);
    let new = text(&rotated, "public_key");
    assert!(rotated["secret"].is_null() && new != old, "a v1a endpoint stays one: {rotated}");
    let keys = published(&hub, "acme").await;
    let expiry = |whpk: &str| keys.iter().find(|key| key["whpk"] == whpk).map(|key| key["expires_at"].is_string());
    assert_eq!((keys.len(), expiry(&new), expiry(&old)), (2, Some(false), Some(true)), "{keys:?}");
    for (count, trusted) in [(2, &old), (3, &new)] {
        at.set_secrets("/hook", &[trusted]).expect("a public key");
        assert_eq!(sent(&tenant, &at, count).await.verdict, Verdict::Verified);
    }
    // Without an overlap the old key is gone at once, from the deliveries and from what is published.
    let last = tenant.post(&path, &json!({"grace_s": 0})).await.expect(200);
    let keys = published(&hub, "acme").await;
    assert!(keys.iter().all(|key| key["whpk"] != new.as_str()), "{keys:?}");
    at.set_secrets("/hook", &[&text(&last, "public_key")]).expect("a public key");
    assert_eq!(sent(&tenant, &at, 4).await.verdict, Verdict::Verified);
}

#[tokio::test]
async fn published_keys_tell_no_secret_and_not_which_tenants_there_are() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let symmetric = made(&tenant, &at, json!({})).await;
    assert!(text(&symmetric, "secret").starts_with("whsec_") && symmetric["public_key"].is_null(), "{symmetric}");
    for name in ["acme", "nobody", "NOT-A-NAME", "%2e%2e"] {
        assert_eq!(published(&hub, name).await, Vec::<Value>::new(), "{name}");
    }
    // A pair of one's own is published by its public half alone.
    let pair = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let _ = made(&tenant, &at, json!({"secret": pair})).await;
    let keys = published(&hub, "acme").await;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["whpk"], "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
    assert!(!json!(keys).to_string().contains("whsk_"));
    let wrong = json!({"url": "https://example.com/", "event_types": ["a.b"], "signing": "v2"});
    let problem = tenant.post("/endpoints", &wrong).await.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["signing"], "{problem}");
}

#[tokio::test]
async fn h78_secrets_rotated_under_load_are_refused_by_no_receiver_that_keeps_the_overlap() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = made(&tenant, &at, json!({})).await;
    let path = format!("/endpoints/{}/rotate-secret", text(&endpoint, "id"));
    let mut trusted = text(&endpoint, "secret");
    at.set_secrets("/hook", &[&trusted]).expect("a secret");
    let publishing = {
        let tenant = tenant.clone();
        tokio::spawn(async move {
            for n in 0..ROUNDS * EVENTS_A_ROUND {
                let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
            }
        })
    };
    for round in 1..=ROUNDS {
        // In the middle of a round's events the secret changes; the receiver learns of it at leisure.
        let _ = at.wait_for("/hook", (round - 1) * EVENTS_A_ROUND + EVENTS_A_ROUND / 2, SOON * 4).await.expect("load");
        let signing = if round % 2 == 0 { "v1" } else { "v1a" };
        let rotated = tenant.post(&path, &json!({"grace_s": 3600, "signing": signing})).await.expect(200);
        let named = if signing == "v1a" { "public_key" } else { "secret" };
        let new = text(&rotated, named);
        at.set_secrets("/hook", &[&trusted, &new]).expect("keys");
        trusted = new;
    }
    publishing.await.expect("all are published");
    let arrived = at.wait_for("/hook", ROUNDS * EVENTS_A_ROUND, SOON * 4).await.expect("all arrive");
    let refused: Vec<_> = arrived.iter().filter(|request| request.verdict != Verdict::Verified).collect();
    assert!(refused.is_empty(), "{} were refused, the first with {:?}", refused.len(), refused[0].verdict);
    assert_eq!(arrived.len(), ROUNDS * EVENTS_A_ROUND, "nothing came twice");
    assert!(tenant.list("/dead-letters").await.is_empty());
}
