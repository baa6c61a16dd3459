use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Handle, Script};
use switchyard_tests::{
    api::{Reply, Tenant, text, until},
    hub::Hub,
    world::{bundled, guest, sender_config, sender_connection, sender_signature, subscriber},
};

use super::{keyring, rows};

/// Begins every secret and every personal text that is given to the hub; no audit row may hold it.
const MARKER: &str = "MARKER";

/// What changes nothing that an admin made: sending, asking and trying.
const NO_CHANGE: [&str; 4] = [
    "post /v1/tenants/{tenant}/events",
    "post /v1/tenants/{tenant}/rules/test",
    "post /v1/tenants/{tenant}/endpoints/{id}/test",
    "post /v1/tenants/{tenant}/connections/{id}/test",
];

/// Calls routes and looks for the row that each must leave.
struct Walk {
    hub: Hub,
    tenant: Tenant,
    walked: BTreeSet<String>,
}

impl Walk {
    /// The newest row of the hub and of the tenant, if there are some.
    async fn newest(&self) -> [Option<Value>; 2] {
        let of_hub = self.hub.get("/v1/audit?limit=1").await.expect(200);
        let of_tenant = self.tenant.get("/audit?limit=1").await;
        let of_tenant = if of_tenant.status == 200 { of_tenant.json() } else { Value::Null };
        [of_hub, of_tenant].map(|list| rows(&list).first().cloned())
    }

    async fn call(&mut self, method: &str, template: &str, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.hub.raw(&method.to_uppercase(), path, &headers, text).await.noted(self, method, template)
    }

    /// One change that must go well and be told.
    async fn step(&mut self, route: &str, ids: &[&str], body: Value) -> Value {
        let (method, template) = route.split_once(' ').expect("a method and a path");
        let mut path = template.to_owned();
        for id in ids {
            let (start, end) = (path.find('{').expect("a parameter"), path.find('}').expect("its end"));
            path.replace_range(start..=end, id);
        }
        let before = self.newest().await;
        let reply = self.call(method, template, &path, &body).await;
        assert!((200..300).contains(&reply.status), "{route}: {} {}", reply.status, reply.text);
        self.told(route, &before).await;
        reply.json()
    }

    /// A row is there that was not there before, names who did what to what, and holds nothing of what is secret.
    async fn told(&self, route: &str, before: &[Option<Value>; 2]) {
        let number = |row: &Option<Value>| row.as_ref().and_then(|row| row["number"].as_u64()).unwrap_or(0);
        let after = self.newest().await;
        let new = after.iter().zip(before).find(|(after, before)| number(after) > number(before));
        let (Some(row), _) = new.unwrap_or_else(|| panic!("{route} left no row")) else { panic!("no row") };
        assert!(text(row, "actor").starts_with("key_"), "{route}: {row}");
        assert!(text(row, "action").contains('.') && !text(row, "target").is_empty(), "{route}: {row}");
        for row in after.iter().flatten() {
            assert!(!row.to_string().contains(MARKER), "{route} wrote what is secret: {row}");
        }
    }
}

/// Notes a route that was walked.
trait Noted {
    fn noted(self, walk: &mut Walk, method: &str, template: &str) -> Self;
}

impl Noted for Reply {
    fn noted(self, walk: &mut Walk, method: &str, template: &str) -> Self {
        walk.walked.insert(format!("{method} {template}"));
        self
    }
}

async fn tenants_and_keys(walk: &mut Walk) {
    let settings = json!({"note": format!("{MARKER}-settings")});
    let _ = walk.step("post /v1/tenants", &[], json!({"id": "acme", "settings": settings})).await;
    let _ = walk.step("patch /v1/tenants/{tenant}", &["acme"], json!({"name": "Acme", "settings": settings})).await;
    let consent = json!({"channel": "email", "address": format!("{MARKER}@example.com"), "state": "withdrawn"});
    let _ = walk.step("put /v1/tenants/{tenant}/consents", &["acme"], consent).await;
    let _ = walk.step("put /v1/tenants/{tenant}/plan", &["acme"], json!({"state": "active"})).await;
    let _ = walk.step("delete /v1/tenants/{tenant}/plan", &["acme"], Value::Null).await;
    let made = walk.step("post /v1/keys", &[], json!({"tenant": "acme", "scope": "reader", "name": "a"})).await;
    let id = text(&made, "id");
    let first = text(&made, "key");
    let renewed = walk.step("post /v1/keys/{id}/rotate", &[&id], Value::Null).await;
    for key in [first, text(&renewed, "key")] {
        for row in walk.newest().await.iter().flatten() {
            assert!(!row.to_string().contains(&key), "a row holds a key: {row}");
        }
    }
    let _ = walk.step("delete /v1/keys/{id}", &[&id], Value::Null).await;
    let rotated = walk.step("post /v1/master-keys/rotate", &[], json!({})).await;
    assert!(rotated["rewrapped"].as_u64() >= Some(1), "{rotated}");
}

