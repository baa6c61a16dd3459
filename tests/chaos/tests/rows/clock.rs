use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use switchyard::{
    app::{self, Running},
    clock::{Clock, SharedClock, SystemClock, TimeFactor, Timestamp},
    config::Settings,
    lifecycle::{Ending, Lifecycle},
};
use switchyard_simulators::subscriber::{self, Script, Step};
use switchyard_tests::{
    api::{Api, SOON, Tenant},
    hub::ADMIN_KEY,
    world::subscriber,
};

/// An hour back.
const BACK_MS: i64 = -3_600_000;

/// The machine's clock, put wrong at will; its monotonic time is never wrong.
struct WrongClock {
    right: SharedClock,
    offset_ms: AtomicI64,
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.right.now().0 + self.offset_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.right.monotonic()
    }
}

/// A hub in this process, since a clock of the system cannot be put back, on a real file.
struct Inside {
    running: Running,
    lifecycle: Lifecycle,
    api: Api,
}

impl Inside {
    async fn start(folder: &Path, clock: &Arc<WrongClock>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let config = folder.join("switchyard.toml");
        let text = format!(
            "database_url = \"sqlite:{folder}/hub.db\"\nadmin_key = \"{ADMIN_KEY}\"\nplugin_dir = \"{folder}\"\n\
             egress_allow = [\"127.0.0.0/8\"]\n",
            folder = folder.display()
        );
        std::fs::write(&config, text).expect("the file is written");
        let settings = Settings::load(Some(&config)).expect("the settings are good");
        let lifecycle = Lifecycle::new();
        let start = app::Start {
            settings,
            listener,
            time_factor: TimeFactor::new(60),
            clock: clock.clone(),
            lifecycle: lifecycle.clone(),
        };
        let running = app::start(start).await.expect("the hub starts");
        Self { running, lifecycle, api: Api::new(&format!("http://{address}"), Some(ADMIN_KEY)) }
    }

    async fn stop(self) -> Timestamp {
        self.lifecycle.stop();
        let ending = self.lifecycle.finished(Duration::from_secs(20)).await.expect("it can be waited for");
        assert_eq!(ending, Ending::Soft);
        let latest = self.running.hub.store.last_seen().await.expect("a time");
        self.running.hub.store.close().await;
        latest
    }
}

fn step(key: &str, n: u32) -> Value {
    json!({"type": "a.b", "id": format!("{key}-{n}"), "ordering_key": key, "data": {}})
}

async fn arrivals(at: &subscriber::Handle, wanted: &[&str]) {
    let is_last =
        |request: &subscriber::Received| request.webhook_id() == wanted.last().copied() && request.status == Some(200);
    let _ = at.wait_for_where(1, SOON, is_last).await.expect("the last arrives while the clock is wrong");
    let mut first = Vec::new();
    for request in at.requests("/hook") {
        let id = request.webhook_id().unwrap_or_default().to_owned();
        if !first.contains(&id) {
            first.push(id);
        }
    }
    assert_eq!(first, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d40_a_clock_that_steps_back_an_hour_freezes_no_retry_and_keeps_order_also_over_a_restart() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), subscriber().await);
    let clock = Arc::new(WrongClock { right: SystemClock::shared(), offset_ms: AtomicI64::new(0) });
    let hub = Inside::start(folder.path(), &clock).await;
    let tenant = hub.api.tenant("acme").await;
    let more = json!({"ordered": true, "retry_schedule": [0, 60, 60, 60, 60, 60, 60, 60]});
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], more).await;
    // Signatures are stamped by the wall clock, so that a subscriber would find them stale.
    at.set_secrets("/hook", &[]).expect("none");
    at.set_script("/hook", Script::always(Step::status(503)));
    let _ = tenant.publish(&step("s", 1)).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("a first attempt");
    clock.offset_ms.store(BACK_MS, Ordering::SeqCst);
    let _ = tenant.publish(&step("s", 2)).await;
    // The next attempt is due by a clock that an hour would have to pass on twice.
    let _ = at.wait_for("/hook", 3, SOON).await.expect("attempts go on");
    at.set_script("/hook", Script::default());
    arrivals(&at, &["s-1", "s-2"]).await;

    at.set_script("/hook", Script::always(Step::status(503)));
    let _ = tenant.publish(&step("s", 3)).await;
    let seen = at.requests("/hook").len();
    let _ = at.wait_for("/hook", seen + 1, SOON).await.expect("a first attempt");
    let before = hub.stop().await;

    // A new process knows only what is stored.
    let clock = Arc::new(WrongClock { right: SystemClock::shared(), offset_ms: AtomicI64::new(BACK_MS) });
    let hub = Inside::start(folder.path(), &clock).await;
    let latest = hub.running.hub.store.last_seen().await.expect("a time");
    assert!(latest >= before, "the queue's clock stepped back from {before} to {latest}");
    let tenant = Tenant { api: hub.api.clone(), id: "acme".to_owned() };
    let _ = tenant.publish(&step("s", 4)).await;
    let seen = at.requests("/hook").len();
    let _ = at.wait_for("/hook", seen + 1, SOON).await.expect("attempts go on after the restart");
    at.set_script("/hook", Script::default());
    arrivals(&at, &["s-1", "s-2", "s-3", "s-4"]).await;
    let told = tenant.get("/events/s-4").await.expect(200);
    let accepted: Timestamp = told["accepted_at"].as_str().unwrap_or_default().parse().expect("a time");
    assert!(accepted < before, "stamps follow the wall clock, right or wrong: {told}");
    let _ = hub.stop().await;
}
