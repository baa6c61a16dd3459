//! What holds for the store on one SQLite file beside the common specification.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::{path::PathBuf, sync::Arc};

use switchyard::{
    clock::{ManualClock, Timestamp},
    store::{
        Ledger, SharedStore, StoreError, StoreResult,
        ledger::{Accept, EventOutcome},
        records::{EventFilter, Page, Records},
        sqlite::{Options, SqliteStore},
    },
};
use switchyard_tests::conformance::{Backend, Fixture, fixture::plugin};
use tempfile::TempDir;

/// A folder with a database in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("hub.db")
    }

    async fn open(&self, options: Options) -> StoreResult<SqliteStore> {
        let clock = ManualClock::starting_at(Timestamp(1_800_000_000_000));
        SqliteStore::open(&format!("sqlite://{}", self.file().display()), options, clock).await
    }

    /// Runs SQL on the closed file.
    async fn alter(&self, sql: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file());
        let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
        sqlx::raw_sql(sql).execute(&pool).await.expect("the statement runs");
        pool.close().await;
    }
}

/// A store that was opened already.
struct Opened(SharedStore);

#[async_trait::async_trait]
impl Backend for Opened {
    async fn open(&self, _clock: Arc<ManualClock>) -> SharedStore {
        self.0.clone()
    }

    async fn close(&self) {}
}

fn refusal(opened: StoreResult<SqliteStore>) -> String {
    match opened {
        Err(StoreError::Refused(text)) => text,
        Err(other) => panic!("expected a refusal, got {other:?}"),
        Ok(_) => panic!("expected a refusal, and it was opened"),
    }
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_closed() {
    let folder = Folder::new();
    let first = folder.open(Options::default()).await.expect("the first opens it");
    let text = refusal(folder.open(Options::default()).await);
    assert!(text.contains("another switchyard") && text.contains("SWITCHYARD_DATABASE_URL"), "{text}");
    first.close().await;
    let second = folder.open(Options::default()).await.expect("the second opens it");
    second.close().await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let folder = Folder::new();
    folder.open(Options::default()).await.expect("it opens").close().await;
    folder
        .alter("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, x'00', 0)")
        .await;
    let before = std::fs::read(folder.file()).expect("the file");
    let text = refusal(folder.open(Options::default()).await);
    assert!(text.contains("9999") && text.contains("newer version"), "{text}");
    assert_eq!(std::fs::read(folder.file()).expect("the file"), before);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let store = folder.open(Options::default()).await.expect("it opens");
    store.close().await;
    let mut bytes = std::fs::read(folder.file()).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0x5a);
    std::fs::write(folder.file(), &bytes).expect("the damage is done");
    let text = refusal(folder.open(Options::default()).await);
    assert!(text.contains("damaged") && text.contains("restore"), "{text}");
    std::fs::write(folder.file(), b"not a database at all, but long enough to be looked at as one........")
        .expect("written");
    assert!(refusal(folder.open(Options::default()).await).contains("damaged"));
}

#[tokio::test]
async fn of_a_file_too_large_to_be_checked_whole_the_registry_is_checked() {
    let folder = Folder::new();
    let bounded = || Options { check_up_to: 0, ..Options::default() };
    folder.open(bounded()).await.expect("it opens").close().await;
    folder.open(bounded()).await.expect("a sound file is opened again").close().await;
    let mut bytes = std::fs::read(folder.file()).expect("the file");
    // Page 1 holds the schema; the roots of the first tables follow it.
    let end = bytes.len().min(4096 * 12);
    bytes[4096..end].fill(0x5a);
    std::fs::write(folder.file(), &bytes).expect("the damage is done");
    assert!(refusal(folder.open(bounded()).await).contains("damaged"));
}

#[tokio::test]
async fn a_url_that_names_no_file_is_refused() {
    let clock = ManualClock::starting_at(Timestamp(0));
    for url in ["sqlite::memory:", "sqlite:", ""] {
        let text = refusal(SqliteStore::open(url, Options::default(), clock.clone()).await);
        assert!(text.contains("sqlite:./data/switchyard.db"), "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open(Options::default()).await.expect("it opens");
    let mode = std::fs::metadata(folder.file()).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_events_and_leaves_none_half_stored() {
    let folder = Folder::new();
    let options = Options { max_pages: Some(160), ..Options::default() };
    let store = Arc::new(folder.open(options).await.expect("it opens"));
    let hub = Fixture::on(Opened(store.clone())).await;
    let (mut stored, mut refused) = (Vec::new(), 0);
    while refused < 3 {
        assert!(stored.len() < 10_000, "the file never fills up");
        let mut event = hub.event(&hub.acme);
        event.data = format!("\"{}\"", "x".repeat(3000)).into();
        let id = event.id.clone();
        let mut new = hub.queued(event, &plugin("billy"));
        new.persons = vec![[1; 32]];
        match hub.store.accept(Accept { events: vec![new], ..Accept::default() }).await {
            Ok(accepted) => {
                assert_eq!(accepted.events, [EventOutcome::Stored]);
                stored.push(id);
            }
            Err(StoreError::Unavailable(_)) => refused += 1,
            Err(other) => panic!("expected to hear that there is no room: {other:?}"),
        }
    }
    let page = Page { limit: 10_000, after: None };
    let events = hub.store.events(&hub.acme, EventFilter::default(), page).await.expect("reads go on");
    assert_eq!(events.len(), stored.len());
    let deliveries = hub.store.deliveries(&hub.acme, Default::default(), page).await.expect("reads go on");
    assert_eq!(deliveries.len(), stored.len());
    store.close().await;

    let roomy = Arc::new(folder.open(Options::default()).await.expect("it opens again"));
    let events = roomy.events(&hub.acme, EventFilter::default(), page).await.expect("a list");
    assert_eq!(events.len(), stored.len());
    let new = hub.queued(hub.event(&hub.acme), &plugin("billy"));
    let accept = Accept { events: vec![new], ..Accept::default() };
    let accepted = roomy.accept(accept).await.expect("there is room");
    assert_eq!(accepted.events, [EventOutcome::Stored]);
    roomy.close().await;
}

#[tokio::test]
async fn a_replaced_file_stops_all_writes() {
    let folder = Folder::new();
    let store = Arc::new(folder.open(Options::default()).await.expect("it opens"));
    let hub = Fixture::on(Opened(store.clone())).await;
    hub.deliver(&hub.endpoint()).await;
    std::fs::rename(folder.file(), folder.0.path().join("aside.db")).expect("moved");
    for _ in 0..2 {
        let new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
        match hub.store.accept(Accept { events: vec![new], ..Accept::default() }).await {
            Err(StoreError::Refused(text)) => assert!(text.contains("replaced or removed"), "{text}"),
            other => panic!("expected a refusal: {other:?}"),
        }
        std::fs::write(folder.file(), b"").expect("another file in its place");
    }
    store.close().await;
}
