//! Opening the database: its checks, roles, schema, connections.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use sqlx::{
    ConnectOptions, Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    PostgresStore,
    days::Days,
    nodelay, roles, schema,
    writer::{Memory, Writer},
};
use crate::{
    clock::SharedClock,
    id::Ids,
    store::{StoreError, StoreResult},
};

/// Everything below it lacks `xid8` functions, or updates of partitioned tables that reach only the partition they touch.
const OLDEST_SERVER: i32 = 140_000;

/// How long it may take until a server has let us in.
const CONNECT: Duration = Duration::from_secs(5);

/// Enough for each statement of the store.
const CACHED_STATEMENTS: usize = 512;

/// What holds for every connection of the hub. A statement that takes longer is ended, so that it neither holds its locks
/// nor keeps its caller; what a node that died had begun is given up, so that others get its locks.
///
/// And how the planner is to go about: always by keys. Statements are planned once, perhaps when the tables are still empty
/// and walking them looks cheap; and to plan one over all days anew each time costs more than to run it.
pub(super) const SESSION: &str = "set role switchyard_hub; set statement_timeout = '30s'; set lock_timeout = '5s'; \
    set idle_in_transaction_session_timeout = '15s'; set jit = off; set row_security = on; \
    set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off; \
    set enable_hashjoin = off; set enable_mergejoin = off; \
    set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3; \
    select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";

/// How the database is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections beside the writer's.
    pub connections: u32,
    /// How long a call waits for one of them, which includes the time to connect on a busy machine.
    pub acquire: Duration,
    /// Whether a schema that is behind is brought up to date; without, it is refused.
    pub migrate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 8, acquire: Duration::from_secs(2), migrate: true }
    }
}

/// Where a database is. Its label is without the password.
#[derive(Clone)]
pub(super) struct Place {
    options: PgConnectOptions,
    label: String,
}

impl Place {
    /// Reads `postgres://user:password@host:port/database?sslmode=..`.
    pub(super) fn of(url: &str) -> StoreResult<Self> {
        let shaped = url.starts_with("postgres://") || url.starts_with("postgresql://");
        // What the parser found wrong may quote the password.
        let options = PgConnectOptions::from_str(url).ok().filter(|_| shaped).ok_or_else(|| {
            StoreError::Refused(
                "the database URL cannot be read; it should look like postgres://user:password@host:5432/switchyard, \
                 with special characters of the password percent-encoded"
                    .to_owned(),
            )
        })?;
        let database = options.get_database().unwrap_or(options.get_username());
        let label = format!("{}:{}/{database}", options.get_host(), options.get_port());
        let options = options
            .application_name("switchyard")
            .statement_cache_capacity(CACHED_STATEMENTS)
            .disable_statement_logging();
        Ok(Self { options, label })
    }

    /// What to call it: host, port and database.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// A connection as the user itself.
    pub(super) async fn connect(&self) -> StoreResult<PgConnection> {
        match tokio::time::timeout(CONNECT, self.options.connect()).await {
            Ok(Ok(conn)) => {
                send_at_once(self.options.get_port());
                Ok(conn)
            }
            Ok(Err(error)) => Err(self.told(error)),
            Err(_) => Err(StoreError::Unavailable(format!(
                "PostgreSQL at {} did not answer within {} s",
                self.label,
                CONNECT.as_secs()
            ))),
        }
    }

    /// A connection that works as the hub.
    pub(super) async fn connect_as_hub(&self) -> StoreResult<PgConnection> {
        let mut conn = self.connect().await?;
        sqlx::raw_sql(SESSION).execute(&mut conn).await?;
        Ok(conn)
    }

    /// What a failed connection means, with what to do about it.
    fn told(&self, error: sqlx::Error) -> StoreError {
        let (place, user) = (&self.label, self.options.get_username());
        let Some(inner) = error.as_database_error() else {
            return StoreError::Unavailable(format!("PostgreSQL at {place} cannot be reached: {error}"));
        };
        match inner.code().as_deref() {
            Some("28P01" | "28000") => StoreError::Refused(format!(
                "PostgreSQL at {place} does not let the user \"{user}\" in: check user and password in \
                 SWITCHYARD_DATABASE_URL, and the server's pg_hba.conf"
            )),
            Some("3D000") => StoreError::Refused(format!(
                "PostgreSQL at {place} has no such database; make it (createdb), or correct SWITCHYARD_DATABASE_URL"
            )),
            Some("42501") => StoreError::Refused(format!(
                "the user \"{user}\" may not connect to {place}; have its owner run: grant connect, create on database .. \
                 to \"{user}\";"
            )),
            _ => StoreError::Unavailable(format!("PostgreSQL at {place} is not ready: {}", inner.message())),
        }
    }
}

fn send_at_once(port: u16) {
    if let Err(error) = nodelay::set(port) {
        tracing::debug!(%error, "connections to the database keep small packets back");
    }
}

/// See [`PostgresStore::open`].
pub(super) async fn open(url: &str, options: Options, clock: SharedClock) -> StoreResult<PostgresStore> {
    let place = Place::of(url)?;
    let mut conn = place.connect().await?;
    check(&mut conn).await?;
    roles::prepare(&mut conn).await?;
    if options.migrate {
        schema::up(&mut conn, None).await?;
    } else {
        schema::must_be_current(&mut conn).await?;
    }
    let days = Arc::new(Days::new(clock.clone()));
    days.cover_now(&mut conn).await?;
    conn.close().await?;
    let port = place.options.get_port();
    let pool = PgPoolOptions::new()
        .max_connections(options.connections.max(2))
        .acquire_timeout(options.acquire)
        // After a restart of the server the calls find new connections, not those that it cut.
        .test_before_acquire(true)
        .idle_timeout(Duration::from_secs(600))
        .max_lifetime(Duration::from_secs(3600))
        .after_connect(move |conn, _| {
            Box::pin(async move {
                send_at_once(port);
                sqlx::raw_sql(SESSION).execute(conn).await?;
                Ok(())
            })
        })
        .connect_with(place.options.clone())
        .await?;
    let fence = Arc::new(ArcSwapOption::empty());
    let ids = Ids::from_os(clock.clone());
    let memory = Memory { fence: fence.clone(), days: days.clone(), clock: clock.clone(), ids: ids.clone() };
    let writer = Writer::start(place.clone(), memory)?;
    Ok(PostgresStore { writer, pool, place, days, fence, ids, clock, walks: tokio::sync::Mutex::default() })
}

/// Looks whether the hub can work here.
pub(super) async fn check(conn: &mut PgConnection) -> StoreResult<()> {
    let version: i32 =
        sqlx::query_scalar("select current_setting('server_version_num')::int4").fetch_one(&mut *conn).await?;
    if version < OLDEST_SERVER {
        return Err(StoreError::Refused(format!(
            "the server is PostgreSQL {}; switchyard needs {} or newer",
            version / 10_000,
            OLDEST_SERVER / 10_000
        )));
    }
    let encoding: String =
        sqlx::query_scalar("select current_setting('server_encoding')").fetch_one(&mut *conn).await?;
    if encoding != "UTF8" {
        return Err(StoreError::Refused(format!(
            "the database has the encoding {encoding}; make one with: create database switchyard encoding 'UTF8' \
             template template0"
        )));
    }
    let read_only: String =
        sqlx::query_scalar("select current_setting('transaction_read_only')").fetch_one(&mut *conn).await?;
    if read_only == "on" {
        return Err(StoreError::Unavailable(
            "the database takes no writes: it is a standby, or default_transaction_read_only is on".to_owned(),
        ));
    }
    Ok(())
}
