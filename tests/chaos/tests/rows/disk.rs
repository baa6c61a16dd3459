use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use switchyard_chaos::{checker::size_of, ledger, process};
use switchyard_simulators::subscriber;
use switchyard_tests::{
    api::{Reply, SOON, Tenant, text, until},
    hub::Hub,
    world::subscriber,
};
use tempfile::TempDir;

/// A disk that can be filled and emptied while a hub uses it.
struct Disk {
    folder: TempDir,
    /// A file system of its own, or else a bound on the size of the hub's files.
    is_mounted: bool,
}

impl Disk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = format!("mount -t tmpfs -o size=1m none {}", folder.path().display());
        let probe = tokio::process::Command::new("unshare").args(["-m", "sh", "-c", &mount]).output().await;
        let is_mounted = probe.is_ok_and(|output| output.status.success());
        println!("a full disk is {}", if is_mounted { "a small tmpfs" } else { "a bound on the size of files" });
        Self { folder, is_mounted }
    }

    async fn hub(&self) -> Hub {
        let script = if self.is_mounted {
            format!("mount -t tmpfs -o size=16m none {} && exec \"$0\" \"$@\"", self.folder.path().display())
        } else {
            "trap '' XFSZ; exec \"$0\" \"$@\"".to_owned()
        };
        let through: &[&str] =
            if self.is_mounted { &["unshare", "-m", "sh", "-c", &script] } else { &["sh", "-c", &script] };
        let url = format!("sqlite:{}", self.folder.path().join("hub.db").display());
        Hub::builder().through(through).set("SWITCHYARD_DATABASE_URL", &url).start().await
    }

    /// Where the hub sees the folder; its mount is its own.
    fn seen_by(&self, hub: &Hub) -> PathBuf {
        let folder = self.folder.path();
        if !self.is_mounted {
            return folder.to_owned();
        }
        Path::new(&format!("/proc/{}/root", hub.pid())).join(folder.strip_prefix("/").unwrap_or(folder))
    }

    fn fill(&self, hub: &Hub) {
        if !self.is_mounted {
            return process::bound_files(hub.pid(), Some(size_of(&self.folder.path().join("hub.db-wal"))));
        }
        let mut filler = std::fs::File::create(self.seen_by(hub).join("filler")).expect("a file");
        for size in [1 << 16, 512] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self, hub: &Hub) {
        if self.is_mounted {
            std::fs::remove_file(self.seen_by(hub).join("filler")).expect("it is removed");
        } else {
            process::bound_files(hub.pid(), None);
        }
    }
}

fn event(id: &str) -> Value {
    json!({"type": "a.b", "id": id, "data": {"text": "x".repeat(2000)}})
}

async fn send(tenant: &Tenant, id: &str) -> Reply {
    tenant.post("/events", &event(id)).await
}

/// Publishes until five events were refused as they should be; answers those that were accepted, and those.
async fn publish_until_refused(tenant: &Tenant) -> (Vec<String>, Vec<String>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let id = format!("full-{n}");
        let reply = send(tenant, &id).await;
        if reply.status == 202 {
            accepted.push(id);
            continue;
        }
        assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
        let _ = reply.problem(503, "unavailable");
        refused.push(id);
        if refused.len() == 5 {
            return (accepted, refused);
        }
    }
    panic!("the disk was never full");
}

