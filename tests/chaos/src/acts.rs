use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Api, Tenant},
    world::sender_signature,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{OTHER_MARKER, World};

/// Between two rounds of a person.
const PAUSE: Duration = Duration::from_millis(40);

/// A person who forges, parks, replays, discards and changes things, whether the hub answers or not.
pub struct Person {
    stop: CancellationToken,
    acting: JoinHandle<()>,
}

struct Hands {
    acme: Tenant,
    other: Tenant,
    stranger: Api,
    source: String,
    other_source: String,
    switch: Value,
    refusing: String,
}

impl Person {
    /// Lets the person begin.
    #[must_use]
    pub fn begin(world: &World) -> Self {
        let stop = CancellationToken::new();
        let hands = Hands {
            acme: world.acme.clone(),
            other: world.other.clone(),
            stranger: world.hub.without_key(),
            source: world.sources["acme"].clone(),
            other_source: world.sources["other"].clone(),
            switch: world.switch.clone(),
            refusing: world.at("/refusing").endpoint.clone(),
        };
        let acting = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut round = 0_u32;
                while tokio::time::timeout(PAUSE, stop.cancelled()).await.is_err() {
                    hands.act(round).await;
                    round += 1;
                }
                // What is parked is to be judged before the end.
                while !hands.switch("live").await {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { stop, acting }
    }

    /// Lets the person finish, which needs a hub that answers.
    ///
    /// # Panics
    /// The last act is not answered within a minute.
    pub async fn end(self) {
        self.stop.cancel();
        let acted = tokio::time::timeout(Duration::from_secs(60), self.acting).await;
        acted.expect("the person finishes").expect("and ends well");
    }
}

impl Hands {
    /// One of each. Whatever the hub says, or does not, is fine: the checker looks at what is left.
    async fn act(&self, round: u32) {
        self.request(&self.source, "forged", b"somebody else's signature").await;
        let dead = json!({"target": self.refusing});
        let reason = json!({"target": self.refusing, "reason": "not wanted"});
        let (path, body) = if round.is_multiple_of(2) { ("replay", dead) } else { ("discard", reason) };
        self.send_json(&self.acme, "POST", &format!("/dead-letters/{path}"), &body).await;
        self.send_json(&self.acme, "PATCH", "", &json!({"name": format!("Acme {round}")})).await;
        match round % 4 {
            0 => drop(self.switch("off").await),
            1 => {
                let id = format!("parked-{round}");
                let body = json!({"id": id, "marker": OTHER_MARKER}).to_string();
                let signature = sender_signature(body.as_bytes());
                self.send(&self.other_source, &signature, body).await;
                self.request(&self.other_source, &id, b"a forgery that is parked").await;
            }
            2 => drop(self.switch("live").await),
            _ => {}
        }
    }

    async fn request(&self, source: &str, id: &str, signed: &[u8]) {
        self.send(source, &sender_signature(signed), json!({"id": id}).to_string()).await;
    }

    async fn send(&self, source: &str, signature: &str, body: String) {
        let headers = [("content-type", "application/json"), ("x-signature", signature)];
        self.stranger.try_raw("POST", source, &headers, Bytes::from(body)).await.ok();
    }

    /// The status, or none if there was no answer.
    async fn send_json(&self, tenant: &Tenant, method: &str, path: &str, body: &Value) -> Option<u16> {
        let headers = [("content-type", "application/json")];
        let sent = tenant.api.try_raw(method, &tenant.path(path), &headers, Bytes::from(body.to_string())).await;
        sent.ok().map(|reply| reply.status)
    }

    async fn switch(&self, mode: &str) -> bool {
        let mut wanted = self.switch.clone();
        wanted["mode"] = json!(mode);
        self.send_json(&self.other, "PUT", "/plugins/webhook", &wanted).await == Some(200)
    }
}
