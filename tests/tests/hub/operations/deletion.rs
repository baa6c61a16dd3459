use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::json;
use switchyard::{
    clock::SystemClock,
    connection::{master_keys, vault::Vault},
    id::Ids,
    secret::keyring::MasterKeys,
    store::{
        registry::{KeyHolder, WrappedKey},
        sqlite::examine,
    },
};
use switchyard_simulators::subscriber::{Handle, Script, Step};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    hub::Hub,
    world::{bundled, sender_config, sender_connection, sender_signature, subscriber},
};

use super::{keyring, query, rows};

/// Publishes one event after the other until told to stop or refused. Gives the ids that were accepted, and what ended it.
async fn publish(tenant: Tenant, name: &'static str, stop: Arc<AtomicBool>) -> (BTreeSet<String>, u16) {
    let mut accepted = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{}", accepted.len());
        let reply = tenant.post("/events", &json!({"type": "a.b", "id": id, "data": {}})).await;
        if reply.status != 202 {
            return (accepted, reply.status);
        }
        accepted.insert(id);
    }
    (accepted, 202)
}

async fn arrived(at: &Handle, path: &str, wanted: &BTreeSet<String>) {
    until("every event to arrive", async || {
        let seen: BTreeSet<_> =
            at.requests(path).iter().filter_map(|request| request.webhook_id().map(str::to_owned)).collect();
        let missing = wanted.difference(&seen).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) }
    })
    .await;
}

/// Row H80, paused: what runs finishes, nothing starts from a second after the answer on, and others go on.
#[tokio::test]
async fn h80_a_locked_down_tenant_finishes_what_runs_and_starts_nothing_new() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let (acme, beta) = (hub.tenant("acme").await, hub.tenant("beta").await);
    let endpoint = acme.endpoint(&at, "/acme", &["a.b"], json!({"concurrency": 4})).await;
    let _ = beta.endpoint(&at, "/beta", &["a.b"], json!({})).await;
    at.set_script("/acme", Script::always(Step::Delay { ms: 300 }));
    let stop = Arc::new(AtomicBool::new(false));
    let loads = [(acme.clone(), "a"), (beta.clone(), "b")]
        .map(|(tenant, name)| tokio::spawn(publish(tenant, name, stop.clone())));
    let _ = at.wait_for("/acme", 8, SOON).await.expect("it is under load");
    let _ = hub.patch("/v1/tenants/acme", &json!({"lockdown": true})).await.expect(200);
    let locked = wall_ms();
    // What ran has ended, and well.
    until("what runs to finish", async || {
        let running = acme.list("/deliveries?state=running&limit=200").await;
        if running.is_empty() { Ok(()) } else { Err(format!("{} run", running.len())) }
    })
    .await;
    // Others are not held up meanwhile, and enough time passes for them to show it.
    let before = at.requests("/beta").len();
    let _ = at.wait_for("/beta", before + 50, SOON).await.expect("beta goes on");
    until("two seconds to pass", async || if wall_ms() > locked + 2_000 { Ok(()) } else { Err(String::new()) }).await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for load in loads {
        accepted.push(load.await.expect("a load ends well").0);
    }
    arrived(&at, "/beta", &accepted[1]).await;
    let late: Vec<_> =
        at.requests("/acme").iter().map(|request| request.at_ms - locked).filter(|after| *after > 1_000).collect();
    assert!(late.is_empty(), "attempts started {late:?} ms after the lockdown");
    let held = acme.list(&format!("/deliveries?target={endpoint}&state=held&limit=200")).await;
    assert!(!held.is_empty(), "nothing was held, so nothing was shown");
    // Lifted, all that was accepted is delivered.
    at.set_script("/acme", Script::default());
    let _ = hub.patch("/v1/tenants/acme", &json!({"lockdown": false})).await.expect(200);
    arrived(&at, "/acme", &accepted[0]).await;
}

/// The wall clock, as the subscriber stamps what arrives.
fn wall_ms() -> i64 {
    SystemClock::shared().now().0
}

