//! Soft, then hard shutdown.
//!
//! The first SIGTERM or Ctrl-C asks everything to finish: the soft token is cancelled, no new work begins. A second
//! signal, or the deadline, ends what is left: the hard token is cancelled. Nothing is lost either way, since work
//! that was cut off is claimed again at the next start; the soft way only spares the repetition.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything finished.
    Soft,
    /// Something had to be cut off.
    Hard,
    /// A task that must not end did so; the process should exit with an error.
    Failed,
}

/// The tasks of a process and the two tokens that end them.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
}

/// How long tasks have to let go once the hard token is cancelled.
const LETTING_GO: Duration = Duration::from_secs(2);

impl Lifecycle {
    /// A process that runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when no new work may begin.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when running work must stop.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Begins the soft shutdown, as the first signal does.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Runs a task that shutdown waits for. It watches the tokens itself.
    ///
    /// A task named here must run until it is told to stop. When it panics or returns earlier, the process shuts
    /// down and [`Lifecycle::finished`] says [`Ending::Failed`]: a hub that silently lost its scheduler would be
    /// worse than one that a supervisor restarts.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = self.clone();
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() || !life.soft.is_cancelled() {
                tracing::error!(task = name, panicked = ended.is_err(), "a task that must not end did; stopping");
                life.failed.cancel();
                life.soft.cancel();
            }
        });
    }

    /// Waits for SIGTERM or Ctrl-C (or [`Lifecycle::stop`], or a failed task), then for the tasks: at most `grace`
    /// before the hard token is cancelled, at once on a second signal. Returns when everything has ended, or when
    /// it did not although it was told to.
    ///
    /// # Errors
    ///
    /// The signals cannot be watched.
    pub async fn finished(self, grace: Duration) -> std::io::Result<Ending> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(self.run(grace, async || told(&mut terminate, &mut interrupt).await).await)
    }

    async fn run(self, grace: Duration, mut told: impl AsyncFnMut()) -> Ending {
        select! {
            () = told() => tracing::info!(grace_s = grace.as_secs(), "stopping; a second signal stops at once"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tasks.close();
        let cut_off = select! {
            biased;
            () = self.tasks.wait() => false,
            () = told() => true,
            () = sleep(grace) => true,
        };
        self.hard.cancel();
        if cut_off {
            tracing::warn!(tasks = self.tasks.len(), "stopping hard");
            if timeout(LETTING_GO, self.tasks.wait()).await.is_err() {
                tracing::warn!(tasks = self.tasks.len(), "tasks did not let go");
            }
        }
        match (self.failed.is_cancelled(), cut_off) {
            (true, _) => Ending::Failed,
            (false, true) => Ending::Hard,
            (false, false) => Ending::Soft,
        }
    }
}

async fn told(terminate: &mut Signal, interrupt: &mut Signal) {
    select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    fn signals() -> (Arc<Notify>, impl AsyncFnMut()) {
        let signal = Arc::new(Notify::new());
        let heard = Arc::clone(&signal);
        (signal, async move || heard.notified().await)
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_first_signal_lets_tasks_finish() {
        let life = Lifecycle::new();
        let (signal, told) = signals();
        let (soft, hard) = (life.soft(), life.hard());
        life.spawn("task", async move {
            soft.cancelled().await;
            assert!(!hard.is_cancelled());
        });
        signal.notify_one();
        assert_eq!(life.run(LONG, told).await, Ending::Soft);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_stops_at_once() {
        let life = Lifecycle::new();
        let (signal, told) = signals();
        let (soft, hard, again) = (life.soft(), life.hard(), Arc::clone(&signal));
        life.spawn("task", async move {
            soft.cancelled().await;
            again.notify_one();
            hard.cancelled().await;
        });
        signal.notify_one();
        let ended = tokio::time::timeout(LONG / 2, life.run(LONG, told)).await;
        assert_eq!(ended, Ok(Ending::Hard));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_stops_what_does_not_finish() {
        let life = Lifecycle::new();
        let (_signal, told) = signals();
        let hard = life.hard();
        life.spawn("task", async move { hard.cancelled().await });
        life.spawn("stuck", std::future::pending());
        life.stop();
        assert_eq!(life.run(LONG, told).await, Ending::Hard);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_stops_the_process() {
        let life = Lifecycle::new();
        let (_signal, told) = signals();
        let soft = life.soft();
        life.spawn("good", async move { soft.cancelled().await });
        life.spawn("bad", async { panic!("planned") });
        assert_eq!(life.run(LONG, told).await, Ending::Failed);
    }
}
