use serde_json::{Value, json};
use switchyard_tests::{
    api::{Reply, Tenant, text, until},
    hub::Hub,
    world::guest,
};

/// Tokens that somebody else signed.
mod tokens;

/// How fast connections are used, and what is left.
mod pacing;

/// Trying connections, and what ends when.
mod looking;

/// The key with which the provider signs what it sends to the app.
const VERIFIER: &str = "the-key-that-provider-and-app-share-01";

/// A hub with an app of the provider `ledgers`, whose accounts belong to tenants.
struct World {
    hub: Hub,
    app: String,
    source: String,
}

impl World {
    async fn new() -> Self {
        let hub = Hub::builder().start().await;
        let _ = hub.push(guest("ledgers")).await.expect(201);
        let app = hub.post("/v1/apps", &app()).await.expect(201);
        let source = text(&app["sources"][0], "id");
        Self { hub, app: text(&app, "id"), source }
    }

    /// A tenant whose installation uses this account.
    async fn tenant_with(&self, id: &str, account: &str) -> (Tenant, String) {
        let tenant = self.hub.tenant(id).await;
        let connection = tenant.connection(&connection(account)).await;
        let wanted = json!({"grants": ["emits:*"], "connections": {"ledgers": connection}});
        let _ = tenant.install("ledgers", &wanted).await;
        (tenant, connection)
    }

    async fn send(&self, body: &str) -> Reply {
        self.send_signed(body, &signature(body)).await
    }

    async fn send_signed(&self, body: &str, signature: &str) -> Reply {
        let path = format!("/in/{}", self.source);
        self.hub.without_key().raw("POST", &path, &[("x-signature", signature)], body.to_owned()).await
    }

    async fn rows(&self, list: &str) -> Vec<Value> {
        let page = self.hub.get(&format!("/v1/apps/{}/{list}?limit=200", self.app)).await.expect(200);
        page["data"].as_array().cloned().unwrap_or_default()
    }

    /// The codes of what was refused or parked, newest first.
    async fn codes(&self, list: &str) -> Vec<String> {
        self.rows(list).await.iter().map(|row| text(row, "code")).collect()
    }
}

fn app() -> Value {
    json!({"provider": "ledgers", "name": "our ledgers", "plugin": "ledgers", "secrets": {"verifier": VERIFIER}})
}

fn connection(account: &str) -> Value {
    json!({"provider": "ledgers", "name": format!("ledgers {account}"), "kind": "bearer", "account": account,
        "secret": {"token": "a-token-for-ledgers"}})
}

fn signature(body: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(VERIFIER.as_bytes()).expect("any length is a key");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// A request of these (account, entry) changes.
fn changes(of: &[(&str, &str)]) -> String {
    let changes: Vec<_> = of.iter().map(|(account, id)| json!({"account": account, "id": id, "version": 1})).collect();
    json!({ "changes": changes }).to_string()
}

/// The entries of which a tenant was told, in order.
async fn told(tenant: &Tenant) -> Vec<String> {
    let events = tenant.all("/events").await;
    let mut told: Vec<_> =
        events.iter().filter(|event| event["type"] == "entry.changed").map(|event| text(event, "subject")).collect();
    told.sort();
    told
}

#[tokio::test]
async fn one_request_tells_two_tenants_and_each_sees_only_its_own() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let (bolt, _) = world.tenant_with("bolt", "account-2").await;
    let body = changes(&[("account-1", "a"), ("account-2", "b"), ("account-1", "c")]);
    let reply = world.send(&body).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "thanks"));
    assert_eq!((told(&acme).await, told(&bolt).await), (vec!["a".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
    // What they share is the id that links what one request caused, and nothing of the request itself.
    let correlation = reply.header("x-correlation-id").to_owned();
    for (tenant, other) in [(&acme, "account-2"), (&bolt, "account-1")] {
        let trace = tenant.get(&format!("/traces/{correlation}")).await.expect(200);
        assert!(!trace["entries"].as_array().unwrap().is_empty() && !trace.to_string().contains(other), "{trace}");
        assert!(tenant.list("/parked").await.is_empty() && tenant.list("/rejections").await.is_empty());
    }
}

#[tokio::test]
async fn a_request_that_comes_fifty_times_shuffled_with_its_neighbours_counts_once() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let (bolt, _) = world.tenant_with("bolt", "account-2").await;
    let bodies: Vec<String> = (0..5)
        .map(|n| changes(&[("account-1", &format!("a{n}")), ("account-2", &format!("b{n}")), ("nobody", "x")]))
        .collect();
    // Each body fifty times, in an order in which neighbours change places all the time.
    for step in 0..250_usize {
        let reply = world.send(&bodies[(step * 7 + step / 5) % 5]).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "thanks"), "a repeat gets the answer of the first");
    }
    assert_eq!(told(&acme).await, ["a0", "a1", "a2", "a3", "a4"]);
    assert_eq!(told(&bolt).await, ["b0", "b1", "b2", "b3", "b4"]);
}

