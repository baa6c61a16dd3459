use serde_json::json;
use switchyard_simulators::subscriber::Received;
use switchyard_tests::{
    api::{SOON, Tenant, until},
    database::Database,
    hub::Hub,
    nodes::Nodes,
    world::subscriber,
};

async fn run(database: &Database, statements: String) {
    let mut conn = database.connect().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut conn).await.expect("the statements run");
}

/// What a newer version does that says it can be lived with: a column more in every table, a table, an index.
async fn compatible_step(database: &Database) {
    let columns = "do $$ declare name text; begin \
        for name in select relname from pg_class where relnamespace = 'public'::regnamespace \
            and relkind in ('r', 'p') and not relispartition and relname <> '_sqlx_migrations' loop \
            execute format('alter table %I add column of_a_newer_version text', name); \
        end loop; end $$; \
        create table of_a_newer_version (id bigint primary key); \
        create index of_a_newer_version_event on event (of_a_newer_version);";
    let noted = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
        values (9998, 'newer', true, '\\x00', 0); \
        insert into meta (name, value) values ('schema_compatible:9998', 'yes');";
    run(database, format!("set lock_timeout = '10s'; begin; {columns} {noted} commit;")).await;
}

/// What a newer version does that cannot be lived with.
async fn incompatible_step(database: &Database) {
    let noted = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
        values (9999, 'newer still', true, '\\x00', 0);";
    run(database, noted.to_owned()).await;
}

async fn is_delivered(
    nodes: &Nodes,
    node: usize,
    tenant: &Tenant,
    at: &switchyard_simulators::subscriber::Handle,
    id: &str,
) {
    let tenant = nodes.on(node, tenant);
    until("the event to be accepted", async || {
        let reply = tenant.post("/events", &json!({"type": "a.b", "id": id, "data": {}})).await;
        if reply.status == 202 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    let ours = |request: &Received| request.webhook_id() == Some(id);
    let _ = at.wait_for_where(1, SOON, ours).await.unwrap_or_else(|error| panic!("{id}: {error}"));
}

#[tokio::test]
async fn b27_beside_a_newer_version_this_one_goes_on_and_starts_again_if_the_newer_ones_step_says_so() {
    let (mut nodes, at) = (Nodes::start(1).await, subscriber().await);
    let tenant = nodes.hubs[0].tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    is_delivered(&nodes, 0, &tenant, &at, "before").await;
    compatible_step(&nodes.database).await;
    is_delivered(&nodes, 0, &tenant, &at, "beside").await;
    nodes.add(Hub::builder()).await;
    nodes.settled().await;
    for node in 0..2 {
        is_delivered(&nodes, node, &tenant, &at, &format!("both-{node}")).await;
    }
    // What an admin makes, changes and removes stands in tables with a column more.
    let other = nodes.hubs[1].tenant("other").await;
    let endpoint = other.endpoint(&at, "/other", &["a.b"], json!({})).await;
    let _ = other.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let gone = other.api.delete(&other.path(&format!("/endpoints/{endpoint}"))).await;
    assert!(gone.status < 300, "{}", gone.text);

    incompatible_step(&nodes.database).await;
    let said = nodes.prepared(Hub::builder()).refuses().await;
    assert!(said.contains("schema 9999") && said.contains("start the newer version"), "{said}");
    // Those that run are stopped by whoever brings them to the newer version, not by it.
    is_delivered(&nodes, 0, &tenant, &at, "after").await;
    for hub in &nodes.hubs {
        assert!(!hub.log().contains("\"level\":\"ERROR\""), "{}", hub.log());
    }
}
