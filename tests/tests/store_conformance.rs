//! Every case of the store's specification, each on a SQLite file of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::sync::Arc;

use async_trait::async_trait;
use switchyard::{
    clock::ManualClock,
    store::{
        SharedStore,
        sqlite::{Options, SqliteStore},
    },
};
use switchyard_tests::conformance::{
    Backend, Fixture, accept, claim, intake, isolation, kv, lanes, logins, order, polls, records, registry, reopen,
    settle, shadow, upkeep,
};
use tempfile::TempDir;
use tokio::sync::Mutex;

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
        let store = SqliteStore::open(&url, Options::default(), clock).await.expect("the file is opened");
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

macro_rules! on_sqlite {
    ($($module:ident::$case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut hub = Fixture::on(SqliteFile::new()).await;
                $module::$case(&mut hub).await;
            }
        )*
    };
}

switchyard_tests::store_cases!(on_sqlite);
