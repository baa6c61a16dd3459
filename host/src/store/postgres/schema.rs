//! The schema's steps: which there are, which a database has, and the way up and down between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection,
    migrate::{Migrate as _, Migration, Migrator},
};

use super::{
    open::{self, Place},
    roles,
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
    let mut steps = sqlx::migrate!("../migrations/postgres");
    // Which unknown steps may be there is judged by what they say of themselves.
    steps.set_ignore_missing(true);
    steps
});

/// Where a database keeps which steps it has.
const TABLE: &str = "_sqlx_migrations";

fn label(migration: &Migration) -> String {
    format!("{:04} {}", migration.version, migration.description)
}

fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| !migration.migration_type.is_down_migration())
}

/// The steps that a database has, with their names. Without the table it has none.
async fn applied(conn: &mut PgConnection) -> StoreResult<BTreeMap<i64, String>> {
    const KNOWS: &str = "select to_regclass('_sqlx_migrations') is not null";
    const APPLIED: &str = "select version, description from _sqlx_migrations where success order by version";
    if !sqlx::query_scalar::<_, bool>(KNOWS).fetch_one(&mut *conn).await? {
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

/// All steps that this version or the database knows.
pub(super) async fn steps(conn: &mut PgConnection) -> StoreResult<Vec<SchemaStep>> {
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
async fn compatible(conn: &mut PgConnection) -> StoreResult<BTreeSet<i64>> {
    const MARKED: &str = "select name from meta where name like 'schema\\_compatible:%'";
    let rows = sqlx::query(MARKED).fetch_all(conn).await?;
    let names: Vec<String> = rows.iter().map(|row| Fields::of(row).text()).collect::<StoreResult<_>>()?;
    Ok(names.iter().filter_map(|name| marked(name)).collect())
}

/// Lets the database remember which of its steps are compatible. Once more when it opens, since a crash may have come
/// between a step and this.
async fn remember_compatible(conn: &mut PgConnection) -> StoreResult<()> {
    const REMEMBER: &str = "insert into meta (name, value) values ($1, $2) on conflict (name) do nothing";
    for step in steps(conn).await?.iter().filter(|step| step.applied && step.known && step.compatible) {
        sqlx::query(REMEMBER).bind(mark(step.number)).bind(b"yes".to_vec()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// See [`refuse_unknown`].
async fn refuse_newer(conn: &mut PgConnection) -> StoreResult<()> {
    refuse_unknown(&steps(conn).await?)
}

/// The database must have all steps.
pub(super) async fn must_be_current(conn: &mut PgConnection) -> StoreResult<()> {
    refuse_newer(conn).await?;
    let behind = steps(conn).await?.into_iter().filter(|step| !step.applied).count();
    if behind == 0 {
        return Ok(());
    }
    Err(StoreError::Refused(format!("the database lacks {behind} steps of the schema; run: switchyard migrate up")))
}

/// The user must be able to make tables.
async fn refuse_without_rights(conn: &mut PgConnection) -> StoreResult<()> {
    const MAY: &str = "select current_user::text, coalesce(current_schema()::text, ''), \
        coalesce(has_schema_privilege(current_schema()::text, 'create'), false)";
    let row = sqlx::query(MAY).fetch_one(conn).await?;
    let mut fields = Fields::of(&row);
    let (user, schema, may) = (fields.text()?, fields.text()?, fields.flag()?);
    if may {
        return Ok(());
    }
    let schema = if schema.is_empty() { "public".to_owned() } else { schema };
    Err(StoreError::Refused(format!(
        "the database user \"{user}\" may not make tables; have the owner of the database run: grant usage, create on \
         schema {schema} to \"{user}\";"
    )))
}

/// Makes the steps that are missing, up to `to`. Each is one transaction, so a crash leaves whole steps, and the next
/// call goes on. Nodes that start together wait for each other.
pub(super) async fn up(conn: &mut PgConnection, to: Option<i64>) -> StoreResult<()> {
    refuse_newer(conn).await?;
    if steps(conn).await?.iter().all(|step| step.applied) {
        return remember_compatible(conn).await;
    }
    refuse_without_rights(conn).await?;
    failpoint::pass(Point::MigrationBefore).await?;
    // Others may hold tables for as long as a group or a report takes, a node that migrates the lock for as long as that.
    conn.execute("set lock_timeout = '120s'").await?;
    MIGRATIONS
        .run_direct(to, conn, false)
        .await
        .map_err(|error| StoreError::Refused(format!("the schema could not be brought up to date: {error}")))?;
    remember_compatible(conn).await?;
    failpoint::pass(Point::MigrationAfter).await
}

/// The steps that this version and the database have.
///
/// # Errors
/// The database cannot be read.
pub async fn schema_steps(url: &str) -> StoreResult<Vec<SchemaStep>> {
    let mut conn = Place::of(url)?.connect().await?;
    let steps = steps(&mut conn).await?;
    conn.close().await?;
    Ok(steps)
}

/// Brings the database up to step `to`, by default the latest, and answers which steps it made.
///
/// # Errors
/// As for [`PostgresStore::open`](super::PostgresStore::open).
pub async fn migrate_up(url: &str, to: Option<i64>) -> StoreResult<Vec<String>> {
    let mut conn = Place::of(url)?.connect().await?;
    open::check(&mut conn).await?;
    roles::prepare(&mut conn).await?;
    let before = applied(&mut conn).await?;
    up(&mut conn, to).await?;
    let after = applied(&mut conn).await?;
    conn.close().await?;
    Ok(ups()
        .filter(|step| after.contains_key(&step.version) && !before.contains_key(&step.version))
        .map(label)
        .collect())
}

/// Undoes the steps above `to`, the newest first, each in one transaction. With `only_look` it undoes nothing and says
/// what it would. Nothing may use the database meanwhile.
///
/// # Errors
/// `Refused` if the database was written by a newer version, or a step has no way back. A step that fails changes
/// nothing; the ones before it stay undone.
pub async fn migrate_down(url: &str, to: i64, only_look: bool) -> StoreResult<Undone> {
    const FORGET: &str = "delete from meta where name = $1";
    let mut conn = Place::of(url)?.connect().await?;
    refuse_newer(&mut conn).await?;
    conn.execute("set lock_timeout = '30s'").await?;
    conn.lock().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
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
    // The lock goes with the connection.
    conn.close().await?;
    Ok(Undone { steps: downs.into_iter().map(label).collect(), lost })
}

/// Undoes the steps in a transaction that is given up, and answers which tables went with how many rows.
async fn rehearse(conn: &mut PgConnection, downs: &[&Migration]) -> StoreResult<Vec<(String, u64)>> {
    let mut attempt = conn.begin().await?;
    let before = tables(&mut attempt).await?;
    for down in downs {
        attempt.execute(down.sql.clone()).await?;
    }
    let after = tables(&mut attempt).await?;
    attempt.rollback().await?;
    Ok(before.into_iter().filter(|(table, _)| !after.contains_key(table)).collect())
}

/// The tables with their number of rows; a table in parts counts as one.
async fn tables(conn: &mut PgConnection) -> StoreResult<BTreeMap<String, u64>> {
    const NAMES: &str = "select c.relname::text from pg_class c where c.relnamespace = current_schema()::regnamespace \
        and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> '_sqlx_migrations'";
    // The owner's own policies show it nothing.
    let mut tables = BTreeMap::new();
    for row in sqlx::query(NAMES).fetch_all(&mut *conn).await? {
        let name = Fields::of(&row).text()?;
        // The name is the database's own, from its schema.
        let count = AssertSqlSafe(format!("select count(*) from \"{}\"", name.replace('"', "\"\"")));
        conn.execute("set local role switchyard_hub").await?;
        let row = sqlx::query(count).fetch_one(&mut *conn).await?;
        tables.insert(name, Fields::of(&row).number()?);
        conn.execute("set local role none").await?;
    }
    Ok(tables)
}
