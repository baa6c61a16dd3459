//! The task that commits whole groups of callers at once, on a connection of its own.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{mpsc, oneshot};

use super::{
    NodeFence, accept,
    days::{self, Days},
    group,
    open::Place,
    outcome,
    row::Fields,
};
use crate::{
    clock::SharedClock,
    id::Ids,
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

/// How often a group is tried as a whole when another transaction stands in its way, and a caller by itself.
const TRIES: u32 = 4;

/// The longest wait before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// How long a group may take until its commit. The server ends each of its statements earlier.
const GROUP: Duration = Duration::from_secs(60);

/// A row that somebody else holds for long keeps one group waiting, not all that come after it; two that wait for each
/// other are found earlier than that.
const SESSION: &str = "set lock_timeout = '2s'";

/// What the writer works with.
pub(super) struct Memory {
    /// The partitions that this node owns.
    pub(super) fence: Arc<ArcSwapOption<NodeFence>>,
    /// The days that are there.
    pub(super) days: Arc<Days>,
    /// The hub's clock, for what brings no time.
    pub(super) clock: SharedClock,
    /// For the time between tries.
    pub(super) ids: Ids,
}

enum Message {
    Grouped(Waiting),
    Close(oneshot::Sender<()>),
}

struct Waiting {
    call: Call,
    answer: oneshot::Sender<StoreResult<Reply>>,
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
    /// It has a thread and a runtime of its own: as a task of the shared one it would wait in that one's queue, behind the
    /// requests that wait for it, after each of a group's statements.
    pub(super) fn start(place: Place, memory: Memory) -> StoreResult<Self> {
        let away = |error| StoreError::Unavailable(format!("the writer's thread could not be started: {error}"));
        let (messages, inbox) = mpsc::channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(away)?;
        let task = WriterTask { place, conn: None, memory, inbox };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(task.run()))
            .map_err(away)?;
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

    /// Writes what waits and closes the connection.
    pub(super) async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.messages.send(Message::Close(answer)).await.is_ok() {
            // An error means that the task is gone already.
            closed.await.ok();
        }
    }
}

/// Why a group was not committed.
enum Failed {
    /// The connection was of no use from the start; another one may be.
    NotBegun(StoreError),
    /// The group's own failure.
    Group(StoreError),
}

impl Failed {
    fn into_inner(self) -> StoreError {
        match self {
            Self::NotBegun(error) | Self::Group(error) => error,
        }
    }
}

struct WriterTask {
    place: Place,
    conn: Option<PgConnection>,
    memory: Memory,
    inbox: mpsc::Receiver<Message>,
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
                Message::Close(answer) => {
                    // What was sent before the close is still taken; nothing can be sent any more.
                    self.inbox.close();
                    closing.push(answer);
                }
            }
        }
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.close().await
        {
            tracing::debug!(error = %error, "the writer's connection was not closed cleanly");
        }
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
        match self.transact_patiently(&calls, false).await {
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
            // One caller's data broke the statement of all, or stands in the way of another node's: each runs by itself,
            // and only that one fails.
            Err(_) => {
                for (call, answer) in calls.into_iter().zip(answers) {
                    let end = self.transact_patiently(std::slice::from_ref(&call), true).await;
                    let end = end.map_err(|error| match error {
                        StoreError::Contended(why) => StoreError::Unavailable(why),
                        other => other,
                    });
                    let reply = end.and_then(|mut replies| replies.pop().unwrap_or_else(|| Err(gone())));
                    answer.send(reply).ok();
                }
            }
        }
    }

    /// Tries again while another transaction stands in the way, a bounded number of times.
    async fn transact_patiently(&mut self, calls: &[Call], careful: bool) -> StoreResult<Vec<StoreResult<Reply>>> {
        let mut tries = 0;
        loop {
            match self.transact(calls, careful).await {
                Err(StoreError::Contended(why)) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(StoreError::Contended(why));
                    }
                    // Perhaps a day was dropped of which this node thought that it is there.
                    self.memory.days.forget();
                    let longest = FIRST_WAIT * 2_u32.saturating_pow(tries - 1);
                    tokio::time::sleep(longest.mul_f64(self.memory.ids.fraction())).await;
                }
                end => return end,
            }
        }
    }

    /// One transaction. A connection that broke while nothing was asked of it is replaced.
    async fn transact(&mut self, calls: &[Call], careful: bool) -> StoreResult<Vec<StoreResult<Reply>>> {
        let kept = self.conn.is_some();
        match self.try_transact(calls, careful).await {
            Ok(replies) => Ok(replies),
            Err(Failed::NotBegun(_)) if kept => {
                self.conn = None;
                self.try_transact(calls, careful).await.map_err(Failed::into_inner)
            }
            Err(failed) => Err(failed.into_inner()),
        }
    }

    async fn try_transact(&mut self, calls: &[Call], careful: bool) -> Result<Vec<StoreResult<Reply>>, Failed> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connect().await.map_err(Failed::Group)?,
        };
        let covered = self.memory.days.cover(&mut conn, accept::keys(calls).map(days::day_of)).await;
        covered.map_err(Failed::NotBegun)?;
        let transaction = begin(&mut conn).await.map_err(Failed::NotBegun)?;
        // A connection that is dropped in the middle of a group gives the group up.
        let worked = async {
            let replies = group::run(&mut conn, calls, &self.memory, careful).await?;
            before_commit(calls).await?;
            Ok(replies)
        };
        let replies = match tokio::time::timeout(GROUP, worked).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(error)) => {
                if sqlx::raw_sql("rollback").execute(&mut conn).await.is_ok() {
                    self.conn = Some(conn);
                }
                return Err(Failed::Group(error));
            }
            Err(_) => return Err(Failed::Group(StoreError::Unavailable("the database is too slow".to_owned()))),
        };
        match tokio::time::timeout(GROUP, sqlx::raw_sql("commit").execute(&mut conn)).await {
            Ok(Ok(_)) => self.conn = Some(conn),
            // The server has answered: it was not committed.
            Ok(Err(error @ sqlx::Error::Database(_))) => return Err(Failed::Group(error.into())),
            Ok(Err(_)) | Err(_) => {
                drop(conn);
                outcome::committed(&self.place, &transaction).await.map_err(Failed::Group)?;
            }
        }
        after_commit(calls).await.map_err(Failed::Group)?;
        Ok(replies)
    }

    async fn connect(&self) -> StoreResult<PgConnection> {
        let mut conn = self.place.connect_as_hub().await?;
        sqlx::raw_sql(SESSION).execute(&mut conn).await?;
        Ok(conn)
    }
}

/// Begins a transaction and answers its number, by which its end can be looked up.
async fn begin(conn: &mut PgConnection) -> StoreResult<String> {
    const BEGIN: &str = "begin; select pg_current_xact_id()::text";
    let rows = sqlx::raw_sql(BEGIN).fetch_all(conn).await?;
    rows.first().map_or_else(|| Err(gone()), |row| Fields::of(row).text())
}