#[tokio::test]
async fn an_account_that_nobody_uses_is_counted_and_answered_well() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    assert_eq!(world.send(&changes(&[("stranger", "s"), ("account-1", "a")])).await.status, 200);
    assert_eq!(world.send(&changes(&[("person@mail.example", "p")])).await.status, 200);
    assert_eq!(told(&acme).await, ["a"]);
    let rows = world.rows("rejections").await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["code"] == "unknown_account" && row["status"] == 200), "{rows:?}");
    assert!(text(&rows[1], "reason").contains("stranger"));
    assert!(text(&rows[0], "reason").contains("p***@mail.example"), "an address is not shown whole: {rows:?}");
    let metrics = world.hub.get("/metrics").await.text;
    assert!(metrics.contains("switchyard_unknown_accounts_total 2"), "{metrics}");
    // A connection that no installation uses takes nothing either.
    let idle = world.hub.tenant("idle").await;
    let _ = idle.connection(&connection("idle-account")).await;
    assert_eq!(world.send(&changes(&[("idle-account", "i")])).await.status, 200);
    assert!(told(&idle).await.is_empty());
    assert_eq!(world.rows("rejections").await.len(), 3);
}

#[tokio::test]
async fn what_one_tenant_has_not_granted_holds_no_other_tenant_up() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let (bolt, _) = world.tenant_with("bolt", "account-2").await;
    let reply = world.send(&changes(&[("account-1", "fire"), ("account-1", "a"), ("account-2", "b")])).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!((told(&acme).await, told(&bolt).await), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let rows = world.rows("rejections").await;
    assert_eq!((rows.len(), text(&rows[0], "code").as_str()), (1, "emit_emergency"), "{rows:?}");
    assert!(text(&rows[0], "reason").starts_with("acme: "), "{rows:?}");
}

#[tokio::test]
async fn an_account_that_moves_to_another_tenant_takes_its_events_along() {
    let world = World::new().await;
    let (acme, connection) = world.tenant_with("acme", "account-1").await;
    assert_eq!(world.send(&changes(&[("account-1", "before")])).await.status, 200);
    let unbound = json!({"grants": ["emits:*"], "connections": {}});
    let _ = acme.install("ledgers", &unbound).await;
    let gone = acme.api.delete(&acme.path(&format!("/connections/{connection}"))).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    let (bolt, _) = world.tenant_with("bolt", "account-1").await;
    assert_eq!(world.send(&changes(&[("account-1", "after"), ("account-1", "before")])).await.status, 200);
    assert_eq!(told(&acme).await, ["before"]);
    // What the first tenant was told says nothing about the second: each has its own memory of repeats.
    assert_eq!(told(&bolt).await, ["after", "before"]);
    let taken = bolt.post("/connections", &self::connection("account-1")).await;
    assert_eq!(taken.status, 409, "an account belongs to one connection: {}", taken.text);
}

