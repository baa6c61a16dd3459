//! The rows of a stopped hub's file, table by table, as they go to another database.

use std::{fs::File, path::Path};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection, ValueRef as _, sqlite::SqliteRow};

use super::{
    open::{self, Options},
    row::{Fields, inconsistent},
    schema,
};
use crate::store::{StoreError, StoreResult, schema::own_rows, transfer::Value};

/// A file that is locked and read at one moment. Nothing in it is changed.
pub(in crate::store) struct Source {
    conn: SqliteConnection,
    _lock: File,
}

impl Source {
    /// Locks and checks the file.
    pub(in crate::store) async fn open(path: &Path) -> StoreResult<Self> {
        if !path.exists() {
            return Err(StoreError::Refused(format!("there is no database {}", path.display())));
        }
        let (lock, mut conn) = open::alone(path, &Options::default()).await?;
        if schema::steps(&mut conn).await?.iter().any(|step| !step.applied || !step.known) {
            return Err(StoreError::Refused(format!(
                "{} does not have the schema of this version; bring it up first: `switchyard migrate up`",
                path.display()
            )));
        }
        sqlx::query("begin").execute(&mut conn).await?;
        Ok(Self { conn, _lock: lock })
    }

    /// Its tables with their columns, but not the list of the schema's steps.
    pub(in crate::store) async fn tables(&mut self) -> StoreResult<Vec<(String, Vec<String>)>> {
        const TABLES: &str = "select name from sqlite_schema where type = 'table' \
            and name not like 'sqlite\\_%' escape '\\' and name != '_sqlx_migrations' order by name";
        const COLUMNS: &str = "select name from pragma_table_info(?) order by cid";
        let mut tables = Vec::new();
        for row in &sqlx::query(TABLES).fetch_all(&mut self.conn).await? {
            let name = Fields::of(row).text()?;
            let columns = sqlx::query(COLUMNS).bind(name.clone()).fetch_all(&mut self.conn).await?;
            let columns = columns.iter().map(|row| Fields::of(row).text()).collect::<StoreResult<_>>()?;
            tables.push((name, columns));
        }
        Ok(tables)
    }

    /// How many rows a table has.
    pub(in crate::store) async fn count(&mut self, table: &str) -> StoreResult<u64> {
        // The name is the database's own, from its schema.
        let count = AssertSqlSafe(format!("select count(*) from \"{table}\""));
        let row = sqlx::query(count).fetch_one(&mut self.conn).await?;
        Fields::of(&row).number()
    }

    /// All rows of a table.
    pub(in crate::store) fn rows<'a>(
        &'a mut self,
        table: &str,
        columns: &[String],
    ) -> BoxStream<'a, StoreResult<Vec<Value>>> {
        let named: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let width = columns.len();
        let select = AssertSqlSafe(format!("select {} from \"{table}\" {}", named.join(", "), own_rows(table)));
        let rows = sqlx::query(select).fetch(&mut self.conn).map_err(StoreError::from);
        rows.and_then(move |row| async move { (0..width).map(|at| value(&row, at)).collect() }).boxed()
    }

    /// Gives the file back.
    pub(in crate::store) async fn close(self) -> StoreResult<()> {
        Ok(self.conn.close().await?)
    }
}

fn value(row: &SqliteRow, at: usize) -> StoreResult<Value> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = sqlx::TypeInfo::name(&*raw.type_info()).to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Value::Int(row.try_get(at)?),
        "TEXT" => Value::Text(row.try_get(at)?),
        "BLOB" => Value::Bytes(row.try_get(at)?),
        _ => return Err(inconsistent("value")),
    })
}
