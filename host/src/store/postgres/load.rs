//! Rows of another database on their way into an empty one, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Postgres, Row as _, TypeInfo as _, ValueRef as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    days::{Days, TABLES, day_of},
    examine::examine,
    migrate_up,
    open::Place,
    row::{Fields, inconsistent},
};
use crate::{
    clock::SharedClock,
    id::Key,
    store::{
        StoreError, StoreResult,
        schema::{own_rows, refuse_unknown},
        transfer::Value,
    },
};

/// What the schema itself writes, and what nodes write of themselves.
const NOT_CONTENT: [&str; 5] = ["_sqlx_migrations", "lane_partition", "node", "duty", "change"];

/// Held as long as a transfer lasts, so that no second one begins.
const LOCK: i64 = 0x7377_6974_6368_0002;

/// How a column's values go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Small,
    Big,
    Flag,
    Text,
    Bytes,
}

/// An empty database that is being filled.
pub(in crate::store) struct Target {
    label: String,
    /// The transaction.
    conn: PgConnection,
    /// Beside it, for partitions, which stay if the transaction does not.
    beside: PgConnection,
    days: Days,
    /// Table to column to kind.
    kinds: BTreeMap<String, BTreeMap<String, Kind>>,
}

impl Target {
    /// Makes the schema if there is none, and begins, if the database is empty. With `only_look` a database without a
    /// schema is left so.
    pub(in crate::store) async fn open(url: &str, only_look: bool, clock: SharedClock) -> StoreResult<Self> {
        let found = examine(url).await?;
        let label = found.label;
        if !found.nodes.is_empty() {
            return Err(StoreError::Refused(format!("a hub uses {label}; stop it first")));
        }
        refuse_unknown(&found.kept.steps)?;
        if !only_look {
            migrate_up(url, None).await?;
        } else if found.kept.steps.iter().any(|step| !step.applied) {
            return Err(StoreError::Refused(format!(
                "{label} does not have the schema yet; make it first, `switchyard migrate up`, to look whether all fits"
            )));
        }
        let place = Place::of(url)?;
        let (mut conn, beside) = (place.connect_as_hub().await?, place.connect_as_hub().await?);
        // Writing back many rows, and reading them, takes longer than anything a hub does.
        sqlx::raw_sql("begin; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
            .execute(&mut conn)
            .await?;
        let row = sqlx::query("select pg_try_advisory_xact_lock($1)").bind(LOCK).fetch_one(&mut conn).await?;
        if !Fields::of(&row).flag()? {
            return Err(StoreError::Refused(format!("somebody else is moving a hub to {label}")));
        }
        let kinds = kinds(&mut conn).await?;
        refuse_filled(&mut conn, &kinds, &label).await?;
        Ok(Self { label, conn, beside, days: Days::new(clock), kinds })
    }

    /// What to call it.
    pub(in crate::store) fn label(&self) -> &str {
        &self.label
    }

    /// Whether a table has a column.
    pub(in crate::store) fn has(&self, table: &str, column: &str) -> bool {
        self.kinds.get(table).is_some_and(|columns| columns.contains_key(column))
    }

    /// Writes rows. Every value must fit its column.
    pub(in crate::store) async fn write(
        &mut self,
        table: &str,
        columns: &[String],
        rows: Vec<Vec<Value>>,
    ) -> StoreResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if TABLES.contains(&table) {
            self.days.cover(&mut self.beside, days(columns, &rows)).await?;
        }
        let kinds: Vec<Kind> = columns.iter().map(|column| self.kinds[table][column]).collect();
        let count = rows.len() as u64;
        let insert = insert(table, columns, &kinds);
        let mut query = sqlx::query(AssertSqlSafe(insert));
        for (at, kind) in kinds.iter().enumerate() {
            let values: Vec<&Value> = rows.iter().map(|row| &row[at]).collect();
            query = bind(query, *kind, &values).ok_or_else(|| unfit(table, &columns[at]))?;
        }
        let written = query.execute(&mut self.conn).await.map_err(|error| match StoreError::from(error) {
            StoreError::Unavailable(why) => StoreError::Unavailable(why),
            other => StoreError::Refused(format!("a row of {table} does not fit: {other}")),
        })?;
        if written.rows_affected() == count {
            Ok(())
        } else {
            Err(StoreError::Inconsistent(format!("expected to write {count} rows of {table}")))
        }
    }

    /// All rows of a table, as they are there now.
    pub(in crate::store) fn rows<'a>(
        &'a mut self,
        table: &str,
        columns: &[String],
    ) -> BoxStream<'a, StoreResult<Vec<Value>>> {
        let select = AssertSqlSafe(format!("select {} from \"{table}\" {}", quoted(columns), own_rows(table)));
        let width = columns.len();
        let rows = sqlx::query(select).fetch(&mut self.conn).map_err(StoreError::from);
        rows.and_then(move |row| async move { (0..width).map(|at| value(&row, at)).collect() }).boxed()
    }

    /// Adds what only a server has, and commits.
    pub(in crate::store) async fn finish(mut self) -> StoreResult<()> {
        const NAMES: &str = "insert into event_name (tenant, id, key) select tenant, id, key from event \
            where id <> 'evt_' || encode(key, 'hex')";
        // Whoever obtained a token is stopped.
        const CLAIMS: &str = "update connection set refreshing_until = null where refreshing_until is not null";
        let last = sqlx::query("select max(number) from audit").fetch_one(&mut self.conn).await?;
        let last: Option<i64> = last.try_get(0)?;
        for statement in [NAMES, CLAIMS] {
            sqlx::query(statement).execute(&mut self.conn).await?;
        }
        // The sequence is its owner's, to whom the rows are hidden.
        sqlx::query("set local role none").execute(&mut self.conn).await?;
        if let Some(last) = last {
            sqlx::query("select setval(pg_get_serial_sequence('audit', 'number'), $1)")
                .bind(last)
                .execute(&mut self.conn)
                .await?;
        }
        sqlx::query("commit").execute(&mut self.conn).await?;
        // For the plans of the first statements.
        sqlx::raw_sql("reset role; set statement_timeout = 0; analyze").execute(&mut self.conn).await?;
        self.conn.close().await?;
        self.beside.close().await?;
        Ok(())
    }
}

