use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use switchyard_tests::hub::Hub;

use super::rows;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/migrations")
}

async fn open(hub: &Hub) -> SqliteConnection {
    // The rows stand for what is in use, not for what fits together.
    let options = SqliteConnectOptions::new().filename(hub.database()).foreign_keys(false);
    SqliteConnection::connect_with(&options).await.expect("the file opens")
}

/// Puts the rows of a step into its tables, if there are some.
async fn fill(hub: &Hub, step: i64, name: &str) {
    let file = data().join(format!("{step:04}_{}.sql", name.replace(' ', "_")));
    let Ok(text) = std::fs::read_to_string(&file) else { return };
    let mut conn = open(hub).await;
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await.unwrap_or_else(|error| panic!("{file:?}: {error}"));
    conn.close().await.expect("closed");
}

/// Table to rows, each row a column's name to what is in it.
pub(crate) type Contents = BTreeMap<String, Vec<BTreeMap<String, String>>>;

/// Everything but the list of steps.
async fn contents(hub: &Hub) -> Contents {
    let mut conn = open(hub).await;
    let tables = "select name from sqlite_schema where type = 'table' and name not like '\\_%' escape '\\' \
        and name not like 'sqlite\\_%' escape '\\'";
    let mut all = Contents::new();
    for table in sqlx::query(tables).fetch_all(&mut conn).await.expect("tables") {
        let table: String = table.get(0);
        let columns = AssertSqlSafe(format!("select name from pragma_table_info('{table}')"));
        let columns: Vec<String> =
            sqlx::query(columns).fetch_all(&mut conn).await.expect("columns").iter().map(|row| row.get(0)).collect();
        let quoted: Vec<_> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        // What a step says of itself to older versions is no content.
        let content = if table == "meta" { "where name not like 'schema\\_compatible:%' escape '\\'" } else { "" };
        let select = AssertSqlSafe(format!("select {} from \"{table}\" {content} order by 1", quoted.join(", ")));
        let found = sqlx::query(select).fetch_all(&mut conn).await.expect("rows");
        let row = |row: &sqlx::sqlite::SqliteRow| {
            columns.iter().enumerate().map(|(at, column)| (column.clone(), row.get(at))).collect()
        };
        let mut held: Vec<BTreeMap<String, String>> = found.iter().map(row).collect();
        // That a step is compatible is the schema's own, like the list of steps.
        held.retain(|row| table != "meta" || !row["name"].starts_with("'schema_compatible:"));
        all.insert(table, held);
    }
    conn.close().await.expect("closed");
    all
}

/// What both have: the tables and columns that a step added or took away are left out.
fn common(one: &Contents, other: &Contents) -> (Contents, Contents) {
    let columns = |contents: &Contents| -> BTreeMap<String, BTreeSet<String>> {
        let named = |rows: &Vec<BTreeMap<String, String>>| rows.iter().flat_map(|row| row.keys().cloned()).collect();
        contents.iter().map(|(table, rows)| (table.clone(), named(rows))).collect()
    };
    let (a, b) = (columns(one), columns(other));
    let keep = |contents: &Contents| -> Contents {
        let tables = contents.iter().filter(|(table, _)| a.contains_key(*table) && b.contains_key(*table));
        let kept = |table: &String, row: &BTreeMap<String, String>| {
            let both = row.iter().filter(|(column, _)| a[table].contains(*column) && b[table].contains(*column));
            both.map(|(column, value)| (column.clone(), value.clone())).collect()
        };
        tables.map(|(table, rows)| (table.clone(), rows.iter().map(|row| kept(table, row)).collect())).collect()
    };
    (keep(one), keep(other))
}

#[track_caller]
pub(crate) fn assert_kept(before: &Contents, after: &Contents, what: &str) {
    let (before, after) = common(before, after);
    assert_eq!(before, after, "{what} changed rows");
}

