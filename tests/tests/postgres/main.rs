//! What only a database server brings: the second wall between tenants, whole days that go, and the ways in which a
//! server and the way to it fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection};
use switchyard::{
    clock::{Clock as _, ManualClock, Timestamp},
    store::{
        SharedStore,
        postgres::{Options, PostgresStore},
    },
};
use switchyard_tests::{
    conformance::{Backend, Fixture},
    database::Database,
};
use tokio::sync::Mutex;

/// Tenants are kept apart by the database too.
mod wall;

/// How long events stay.
mod retention;

/// How the statements are carried out.
mod plans;

/// A server in trouble, and a line to it that breaks.
mod faults;

/// A store on a database of its own, by way of this URL.
struct OnPostgres {
    url: String,
    options: Options,
    open: Mutex<Option<Arc<PostgresStore>>>,
}

#[async_trait]
impl Backend for OnPostgres {
    async fn open(&self, clock: Arc<ManualClock>) -> SharedStore {
        let store = PostgresStore::open(&self.url, self.options.clone(), clock).await.expect("the database is opened");
        let store = Arc::new(store);
        *self.open.lock().await = Some(store.clone());
        store
    }

    async fn close(&self) {
        if let Some(store) = self.open.lock().await.take() {
            store.close().await;
        }
    }
}

/// An open store with two tenants, and its database.
async fn hub() -> (Fixture, Database) {
    let database = Database::fresh().await;
    (hub_on(database.url(), options()).await, database)
}

/// As for a hub, but for a machine that has other things to do.
fn options() -> Options {
    Options { acquire: Duration::from_secs(8), ..Options::default() }
}

async fn hub_on(url: String, options: Options) -> Fixture {
    Fixture::on(OnPostgres { url, options, open: Mutex::default() }).await
}

/// The first column of the first row, which is a number.
async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.expect("a number")
}

async fn run(conn: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.expect("the statement runs");
}

/// The number of the day in the names of its tables.
fn day(at: Timestamp) -> i64 {
    at.0.div_euclid(86_400_000)
}

fn today(hub: &Fixture) -> i64 {
    day(hub.clock.now())
}