#[tokio::test]
async fn a_request_that_is_not_proven_is_refused_in_one_way_and_kept_for_the_operator() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let body = changes(&[("account-1", "a")]);
    let good = signature(&body);
    for wrong in ["", "00", "zz", &good[2..], &signature("other"), &format!("{good}00")] {
        let reply = world.send_signed(&body, wrong).await;
        assert_eq!((reply.status, reply.text.as_str()), (401, "the request is not authenticated\n"), "{wrong}");
    }
    assert_eq!(world.send("not json").await.status, 400);
    assert!(told(&acme).await.is_empty());
    let codes = world.codes("rejections").await;
    assert_eq!(codes.iter().filter(|code| *code == "unauthenticated").count(), 6, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "rejected").count(), 1, "{codes:?}");
    // A tenant's admin sees nothing of it.
    let key = world.hub.key(&json!({"name": "acme", "tenant": "acme", "scope": "admin"})).await;
    for list in ["rejections", "parked"] {
        let reply = world.hub.with_key(&key).get(&format!("/v1/apps/{}/{list}", world.app)).await;
        assert!(matches!(reply.status, 403 | 404), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_judged_is_parked_for_the_operator_and_judged_again() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let reply = world.send(&changes(&[("account-1", "trouble")])).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    let without_account = json!({"changes": [{"id": "lost", "version": 1}]}).to_string();
    assert_eq!(world.send(&without_account).await.status, 503, "the plugin did not say whose it is");
    let codes = world.codes("parked").await;
    assert_eq!(codes, ["emit_account", "trouble"]);
    let id = text(&world.rows("parked").await[1], "id");
    let again = world.hub.post(&format!("/v1/apps/{}/parked/{id}/retry", world.app), &Value::Null).await.expect(200);
    assert_eq!(again["parked"], true);
    assert!(acme.list("/parked").await.is_empty() && told(&acme).await.is_empty());
}

#[tokio::test]
async fn a_request_waits_for_the_secret_and_for_the_tenant_that_it_needs() {
    let world = World::new().await;
    let path = format!("/v1/apps/{}", world.app);
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let _ = world.hub.patch(&path, &json!({"secrets": {"other": "not-the-verifier-at-all"}})).await.expect(200);
    assert_eq!(world.send(&changes(&[("account-1", "a")])).await.status, 503, "no key, no judgement");
    assert!(told(&acme).await.is_empty());
    // With the secret it is judged by itself.
    let _ = world.hub.patch(&path, &json!({"secrets": {"verifier": VERIFIER}})).await.expect(200);
    until("the parked request to be judged", async || {
        let told = told(&acme).await;
        if told == ["a"] { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert!(world.rows("parked").await.is_empty());
}

#[tokio::test]
async fn an_app_that_is_deleted_takes_its_source_and_what_was_parked_along() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    assert_eq!(world.send(&changes(&[("account-1", "trouble")])).await.status, 503);
    assert_eq!(world.hub.delete(&format!("/v1/apps/{}", world.app)).await.status, 204);
    assert_eq!(world.send(&changes(&[("account-1", "a")])).await.status, 404);
    assert_eq!(world.hub.get(&format!("/v1/apps/{}/parked", world.app)).await.status, 404);
    until("nothing to be parked", async || {
        let status = world.hub.get("/v1/status").await.expect(200);
        if status["parked"] == 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert!(told(&acme).await.is_empty());
}

#[tokio::test]
async fn an_installation_that_is_off_or_locked_down_misses_nothing() {
    let world = World::new().await;
    let (acme, connection) = world.tenant_with("acme", "account-1").await;
    let off = json!({"mode": "off", "grants": ["emits:*"], "connections": {"ledgers": connection}});
    let _ = acme.install("ledgers", &off).await;
    assert_eq!(world.send(&changes(&[("account-1", "a")])).await.status, 200);
    assert_eq!(told(&acme).await, ["a"]);
}

#[tokio::test]
async fn a_source_that_refuses_most_of_what_it_gets_shows_in_the_status() {
    let world = World::new().await;
    let (acme, _) = world.tenant_with("acme", "account-1").await;
    let sender = switchyard_tests::world::bundled("webhook");
    let _ = world.hub.push(sender).await.expect(201);
    let inbound = acme.connection(&switchyard_tests::world::sender_connection()).await;
    let wanted = json!({"config": switchyard_tests::world::sender_config("lead.created"), "grants": ["emits:*"],
        "connections": {"inbound": inbound}});
    let installed = acme.install("webhook", &wanted).await;
    let path = format!("/in/{}", text(&installed["sources"][0], "id"));
    for n in 0..25 {
        let reply = world.hub.without_key().raw("POST", &path, &[("x-signature", "00")], "{}").await;
        assert_eq!(reply.status, 401, "{n}: {}", reply.text);
    }
    let status = world.hub.get("/v1/status").await.expect(200);
    assert_eq!(status["state"], "attention", "{status}");
    let failing = &status["tenants"][0]["failing_sources"]["webhook/default"];
    assert_eq!(failing, "25 of 25 requests were refused in the last five minutes", "{status}");
    assert!(world.hub.get("/metrics").await.text.contains("switchyard_sources_failing 1"));
    let log = world.hub.log();
    assert_eq!(log.matches("a source refuses most of what it gets").count(), 1, "it is told once");
}
