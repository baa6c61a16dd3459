use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::{claim, duplicate, lanes, open, order, prune, rescue, settle};

async fn migrated() -> SqliteConnection {
    let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    open::MIGRATIONS.run(&mut conn).await.unwrap();
    conn
}

async fn plan(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("explain query plan {sql}"));
    let rows = sqlx::query(explain).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

/// However many deliveries wait: the list of lanes takes the first row behind each seek in one index.
#[tokio::test]
async fn listing_lanes_seeks_once_a_lane() {
    let mut conn = migrated().await;
    let plan = plan(&mut conn, lanes::LANES).await;
    let reads: Vec<_> = plan.iter().filter(|step| step.contains("delivery") || step.contains(" d ")).collect();
    assert_eq!(reads.len(), 4, "{plan:?}");
    assert!(reads.iter().all(|step| step.contains("INDEX delivery_ready") || step.contains("PRIMARY KEY")), "{plan:?}");
    assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
}

#[tokio::test]
async fn no_statement_of_the_path_of_an_event_walks_a_table() {
    let mut conn = migrated().await;
    let statements = [
        claim::CLAIMABLE.0.to_owned(),
        claim::CLAIM.0.to_owned(),
        settle::HELD.0.to_owned(),
        duplicate::DEDUPE.0.to_owned(),
        duplicate::ID.0.to_owned(),
        order::HEAD.0.to_owned(),
        order::NEXT.0.to_owned(),
        order::RELEASE.0.to_owned(),
        lanes::HEAD.to_owned(),
        rescue::RUNNING.to_owned(),
        rescue::LATE.to_owned(),
        rescue::HELD.to_owned(),
        prune::OLDEST.to_owned(),
    ];
    for statement in statements {
        for step in plan(&mut conn, &statement).await {
            let walk =
                step.starts_with("SCAN") && !step.contains("CONSTANT") && !["SCAN w", "SCAN won"].contains(&&*step);
            assert!(!walk, "{step} in {statement}");
        }
    }
}