pub(crate) async fn steps(hub: &Hub) -> Vec<(i64, String, bool)> {
    let status = hub.run(&["migrate", "status", "--json"], &[]).await.json();
    let step = |step: &Value| {
        let number = step["number"].as_i64().expect("a number");
        (number, step["name"].as_str().expect("a name").to_owned(), step["applied"] == true)
    };
    rows(&status["steps"]).iter().map(step).collect()
}

pub(crate) async fn go(hub: &Hub, way: &str, to: i64) -> Value {
    let to = to.to_string();
    let mut args = vec!["migrate", way, "--to", &to, "--json"];
    if way == "down" {
        args.push("--yes");
    }
    hub.run(&args, &[]).await.json()
}

#[tokio::test]
async fn every_step_goes_up_down_and_up_again_on_a_database_that_holds_something() {
    let mut hub = Hub::builder().prepare();
    let all = steps(&hub).await;
    assert!(all.len() >= 3 && all.iter().all(|(.., applied)| !applied), "{all:?}");
    for (number, name, _) in &all {
        let before = if hub.database().exists() { contents(&hub).await } else { Contents::new() };
        let done = go(&hub, "up", *number).await;
        assert_eq!(done["applied"], json!([format!("{number:04} {name}")]), "{done}");
        if *number > 1 {
            assert_kept(&before, &contents(&hub).await, &format!("up to {number:04}"));
        }
        fill(&hub, *number, name).await;
        let full = contents(&hub).await;
        let down = go(&hub, "down", number - 1).await;
        assert_eq!(down["undone"], json!([format!("{number:04} {name}")]), "{down}");
        let lost = down["lost"].as_object().expect("tables");
        let expected = full.iter().filter(|(table, _)| !before.contains_key(*table));
        let expected: BTreeMap<_, _> = expected.map(|(table, rows)| (table.clone(), rows.len())).collect();
        let lost: BTreeMap<_, _> =
            lost.iter().map(|(table, count)| (table.clone(), count.as_u64().unwrap_or(0) as usize)).collect();
        assert_eq!(lost, expected, "what goes was not told");
        let empty = contents(&hub).await;
        assert_kept(&full, &empty, &format!("down to {:04}", number - 1));
        let _ = go(&hub, "up", *number).await;
        assert!(*number == 1 || !empty.is_empty(), "nothing was compared");
        assert_kept(&empty, &contents(&hub).await, &format!("up again to {number:04}"));
        fill(&hub, *number, name).await;
    }
    // From the top to nothing and back in one go each, and a hub starts on it.
    let names: BTreeSet<_> = contents(&hub).await.into_keys().collect();
    assert!(names.contains("delivery") && names.contains("tenant") && names.contains("parked"), "{names:?}");
    let _ = go(&hub, "down", 0).await;
    assert!(contents(&hub).await.is_empty());
    let _ = hub.run(&["migrate", "--json"], &[]).await.json();
    assert_eq!(contents(&hub).await.into_keys().collect::<BTreeSet<_>>(), names);
    assert!(hub.run(&["migrate"], &[]).await.out.contains("nothing to do"));
    hub.restart().await;
}