/// What every column of every table is.
async fn kinds(conn: &mut PgConnection) -> StoreResult<BTreeMap<String, BTreeMap<String, Kind>>> {
    const COLUMNS: &str = "select c.relname::text, a.attname::text, format_type(a.atttypid, null) \
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition";
    let mut kinds: BTreeMap<String, BTreeMap<String, Kind>> = BTreeMap::new();
    for row in &sqlx::query(COLUMNS).fetch_all(conn).await? {
        let mut fields = Fields::of(row);
        let (table, column) = (fields.text()?, fields.text()?);
        let kind = match fields.str()? {
            "smallint" => Kind::Small,
            "bigint" => Kind::Big,
            "boolean" => Kind::Flag,
            "text" => Kind::Text,
            "bytea" => Kind::Bytes,
            // Of tables that nothing is moved to.
            _ => continue,
        };
        kinds.entry(table).or_default().insert(column, kind);
    }
    Ok(kinds)
}

async fn refuse_filled(
    conn: &mut PgConnection,
    kinds: &BTreeMap<String, BTreeMap<String, Kind>>,
    label: &str,
) -> StoreResult<()> {
    for table in kinds.keys().filter(|table| !NOT_CONTENT.contains(&table.as_str())) {
        let own = own_rows(table);
        // The name is the database's own, from its schema.
        let filled = AssertSqlSafe(format!("select exists (select 1 from \"{table}\" {own})"));
        let row = sqlx::query(filled).fetch_one(&mut *conn).await?;
        if Fields::of(&row).flag()? {
            return Err(StoreError::Refused(format!(
                "{label} is not empty, {table} has rows; a hub is moved to a database of its own, made with createdb"
            )));
        }
    }
    Ok(())
}

/// The days of the rows' keys.
fn days(columns: &[String], rows: &[Vec<Value>]) -> BTreeSet<i64> {
    let place = columns.iter().position(|column| column == "key" || column == "delivery");
    let key = |row: &Vec<Value>| match place.map(|at| &row[at]) {
        Some(Value::Bytes(bytes)) => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(|key| day_of(Key(key))),
        _ => None,
    };
    rows.iter().filter_map(key).collect()
}

fn quoted(columns: &[String]) -> String {
    columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
}

/// One array a column. Numbers that count rows are taken as they are.
fn insert(table: &str, columns: &[String], kinds: &[Kind]) -> String {
    let array = |(at, kind): (usize, &Kind)| {
        let of = match kind {
            Kind::Small => "smallint",
            Kind::Big => "bigint",
            Kind::Flag => "boolean",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
        };
        format!("${}::{of}[]", at + 1)
    };
    let arrays: Vec<String> = kinds.iter().enumerate().map(array).collect();
    let columns = quoted(columns);
    format!("insert into \"{table}\" ({columns}) overriding system value select * from unnest({})", arrays.join(", "))
}

type Insert<'q> = Query<'q, Postgres, PgArguments>;

/// Binds the values of one column; none if one of them does not fit.
fn bind<'q>(query: Insert<'q>, kind: Kind, values: &[&Value]) -> Option<Insert<'q>> {
    fn all<T>(values: &[&Value], of: impl Fn(&Value) -> Option<T>) -> Option<Vec<Option<T>>> {
        let one = |value: &&Value| if **value == Value::Null { Some(None) } else { of(value).map(Some) };
        values.iter().map(one).collect()
    }
    let number = |value: &Value| if let Value::Int(number) = value { Some(*number) } else { None };
    Some(match kind {
        Kind::Small => query.bind(all(values, |value| number(value).and_then(|number| i16::try_from(number).ok()))?),
        Kind::Big => query.bind(all(values, number)?),
        Kind::Flag => query.bind(all(values, |value| match value {
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            _ => None,
        })?),
        Kind::Text => query.bind(all(values, |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })?),
        Kind::Bytes => query.bind(all(values, |value| match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        })?),
    })
}

fn unfit(table: &str, column: &str) -> StoreError {
    StoreError::Refused(format!("a value of {table}.{column} does not fit the server's column"))
}

fn value(row: &PgRow, at: usize) -> StoreResult<Value> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INT2" => Value::Int(i64::from(row.try_get::<i16, _>(at)?)),
        "INT8" => Value::Int(row.try_get(at)?),
        "BOOL" => Value::Int(i64::from(row.try_get::<bool, _>(at)?)),
        "TEXT" => Value::Text(row.try_get(at)?),
        "BYTEA" => Value::Bytes(row.try_get(at)?),
        _ => return Err(inconsistent("value")),
    })
}