/// Row H80, deleted.
#[tokio::test]
async fn h80_a_tenant_deleted_under_load_is_gone_at_once_and_others_notice_nothing() {
    let at = subscriber().await;
    let hub = Hub::start().await;
    let _ = hub.push(bundled("webhook")).await.expect(201);
    let (acme, beta) = (hub.tenant("acme").await, hub.tenant("beta").await);
    let _ = acme.endpoint(&at, "/acme", &["a.b"], json!({"concurrency": 4})).await;
    let slow = acme.endpoint(&at, "/slow", &["a.b"], json!({})).await;
    let _ = acme.post(&format!("/endpoints/{slow}/pause"), &json!({})).await.expect(200);
    let _ = beta.endpoint(&at, "/beta", &["a.b"], json!({})).await;
    let connection = acme.connection(&sender_connection()).await;
    let wanted =
        json!({"config": sender_config("order.placed"), "connections": {"inbound": connection}, "grants": ["emits:*"]});
    let source = text(&acme.install("webhook", &wanted).await["sources"][0], "url");
    let signature = sender_signature(b"{}");
    let inbound = async || hub.without_key().raw("POST", &source, &[("x-signature", &signature)], "{}").await;
    assert_eq!(inbound().await.status, 200);
    let admin = hub.key(&json!({"tenant": "acme", "scope": "admin"})).await;
    // Some attempts hang when the tenant goes.
    at.set_script("/acme", Script::always(Step::Hang));
    let stop = Arc::new(AtomicBool::new(false));
    let [of_acme, of_beta] = [(acme.clone(), "a"), (beta.clone(), "b")]
        .map(|(tenant, name)| tokio::spawn(publish(tenant, name, stop.clone())));
    let _ = at.wait_for("/acme", 4, SOON).await.expect("attempts hang");
    let _ = at.wait_for("/beta", 50, SOON).await.expect("beta is under load");

    let reply = hub.delete("/v1/tenants/acme").await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    let begun = at.requests("/acme").len();
    let _ = hub.get("/v1/tenants/acme").await.problem(404, "not_found");
    let _ = acme.get("/deliveries").await.problem(404, "not_found");
    let _ = hub.with_key(&admin).get("/v1/tenants").await.problem(401, "unauthenticated");
    assert_eq!(inbound().await.status, 404);
    assert_eq!(of_acme.await.expect("it ends").1, 404, "publishing ends with what a stranger is told");
    name_is_free_and_empty(&hub, &acme).await;
    // The operator still sees what ended with it.
    let all = hub.get("/v1/audit").await.expect(200);
    let told = rows(&all).iter().find(|row| row["action"] == "tenant.deleted").expect("it is told");
    assert_eq!(told["target"], "acme");
    assert!(told["before"]["deliveries"]["running"].as_u64() >= Some(4), "{told}");

    // Nobody else lost anything, and nothing of it started any more.
    stop.store(true, Ordering::Relaxed);
    let (accepted, ended) = of_beta.await.expect("it ends");
    assert_eq!(ended, 202);
    arrived(&at, "/beta", &accepted).await;
    assert_eq!(at.requests("/acme").len(), begun, "an attempt began after the deletion");
    assert!(!hub.log().contains("cannot be settled"), "a late attempt was not fenced");
}

