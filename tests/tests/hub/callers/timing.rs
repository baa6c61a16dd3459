use std::time::Duration;

use serde_json::json;
use switchyard::clock::SystemClock;
use switchyard_tests::{
    api::{Api, text},
    hub::{ADMIN_KEY, Hub},
    world::sender_signature,
};

use super::senders::{Sender, push_plugins};

/// Samples of each kind.
const SAMPLES: usize = 150;

/// How far two medians may lie apart on a machine that does much else. A search in the database, a second check or a
/// comparison that ends early with much to compare would lie further apart; nanoseconds cannot be seen from here.
const FACTOR: f64 = 2.5;

/// One kind of request.
struct Kind {
    what: &'static str,
    method: &'static str,
    path: String,
    fields: Vec<(&'static str, String)>,
    status: u16,
}

impl Kind {
    async fn send(&self, api: &Api) -> Duration {
        let clock = SystemClock::shared();
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let begun = clock.monotonic();
        let reply = api.raw(self.method, &self.path, &fields, "x".repeat(1024)).await;
        let took = clock.monotonic() - begun;
        assert_eq!(reply.status, self.status, "{}: {}", self.what, reply.text);
        took
    }
}

/// The kinds take turns, so that what else the machine does meets all of them; medians forget what it did rarely.
async fn all_take_as_long(api: &Api, kinds: &[Kind]) {
    let mut times = vec![Vec::with_capacity(SAMPLES); kinds.len()];
    for round in 0..SAMPLES {
        for turn in 0..kinds.len() {
            let at = (round + turn) % kinds.len();
            times[at].push(kinds[at].send(api).await);
        }
    }
    let medians: Vec<_> = times
        .iter_mut()
        .map(|times| {
            times.sort_unstable();
            times[SAMPLES / 2].as_secs_f64()
        })
        .collect();
    for (kind, median) in kinds.iter().zip(&medians) {
        let ratio = median / medians[0];
        assert!(
            (1.0 / FACTOR..FACTOR).contains(&ratio),
            "{} takes {ratio:.2} times as long as {}: {medians:?}",
            kind.what,
            kinds[0].what
        );
    }
}

/// The same text with its last letter changed.
fn nearly(text: &str) -> String {
    let (most, last) = text.split_at(text.len() - 1);
    format!("{most}{}", if last == "0" { "1" } else { "0" })
}

#[tokio::test]
async fn how_long_a_refusal_takes_does_not_tell_how_near_a_guess_was() {
    let hub = Hub::builder().set("SWITCHYARD_RATES__IP_PER_SECOND", "0").start().await;
    push_plugins(&hub).await;
    let sender = Sender::plain(&hub, "acme").await;
    let revoked = hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "admin"})).await.expect(201);
    let _ = hub.delete(&format!("/v1/keys/{}", text(&revoked, "id"))).await;
    let key = |what, key: String| Kind {
        what,
        method: "GET",
        path: "/v1/tenants/acme".to_owned(),
        fields: vec![("authorization", format!("Bearer {key}"))],
        status: 401,
    };
    let anonymous = hub.without_key();
    let keys = [
        key("a key that never was", "x".repeat(ADMIN_KEY.len())),
        key("a key with one letter wrong", nearly(ADMIN_KEY)),
        key("a key that was revoked", text(&revoked, "key")),
    ];
    all_take_as_long(&anonymous, &keys).await;

    let source = |what, path: String| Kind { what, method: "POST", path, fields: Vec::new(), status: 404 };
    let sources = [
        source("a source that never was", format!("/in/src_{}", "7".repeat(32))),
        source("a source with one letter wrong", nearly(&sender.path)),
        source("a source that can be none", format!("/in/{}", "z".repeat(36))),
    ];
    all_take_as_long(&anonymous, &sources).await;

    let signature = sender_signature("x".repeat(1024).as_bytes());
    let forged = |what, signature: String| Kind {
        what,
        method: "POST",
        path: sender.path.clone(),
        fields: vec![("x-signature", signature)],
        status: 401,
    };
    let forgeries = [
        forged("a signature that is wrong from its first byte", "0".repeat(64)),
        forged("a signature with its last byte wrong", nearly(&signature)),
        forged("a signature with its first byte wrong", format!("{}{}", nearly(&signature[..2]), &signature[2..])),
    ];
    all_take_as_long(&anonymous, &forgeries).await;
}
