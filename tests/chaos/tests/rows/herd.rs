use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use switchyard_chaos::ledger;
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{Reply, Tenant, until},
    hub::Hub,
    world::subscriber,
};
use tokio_util::sync::CancellationToken;

/// How often the hub is told to stop and started again.
const RESTARTS: usize = 6;

/// Callers at once.
const CALLERS: usize = 6;

#[derive(Default)]
struct Heard {
    accepted: BTreeSet<String>,
    failed: Vec<String>,
    refused_connections: u32,
}

impl Heard {
    /// Notes what came of a request; true if nobody took its connection.
    fn was_refused_a_connection(&mut self, id: &str, sent: anyhow::Result<Reply>) -> bool {
        match sent {
            Ok(reply) if reply.status == 202 => drop(self.accepted.insert(id.to_owned())),
            Err(error) if format!("{error:#}").contains("Connection refused") => {
                self.refused_connections += 1;
                return true;
            }
            other => self.failed.push(format!("{id}: {other:?}")),
        }
        false
    }
}

/// Publishes without a pause. A connection that nobody takes is tried again; anything else is a failed request.
async fn publish(tenant: Tenant, caller: usize, heard: Arc<Mutex<Heard>>, stop: CancellationToken) {
    let headers = [("content-type", "application/json")];
    for n in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let id = format!("e-{caller}-{n}");
        let body = json!({"type": "a.b", "id": id, "data": {}}).to_string();
        loop {
            let sent = tenant.api.try_raw("POST", &tenant.path("/events"), &headers, body.clone().into()).await;
            if !heard.lock().expect("no caller panicked").was_refused_a_connection(&id, sent) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d42_restarts_under_load_fail_no_request_and_burn_no_attempt() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0], "concurrency": 8})).await;
    at.set_script("/hook", Script::always(Step::Delay { ms: 30 }));
    let (heard, stop) = (Arc::<Mutex<Heard>>::default(), CancellationToken::new());
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(publish(tenant.clone(), caller, heard.clone(), stop.clone()))).collect();
    for restart in 1..=RESTARTS {
        until("requests to be under way", async || {
            let count = heard.lock().expect("no caller panicked").accepted.len();
            if count >= restart * 40 { Ok(()) } else { Err(count.to_string()) }
        })
        .await;
        let status = hub.stop().await;
        assert!(status.success(), "{status}: {}", hub.log());
        hub.restart().await;
    }
    stop.cancel();
    for caller in callers {
        caller.await.expect("a caller ends well");
    }
    at.set_script("/hook", Script::default());
    let heard = std::mem::take(&mut *heard.lock().expect("no caller panicked"));
    assert!(heard.failed.is_empty(), "{:?}", heard.failed);
    assert!(heard.refused_connections > 0, "nobody met a restart");
    let wanted = heard.accepted.len();
    until("everything to be delivered", async || {
        let status = hub.get("/v1/status").await.json();
        let delivered = ["queued", "running", "waiting"].map(|state| status["deliveries"][state].as_u64().unwrap_or(0));
        if delivered.iter().sum::<u64>() == 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert!(hub.stop().await.success());
    let outcomes = ledger::outcomes(&hub.database()).await;
    let wanted = i64::try_from(wanted).expect("a number");
    assert_eq!(outcomes, BTreeMap::from([("succeeded".to_owned(), wanted)]), "an attempt was burnt or lost");
    assert_eq!(i64::try_from(at.requests("/hook").len()).ok(), Some(wanted), "something was sent twice");
}

/// How many are due at one instant.
const HERD: usize = 3000;

/// Attempts at once at the two subscribers.
const LIMITS: [(&str, usize); 2] = [("/narrow", 4), ("/wide", 48)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d43_thousands_that_are_due_at_one_instant_stay_within_each_subscribers_limit() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let mut endpoints = Vec::new();
    for (path, concurrency) in LIMITS {
        let more = json!({"concurrency": concurrency, "retry_schedule": [0, 60]});
        let id = tenant.endpoint(&at, path, &["a.b"], more).await;
        let _ = tenant.post(&format!("/endpoints/{id}/pause"), &json!({})).await.expect(200);
        endpoints.push(id);
    }
    for batch in 0..HERD / 100 {
        let event = |n: usize| json!({"specversion": "1.0", "type": "a.b", "source": "herd", "id": format!("e-{batch}-{n}"), "data": {}});
        let events = serde_json::Value::from((0..100).map(event).collect::<Vec<_>>()).to_string();
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let _ = tenant.api.raw("POST", &tenant.path("/events"), &headers, events).await.expect(202);
    }
    for id in &endpoints {
        let _ = tenant.post(&format!("/endpoints/{id}/resume"), &json!({})).await.expect(200);
    }
    for (path, limit) in LIMITS {
        let arrived = at.wait_for(path, HERD, Duration::from_secs(90)).await.expect("the whole herd arrives");
        let distinct: BTreeSet<_> = arrived.iter().filter_map(|request| request.webhook_id()).collect();
        assert_eq!((arrived.len(), distinct.len()), (HERD, HERD), "{path}");
        let peak = at.peaks()[path];
        assert!((1..=limit).contains(&peak), "{path} had {peak} at once, {limit} allowed");
    }
    assert!(hub.stop().await.success());
    let outcomes = ledger::outcomes(&hub.database()).await;
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["succeeded"], "{outcomes:?}");
}
