//! The schema's steps: which there are, which a file has, and the way up and down between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, SqliteConnection,
    migrate::{Migrate as _, Migration, Migrator},
};

use super::{
    open::{self, Options, path_of},
    row::Fields,
};
use crate::{
    failpoint::{self, Point},
    store::{
        StoreError, StoreResult,
        schema::{SchemaStep, Undone, mark, marked, refuse_unknown, says_compatible},
    },
};

/// The steps of this version, each with its way back.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut steps = sqlx::migrate!("../migrations/sqlite");
    // Which unknown steps may be there is judged by what they say of themselves.
    steps.set_ignore_missing(true);
    steps
});

/// Where a file keeps which steps it has.
const TABLE: &str = "_sqlx_migrations";

fn label(migration: &Migration) -> String {
    format!("{:04} {}", migration.version, migration.description)
}

fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| !migration.migration_type.is_down_migration())
}

/// The steps that a file has, with their names. Without the table it has none.
async fn applied(conn: &mut SqliteConnection) -> StoreResult<BTreeMap<i64, String>> {
    const KNOWS: &str = "select 1 from sqlite_schema where name = '_sqlx_migrations'";
    const APPLIED: &str = "select version, description from _sqlx_migrations where success order by version";
    if sqlx::query(KNOWS).fetch_optional(&mut *conn).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(APPLIED).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.int()?, fields.text()?))
        })
        .collect()
}

/// All steps that this version or the file knows.
pub(super) async fn steps(conn: &mut SqliteConnection) -> StoreResult<Vec<SchemaStep>> {
    let mut applied = applied(conn).await?;
    let marked = if applied.is_empty() { BTreeSet::new() } else { compatible(conn).await? };
    let known = ups().map(|migration| SchemaStep {
        number: migration.version,
        name: migration.description.to_string(),
        applied: applied.remove(&migration.version).is_some(),
        known: true,
        compatible: says_compatible(migration.sql.as_str()),
    });
    let mut steps: Vec<_> = known.collect();
    steps.extend(applied.into_iter().map(|(number, name)| SchemaStep {
        number,
        name,
        applied: true,
        known: false,
        compatible: marked.contains(&number),
    }));
    steps.sort_by_key(|step| step.number);
    Ok(steps)
}

/// Steps of which the database remembers that a version without them may use it. The table of its values is that of the
/// first step.
async fn compatible(conn: &mut SqliteConnection) -> StoreResult<BTreeSet<i64>> {
    const MARKED: &str = "select name from meta where name like 'schema\\_compatible:%' escape '\\'";
    let rows = sqlx::query(MARKED).fetch_all(conn).await?;
    let names: Vec<String> = rows.iter().map(|row| Fields::of(row).text()).collect::<StoreResult<_>>()?;
    Ok(names.iter().filter_map(|name| marked(name)).collect())
}

