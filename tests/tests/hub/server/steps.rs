use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use switchyard_tests::{database::Database, hub::Hub};

use crate::operations::migrations::{Contents, assert_kept, go, steps};

/// Before anything else in the steps' rows: they stand for what is in use, not for what fits together.
const AS_THEY_STAND: &str = "set session_replication_role = replica";

fn rows_of(step: i64, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/migrations/postgres");
    folder.join(format!("{step:04}_{}.sql", name.replace(' ', "_")))
}

/// Puts the rows of a step into its tables. Every step has some here.
async fn fill(database: &Database, step: i64, name: &str) {
    let file = rows_of(step, name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut conn = database.connect().await;
    sqlx::raw_sql(AS_THEY_STAND).execute(&mut conn).await.expect("the tests' user may");
    let filled = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await;
    filled.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    conn.close().await.expect("closed");
}

async fn texts(conn: &mut PgConnection, query: String) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(conn).await.expect("rows")
}

/// Everything but the list of steps; the days of a table are the table's.
async fn contents(database: &Database) -> Contents {
    let mut conn = database.connect().await;
    let tables = "select relname::text from pg_class where relnamespace = 'public'::regnamespace \
        and relkind in ('r', 'p') and not relispartition and relname <> '_sqlx_migrations'";
    let mut all = Contents::new();
    for table in texts(&mut conn, tables.to_owned()).await {
        let rows = texts(&mut conn, format!("select to_jsonb(t)::text from \"{table}\" t order by 1")).await;
        let row = |text: &String| -> BTreeMap<String, String> {
            let row: Value = serde_json::from_str(text).expect("an object");
            let columns = row.as_object().expect("an object").iter();
            columns.map(|(name, value)| (name.clone(), value.to_string())).collect()
        };
        // What a step says of itself to older versions is no content.
        let is_content =
            |row: &BTreeMap<String, String>| table != "meta" || !row["name"].starts_with("\"schema_compatible:");
        let rows = rows.iter().map(row).filter(is_content).collect();
        all.insert(table, rows);
    }
    conn.close().await.expect("closed");
    all
}

#[tokio::test]
async fn every_step_goes_up_down_and_up_again_on_a_server_that_holds_something() {
    let database = Database::fresh().await;
    let mut hub = Hub::builder().on(&database).prepare();
    let all = steps(&hub).await;
    assert!(all.len() >= 8 && all.iter().all(|(.., applied)| !applied), "{all:?}");
    for (number, name, _) in &all {
        let before = contents(&database).await;
        let done = go(&hub, "up", *number).await;
        assert_eq!(done["applied"], json!([format!("{number:04} {name}")]), "{done}");
        assert_kept(&before, &contents(&database).await, &format!("up to {number:04}"));
        fill(&database, *number, name).await;
        let full = contents(&database).await;
        let down = go(&hub, "down", number - 1).await;
        assert_eq!(down["undone"], json!([format!("{number:04} {name}")]), "{down}");
        let lost: BTreeMap<String, u64> = serde_json::from_value(down["lost"].clone()).expect("tables");
        let expected = full.iter().filter(|(table, _)| !before.contains_key(*table));
        let expected: BTreeMap<_, _> = expected.map(|(table, rows)| (table.clone(), rows.len() as u64)).collect();
        assert_eq!(lost, expected, "what goes was not told");
        let empty = contents(&database).await;
        assert_kept(&full, &empty, &format!("down to {:04}", number - 1));
        let _ = go(&hub, "up", *number).await;
        assert!(*number == 1 || !empty.is_empty(), "nothing was compared");
        assert_kept(&empty, &contents(&database).await, &format!("up again to {number:04}"));
        fill(&database, *number, name).await;
    }
    // Every table had a row on the way.
    let full = contents(&database).await;
    let bare: Vec<_> = full.iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| table).collect();
    assert!(bare.is_empty(), "nothing was in {bare:?}");
    let names: BTreeSet<_> = full.into_keys().collect();
    let _ = go(&hub, "down", 0).await;
    assert!(contents(&database).await.is_empty());
    let _ = hub.run(&["migrate", "--json"], &[]).await.json();
    assert_eq!(contents(&database).await.into_keys().collect::<BTreeSet<_>>(), names);
    hub.restart().await;
}

/// Row A10. Each round kills it a little later, from before its first step to after its last.
#[tokio::test]
async fn a10_a_migration_of_a_server_killed_at_any_moment_leaves_whole_steps_and_no_lock() {
    const ROUNDS: u32 = 6;
    let mut reached = BTreeSet::new();
    for round in 0..ROUNDS {
        let database = Database::fresh().await;
        let hub = Hub::builder().on(&database).prepare();
        let mut child = hub.prepared(&["migrate"]).stdout(std::process::Stdio::null()).spawn().expect("it runs");
        let patience = Duration::from_millis(u64::from(round) * 70);
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            child.kill().await.expect("it is killed");
        }
        let found = steps(&hub).await;
        let made = found.iter().take_while(|(.., applied)| *applied).count();
        assert!(found.iter().skip(made).all(|(.., applied)| !applied), "a step is missing between others: {found:?}");
        reached.insert(made);
        let _ = hub.run(&["migrate", "--json"], &[]).await.json();
        assert!(steps(&hub).await.iter().all(|(.., applied)| *applied), "the next did not finish");
    }
    assert!(reached.contains(&0), "it was never killed before its first step: {reached:?}");
}