/// A name is free when the last row of who had it is gone, and whoever takes it finds nothing of that.
async fn name_is_free_and_empty(hub: &Hub, tenant: &Tenant) {
    until("the name to be free", async || {
        let reply = hub.post("/v1/tenants", &json!({"id": tenant.id})).await;
        if reply.status == 201 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    for list in ["events", "deliveries", "endpoints", "connections", "plugins", "dead-letters"] {
        assert!(tenant.list(&format!("/{list}")).await.is_empty(), "/{list} shows what another had");
    }
    let audit = tenant.list("/audit").await;
    assert_eq!(audit.iter().map(|row| text(row, "action")).collect::<Vec<_>>(), ["tenant.created"]);
}

/// The files as whoever copies them now gets them.
fn copied(hub: &Hub, to: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for ending in ["", "-wal"] {
        let from = format!("{}{ending}", hub.database().display());
        let bytes = std::fs::read(&from).unwrap_or_default();
        std::fs::write(format!("{}{ending}", to.display()), &bytes).expect("a copy");
        all.extend(bytes);
    }
    all
}

fn finds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a copy of the database and the operator's master keys open this tenant's secrets.
async fn opens(copy: &Path, tenant: &str) -> bool {
    let found = examine(&copy.to_string_lossy(), u64::MAX).await.expect("it can be read").expect("it is there");
    assert_eq!(found.damage, None);
    let clock = SystemClock::shared();
    let vault = Vault::new(MasterKeys::parse(&keyring("a")).expect("a keyring"), Ids::from_os(clock));
    let holder = KeyHolder::Tenant(tenant.parse().expect("a name"));
    // Every key that is left is tried as this tenant's.
    let tried = |key: &WrappedKey| WrappedKey { holder: holder.clone(), wrapped: key.wrapped.clone() };
    assert!(!found.kept.keys.is_empty(), "other tenants keep theirs");
    found.kept.keys.iter().any(|key| master_keys::open_all(&vault, &[tried(key)]).is_ok())
}

#[tokio::test]
async fn a_deleted_tenants_secrets_cannot_be_opened_in_a_copy_of_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Hub::builder().set("SWITCHYARD_MASTER_KEYS", &keyring("a")).start().await;
    let (acme, _beta) = (hub.tenant("acme").await, hub.tenant("beta").await);
    let _ = acme.connection(&sender_connection()).await;
    let answered = hub.with_key(&hub.key(&json!({"tenant": "acme", "scope": "admin"})).await);
    let keyed = [("content-type", "application/json"), ("idempotency-key", "made-once")];
    let reader = json!({"tenant": "acme", "scope": "reader"}).to_string();
    let _ = answered.raw("POST", "/v1/keys", &keyed, reader).await.expect(201);
    let wrapped = query(&hub, "select data_key from tenant where id = 'acme'").await.remove(0);
    let sealed = query(&hub, "select sealed from connection_secret").await.remove(0);
    let before = folder.path().join("before.db");
    let bytes = copied(&hub, &before);
    assert!(finds(&bytes, &wrapped) && finds(&bytes, &sealed) && opens(&before, "acme").await);

    let _ = hub.delete("/v1/tenants/acme").await;
    let after = folder.path().join("after.db");
    let bytes = copied(&hub, &after);
    assert!(!finds(&bytes, &wrapped), "the wrapped key is still in the files");
    assert!(!finds(&bytes, &sealed), "a sealed secret is still in the files");
    assert!(!opens(&after, "acme").await && opens(&after, "beta").await);
    // Neither is what the hub itself had sealed for the tenant's callers.
    assert!(query(&hub, "select body from answer").await.is_empty());
}

#[tokio::test]
async fn a_removal_that_is_killed_goes_on_and_nothing_of_it_comes_back() {
    const EVENTS: usize = 1200;
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let (acme, beta) = (hub.tenant("acme").await, hub.tenant("beta").await);
    let endpoint = acme.endpoint(&at, "/acme", &["a.b"], json!({})).await;
    let _ = acme.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let _ = beta.endpoint(&at, "/beta", &["a.b"], json!({})).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let senders = (0..8).map(|_| {
        let (acme, sent) = (acme.clone(), sent.clone());
        tokio::spawn(async move {
            while sent.fetch_add(1, Ordering::Relaxed) < EVENTS {
                let _ = acme.publish(&json!({"type": "a.b", "data": {}})).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("it is published");
    }
    assert_eq!(hub.delete("/v1/tenants/acme").await.status, 204);
    hub.kill().await;
    hub.restart().await;
    let _ = hub.get("/v1/tenants/acme").await.problem(404, "not_found");
    until("the rest to go", async || {
        let left =
            query(&hub, "select key from delivery where tenant = 'acme' union all select tenant from tenant_removal")
                .await;
        if left.is_empty() { Ok(()) } else { Err(format!("{} rows are left", left.len())) }
    })
    .await;
    let _ = beta.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/beta", 1, SOON).await.expect("beta goes on");
    assert!(at.requests("/acme").is_empty(), "a deleted tenant's event was delivered");
}