async fn apps(walk: &mut Walk) {
    let app = json!({"provider": "p", "name": "a", "client_id": "c", "client_secret": format!("{MARKER}-client"),
        "secrets": {"verifier": format!("{MARKER}-verifier")}});
    let made = walk.step("post /v1/apps", &[], app).await;
    assert!(!made.to_string().contains(MARKER), "{made}");
    let id = text(&made, "id");
    let changed = json!({"client_secret": format!("{MARKER}-other")});
    let _ = walk.step("patch /v1/apps/{id}", &[&id], changed).await;
    // A plugin that cannot judge a request without a config parks it.
    let named = walk.step("patch /v1/apps/{id}", &[&id], json!({"plugin": "webhook"})).await;
    let body = format!("{{\"who\":\"{MARKER}-person\"}}");
    let reply = walk.hub.without_key().raw("POST", &text(&named["sources"][0], "url"), &[], body).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    let parked = walk.hub.get(&format!("/v1/apps/{id}/parked")).await.expect(200);
    let request = text(&rows(&parked)[0], "id");
    let _ = walk.step("post /v1/apps/{id}/parked/{request}/retry", &[&id, &request], Value::Null).await;
    let _ = walk.step("delete /v1/apps/{id}", &[&id], Value::Null).await;
}

async fn plugins(walk: &mut Walk) {
    for wasm in [bundled("webhook"), guest("hello_plugin")] {
        let before = walk.newest().await;
        let pushed = walk.hub.push(wasm).await.noted(walk, "post", "/v1/plugins").expect(201);
        walk.told("post /v1/plugins", &before).await;
        if pushed["name"] != "webhook" {
            let (name, version) = (text(&pushed, "name"), text(&pushed, "version"));
            let _ = walk.step("delete /v1/plugins/{name}/versions/{version}", &[&name, &version], Value::Null).await;
        }
    }
}

async fn rules(walk: &mut Walk) {
    let _ = walk.hub.push(bundled("rules")).await.expect(201);
    let rule = json!({"name": "r", "on": "schedule", "cron": "0 2 * * *",
        "emit": [{"type": "note.made", "data": format!("{{'text': '{MARKER}'}}")}]});
    let rules = json!({"rules": [rule], "own_types": ["note.made"]});
    let _ = walk.step("put /v1/tenants/{tenant}/rules", &["acme"], rules).await;
    let _ = walk.step("post /v1/tenants/{tenant}/rules/rollback", &["acme"], json!({"version": 1})).await;
    let run = "post /v1/tenants/{tenant}/schedules/{id}/run";
    let _ = walk.step(run, &["acme", "rules:r"], Value::Null).await;
}

/// A login that begins.
async fn logins(walk: &mut Walk) {
    let _ = walk.hub.push(guest("caller")).await.expect(201);
    let app = json!({"provider": "google", "name": "g", "plugin": "caller", "client_id": "c",
        "client_secret": format!("{MARKER}-client")});
    let app = text(&walk.step("post /v1/apps", &[], app).await, "id");
    let secret = json!({"app": app, "refresh_token": format!("{MARKER}-refresh")});
    let connection = json!({"provider": "google", "name": "g", "kind": "oauth2", "secret": secret});
    let connection = walk.step("post /v1/tenants/{tenant}/connections", &["acme"], connection).await;
    let route = "post /v1/tenants/{tenant}/connections/{id}/authorize";
    let _ = walk.step(route, &["acme", &text(&connection, "id")], json!({})).await;
}

