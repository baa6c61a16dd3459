use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use switchyard_chaos::{chance::Chance, ledger, process};
use switchyard_tests::{
    api::{Tenant, until},
    hub::Hub,
    world::subscriber,
};
use tokio_util::sync::CancellationToken;

/// How often the power is cut.
const CUTS: usize = 8;

/// How many different things each cut may leave of what was not synced.
const REMAINS: u64 = 3;

/// What a disk writes whole.
const SECTOR: u64 = 512;

type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

/// Publishes without a pause until it is told to stop.
async fn publish(tenant: Tenant, caller: usize, acknowledged: Acknowledged, stop: CancellationToken) {
    let headers = [("content-type", "application/json")];
    for n in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let id = format!("e-{caller}-{n}");
        let body = json!({"type": "a.b", "id": id, "data": {"n": n}}).to_string();
        if let Ok(reply) = tenant.api.try_raw("POST", &tenant.path("/events"), &headers, body.into()).await {
            assert_eq!(reply.status, 202, "{}", reply.text);
            acknowledged.lock().expect("no caller panicked").insert(id);
        }
    }
}

fn log_of(database: &Path) -> PathBuf {
    database.with_extension("db-wal")
}

/// The salt of a write-ahead log, which is new each time the log begins again, and how long the log is.
fn look_at(log: &Path) -> (Vec<u8>, u64) {
    use std::io::Read as _;

    let mut header = vec![0; 32];
    let mut file = std::fs::File::open(log).expect("the log is there");
    file.read_exact(&mut header).expect("it has a header");
    (header[16..24].to_vec(), file.metadata().expect("its length").len())
}

/// Leaves of a log what was synced, and of the rest a random part, some sectors of it never written.
fn damage(log: &mut Vec<u8>, synced: u64, chance: &mut Chance) {
    let length = log.len() as u64;
    let kept = synced + chance.below(length - synced + 1);
    log.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    for sector in synced.div_ceil(SECTOR)..kept / SECTOR {
        if chance.below(3) == 0 {
            let at = usize::try_from(sector * SECTOR).unwrap_or(usize::MAX);
            log[at..at + SECTOR as usize].fill(0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_a_power_cut_keeps_what_was_acknowledged() {
    let mut chance = Chance::from_environment();
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let (acknowledged, stop) = (Acknowledged::default(), CancellationToken::new());
    let callers: Vec<_> = (0..4)
        .map(|caller| tokio::spawn(publish(tenant.clone(), caller, acknowledged.clone(), stop.clone())))
        .collect();
    let log = log_of(&hub.database());
    let mut cuts = 0;
    for look in 0..CUTS * 4 {
        if cuts == CUTS {
            break;
        }
        until("more events", async || {
            let count = acknowledged.lock().expect("no caller panicked").len();
            if count > 20 * (look + 1) { Ok(()) } else { Err(count.to_string()) }
        })
        .await;
        // What was acknowledged was synced before, so all of it lies below the length that is read after.
        let promised = acknowledged.lock().expect("no caller panicked").clone();
        let (salt, synced) = look_at(&log);
        tokio::time::sleep(chance.between_ms(0, 30)).await;
        process::freeze(hub.pid());
        let (database, rest) = (std::fs::read(hub.database()), std::fs::read(&log));
        process::thaw(hub.pid());
        let (database, rest) = (database.expect("the database"), rest.expect("its log"));
        if rest[16..24] != salt || (rest.len() as u64) < synced {
            // The log began again in between, so the length says nothing.
            continue;
        }
        cuts += 1;
        for _ in 0..REMAINS {
            let folder = tempfile::tempdir().expect("a folder");
            let copy = folder.path().join("hub.db");
            let mut remains = rest.clone();
            damage(&mut remains, synced, &mut chance);
            std::fs::write(&copy, &database).expect("a copy");
            std::fs::write(log_of(&copy), &remains).expect("a copy");
            assert_eq!(ledger::damage(&copy).await, Vec::<String>::new());
            let kept = ledger::events(&copy, "acme").await;
            let lost: Vec<_> = promised.difference(&kept).collect();
            assert!(lost.is_empty(), "acknowledged and gone with the power: {lost:?}");
        }
    }
    assert_eq!(cuts, CUTS, "the log began again too often to be looked at");
    stop.cancel();
    for caller in callers {
        caller.await.expect("a caller ends well");
    }
    assert!(hub.stop().await.success());
}

/// How many events are answered one after the other under a tracer.
const TRACED: usize = 12;

/// The calls of the hub that sync and that answer, in the order in which they ended.
fn syncs_and_answers(trace: &str) -> Vec<bool> {
    let ended = |line: &&str| line.ends_with("= 0") || line.contains("202 Accepted");
    let lines = trace.lines().filter(|line| line.contains("sync") || line.contains("202 Accepted"));
    lines.filter(ended).map(|line| line.contains("202 Accepted")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_an_answer_leaves_after_the_sync_of_its_commit() {
    let traces = tempfile::tempdir().expect("a folder");
    let trace = traces.path().join("trace");
    let file = trace.display().to_string();
    let words =
        ["strace", "-D", "-f", "-qq", "-s", "32", "-o", &file, "-e", "trace=fsync,fdatasync,write,writev,sendto"];
    let probe = tokio::process::Command::new(words[0]).args(["-qq", "-o", &file, "true"]).status().await;
    if !probe.is_ok_and(|status| status.success()) {
        println!("strace is not here or may not trace: a slow sync shows the order instead");
        return without_a_tracer().await;
    }
    let mut hub = Hub::builder().through(&words).start().await;
    let tenant = hub.tenant("acme").await;
    let before = syncs_and_answers(&std::fs::read_to_string(&trace).expect("a trace")).len();
    for n in 0..TRACED {
        let _ = tenant.publish(&json!({"type": "a.b", "id": format!("e-{n}"), "data": {}})).await;
    }
    assert!(hub.stop().await.success());
    let told = until("the trace to be whole", async || {
        let told = syncs_and_answers(&std::fs::read_to_string(&trace).expect("a trace"));
        let answers = told.iter().skip(before).filter(|answer| **answer).count();
        if answers == TRACED { Ok(told) } else { Err(format!("{answers} answers")) }
    })
    .await;
    let mut synced = false;
    for answer in &told[before..] {
        assert!(!answer || synced, "an answer left before a sync: {told:?}");
        synced = !answer;
    }
}

/// A group waits before it is synced: nobody is answered meanwhile.
async fn without_a_tracer() {
    let mut hub = Hub::builder().set("SWITCHYARD_FAILPOINTS", "group.sync=*:300ms").start().await;
    let tenant = hub.tenant("acme").await;
    let clock = switchyard::clock::SystemClock::shared();
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert!(clock.monotonic() >= Duration::from_millis(300), "it was answered before its sync");
    assert!(hub.stop().await.success());
}
