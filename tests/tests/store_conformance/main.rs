//! Every case of the store's specification, each on a SQLite file and on a PostgreSQL database of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use switchyard::{
    clock::ManualClock,
    store::{
        SharedStore,
        postgres::{self, PostgresStore},
        sqlite::{self, SqliteStore},
    },
};
use switchyard_tests::{
    conformance::{
        Backend, Fixture, accept, claim, intake, isolation, kv, lanes, logins, order, policy, polls, privacy, records,
        registry, reopen, settle, shadow, upkeep,
    },
    database::Database,
};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Two nodes on one PostgreSQL database.
mod nodes;

/// What admins do through them.
mod through_nodes;

/// A file in a folder that goes with the test.
struct SqliteFile {
    folder: TempDir,
    open: Mutex<Option<Arc<SqliteStore>>>,
}

impl SqliteFile {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), open: Mutex::default() }
    }
}

#[async_trait]
impl Backend for SqliteFile {
    async fn open(&self, clock: Arc<ManualClock>) -> SharedStore {
        let url = format!("sqlite:{}", self.folder.path().join("hub.db").display());
        let store = SqliteStore::open(&url, sqlite::Options::default(), clock).await.expect("the file is opened");
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

/// A database that goes with the test.
struct PostgresDatabase {
    database: Database,
    open: Arc<Mutex<Option<Arc<PostgresStore>>>>,
}

/// As for a hub, but for a machine that has other things to do.
fn options() -> postgres::Options {
    postgres::Options { acquire: Duration::from_secs(10), ..postgres::Options::default() }
}

impl PostgresDatabase {
    async fn new() -> Self {
        Self { database: Database::fresh().await, open: Arc::default() }
    }
}

#[async_trait]
impl Backend for PostgresDatabase {
    async fn open(&self, clock: Arc<ManualClock>) -> SharedStore {
        let store = PostgresStore::open(&self.database.url(), options(), clock).await.expect("the database is opened");
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

/// One test a case, in a module of the backend's name.
macro_rules! on {
    ($backend:expr; $($module:ident::$case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut hub = Fixture::on($backend).await;
                $module::$case(&mut hub).await;
            }
        )*
    };
}

mod on_sqlite {
    use super::*;

    macro_rules! cases {
        ($($cases:tt)*) => { on! { SqliteFile::new(); $($cases)* } };
    }

    switchyard_tests::store_cases!(cases);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_that_begins_on_a_file_ends_the_claims_of_the_one_before() {
        let hub = Fixture::on(SqliteFile::new()).await;
        assert!(!logins::a_claim_lasts_beyond_the_start_of_a_process(&hub).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_clock_of_the_queue_never_steps_back() {
        upkeep::the_clock_of_the_queue_never_steps_back(&Fixture::on(SqliteFile::new()).await).await;
    }
}

mod on_postgres {
    use super::*;

    macro_rules! cases {
        ($($cases:tt)*) => { on! { PostgresDatabase::new().await; $($cases)* } };
    }

    switchyard_tests::store_cases!(cases);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_starts_ends_nobodys_claims() {
        let hub = Fixture::on(PostgresDatabase::new().await).await;
        assert!(logins::a_claim_lasts_beyond_the_start_of_a_process(&hub).await);
    }
}