/// Connections and the installation that uses one; its source has a parked request.
async fn connections(walk: &mut Walk) {
    let route = "post /v1/tenants/{tenant}/connections";
    let secret = json!({"token": format!("{MARKER}-token")});
    let spare =
        walk.step(route, &["acme"], json!({"provider": "p", "name": "n", "kind": "bearer", "secret": secret})).await;
    let spare = text(&spare, "id");
    let of_one = |rest: &str| format!("{{}} /v1/tenants/{{tenant}}/connections/{{id}}{rest}");
    let named = |method: &str, rest: &str| of_one(rest).replace("{}", method);
    let _ = walk.step(&named("patch", ""), &["acme", &spare], json!({"name": "m"})).await;
    let rotation = json!({"secret": {"token": format!("{MARKER}-rotated")}});
    let _ = walk.step(&named("post", "/rotate"), &["acme", &spare], rotation).await;
    let _ = walk.step(&named("delete", ""), &["acme", &spare], Value::Null).await;
    let sender = text(&walk.step(route, &["acme"], sender_connection()).await, "id");
    let wanted = json!({"mode": "off", "config": sender_config("order.placed"), "connections": {"inbound": sender}, "grants": ["emits:*"]});
    let put = "put /v1/tenants/{tenant}/plugins/{name}";
    let installed = walk.step(put, &["acme", "webhook"], wanted).await;
    let source = text(&installed["sources"][0], "url");
    let body = format!("{{\"who\":\"{MARKER}-person\"}}");
    let signature = sender_signature(body.as_bytes());
    let parked = walk.hub.without_key().raw("POST", &source, &[("x-signature", &signature)], body).await;
    assert_eq!(parked.status, 503, "{}", parked.text);
    let parked = text(&walk.tenant.list("/parked").await[0], "id");
    let _ = walk.step("post /v1/tenants/{tenant}/parked/{id}/retry", &["acme", &parked], Value::Null).await;
    let _ = walk.step("delete /v1/tenants/{tenant}/plugins/{name}", &["acme", "webhook"], Value::Null).await;
}

/// Publishes an event that the endpoint refuses for good; answers the delivery.
async fn dead(walk: &Walk, endpoint: &str, known: &mut BTreeSet<String>) -> String {
    let data = json!({"who": format!("{MARKER}-person")});
    let _ = walk.tenant.publish(&json!({"type": "a.b", "data": data})).await;
    let is_new = |delivery: &Value| delivery["state"] == "dead" && !known.contains(&text(delivery, "id"));
    let id = text(&walk.tenant.delivery(endpoint, "dead", is_new).await, "id");
    known.insert(id.clone());
    id
}

async fn endpoints(walk: &mut Walk, at: &Handle) {
    let one = "/v1/tenants/{tenant}/endpoints/{id}";
    at.set_script("/hook", Script::statuses(&[500]));
    let wanted = json!({"url": at.url("/hook"), "event_types": ["a.b"], "retry_schedule": [0, 3600],
        "headers": {"X-Token": format!("{MARKER}-header")}});
    let made = walk.step("post /v1/tenants/{tenant}/endpoints", &["acme"], wanted).await;
    let id = text(&made, "id");
    let ids = ["acme", id.as_str()];
    let _ = walk.tenant.publish(&json!({"type": "a.b", "data": {"who": format!("{MARKER}-person")}})).await;
    let waits = walk.tenant.delivery(&id, "waiting", |delivery| delivery["state"] == "waiting").await;
    let retry = "post /v1/tenants/{tenant}/deliveries/{id}/retry";
    let _ = walk.step(retry, &["acme", &text(&waits, "id")], json!({})).await;
    let headers = json!({"headers": {"X-Token": format!("{MARKER}-other")}, "retry_schedule": [0]});
    let _ = walk.step(&format!("patch {one}"), &ids, headers).await;
    let _ = walk.step(&format!("post {one}/rotate-secret"), &ids, json!({})).await;
    let mut known = BTreeSet::from([text(&waits, "id")]);
    let _ = dead(walk, &id, &mut known).await;
    let event = text(&walk.tenant.list("/events?type=a.b").await[0], "id");
    let _ = walk.step("post /v1/tenants/{tenant}/events/{id}/replay", &["acme", &event], json!({})).await;
    let second = dead(walk, &id, &mut known).await;
    let preview = json!({"deliveries": [second]});
    let _ = walk.step("post /v1/tenants/{tenant}/dead-letters/preview", &["acme"], preview).await;
    let replay = json!({"deliveries": [second]});
    let _ = walk.step("post /v1/tenants/{tenant}/dead-letters/replay", &["acme"], replay).await;
    let third = dead(walk, &id, &mut known).await;
    let discard = json!({"deliveries": [third], "reason": "tests"});
    let _ = walk.step("post /v1/tenants/{tenant}/dead-letters/discard", &["acme"], discard).await;
    let _ = walk.step(&format!("post {one}/replay"), &ids, json!({})).await;
    let _ = walk.step(&format!("delete {one}/replay"), &ids, Value::Null).await;
    let _ = walk.step(&format!("post {one}/pause"), &ids, json!({"reason": "tests"})).await;
    let event = walk.tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let waits = |delivery: &Value| delivery["event_id"] == event["id"];
    let waiting = text(&walk.tenant.delivery(&id, "held", waits).await, "id");
    let _ = walk.step("post /v1/tenants/{tenant}/deliveries/{id}/cancel", &["acme", &waiting], json!({})).await;
    let _ = walk.step(&format!("post {one}/resume"), &ids, json!({})).await;
    let _ = walk.step(&format!("delete {one}"), &ids, Value::Null).await;
}

