//! Partitions: each table that grows has one a day, by the time within its key.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::transaction::become_owner;
use crate::{
    clock::{SharedClock, Timestamp},
    id::Key,
    store::StoreResult,
};

/// The tables with one partition a day.
pub(super) const TABLES: [&str; 5] = ["event", "delivery", "attempt", "journal", "raw_request"];

const MILLIS: i64 = 86_400_000;

/// How many days after today are made along with it.
const AHEAD: i64 = 2;

/// Held while a day is made or dropped, so that two nodes do not do it at once.
pub(super) const LOCK: i64 = 0x7377_6974_6368_0001;

/// Days since 1970 in UTC, of a key or of a moment.
pub(super) fn day_of(key: Key) -> i64 {
    day_at(key.made_at())
}

/// The day of a moment.
pub(super) const fn day_at(at: Timestamp) -> i64 {
    at.0.div_euclid(MILLIS)
}

/// When a day begins.
pub(super) const fn begins(day: i64) -> Timestamp {
    Timestamp(day * MILLIS)
}

/// The smallest key of a day.
pub(super) const fn first_key(day: i64) -> Key {
    let [_, _, a, b, c, d, e, f] = begins(day).0.to_be_bytes();
    Key([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// The name of a table's partition for a day. The number is that of [`day_of`].
pub(super) fn partition(table: &str, day: i64) -> String {
    format!("{table}_day_{day}")
}

/// The days that have partitions, oldest first.
pub(super) async fn all(conn: &mut PgConnection) -> StoreResult<Vec<i64>> {
    const CHILDREN: &str = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
        where i.inhparent = 'delivery'::regclass";
    let names: Vec<String> = sqlx::query_scalar(CHILDREN).fetch_all(conn).await?;
    let number = |name: &String| name.strip_prefix("delivery_day_")?.parse().ok();
    let days: BTreeSet<i64> = names.iter().filter_map(number).collect();
    Ok(days.into_iter().collect())
}

/// The days that are known to be there.
pub(super) struct Days {
    known: Mutex<BTreeSet<i64>>,
    clock: SharedClock,
}

impl Days {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { known: Mutex::default(), clock }
    }

    /// Makes what is missing of these days. Not within a transaction.
    pub(super) async fn cover(&self, conn: &mut PgConnection, days: impl IntoIterator<Item = i64>) -> StoreResult<()> {
        let missing: BTreeSet<i64> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            days.into_iter().filter(|day| !known.contains(day)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let today = day_at(self.clock.now());
        let ahead = if missing.contains(&today) { today..=today + AHEAD } else { today..=today };
        let wanted: BTreeSet<i64> = missing.into_iter().chain(ahead).collect();
        for day in &wanted {
            make(conn, *day).await?;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).extend(wanted);
        Ok(())
    }

    /// Makes today, and some days after it.
    pub(super) async fn cover_now(&self, conn: &mut PgConnection) -> StoreResult<()> {
        self.cover(conn, [day_at(self.clock.now())]).await
    }

    /// From now on no day is known to be there: one that was may have been dropped, by another node too.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes the partitions of a day that are missing.
///
/// They are made as tables of their own and attached, since that lets others read and write the table meanwhile; making
/// them as partitions would wait for every reader, and keep everybody waiting behind it.
async fn make(conn: &mut PgConnection, day: i64) -> StoreResult<()> {
    let mut transaction = conn.begin().await?;
    become_owner(&mut transaction).await?;
    sqlx::query("select set_config('lock_timeout', '5s', true), pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    let (from, to) = (hex::encode(first_key(day).0), hex::encode(first_key(day + 1).0));
    for table in TABLES {
        let name = partition(table, day);
        let known: bool =
            sqlx::query_scalar("select to_regclass($1) is not null").bind(&name).fetch_one(&mut *transaction).await?;
        if known {
            continue;
        }
        // Names are constants of this file and numbers.
        let text = format!(
            "create table {name} (like {table} including all) with (autovacuum_vacuum_scale_factor = 0.05, \
             autovacuum_analyze_scale_factor = 0.05); \
             alter table {table} attach partition {name} for values from ('\\x{from}') to ('\\x{to}')"
        );
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_between_the_first_of_its_day_and_of_the_next() {
        let at = Timestamp(1_800_000_000_000);
        let [_, _, a, b, c, d, e, f] = at.0.to_be_bytes();
        let key = Key([a, b, c, d, e, f, 0x70, 1, 0x80, 2, 3, 4, 5, 6, 7, 8]);
        let day = day_of(key);
        assert!(first_key(day) <= key && key < first_key(day + 1));
        assert_eq!(first_key(day).made_at(), begins(day));
        assert_eq!(day_of(first_key(day)), day);
    }
}
