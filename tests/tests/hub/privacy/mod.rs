//! What persons may ask for: a person's number and address are planted wherever something of a person can lie, and then
//! looked for in every answer and in every byte that is stored.

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{Tenant, text, until, until_within},
    hub::{Builder, Hub},
    world::{ACCOUNT_SID, bundled, sender_config, sender_connection, sender_signature, subscriber, twilio},
};

/// What is asked for, and what is left.
mod erasing;

/// What is found.
mod exporting;

/// The whole story on one page.
mod bundle;

/// The person, and how others write them.
const PHONE: &str = "+4599887766";
const EMAIL: &str = "ida.marker@kunde.example";

/// Somebody else, of whom everything stays.
const OTHER: &str = "+4511223344";

/// How the person may stand in bytes, in small letters.
const TRACES: [&str; 4] = ["4599887766", "45 99 88 77 66", "ida.marker", "marker-words-of-ida"];

/// Words that stand beside the person's number or address.
const WORDS: &str = "MARKER-words-of-Ida";

const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// How long an erasure may take: it walks at least twice.
const DONE_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Which traces of the person are in there.
fn traces(bytes: &[u8]) -> Vec<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    let has = |trace: &&&str| lower.windows(trace.len()).any(|window| window == trace.as_bytes());
    TRACES.iter().filter(has).copied().collect()
}

/// A tenant in whose every corner something of the person lies.
struct Planted {
    hub: Hub,
    tenant: Tenant,
    at: switchyard_simulators::subscriber::Handle,
    /// An event whose delivery waits, one whose delivery is dead, one of the other person.
    waiting: Value,
    dead: Value,
    others: Value,
    paused: String,
}

impl Planted {
    async fn on(builder: Builder) -> Self {
        let hub = builder.start().await;
        for plugin in ["webhook", "twilio"] {
            let _ = hub.push(bundled(plugin)).await.expect(201);
        }
        let (tenant, at) = (hub.tenant("acme").await, subscriber().await);
        let _ = tenant.endpoint(&at, "/all", &["person.erased"], json!({})).await;
        let dead = Self::dead(&tenant, &at).await;
        let paused = tenant.endpoint(&at, "/paused", &["order.noted"], json!({})).await;
        let _ = tenant.post(&format!("/endpoints/{paused}/pause"), &json!({})).await.expect(200);
        let noted = |from: &str| {
            json!({"type": "order.noted", "subject": from, "ordering_key": from,
                "data": {"from": from, "note": WORDS, "mail": format!("Ida <{}>", EMAIL.to_uppercase())}})
        };
        let waiting = tenant.publish(&noted("+45 99 88 77 66")).await;
        let others = json!({"type": "order.noted", "data": {"from": OTHER}, "subject": OTHER});
        let others = tenant.publish(&others).await;
        let planted = Self { hub, tenant, at, waiting, dead, others, paused };
        planted.came_in().await;
        planted.kept_by_plugins().await;
        planted
    }

    /// A dead letter, with what the subscriber said.
    async fn dead(tenant: &Tenant, at: &switchyard_simulators::subscriber::Handle) -> Value {
        let endpoint = tenant.endpoint(at, "/dead", &["order.lost"], json!({"retry_schedule": [0]})).await;
        let body = format!("no such customer: {EMAIL}, {WORDS}");
        at.set_script("/dead", Script::always(Step::Status { status: 422, retry_after: None, body }));
        let lost = json!({"type": "order.lost", "data": {"email": EMAIL, "note": WORDS}});
        let lost = tenant.publish(&lost).await;
        let _ = tenant.delivery_in(&endpoint, "dead").await;
        lost
    }

    /// A request that became an event, and one that waits to be judged.
    async fn came_in(&self) {
        let sender = self.tenant.connection(&sender_connection()).await;
        let wanted = |mode: &str| {
            json!({"mode": mode, "config": sender_config("order.placed"), "connections": {"inbound": sender},
                "grants": ["emits:*"]})
        };
        let installed = self.tenant.install("webhook", &wanted("live")).await;
        let url = text(&installed["sources"][0], "url");
        let body = json!({"customer": {"phone": PHONE, "note": WORDS}, "escaped": "x\ny"}).to_string();
        let send = async |status| {
            let signed = sender_signature(body.as_bytes());
            let headers = [("x-signature", &*signed), ("content-type", "application/json"), ("x-from", PHONE)];
            let url = format!("{url}?from=%2B4599887766");
            let reply = self.hub.without_key().raw("POST", &url, &headers, Bytes::from(body.clone())).await;
            assert_eq!(reply.status, status, "{}", reply.text);
        };
        send(200).await;
        let _ = self.tenant.install("webhook", &wanted("off")).await;
        send(503).await;
        assert_eq!(self.tenant.list("/parked").await.len(), 1);
    }

