//! Rules over HTTP: saved, tried, run on events and at times.

use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, until},
    hub::Hub,
    world::bundled,
};

/// What matching rules do.
mod acting;

/// Files of rules, and the command line.
mod packs;

/// What is checked when rules are saved, versions, rollback.
mod saving;

/// Rules and polls at times.
mod times;

/// Rules tried without doing anything.
mod trying;

/// Where the plugin's deliveries go.
const PLUGIN: &str = "plugin:rules";

/// A hub with the plugin of rules, and a tenant.
async fn world() -> (Hub, Tenant) {
    let hub = Hub::start().await;
    let _ = hub.push(bundled("rules")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    (hub, tenant)
}

/// Puts rules into force, with the types of the tests.
async fn put(tenant: &Tenant, rules: Value) -> Value {
    let wanted = json!({"rules": rules, "own_types": ["order.placed", "order.noted", "order.told", "note.made"]});
    tenant.api.put(&tenant.path("/rules"), &wanted).await.expect(200)
}

/// A rule on `order.placed` that emits `note.made` with the order's number.
fn noting(name: &str, more: Value) -> Value {
    let mut rule = json!({"name": name, "on": "order.placed",
        "emit": [{"type": "note.made", "data": format!("{{'by': '{name}', 'number': data.number}}")}]});
    rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    rule
}

/// Publishes an order.
async fn order(tenant: &Tenant, data: Value) -> Value {
    tenant.publish(&json!({"type": "order.placed", "data": data})).await
}

/// The events of a type once there are so many.
async fn events(tenant: &Tenant, event_type: &str, count: usize) -> Vec<Value> {
    let path = format!("/events?type={event_type}");
    until(&format!("{count} of {event_type}"), async || {
        let found = tenant.list(&path).await;
        if found.len() == count { Ok(found) } else { Err(json!(found).to_string()) }
    })
    .await
}

/// Waits until every delivery to the rules is delivered, and answers how many there are.
async fn settled(tenant: &Tenant) -> usize {
    let path = format!("/deliveries?target={PLUGIN}");
    until("the rules to be done", async || {
        let all = tenant.list(&path).await;
        let done = all.iter().all(|delivery| delivery["state"] == "delivered");
        if done { Ok(all.len()) } else { Err(json!(all).to_string()) }
    })
    .await
}
