//! The way of everything that a stopped hub keeps from a file to a server.
//!
//! It is one transaction on the server, so that it ends whole or not at all: what is begun and cut short leaves an empty
//! database, and is begun again. The file is locked and only read. At the end every table is read back from the server and
//! compared with the file by number of rows and checksum, before the transaction commits.

use std::path::Path;

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::{StoreError, StoreResult, postgres::Target, sqlite::Source};
use crate::clock::SharedClock;

/// Rows that are read before they are written, and their bytes.
const BATCH_ROWS: usize = 2_000;
const BATCH_BYTES: usize = 8 << 20;

/// Tables that others refer to come before those.
const FIRST: [&str; 11] = [
    "tenant",
    "plugin_version",
    "plugin_wasm",
    "app",
    "app_source",
    "installation",
    "source",
    "schedule",
    "connection",
    "connection_secret",
    "endpoint",
];

/// Columns that only a file has: the order of storing is a row's place there, and its key on a server.
const FILE_ONLY: [(&str, &str); 2] = [("event", "seq"), ("raw_request", "seq")];

/// One value of a row, whichever database it is in. A boolean is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Int(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn digest(&self, into: &mut Sha256) {
        let mut field = |tag: u8, bytes: &[u8]| {
            into.update([tag]);
            into.update((bytes.len() as u64).to_le_bytes());
            into.update(bytes);
        };
        match self {
            Self::Null => field(0, &[]),
            Self::Int(number) => field(1, &number.to_le_bytes()),
            Self::Text(text) => field(2, text.as_bytes()),
            Self::Bytes(bytes) => field(3, bytes),
        }
    }
}

/// The sum of the hashes of rows, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checksum {
    rows: u64,
    sum: [u64; 4],
}