#[tokio::test]
async fn going_down_says_what_is_lost_and_asks_first_and_a_dry_run_changes_nothing() {
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let beside = hub.run(&["migrate", "down", "--to", "1", "--yes"], &[]).await;
    assert!(beside.refusal().contains("another switchyard has"), "{}", beside.err);
    assert!(hub.stop().await.success());
    let before = contents(&hub).await;
    let asked = hub.run(&["migrate", "down", "--to", "1"], &[]).await;
    for words in ["0002 ledger", "1 rows of event", "switchyard backup", "--yes"] {
        assert!(asked.refusal().contains(words), "`{words}` is missing: {}", asked.err);
    }
    let dry = hub.run(&["migrate", "down", "--to", "1", "--dry-run"], &[]).await;
    assert!(dry.success && dry.out.contains("would undo") && dry.out.contains("0002 ledger"), "{dry:?}");
    let dry = hub.run(&["migrate", "--dry-run"], &[]).await;
    assert!(dry.success && dry.out.contains("up to date"), "{dry:?}");
    assert_eq!(contents(&hub).await, before);
    let _ = go(&hub, "down", 1).await;
    let dry = hub.run(&["migrate", "--dry-run", "--json"], &[]).await.json();
    assert_eq!(dry["pending"][0], "0002 ledger", "{dry}");
    hub.restart().await;
    let _ = hub.get("/v1/tenants/acme").await.expect(200);
    assert!(tenant.list("/events").await.is_empty());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone_by_every_command() {
    let hub = Hub::builder().prepare();
    let _ = hub.run(&["migrate", "--json"], &[]).await.json();
    let mut conn = open(&hub).await;
    let later = "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
        values (9999, 'from the future', current_timestamp, true, x'00', 0)";
    sqlx::raw_sql(later).execute(&mut conn).await.expect("a row");
    conn.close().await.expect("closed");
    let before = std::fs::read(hub.database()).expect("the file");
    for args in [&["migrate"][..], &["migrate", "up", "--to", "2"], &["migrate", "down", "--to", "1", "--yes"]] {
        let said = hub.run(args, &[]).await;
        let words = said.refusal();
        assert!(words.contains("schema 9999") && words.contains("start the newer version"), "{args:?}: {words}");
    }
    let status = hub.run(&["migrate", "status"], &[]).await;
    assert!(status.out.contains("9999") && status.out.contains("applied by a newer version"), "{}", status.out);
    assert_eq!(std::fs::read(hub.database()).expect("the file"), before);
}

/// Row A10. Each round kills it a little later, from before its first step to after its last.
#[tokio::test]
async fn a10_a_migration_killed_at_any_moment_leaves_whole_steps_and_is_finished_by_the_next() {
    const ROUNDS: u32 = 24;
    let first = Hub::builder().prepare();
    let _ = go(&first, "up", 1).await;
    fill(&first, 1, "registry").await;
    let kept = contents(&first).await;
    let mut reached = BTreeSet::new();
    for round in 0..ROUNDS {
        let hub = Hub::builder().prepare();
        std::fs::copy(first.database(), hub.database()).expect("a copy");
        let mut child = hub.prepared(&["migrate"]).stdout(std::process::Stdio::null()).spawn().expect("it runs");
        let patience = Duration::from_millis(u64::from(round) * 4);
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            child.kill().await.expect("it is killed");
        }
        let found = steps(&hub).await;
        let made = found.iter().take_while(|(.., applied)| *applied).count();
        assert!(found.iter().skip(made).all(|(.., applied)| !applied), "a step is missing between others: {found:?}");
        reached.insert(made);
        let _ = hub.run(&["migrate", "--json"], &[]).await.json();
        assert!(steps(&hub).await.iter().all(|(.., applied)| *applied), "the next did not finish");
        assert_kept(&kept, &contents(&hub).await, "a migration that was killed");
    }
    assert!(reached.contains(&1), "it was never killed before its first step: {reached:?}");
}

#[tokio::test]
async fn a_newer_step_that_says_so_lets_this_version_go_on_beside_it() {
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    assert!(hub.stop().await.success());
    let mut conn = open(&hub).await;
    let later = "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
        values (9998, 'from the future', current_timestamp, true, x'00', 0); \
        insert into meta (name, value) values ('schema_compatible:9998', x'79')";
    sqlx::raw_sql(later).execute(&mut conn).await.expect("a row");
    conn.close().await.expect("closed");
    hub.restart().await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert!(hub.stop().await.success());
    let status = hub.run(&["migrate", "status"], &[]).await;
    assert!(status.out.contains("9998") && status.out.contains("beside which this one can go on"), "{}", status.out);
    let down = hub.run(&["migrate", "down", "--to", "1", "--yes"], &[]).await;
    assert!(down.refusal().contains("9998") && down.refusal().contains("no way back"), "{}", down.err);
}
