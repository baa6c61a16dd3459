//! What admins do through two nodes of one PostgreSQL database, and what is left of what they deleted.

use std::{sync::Arc, time::Duration};

use switchyard::{
    clock::{Clock as _, ManualClock, Timestamp},
    store::{SharedStore, postgres::PostgresStore, registry::Registry as _},
};
use switchyard_tests::{
    conformance::{Fixture, admins},
    database::Database,
};

use super::{PostgresDatabase, options};

/// Two nodes; the clock of the second is an hour ahead.
async fn on_two_nodes() -> (Fixture, SharedStore, Arc<ManualClock>) {
    let backend = PostgresDatabase::new().await;
    let ahead = ManualClock::starting_at(Timestamp(1_800_000_000_000).after(Duration::from_secs(3600)));
    let url = backend.database.url();
    let hub = Fixture::on(backend).await;
    let second = PostgresStore::open(&url, options(), ahead.clone()).await.expect("it opens");
    (hub, Arc::new(second), ahead)
}

macro_rules! on_two_nodes {
    ($($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (hub, other, _) = on_two_nodes().await;
                admins::$case(&hub, &other).await;
            }
        )*
    };
}

on_two_nodes!(
    the_same_plugin_added_by_all_nodes_at_once_is_added_once,
    an_installation_put_by_all_nodes_at_once_has_one_url,
    what_is_removed_is_not_used_and_what_is_used_is_not_removed,
    a_name_is_given_to_one_tenant,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_judged_by_the_clock_that_all_share() {
    let (hub, other, ahead) = on_two_nodes().await;
    admins::a_claim_is_judged_by_the_clock_that_all_share(&hub, &other, ahead.now()).await;
}

/// What an owner of the server's files would find. The log and what was copied elsewhere are not among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenants_key_is_not_in_the_tables_file_any_more() {
    const KEY: &[u8] = b"the-wrapped-key-of-a-tenant-that-leaves";
    let database = Database::fresh().await;
    let clock = ManualClock::starting_at(Timestamp(1_800_000_000_000));
    let opened = PostgresStore::open(&database.url(), options(), clock.clone()).await;
    let store = opened.expect("it opens");
    let hub = Fixture::on(PostgresDatabase::new().await).await;
    let mut row = hub.tenant_row(&hub.acme);
    row.data_key = KEY.to_vec();
    store.create_tenant(row, hub.audit(&hub.acme, "tenant.created")).await.expect("made");
    let holds = async || {
        use sqlx::Connection as _;
        let mut conn = database.connect().await;
        sqlx::query("checkpoint").execute(&mut conn).await.expect("the files are written");
        let read = "select pg_read_binary_file(pg_relation_filepath('tenant'))";
        let file: Vec<u8> = sqlx::query_scalar(read).fetch_one(&mut conn).await.expect("the file is read");
        conn.close().await.expect("closed");
        file.windows(KEY.len()).any(|part| part == KEY)
    };
    assert!(holds().await, "it was never there");
    store.delete_tenant(&hub.acme, hub.audit(&hub.acme, "tenant.deleted")).await.expect("deleted");
    assert!(!holds().await, "the wrapped key is still in the file");
    store.close().await;
}
