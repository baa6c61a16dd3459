use std::path::Path;

use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

/// A delivery with its event, or an event without one.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is.
    pub tenant: String,
    /// The event's public id.
    pub event: String,
    /// Its type.
    pub event_type: String,
    /// Its correlation id.
    pub correlation: String,
    /// Its payload.
    pub data: String,
    /// The delivery.
    pub delivery: Option<Delivery>,
}

/// A delivery as it is stored.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// 32 hex digits.
    pub key: String,
    /// Where it goes.
    pub target: String,
    /// Where it stands.
    pub state: State,
    /// The failure that came last.
    pub code: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It has not ended.
    Live,
    /// It was taken.
    Delivered,
    /// It was given up, visibly.
    Dead,
    /// A person gave it up.
    Cancelled,
}

const ENTRIES: &str = "select e.tenant, e.id, e.type, e.correlation_id, e.data, lower(hex(d.key)), d.target, d.state, \
    d.code from event e left join delivery d on d.event = e.key order by e.seq, d.key";

const OUTCOMES: &str = "select outcome, count(*) from attempt group by outcome";

async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    SqliteConnection::connect_with(&options).await.expect("the database opens")
}

/// Everything that a database holds whose hub has stopped.
///
/// # Panics
/// It cannot be read.
pub async fn entries(file: &Path) -> Vec<Entry> {
    let mut conn = open(file).await;
    let rows = sqlx::query(ENTRIES).fetch_all(&mut conn).await.expect("the ledger can be read");
    conn.close().await.expect("it closes");
    rows.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> Entry {
    let delivery = row.get::<Option<String>, _>(5).filter(|key| !key.is_empty()).map(|key| Delivery {
        key,
        target: row.get(6),
        state: match row.get::<i64, _>(7) {
            3 => State::Delivered,
            4 => State::Dead,
            5 => State::Cancelled,
            _ => State::Live,
        },
        code: row.get(8),
    });
    Entry {
        tenant: row.get(0),
        event: row.get(1),
        event_type: row.get(2),
        correlation: row.get(3),
        data: row.get(4),
        delivery,
    }
}

/// How many attempts ended how: `succeeded`, `failed`, `lost`.
///
/// # Panics
/// The database cannot be read.
pub async fn outcomes(file: &Path) -> std::collections::BTreeMap<String, i64> {
    let mut conn = open(file).await;
    let rows = sqlx::query(OUTCOMES).fetch_all(&mut conn).await.expect("the attempts can be read");
    conn.close().await.expect("it closes");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What SQLite itself finds wrong with a database; empty is good.
///
/// # Panics
/// The file cannot be opened.
pub async fn damage(file: &Path) -> Vec<String> {
    let mut conn = open(file).await;
    let rows = sqlx::query("pragma integrity_check(10)").fetch_all(&mut conn).await.expect("the check runs");
    conn.close().await.expect("it closes");
    rows.iter().map(|row| row.get::<String, _>(0)).filter(|line| line != "ok").collect()
}

/// The public ids of a tenant's events.
///
/// # Panics
/// The database cannot be read.
pub async fn events(file: &Path, tenant: &str) -> std::collections::BTreeSet<String> {
    let mut conn = open(file).await;
    let query = sqlx::query("select id from event where tenant = ?").bind(tenant.to_owned());
    let rows = query.fetch_all(&mut conn).await.expect("the events can be read");
    conn.close().await.expect("it closes");
    rows.iter().map(|row| row.get(0)).collect()
}
