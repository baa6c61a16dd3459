use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_simulators::subscriber::Handle;
use switchyard_tests::{
    api::{Api, text, until},
    hub::{ADMIN_KEY, Hub},
    world::subscriber,
};

use super::{keyring, rows};

const KEYS: &str = "SWITCHYARD_MASTER_KEYS";
const TENANTS: usize = 24;

fn tenant(n: usize) -> String {
    format!("tenant-{n:02}")
}

/// The tenants under each master key, as the hub says.
async fn wrapped(hub: &Api) -> Vec<(String, u64)> {
    let keys = hub.get("/v1/master-keys").await.expect(200);
    rows(&keys).iter().map(|key| (text(key, "id"), key["tenants"].as_u64().expect("a count"))).collect()
}

fn counted(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect()
}

/// Publishes to every tenant in turn until told to stop, the same event again until it is answered. Gives the ids.
async fn publish(api: Api, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    for n in 0.. {
        let (tenant, id) = (tenant(n % TENANTS), format!("load-{n}"));
        let body = json!({"type": "a.b", "id": id, "data": {"n": n}}).to_string();
        loop {
            if stop.load(Ordering::Relaxed) {
                return accepted;
            }
            let path = format!("/v1/tenants/{tenant}/events");
            let headers = [("content-type", "application/json")];
            match api.try_raw("POST", &path, &headers, Bytes::from(body.clone())).await {
                Ok(reply) if reply.status == 202 => break,
                Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text),
                // The hub is down for a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        accepted.insert(id);
    }
    accepted
}

/// Every tenant's endpoint gets an event that is signed with the secret from before.
async fn all_deliver(hub: &Hub, at: &Handle, round: &str) {
    for n in 0..TENANTS {
        let event = json!({"type": "a.b", "id": format!("{round}-{n}"), "data": {}});
        let _ = hub.post(&format!("/v1/tenants/{}/events", tenant(n)), &event).await.expect(202);
    }
    let wanted: BTreeSet<_> = (0..TENANTS).map(|n| format!("{round}-{n}")).collect();
    arrived(at, &wanted).await;
}

/// Waits until the subscriber has accepted all of these.
async fn arrived(at: &Handle, wanted: &BTreeSet<String>) {
    until("every event to arrive", async || {
        let good = at.all_requests().into_iter().filter(|request| request.status == Some(200));
        let seen: BTreeSet<_> = good.filter_map(|request| request.webhook_id().map(str::to_owned)).collect();
        let missing: Vec<_> = wanted.difference(&seen).take(3).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    })
    .await;
}

/// Moves tenants one by one, sixteen at most, and kills the hub when it has moved ten.
async fn rotate_and_kill(hub: &mut Hub) {
    let api = hub.with_key(ADMIN_KEY);
    let rotating = tokio::spawn(async move {
        let headers = [("content-type", "application/json")];
        for _ in 0..16 {
            let body = Bytes::from_static(b"{\"limit\":1}");
            if api.try_raw("POST", "/v1/master-keys/rotate", &headers, body).await.is_err() {
                return;
            }
        }
    });
    until("ten tenants to be moved", async || {
        let counts = wrapped(hub).await;
        if counts[0].1 >= 10 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    hub.kill().await;
    rotating.await.expect("it ends");
}

async fn restart_with(hub: &mut Hub, keys: &str) {
    hub.set(KEYS, &keyring(keys));
    hub.restart().await;
}

/// Has the command finish what was begun; `left` tenants are still under the old key.
async fn finish(hub: &Hub, left: u64) {
    let status = hub.run(&["keys", "status"], &[]).await;
    assert!(status.out.contains("still needed"), "{}", status.out);
    let done = hub.run(&["keys", "rotate", "--json"], &[]).await.json();
    assert_eq!(done, json!({"sealing": "key-b", "rewrapped": left, "remaining": 0}));
    assert_eq!(hub.run(&["keys", "rotate", "--json"], &[]).await.json()["rewrapped"], 0);
    assert_eq!(wrapped(hub).await, counted(&[("key-b", 24), ("key-a", 0)]));
    let status = hub.run(&["keys", "status", "--json"], &[]).await.json();
    let removable: Vec<_> = rows(&status).iter().map(|key| &key["removable"]).collect();
    assert_eq!(removable, [&json!(false), &json!(true)], "{status}");
}

/// Row H79.
#[tokio::test]
async fn h79_a_rotation_killed_half_way_goes_on_and_the_old_key_goes_only_when_nothing_needs_it() {
    let at = subscriber().await;
    let mut hub = Hub::builder().set(KEYS, &keyring("a")).start().await;
    for n in 0..TENANTS {
        let tenant = hub.tenant(&tenant(n)).await;
        let _ = tenant.endpoint(&at, &format!("/{}", tenant.id), &["a.b"], json!({})).await;
    }
    // The new key comes first: it seals, both open, and nothing has moved.
    assert!(hub.stop().await.success());
    restart_with(&mut hub, "ba").await;
    assert_eq!(wrapped(&hub).await, counted(&[("key-b", 0), ("key-a", 24)]));
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(publish(hub.with_key(ADMIN_KEY), stop.clone()));
    rotate_and_kill(&mut hub).await;

    // A node that has the keys in the old order works with both kinds of rows, and seals with the old one.
    restart_with(&mut hub, "ab").await;
    let counts = wrapped(&hub).await;
    assert_eq!((counts[0].0.as_str(), counts[0].1 + counts[1].1), ("key-a", 24), "{counts:?}");
    assert!((10..=17).contains(&counts[1].1), "not half-way: {counts:?}");
    all_deliver(&hub, &at, "mixed").await;

    // Neither key can be taken away yet.
    hub.kill().await;
    for (alone, missing, count) in [("b", "`key-a`", counts[0].1), ("a", "`key-b`", counts[1].1)] {
        let said = hub.refuses(&[(KEYS, &keyring(alone))]).await;
        assert!(said.contains(missing) && said.contains(&format!("{count} tenants")), "{said}");
        assert!(said.contains("SWITCHYARD_MASTER_KEYS") && said.contains("switchyard keys status"), "{said}");
    }

    // The rotation goes on where it was, under load. Then the old key goes: every secret still signs, and nothing that
    // was accepted on the way is lost.
    restart_with(&mut hub, "ba").await;
    finish(&hub, counts[0].1).await;
    assert!(hub.stop().await.success());
    restart_with(&mut hub, "b").await;
    all_deliver(&hub, &at, "after").await;
    stop.store(true, Ordering::Relaxed);
    let accepted = load.await.expect("the load ends well");
    assert!(accepted.len() > TENANTS, "only {} events were published", accepted.len());
    arrived(&at, &accepted).await;
    let refused = at.all_requests().into_iter().filter(|request| !matches!(request.status, Some(200) | None)).count();
    assert_eq!(refused, 0, "a delivery was signed with something else");
    let audit = hub.get("/v1/audit").await.expect(200);
    let moved = rows(&audit).iter().filter(|row| row["action"] == "master_key.rotated").count();
    assert!(moved >= 11, "{moved} rows tell of it");
}

/// The wrapped keys of before are not left in the files, where an old key that leaked would open them.
#[tokio::test]
async fn a_rotation_leaves_no_old_wrapping_behind() {
    let mut hub = Hub::builder().set(KEYS, &keyring("a")).start().await;
    for n in 0..5 {
        let tenant = hub.tenant(&tenant(n)).await;
        // The row becomes larger than a page, and smaller again: its old places must be cleared too.
        for size in [6000, 10] {
            let settings = json!({"settings": {"text": "x".repeat(size)}});
            let _ = hub.patch(&tenant.path(""), &settings).await.expect(200);
        }
    }
    let before = super::query(&hub, "select data_key from tenant").await;
    assert!(hub.stop().await.success());
    hub.set(KEYS, &keyring("ba"));
    hub.restart().await;
    let files = || {
        let read = |ending: &str| std::fs::read(format!("{}{ending}", hub.database().display())).unwrap_or_default();
        [read(""), read("-wal")].concat()
    };
    let left = |files: &[u8]| before.iter().filter(|key| files.windows(key.len()).any(|part| part == *key)).count();
    assert_eq!(left(&files()), 5, "they are there before, so that the search can fail");
    let done: Value = hub.run(&["keys", "rotate", "--json"], &[]).await.json();
    assert_eq!(done["rewrapped"], 5, "{done}");
    assert_eq!(left(&files()), 0);
}