/// What persons ask for: not even their own request says who they are.
async fn persons(walk: &mut Walk) {
    let about = json!({"email": format!("{MARKER}@person.example")});
    let _ = walk.step("post /v1/tenants/{tenant}/privacy/export", &["acme"], about.clone()).await;
    let _ = walk.step("post /v1/tenants/{tenant}/privacy/erase", &["acme"], about).await;
}

#[tokio::test]
async fn every_change_leaves_an_audit_row_without_secrets_and_personal_data() {
    let at = subscriber().await;
    // A hub of yesterday's master key, so that there is something to move.
    let mut hub = Hub::builder().set("SWITCHYARD_MASTER_KEYS", &keyring("a")).start().await;
    let _ = hub.tenant("other").await;
    assert!(hub.stop().await.success());
    hub.set("SWITCHYARD_MASTER_KEYS", &keyring("ba"));
    hub.restart().await;
    let tenant = Tenant { api: hub.with_key(switchyard_tests::hub::ADMIN_KEY), id: "acme".to_owned() };
    let mut walk = Walk { hub, tenant, walked: BTreeSet::new() };
    tenants_and_keys(&mut walk).await;
    plugins(&mut walk).await;
    apps(&mut walk).await;
    connections(&mut walk).await;
    logins(&mut walk).await;
    rules(&mut walk).await;
    endpoints(&mut walk, &at).await;
    persons(&mut walk).await;
    let of_tenant = walk.tenant.all("/audit").await;
    assert!(!json!(of_tenant).to_string().contains(MARKER), "a row holds what is secret");
    let _ = walk.step("delete /v1/tenants/{tenant}", &["acme"], Value::Null).await;

    let document = walk.hub.get("/openapi.json").await.expect(200);
    let mut missing = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|method| *method != "get") {
            let route = format!("{method} {path}");
            if !walk.walked.contains(&route) && !NO_CHANGE.contains(&route.as_str()) {
                missing.push(route);
            }
        }
    }
    assert!(missing.is_empty(), "these routes change something and are not walked here; add them: {missing:#?}");
}

#[tokio::test]
async fn a_key_ends_at_its_time_says_when_it_was_used_and_is_renewed_by_the_command() {
    let hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let end =
        jiff::Timestamp::from_millisecond(switchyard::clock::SystemClock::shared().now().0 + 1_500).expect("a time");
    let made = hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "reader", "expires_at": end.to_string()})).await;
    let made = made.expect(201);
    let short = hub.with_key(&text(&made, "key"));
    let _ = short.get("/v1/tenants/acme").await.expect(200);
    until("the key to end", async || {
        let reply = short.get("/v1/tenants/acme").await;
        if reply.status == 401 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    let made = hub.run(&["keys", "create", "--scope", "reader", "--tenant", "acme", "--json"], &[]).await.json();
    let old = hub.with_key(&text(&made, "key"));
    let renewed = hub.run(&["keys", "renew", &text(&made, "id"), "--json"], &[]).await.json();
    let _ = old.get("/v1/tenants/acme").await.problem(401, "unauthenticated");
    let _ = hub.with_key(&text(&renewed, "key")).get("/v1/tenants/acme").await.expect(200);
    // Uses are written now and then, with the first of them at once.
    until("a use to be noted", async || {
        let keys = hub.get("/v1/keys").await.expect(200);
        let used = rows(&keys).iter().any(|key| key["last_used_at"].is_string());
        if used { Ok(()) } else { Err(keys.to_string()) }
    })
    .await;
}
