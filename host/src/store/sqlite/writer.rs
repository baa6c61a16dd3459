//! The one connection that writes, owned by one thread that commits whole groups of callers at once.

use std::{
    collections::HashSet,
    fs::File,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use tokio::sync::{mpsc, oneshot};

use super::{checkpoint::Checkpoints, direct::WriteConnection, group};
use crate::{
    clock::{SharedClock, Timestamp},
    event::TenantId,
    failpoint::{self, Around},
    store::{
        StoreError, StoreResult,
        group::{Call, Reply, after_commit, before_commit},
    },
};

/// The most callers in one group.
const GROUP_CALLERS: usize = 256;

/// The most bytes in one group; a larger caller is a group of its own.
const GROUP_BYTES: usize = 8 << 20;

/// How many callers may wait for the writer.
const WAITING: usize = 4096;

/// Work that gets a transaction of its own.
pub(super) type Work<T> = Box<dyn for<'c> FnOnce(&'c mut WriteConnection) -> BoxFuture<'c, StoreResult<T>> + Send>;

/// What the writer remembers between groups.
pub(super) struct Memory {
    /// Tenants that are known to exist. Emptied by every change that is not a group.
    pub(super) tenants: HashSet<TenantId>,
    /// The latest time of any caller, shared with the store.
    pub(super) latest: Arc<AtomicI64>,
    /// The latest time that is stored.
    pub(super) stored: i64,
    /// The hub's clock, for expiry of values whose write brings no time.
    pub(super) clock: SharedClock,
    /// What copies the log into the file.
    pub(super) checkpoints: Checkpoints,
}

impl Memory {
    /// The later of the wall clock and the latest time seen.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().max(Timestamp(self.latest.load(Ordering::Relaxed)))
    }
}

enum Message {
    Grouped(Waiting),
    Alone(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

struct Waiting {
    call: Call,
    answer: oneshot::Sender<StoreResult<Reply>>,
}

trait Job: Send {
    fn run<'c>(&'c mut self, conn: &'c mut WriteConnection) -> BoxFuture<'c, StoreResult<()>>;
    fn points(&self) -> Around;
    fn answer(self: Box<Self>, end: StoreResult<()>);
}

struct Single<T> {
    points: Around,
    work: Option<Work<T>>,
    done: Option<T>,
    answer: oneshot::Sender<StoreResult<T>>,
}

impl<T: Send> Job for Single<T> {
    fn run<'c>(&'c mut self, conn: &'c mut WriteConnection) -> BoxFuture<'c, StoreResult<()>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.done = Some(work(conn).await?);
            }
            Ok(())
        })
    }

    fn points(&self) -> Around {
        self.points
    }

    fn answer(self: Box<Self>, end: StoreResult<()>) {
        let Self { done, answer, .. } = *self;
        // A caller that stopped waiting needs no answer.
        answer.send(end.and_then(|()| done.ok_or_else(gone))).ok();
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

/// The way to the writer's task.
#[derive(Clone)]
pub(super) struct Writer {
    messages: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the writer. It ends after [`close`](Self::close), or when the last handle is gone.
    ///
    /// It has a thread of its own: as a task of the shared runtime it would wait in that runtime's queue, behind the
    /// requests that wait for it, after each of a group's statements.
    pub(super) fn start(conn: WriteConnection, file: WatchedFile, memory: Memory) -> StoreResult<Self> {
        let (messages, inbox) = mpsc::channel(WAITING);
        let writer = WriterTask { conn, file, memory, inbox, refused: None };
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(writer.run()))
            .map_err(|error| StoreError::Unavailable(format!("the writer's thread could not be started: {error}")))?;
        Ok(Self { messages })
    }

    /// Hands a call to the next group, or says at once that too many wait.
    pub(super) async fn try_call(&self, call: Call) -> StoreResult<Reply> {
        let (answer, reply) = oneshot::channel();
        self.messages.try_send(Message::Grouped(Waiting { call, answer })).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        reply.await.map_err(|_| gone())?
    }

    /// Hands a call to the next group, waiting for room: what began is always written.
    pub(super) async fn call(&self, call: Call) -> StoreResult<Reply> {
        let (answer, reply) = oneshot::channel();
        self.messages.send(Message::Grouped(Waiting { call, answer })).await.map_err(|_| gone())?;
        reply.await.map_err(|_| gone())?
    }

    /// Runs `work`, a write to the registry, in a transaction of its own.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut WriteConnection) -> BoxFuture<'c, StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        self.alone_at(failpoint::REGISTRY, work).await
    }

    /// Runs `work` in a transaction of its own, with these fail points around its commit.
    pub(super) async fn alone_at<T: Send + 'static>(
        &self,
        points: Around,
        work: impl for<'c> FnOnce(&'c mut WriteConnection) -> BoxFuture<'c, StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        let (answer, reply) = oneshot::channel();
        let job = Single { points, work: Some(Box::new(work)), done: None, answer };
        self.messages.send(Message::Alone(Box::new(job))).await.map_err(|_| gone())?;
        reply.await.map_err(|_| gone())?
    }

    /// Writes what waits and closes the connection.
    pub(super) async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.messages.send(Message::Close(answer)).await.is_ok() {
            // An error means that the task is gone already.
            closed.await.ok();
        }
    }
}

/// Where the database file is, with what tells that it is still the same one.
#[derive(Clone)]
pub(super) struct FilePlace {
    path: PathBuf,
    identity: (u64, u64),
}

/// The database file, held under a lock.
pub(super) struct WatchedFile {
    pub(super) place: FilePlace,
    /// Locked as long as the writer lives; the system unlocks it when the process dies.
    pub(super) lock: File,
}

