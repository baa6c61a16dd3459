//! Whatever is asked in the name of one tenant, the database shows and changes no row of another.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use switchyard::{
    event::TenantId,
    store::{
        ledger::{Expected, JournalChange, KvWrite, Outcome, ParkedRequest, RawRequest, Rejection, Settled},
        shadow::{ShadowOutcome, ShadowRun},
    },
};
use switchyard_tests::conformance::Fixture;

use super::{hub, number, run, today};

/// Rows of the tenant in the tables of every kind.
async fn furnish(hub: &Fixture, tenant: &TenantId) {
    hub.install_billy(tenant).await;
    hub.store
        .create_endpoint(hub.endpoint_row(tenant), hub.audit(tenant, "endpoint.created"))
        .await
        .expect("an endpoint");
    let target = "plugin:billy".parse().expect("a target");
    let mut new = hub.queued(hub.event(tenant), &target);
    let mut named = (*new.event).clone();
    named.id = "order-1".into();
    new.event = named.into();
    new.persons = vec![[7; 32]];
    let delivery = new.deliveries[0].key;
    hub.accept(new).await;
    let claimed = hub.claim_at(delivery, 0).await.expect("it is claimed");
    let mut settle = hub.settle_of(&claimed, Outcome::Delivered);
    settle.journal = JournalChange::Put(vec![1]);
    settle.plugin = Some("billy".into());
    settle.kv = vec![KvWrite {
        key: "k".into(),
        expected: Expected::Any,
        value: Some(vec![1]),
        expires_at: None,
        person: None,
    }];
    assert!(matches!(hub.store.settle(settle).await.expect("committed"), Settled::Done { .. }));
    let shadow = ShadowRun {
        delivery,
        tenant: tenant.clone(),
        plugin: "billy".into(),
        version: "1.0.0".into(),
        shadow_version: "2.0.0".into(),
        outcome: ShadowOutcome::Same,
        detail: "{}".into(),
        duration_us: 7,
        at: hub.now(),
    };
    hub.store.shadow_ran(shadow).await.expect("kept");
    let request = RawRequest {
        key: hub.ids.next(),
        tenant: tenant.clone(),
        source_id: "src_1".into(),
        method: "POST".into(),
        url: "https://hub/in/src_1".into(),
        headers: Vec::new(),
        body: "x".into(),
        received_at: hub.now(),
        remote_addr: None,
        correlation_id: "c".into(),
    };
    let failure = switchyard_tests::conformance::fixture::failure();
    let parked = ParkedRequest { request, plugin: "billy".into(), failure, tries: 1 };
    hub.store.park(parked).await.expect("parked");
    let rejection = Rejection {
        tenant: tenant.clone(),
        key: hub.ids.next(),
        source_id: "src_1".into(),
        at: hub.now(),
        status: 401,
        code: "unauthenticated".into(),
        reason: "no".into(),
        bytes: 1,
        remote_addr: None,
        correlation_id: "c".into(),
    };
    hub.store.reject(vec![rejection]).await.expect("kept");
}

/// Tables that have the policies, without the partitions, and whether each names a tenant.
async fn walled(conn: &mut PgConnection) -> Vec<(String, bool)> {
    const WALLED: &str = "select c.relname::text, exists (select 1 from pg_attribute a \
          where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped) \
        from pg_class c where c.relkind in ('r', 'p') and not c.relispartition and c.relrowsecurity \
          and c.relnamespace = current_schema()::regnamespace order by 1";
    sqlx::query_as(WALLED).fetch_all(conn).await.expect("a list of tables")
}

async fn count_as(conn: &mut PgConnection, tenant: Option<&str>, statement: &str) -> Result<u64, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    sqlx::query("set local role switchyard_tenant").execute(&mut *transaction).await?;
    if let Some(tenant) = tenant {
        sqlx::query("select set_config('switchyard.tenant', $1, true)").bind(tenant).execute(&mut *transaction).await?;
    }
    let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(done.rows_affected())
}

#[tokio::test]
async fn no_statement_in_the_name_of_a_tenant_reaches_a_row_of_another() {
    let (hub, database) = hub().await;
    furnish(&hub, &hub.acme).await;
    let mut conn = database.connect().await;
    let tables = walled(&mut conn).await;
    assert!(tables.len() >= 20, "{tables:?}");
    let mut furnished = 0;
    for (table, names_tenant) in &tables {
        let (all, touch) = (format!("select 1 from {table}"), format!("delete from {table}"));
        let there = number(&mut conn, &format!("select count(*) from {table}")).await;
        let own = count_as(&mut conn, Some("acme"), &all).await.expect("it may look");
        furnished += u32::from(*names_tenant && own > 0);
        for stranger in [Some("globex"), Some(""), None] {
            let seen = count_as(&mut conn, stranger, &all).await.expect("it may look");
            // What globex has is its own row, and rows of the making of it.
            let theirs = match (stranger, names_tenant) {
                (Some("globex"), true) => {
                    number(&mut conn, &format!("select count(*) from {table} where tenant = 'globex'")).await
                }
                (Some("globex"), false) if table == "tenant" => 1,
                _ => 0,
            };
            assert_eq!(seen, theirs.unsigned_abs(), "{table} for {stranger:?}");
            match count_as(&mut conn, stranger, &touch).await {
                Ok(gone) => assert_eq!(gone, theirs.unsigned_abs(), "{table} for {stranger:?}"),
                // Some it may not change at all.
                Err(error) => assert!(error.to_string().contains("permission denied"), "{error}"),
            }
        }
        assert_eq!(number(&mut conn, &format!("select count(*) from {table}")).await, there);
    }
    assert!(furnished >= 14, "only {furnished} tables have rows that another tenant could see");
}

#[tokio::test]
async fn nothing_is_stored_in_the_name_of_a_tenant_for_another() {
    let (hub, database) = hub().await;
    furnish(&hub, &hub.acme).await;
    let mut conn = database.connect().await;
    let write = "insert into kv (tenant, plugin, key, version, updated_at) values ('acme', 'billy', 'x', 1, 0)";
    let refused = count_as(&mut conn, Some("globex"), write).await.expect_err("it is refused");
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    assert_eq!(count_as(&mut conn, Some("acme"), write).await.expect("its own"), 1);
    let moved = "update kv set tenant = 'globex'";
    let refused = count_as(&mut conn, Some("acme"), moved).await.expect_err("it is refused");
    assert!(refused.to_string().contains("row-level security"), "{refused}");
}

/// Policies stand on the whole table; whoever could name a day's own table would pass them by.
#[tokio::test]
async fn the_tables_of_a_day_cannot_be_named_by_either_role() {
    let (hub, database) = hub().await;
    let mut conn = database.connect().await;
    for role in ["switchyard_hub", "switchyard_tenant"] {
        for table in ["event", "delivery", "attempt", "journal", "raw_request"] {
            let name = format!("{table}_day_{}", today(&hub));
            for right in ["select", "insert", "update", "delete"] {
                let sql = format!("select has_table_privilege('{role}', '{name}', '{right}')::int::bigint");
                assert_eq!(number(&mut conn, &sql).await, 0, "{role} may {right} {name}");
            }
        }
    }
    run(&mut conn, "set role switchyard_hub").await;
    assert_eq!(number(&mut conn, "select count(*) from tenant").await, 2);
}