/// Lets the database remember which of its steps are compatible. Once more when it opens, since a crash may have come
/// between a step and this.
async fn remember_compatible(conn: &mut SqliteConnection) -> StoreResult<()> {
    const REMEMBER: &str = "insert into meta (name, value) values (?, ?) on conflict (name) do nothing";
    for step in steps(conn).await?.iter().filter(|step| step.applied && step.known && step.compatible) {
        sqlx::query(REMEMBER).bind(mark(step.number)).bind(b"yes".to_vec()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// See [`refuse_unknown`].
async fn refuse_newer(conn: &mut SqliteConnection) -> StoreResult<()> {
    refuse_unknown(&steps(conn).await?)
}

/// Makes the steps that are missing, up to `to`. Each is one transaction, so a crash leaves whole steps, and the next
/// call goes on.
pub(super) async fn up(conn: &mut SqliteConnection, to: Option<i64>) -> StoreResult<()> {
    refuse_newer(conn).await?;
    failpoint::pass(Point::MigrationBefore).await?;
    MIGRATIONS
        // The direct call, since the general one is not `Send` for every lifetime.
        .run_direct(to, conn, false)
        .await
        .map_err(|error| StoreError::Refused(format!("the schema could not be brought up to date: {error}")))?;
    remember_compatible(conn).await?;
    failpoint::pass(Point::MigrationAfter).await
}

/// The steps that this version and the file have. A file that is not there has none, and is not made by asking.
///
/// # Errors
/// The file cannot be read.
pub async fn schema_steps(url: &str) -> StoreResult<Vec<SchemaStep>> {
    let path = path_of(url)?;
    if !path.exists() {
        let none = ups().map(|migration| (migration.version, migration.description.to_string()));
        return Ok(none
            .map(|(number, name)| SchemaStep { number, name, applied: false, known: true, compatible: false })
            .collect());
    }
    let mut conn = reading(&path).await?;
    let steps = steps(&mut conn).await?;
    conn.close().await?;
    Ok(steps)
}

/// A connection that cannot write.
pub(super) async fn reading(path: &Path) -> StoreResult<SqliteConnection> {
    Ok(SqliteConnection::connect_with(&open::base(path).read_only(true)).await?)
}

/// Brings the file up to step `to`, by default the latest, and answers which steps it made.
///
/// # Errors
/// As for [`SqliteStore::open`](super::SqliteStore::open).
pub async fn migrate_up(url: &str, to: Option<i64>) -> StoreResult<Vec<String>> {
    let path = path_of(url)?;
    let (lock, mut conn) = open::alone(&path, &Options::default()).await?;
    let before = applied(&mut conn).await?;
    up(&mut conn, to).await?;
    let after = applied(&mut conn).await?;
    conn.close().await?;
    drop(lock);
    Ok(ups()
        .filter(|step| after.contains_key(&step.version) && !before.contains_key(&step.version))
        .map(label)
        .collect())
}

/// Undoes every step above `to`, the newest first; or only finds out what that would lose.
///
/// # Errors
/// `Refused` if a hub has the file open, the file was written by a newer version, or a step has no way back; `NotFound`
/// if there is no file. A step that fails changes nothing; the ones before it stay undone.
pub async fn migrate_down(url: &str, to: i64, only_look: bool) -> StoreResult<Undone> {
    const FORGET: &str = "delete from meta where name = ?";
    let path = path_of(url)?;
    if !path.exists() {
        return Err(StoreError::NotFound);
    }
    let (lock, mut conn) = open::alone(&path, &Options::default()).await?;
    refuse_newer(&mut conn).await?;
    let applied = applied(&mut conn).await?;
    let mut downs = Vec::new();
    for (number, name) in applied.iter().rev().filter(|(number, _)| **number > to) {
        let down = MIGRATIONS.iter().find(|step| step.version == *number && step.migration_type.is_down_migration());
        let missing = || StoreError::Refused(format!("step {number:04} {name} has no way back; restore a backup"));
        downs.push(down.ok_or_else(missing)?);
    }
    let lost = rehearse(&mut conn, &downs).await?;
    if !only_look {
        for down in &downs {
            conn.revert(TABLE, down)
                .await
                .map_err(|error| StoreError::Refused(format!("step {} could not be undone: {error}", label(down))))?;
            // The first step takes the table along.
            if down.version > 1 {
                sqlx::query(FORGET).bind(mark(down.version)).execute(&mut conn).await?;
            }
        }
    }
    conn.close().await?;
    drop(lock);
    Ok(Undone { steps: downs.into_iter().map(label).collect(), lost })
}

/// Undoes the steps in a transaction that is given up, and answers which tables went with how many rows.
async fn rehearse(conn: &mut SqliteConnection, downs: &[&Migration]) -> StoreResult<Vec<(String, u64)>> {
    let mut attempt = conn.begin().await?;
    let before = tables(&mut attempt).await?;
    for down in downs {
        attempt.execute(down.sql.clone()).await?;
    }
    let after = tables(&mut attempt).await?;
    attempt.rollback().await?;
    Ok(before.into_iter().filter(|(table, _)| !after.contains_key(table)).collect())
}

/// The tables with their number of rows.
async fn tables(conn: &mut SqliteConnection) -> StoreResult<BTreeMap<String, u64>> {
    const NAMES: &str = "select name from sqlite_schema where type = 'table' \
        and name not like 'sqlite\\_%' escape '\\' and name != '_sqlx_migrations'";
    let mut tables = BTreeMap::new();
    for row in sqlx::query(NAMES).fetch_all(&mut *conn).await? {
        let name = Fields::of(&row).text()?;
        // The name is the database's own, from its schema.
        let count = AssertSqlSafe(format!("select count(*) from \"{}\"", name.replace('"', "\"\"")));
        let row = sqlx::query(count).fetch_one(&mut *conn).await?;
        tables.insert(name, Fields::of(&row).number()?);
    }
    Ok(tables)
}