impl Checksum {
    fn add(&mut self, row: &[Value]) {
        let mut hash = Sha256::new();
        row.iter().for_each(|value| value.digest(&mut hash));
        self.rows += 1;
        for (sum, part) in self.sum.iter_mut().zip(hash.finalize().chunks_exact(8)) {
            *sum = sum.wrapping_add(part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
    }

    fn text(&self) -> String {
        self.sum.map(|part| format!("{part:016x}")).concat()
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is done: `copying` or `comparing`.
    pub act: &'static str,
    /// With which table.
    pub table: &'a str,
    /// Rows that are done. Each is counted twice, once for each act.
    pub done: u64,
    /// Rows that there are, each twice.
    pub total: u64,
}

/// A table that was moved.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The sum of the hashes of its rows, equal on both sides; empty if nothing was moved.
    pub checksum: String,
}

/// What was moved, or would be.
#[derive(Clone, Debug)]
pub struct Transferred {
    /// Where to, without the password.
    pub to: String,
    /// The tables.
    pub tables: Vec<Table>,
}

/// A table on its way.
struct Plan {
    name: String,
    columns: Vec<String>,
    rows: u64,
}

/// Copies everything from the file to the database of `url`, whose schema is made if there is none; or, with `only_look`,
/// finds out whether it could.
///
/// # Errors
/// `Refused`, with what to do, if a hub has the file open or uses the database, a schema is not this version's, the
/// database is not empty, or a value does not fit; `Inconsistent` if what was written is not what was read. The database
/// is then empty as before.
pub async fn run(
    file: &Path,
    url: &str,
    only_look: bool,
    clock: SharedClock,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> StoreResult<Transferred> {
    let mut source = Source::open(file).await?;
    let mut target = Target::open(url, only_look, clock).await?;
    let plans = plan(&mut source, &target).await?;
    let total = plans.iter().map(|plan| plan.rows).sum::<u64>() * 2;
    let to = target.label().to_owned();
    if only_look {
        let table = |plan: Plan| Table { name: plan.name, rows: plan.rows, checksum: String::new() };
        return Ok(Transferred { to, tables: plans.into_iter().map(table).collect() });
    }
    let (mut done, mut tables) = (0, Vec::new());
    let mut tell = |act, table: &str, done| progress(Progress { act, table, done, total });
    for plan in &plans {
        let copied = copy(&mut source, &mut target, plan, &mut |rows| tell("copying", &plan.name, done + rows)).await?;
        if copied.rows != plan.rows {
            return Err(StoreError::Inconsistent(format!("{} changed while it was read", plan.name)));
        }
        done += copied.rows;
        tables.push(Table { name: plan.name.clone(), rows: copied.rows, checksum: copied.text() });
    }
    for (plan, table) in plans.iter().zip(&tables) {
        let found = read_back(&mut target, plan, &mut |rows| tell("comparing", &plan.name, done + rows)).await?;
        if (found.rows, found.text()) != (table.rows, table.checksum.clone()) {
            return Err(StoreError::Inconsistent(format!(
                "{} has {} rows in the file and {} on the server, or other values; nothing was moved",
                plan.name, table.rows, found.rows
            )));
        }
        done += found.rows;
    }
    target.finish().await?;
    source.close().await?;
    Ok(Transferred { to, tables })
}

/// Every table of the file with its columns, in the order of writing. Each has its place on the server.
async fn plan(source: &mut Source, target: &Target) -> StoreResult<Vec<Plan>> {
    let mut plans = Vec::new();
    for (name, mut columns) in source.tables().await? {
        columns.retain(|column| !FILE_ONLY.contains(&(&name, column)));
        if let Some(column) = columns.iter().find(|column| !target.has(&name, column)) {
            return Err(StoreError::Refused(format!("the server's schema has no place for {name}.{column}")));
        }
        let rows = source.count(&name).await?;
        plans.push(Plan { name, columns, rows });
    }
    plans.sort_by_key(|plan| FIRST.iter().position(|first| *first == plan.name).unwrap_or(FIRST.len()));
    Ok(plans)
}

async fn copy(
    source: &mut Source,
    target: &mut Target,
    plan: &Plan,
    tell: &mut (dyn FnMut(u64) + Send),
) -> StoreResult<Checksum> {
    let mut checksum = Checksum::default();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut rows = source.rows(&plan.name, &plan.columns);
    while let Some(row) = rows.try_next().await? {
        checksum.add(&row);
        bytes += row.iter().map(Value::size).sum::<usize>();
        batch.push(row);
        if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            target.write(&plan.name, &plan.columns, std::mem::take(&mut batch)).await?;
            bytes = 0;
            tell(checksum.rows);
        }
    }
    target.write(&plan.name, &plan.columns, batch).await?;
    tell(checksum.rows);
    Ok(checksum)
}

async fn read_back(target: &mut Target, plan: &Plan, tell: &mut (dyn FnMut(u64) + Send)) -> StoreResult<Checksum> {
    let mut checksum = Checksum::default();
    let mut rows = target.rows(&plan.name, &plan.columns);
    while let Some(row) = rows.try_next().await? {
        checksum.add(&row);
        if checksum.rows.is_multiple_of(BATCH_ROWS as u64) {
            tell(checksum.rows);
        }
    }
    tell(checksum.rows);
    Ok(checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[&[Value]]) -> Checksum {
        let mut checksum = Checksum::default();
        rows.iter().for_each(|row| checksum.add(row));
        checksum
    }

    #[test]
    fn a_checksum_knows_each_value_and_where_it_stands_but_not_the_order_of_rows() {
        let (one, two) = ([Value::Int(1), Value::Text("a".into())], [Value::Null, Value::Bytes(b"a".to_vec())]);
        assert_eq!(sum(&[&one, &two]), sum(&[&two, &one]));
        for other in [
            [Value::Text("a".into()), Value::Int(1)],
            [Value::Int(1), Value::Bytes(b"a".to_vec())],
            [Value::Int(1), Value::Null],
            [Value::Int(1), Value::Text(String::new())],
        ] {
            assert_ne!(sum(&[&one]), sum(&[&other]), "{other:?}");
        }
        assert_ne!(sum(&[&one, &one]), sum(&[&one]));
        assert_ne!(
            sum(&[&[Value::Text("ab".into()), Value::Text("c".into())]]),
            sum(&[&[Value::Text("a".into()), Value::Text("bc".into())]])
        );
    }
}
