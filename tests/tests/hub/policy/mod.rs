//! What a tenant's plan, its people and its hours allow, on the real hub: what is refused is visible with its reason and
//! never reaches anybody, what waits goes on by itself, and an emergency passes.

/// Opt-outs, from the first STOP to the last START.
mod consents;

/// Plans, their caps, and who tells of them.
mod plan;

/// Business hours.
mod hours;

/// Lockdown.
mod lockdown;

/// A plugin that would go round all this.
mod gates;

use serde_json::{Value, json};
use switchyard_simulators::twilio;
use switchyard_tests::{
    api::{Api, Tenant, text, until},
    hub::{Builder, Hub},
    world::{self, ACCOUNT_SID, bundled, guest},
};

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const NUMBER: &str = "+4570000001";
const PERSON: &str = "+4520123456";

/// A hub with a tenant that has Twilio.
struct Office {
    hub: Hub,
    twilio: twilio::Handle,
    tenant: Tenant,
}

impl Office {
    async fn open() -> Self {
        Self::on(Hub::builder()).await
    }

    async fn on(hub: Builder) -> Self {
        let hub = hub.start().await;
        let twilio = world::twilio(TOKEN).await;
        let _ = hub.push(bundled("twilio")).await.expect(201);
        let tenant = hub.tenant("acme").await;
        let account = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "base_url": twilio.base_url(),
            "secret": {"username": ACCOUNT_SID, "password": TOKEN}});
        let account = tenant.connection(&account).await;
        let config = json!({"account_sid": ACCOUNT_SID, "from": NUMBER});
        let wanted = json!({"config": config, "connections": {"twilio": account}, "retry_schedule": [0]});
        let installed = tenant.install("twilio", &wanted).await;
        twilio.set_sms_url(text(&installed["sources"][0], "url"), None);
        Self { hub, twilio, tenant }
    }

    /// A text message from a person, which must be taken.
    async fn hears(&self, from: &str, body: &str) {
        let sent = self.twilio.send_sms(NUMBER, from, body).await.expect("it is sent");
        assert_eq!(sent.status, Some(200), "{body}");
    }

    /// The texts that left for a person.
    fn sent_to(&self, person: &str) -> Vec<String> {
        let all = self.twilio.messages().into_iter();
        all.filter(|message| message.to == person && message.direction != "inbound")
            .map(|message| message.body)
            .collect()
    }

    /// Publishes `sms.send`; answers the event's id.
    async fn text(&self, to: &str, body: &str) -> String {
        let command = json!({"type": "sms.send", "data": {"to": to, "body": body}});
        text(&self.tenant.publish(&command).await, "id")
    }

    /// Stores what a person said of a channel.
    async fn put_consent(&self, channel: &str, address: &str, state: &str) -> Value {
        let wanted = json!({"channel": channel, "address": address, "state": state});
        self.tenant.api.put(&self.tenant.path("/consents"), &wanted).await.expect(200)
    }

    /// What a person said of a channel, with its history.
    async fn consent(&self, channel: &str, address: &str) -> Value {
        self.tenant.get(&format!("/consents/{channel}/{}", address.replace('+', "%2B"))).await.expect(200)
    }

    /// Gives the tenant a plan.
    async fn put_plan(&self, plan: &Value) -> Value {
        self.hub.put(&self.tenant.path("/plan"), plan).await.expect(200)
    }
}

/// The delivery of an event to a plugin once it is in a state, with its attempts.
async fn ended(tenant: &Tenant, event: &str, state: &str) -> Value {
    let found = until(&format!("{event} to be {state}"), async || {
        let all = tenant.list("/deliveries?limit=200").await;
        let ours = all.iter().find(|row| row["event_id"] == event && text(row, "target").starts_with("plugin:"));
        ours.filter(|row| row["state"] == state).cloned().ok_or_else(|| json!(all).to_string())
    })
    .await;
    tenant.get(&format!("/deliveries/{}", text(&found, "id"))).await.expect(200)
}

/// Asserts that a delivery was refused by the policy before anything was done.
#[track_caller]
fn assert_refused(delivery: &Value, code: &str) {
    assert_eq!((&delivery["reason"], &delivery["code"]), (&json!("policy"), &json!(code)), "{delivery:#}");
    assert!(delivery["message"].as_str().is_some_and(|message| message.len() > 20), "{delivery:#}");
    assert_eq!(delivery["attempts"], json!([]), "no attempt was made: {delivery:#}");
}

/// A tenant as a key sees it that may raise emergencies.
async fn alarmed(api: &Api, tenant: &Tenant) -> Tenant {
    let key = api.key(&json!({"tenant": tenant.id, "scope": "publisher", "emergency": true})).await;
    tenant.with_key(&key)
}

/// Publishes a command as an emergency; answers its event's id.
async fn emergency(tenant: &Tenant, event_type: &str, data: &Value) -> String {
    let command = json!({"type": event_type, "data": data, "urgency": "emergency"});
    text(&tenant.publish(&command).await, "id")
}

/// A hub with a tenant whose commands of every type are carried out by a guest that does as the data say.
async fn guested() -> (Hub, Tenant) {
    let hub = Hub::builder().time_factor(1).start().await;
    let _ = hub.push(guest("misbehave")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.install("misbehave", &json!({"retry_schedule": [0]})).await;
    (hub, tenant)
}
