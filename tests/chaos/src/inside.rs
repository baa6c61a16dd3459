use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use switchyard::{
    app::{self, Running},
    clock::{Clock, SharedClock, SystemClock, TimeFactor, Timestamp},
    config::Settings,
    lifecycle::{Ending, Lifecycle},
};
use switchyard_tests::{api::Api, hub::ADMIN_KEY};

/// How long a hub may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// The machine's clock, put wrong at will; its monotonic time is never wrong.
pub struct WrongClock {
    right: SharedClock,
    offset_ms: AtomicI64,
}

impl WrongClock {
    /// A clock that is so far ahead.
    #[must_use]
    pub fn ahead_by(offset_ms: i64) -> Arc<Self> {
        Arc::new(Self { right: SystemClock::shared(), offset_ms: AtomicI64::new(offset_ms) })
    }

    /// From now on it is so far ahead.
    pub fn put_ahead_by(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::SeqCst);
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.right.now().0 + self.offset_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.right.monotonic()
    }
}

/// A hub in the test's own process, since a clock of the system cannot be put wrong.
pub struct Inside {
    running: Running,
    lifecycle: Lifecycle,
    /// Its interface, for the operator.
    pub api: Api,
}

impl Inside {
    /// Starts one, 60 times as fast as in life, with all that it needs in `folder`. `settings` are lines of its file; they
    /// say where its database is.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(folder: &Path, settings: &str, clock: &Arc<WrongClock>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let config = folder.join("switchyard.toml");
        let text = format!(
            "{settings}\nadmin_key = \"{ADMIN_KEY}\"\nplugin_dir = \"{}\"\negress_allow = [\"127.0.0.0/8\"]\n",
            folder.display()
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

    /// The latest time that its database has seen.
    ///
    /// # Panics
    /// The database is away.
    pub async fn last_seen(&self) -> Timestamp {
        self.running.hub.store.last_seen().await.expect("a time")
    }

    /// Stops it; answers the latest time that its database has seen.
    ///
    /// # Panics
    /// It does not stop well.
    pub async fn stop(self) -> Timestamp {
        self.lifecycle.stop();
        let ending = self.lifecycle.finished(ENDS_WITHIN).await.expect("it can be waited for");
        assert_eq!(ending, Ending::Soft);
        let latest = self.running.hub.store.last_seen().await.expect("a time");
        self.running.hub.store.close().await;
        latest
    }
}