    /// What a plugin keeps, and a journal with a provider's answer.
    async fn kept_by_plugins(&self) {
        let provider = twilio(TOKEN).await;
        let account = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "base_url": provider.base_url(),
            "secret": {"username": ACCOUNT_SID, "password": TOKEN}});
        let account = self.tenant.connection(&account).await;
        let config = json!({"account_sid": ACCOUNT_SID, "from": "+4570000001", "status_callbacks": false});
        let wanted = json!({"config": config, "connections": {"twilio": account}, "grants": ["emits:*"]});
        let _ = self.tenant.install("twilio", &wanted).await;
        let sms = json!({"type": "sms.send", "data": {"to": PHONE, "body": WORDS}});
        let sms = self.tenant.publish(&sms).await;
        let sent = self
            .tenant
            .delivery("plugin:twilio", "delivered", |one| one["event_id"] == sms["id"] && one["state"] == "delivered");
        let sent = text(&sent.await, "id");
        let sent = self.tenant.get(&format!("/deliveries/{sent}")).await.expect(200);
        assert!(sent["journal"]["confirmed"].as_u64() == Some(1), "nothing was journalled: {sent}");
        let out = json!({"type": "sms.opt_out", "data": {"from": PHONE, "to": "+4570000001", "reason": "STOP"}});
        let out = self.tenant.publish(&out).await;
        let _ = self
            .tenant
            .delivery("plugin:twilio", "delivered", |one| one["event_id"] == out["id"] && one["state"] == "delivered")
            .await;
    }

    /// Asks for something and waits until it is done.
    async fn done(&self, what: &str, about: Value) -> Value {
        let asked = self.tenant.post(&format!("/privacy/{what}"), &about).await.expect(202);
        self.until_done(&text(&asked, "id")).await
    }

    async fn until_done(&self, id: &str) -> Value {
        until_within(DONE_WITHIN, "the request to be done", async || {
            let shown = self.tenant.get(&format!("/privacy/requests/{id}")).await.expect(200);
            if shown["state"] == "done" { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await
    }

    /// Every answer that could show something of a person.
    async fn answers(&self) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        let lists = [
            "/events?limit=200",
            "/deliveries?limit=200",
            "/dead-letters",
            "/parked",
            "/rejections",
            "/audit",
            "/plugins",
            "/privacy/requests",
            "/forecast",
        ];
        for list in lists {
            let reply = self.tenant.get(list).await;
            assert_eq!(reply.status, 200, "{list}: {}", reply.text);
            answers.push((list.to_owned(), reply.text.clone()));
            let kind = list.split('?').next().unwrap_or_default();
            for row in reply.json()["data"].as_array().into_iter().flatten() {
                if let (true, Some(id)) = (["/events", "/deliveries"].contains(&kind), row["id"].as_str()) {
                    let path = format!("{kind}/{id}");
                    answers.push((path.clone(), self.tenant.get(&path).await.text));
                    if let Some(correlation) = row["correlation_id"].as_str() {
                        let path = format!("/traces/{correlation}");
                        answers.push((path.clone(), self.tenant.get(&path).await.text));
                    }
                }
            }
        }
        answers
    }

    /// What still tells of the person, in the answers.
    async fn told(&self) -> Vec<String> {
        let answers = self.answers().await.into_iter();
        answers.filter(|(_, text)| !traces(text.as_bytes()).is_empty()).map(|(path, _)| path).collect()
    }

    /// Waits until the subscriber was told of an erasure so often.
    async fn told_of_erasure(&self, times: usize) -> Vec<Value> {
        until("person.erased to be told", async || {
            let told: Vec<Value> = self.at.requests("/all").iter().map(|request| request.json()).collect();
            if told.len() >= times { Ok(told) } else { Err(json!(told).to_string()) }
        })
        .await
    }
}

/// What still tells of the person, in the files of a database.
fn stored(hub: &Hub) -> Vec<String> {
    let mut found = Vec::new();
    for ending in ["", "-wal", "-shm"] {
        let path = format!("{}{ending}", hub.database().display());
        let bytes = std::fs::read(&path).unwrap_or_default();
        found.extend(traces(&bytes).into_iter().map(|trace| format!("{trace} in {path}")));
    }
    found
}