async fn until_delivered(tenant: &Tenant, at: &subscriber::Handle, accepted: &[String]) {
    until("everything to be delivered", async || {
        let all = tenant.all("/deliveries").await;
        let delivered = all.iter().filter(|delivery| delivery["state"] == "delivered").count();
        if delivered == accepted.len() { Ok(()) } else { Err(format!("{delivered} of {}", accepted.len())) }
    })
    .await;
    for id in accepted {
        let arrived = at.requests("/hook").iter().any(|request| request.webhook_id() == Some(id));
        assert!(arrived, "{id} did not arrive");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b22_a_full_disk_refuses_events_keeps_reads_alive_and_loses_nothing() {
    let (disk, at) = (Disk::new().await, subscriber().await);
    let mut hub = disk.hub().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    at.set_script("/hook", subscriber::Script::always(subscriber::Step::Delay { ms: 300 }));
    let mut accepted: Vec<_> = (0..20).map(|n| format!("before-{n}")).collect();
    for id in &accepted {
        let _ = send(&tenant, id).await.expect(202);
    }
    // What is on its way now ends while there is no room to write down how.
    disk.fill(&hub);
    let (mut more, mut refused) = publish_until_refused(&tenant).await;
    accepted.append(&mut more);
    assert_eq!(hub.get("/healthz").await.status, 200);
    assert!(tenant.list("/events?limit=200").await.len() >= accepted.len());
    assert_eq!(tenant.get("/deliveries").await.status, 200);
    disk.empty(&hub);
    for id in &refused {
        until("room again", async || {
            let reply = send(&tenant, id).await;
            if reply.status == 202 { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }
    accepted.append(&mut refused);
    at.set_script("/hook", subscriber::Script::default());
    until_delivered(&tenant, &at, &accepted).await;
    if !disk.is_mounted {
        assert!(hub.stop().await.success());
        assert_eq!(ledger::damage(&disk.folder.path().join("hub.db")).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn b24_a_second_process_is_refused_and_a_database_that_is_moved_away_stops_the_first() {
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let _ = send(&tenant, "e-1").await.expect(202);
    let said = hub.refuses(&[]).await;
    assert!(said.contains("another switchyard has") && said.contains("SWITCHYARD_DATABASE_URL"), "{said}");
    let _ = send(&tenant, "e-2").await.expect(202);

    let aside = hub.folder().join("aside.db");
    std::fs::rename(hub.database(), &aside).expect("it is moved");
    let headers = [("content-type", "application/json")];
    let body = event("e-3").to_string().into();
    if let Ok(reply) = tenant.api.try_raw("POST", &tenant.path("/events"), &headers, body).await {
        assert!(reply.status >= 500, "an event was accepted into a file that is nowhere: {}", reply.status);
    }
    let status = hub.ended(SOON).await.expect("the hub stops by itself");
    assert!(!status.success(), "it ended well");
    let log = hub.log();
    assert!(log.contains("was replaced or removed") && log.contains("put the file back"), "{log}");

    std::fs::rename(&aside, hub.database()).expect("it is put back");
    hub.restart().await;
    let mut events: Vec<_> = tenant.list("/events").await.iter().map(|event| text(event, "id")).collect();
    events.sort();
    assert_eq!(events, ["e-1", "e-2"]);

    // Another file in its place is not taken for it either.
    std::fs::rename(hub.database(), &aside).expect("it is moved");
    std::fs::write(hub.database(), b"").expect("another file");
    let status = hub.ended(SOON).await.expect("the hub stops by itself");
    assert!(!status.success(), "it ended well");
}

#[tokio::test]
async fn b25_a_damaged_page_is_refused_with_a_hint_to_restore() {
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for n in 0..40 {
        let _ = send(&tenant, &format!("e-{n}")).await.expect(202);
    }
    assert!(hub.stop().await.success());
    let whole = std::fs::read(hub.database()).expect("the database");
    let pages = whole.len() / 4096;
    assert!(pages > 20, "only {pages} pages");
    for page in [1, pages / 2, pages - 2] {
        let mut bytes = whole.clone();
        // The head of a page of a tree says how the rest is to be read.
        let at = page * 4096;
        bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
        std::fs::write(hub.database(), &bytes).expect("the damage is done");
        let said = hub.refuses(&[]).await;
        assert!(said.contains("is damaged") && said.contains("restore the latest backup"), "page {page}: {said}");
        assert_eq!(std::fs::read(hub.database()).expect("it is there"), bytes, "a damaged file was changed");
    }
    std::fs::write(hub.database(), &whole).expect("the backup is restored");
    hub.restart().await;
    assert_eq!(tenant.list("/events?limit=200").await.len(), 40);
}

/// Callers at once on a slow disk, and events of each.
const CALLERS: usize = 48;
const EVENTS: usize = 4;

/// A metric's value.
fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b26_a_slow_sync_is_shared_by_groups_and_times_nothing_out() {
    let at = subscriber().await;
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    hub.kill().await;
    hub.set("SWITCHYARD_FAILPOINTS", "group.sync=*:300ms");
    hub.restart().await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let tenant = tenant.clone();
            tokio::spawn(async move {
                for n in 0..EVENTS {
                    let id = format!("e-{caller}-{n}");
                    let sent = tokio::time::timeout(SOON, send(&tenant, &id));
                    let _ = sent.await.expect("an answer in bounded time").expect(202);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller ends well");
    }
    let _ = at.wait_for("/hook", CALLERS * EVENTS, SOON * 2).await.expect("all arrive");
    let metrics = hub.get("/metrics").await.text;
    let (groups, calls) = (
        metric(&metrics, "switchyard_write_group_callers_count"),
        metric(&metrics, "switchyard_write_group_callers_sum"),
    );
    assert!(calls / groups >= 4.0, "{calls} callers in {groups} groups: the sync was hardly shared");
    tokio::time::timeout(Duration::from_secs(30), async {
        while metric(&hub.get("/metrics").await.text, "switchyard_write_group_callers_sum")
            < (CALLERS * EVENTS * 2) as f64
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("every attempt is settled");
    assert!(hub.stop().await.success());
    let outcomes = ledger::outcomes(&hub.database()).await;
    let attempts = i64::try_from(CALLERS * EVENTS).expect("a number");
    assert_eq!(outcomes.get("succeeded"), Some(&attempts), "{endpoint}: {outcomes:?}");
    assert_eq!(outcomes.len(), 1, "an attempt was repeated: {outcomes:?}");
}