impl FilePlace {
    /// The file that is at this path now.
    pub(super) fn of(path: PathBuf) -> std::io::Result<Self> {
        Ok(Self { identity: Self::identity_of(&path)?, path })
    }

    fn identity_of(path: &std::path::Path) -> std::io::Result<(u64, u64)> {
        std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
    }

    /// The file must still be the one that was opened.
    pub(super) fn check(&self) -> StoreResult<()> {
        match Self::identity_of(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            _ => Err(StoreError::Refused(format!(
                "the database file {} was replaced or removed while it was in use; stop switchyard, put the file back \
                 or restore a backup, and start again",
                self.path.display()
            ))),
        }
    }
}

struct WriterTask {
    conn: WriteConnection,
    file: WatchedFile,
    memory: Memory,
    inbox: mpsc::Receiver<Message>,
    /// Set for ever once the file was replaced.
    refused: Option<String>,
}

impl WriterTask {
    async fn run(mut self) {
        let mut next = None;
        let mut closing = Vec::new();
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match self.inbox.recv().await {
                    Some(message) => message,
                    None => break,
                },
            };
            match message {
                Message::Grouped(first) => {
                    let group = self.gather(first, &mut next);
                    self.commit_group(group).await;
                }
                Message::Alone(mut job) => {
                    let end = self.commit_alone(&mut *job).await;
                    self.memory.tenants.clear();
                    job.answer(end);
                }
                Message::Close(answer) => {
                    // What was sent before the close is still taken; nothing can be sent any more.
                    self.inbox.close();
                    closing.push(answer);
                }
            }
        }
        self.end().await;
        for answer in closing {
            // Whoever closed may have stopped waiting.
            answer.send(()).ok();
        }
    }

    /// Takes whatever waits, up to the bounds of a group.
    fn gather(&mut self, first: Waiting, next: &mut Option<Message>) -> Vec<Waiting> {
        let mut bytes = first.call.size();
        let mut group = vec![first];
        while group.len() < GROUP_CALLERS && bytes < GROUP_BYTES {
            match self.inbox.try_recv() {
                Ok(Message::Grouped(waiting)) => {
                    bytes += waiting.call.size();
                    group.push(waiting);
                }
                Ok(other) => {
                    *next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        group
    }

    async fn commit_group(&mut self, group: Vec<Waiting>) {
        let (calls, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|one| (one.call, one.answer)).unzip();
        let started = self.memory.clock.monotonic();
        match self.transact(&calls).await {
            Ok(replies) => {
                let took = self.memory.clock.monotonic().saturating_sub(started);
                crate::observe::metrics::group_committed(u32::try_from(calls.len()).unwrap_or(u32::MAX), took);
                for (answer, reply) in answers.into_iter().zip(replies) {
                    answer.send(reply).ok();
                }
            }
            Err(StoreError::Unavailable(why)) => {
                for answer in answers {
                    answer.send(Err(StoreError::Unavailable(why.clone()))).ok();
                }
            }
            // One caller's data broke the statement of all: each runs by itself, and only that one fails.
            Err(_) => {
                for (call, answer) in calls.into_iter().zip(answers) {
                    let end = self.transact(std::slice::from_ref(&call)).await;
                    let reply = end.and_then(|mut replies| replies.pop().unwrap_or_else(|| Err(gone())));
                    answer.send(reply).ok();
                }
            }
        }
    }

    async fn transact(&mut self, calls: &[Call]) -> StoreResult<Vec<StoreResult<Reply>>> {
        self.check()?;
        let end = self.try_transact(calls).await;
        if end.is_err() {
            self.roll_back();
        }
        end
    }

    async fn try_transact(&mut self, calls: &[Call]) -> StoreResult<Vec<StoreResult<Reply>>> {
        self.conn.run("begin immediate")?;
        let replies = group::run(&mut self.conn, calls, &mut self.memory).await?;
        let latest = self.memory.latest.load(Ordering::Relaxed);
        let store_clock = latest >= self.memory.stored + group::CLOCK_STEP_MS;
        if store_clock {
            group::store_clock(&mut self.conn, latest).await?;
        }
        before_commit(calls).await?;
        self.conn.run("commit")?;
        self.memory.checkpoints.committed(calls.iter().map(Call::size).sum());
        if store_clock {
            self.memory.stored = latest;
        }
        after_commit(calls).await?;
        Ok(replies)
    }

    async fn commit_alone(&mut self, job: &mut dyn Job) -> StoreResult<()> {
        self.check()?;
        let end = async {
            self.conn.run("begin immediate")?;
            job.run(&mut self.conn).await?;
            failpoint::pass(job.points().0).await?;
            self.conn.run("commit")?;
            failpoint::pass(job.points().1).await
        }
        .await;
        if end.is_err() {
            self.roll_back();
        }
        end
    }

    /// The file must still be the one that was opened.
    fn check(&mut self) -> StoreResult<()> {
        if let Some(why) = &self.refused {
            return Err(StoreError::Refused(why.clone()));
        }
        let checked = self.file.place.check();
        if let Err(StoreError::Refused(why)) = &checked {
            self.refused = Some(why.clone());
        }
        checked
    }

    /// Ends a transaction that failed. SQLite has ended it itself after some errors; then this one says so.
    fn roll_back(&mut self) {
        self.conn.run("rollback").ok();
    }

    /// Stores the clock and closes the connection; the lock goes with `self`.
    async fn end(mut self) {
        let latest = self.memory.latest.load(Ordering::Relaxed);
        if self.check().is_ok() && latest > self.memory.stored {
            group::store_clock(&mut self.conn, latest).await.ok();
        }
        self.memory.checkpoints.stop().await;
        if let Err(error) = self.conn.into_sqlx().close().await {
            tracing::warn!(error = %error, "the database was not closed cleanly");
        }
        drop(self.file.lock);
    }
}
