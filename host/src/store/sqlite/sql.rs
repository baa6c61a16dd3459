//! Statements over many rows from a small, fixed set of texts, so that each is prepared once.

use std::sync::{Arc, OnceLock};

use sqlx::{
    AssertSqlSafe, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::store::{StoreError, StoreResult};

/// A statement with its bound values.
pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The largest number of rows in one statement, as a power of two.
const LARGEST: usize = 7;

/// A statement whose text repeats one part for every row: `head`, the repeated `row` with commas between, `tail`.
///
/// Row counts are powers of two up to 128, so a statement has at most eight texts.
pub(super) struct Rows {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    texts: [OnceLock<Arc<str>>; LARGEST + 1],
}

impl Rows {
    /// The statement `head row, row, .. tail`.
    pub(super) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, texts: [const { OnceLock::new() }; LARGEST + 1] }
    }

    fn text(&self, power: usize) -> AssertSqlSafe<Arc<str>> {
        // The parts are constants of this crate; values are bound.
        let text = self.texts[power].get_or_init(|| {
            let rows = vec![self.row; 1 << power].join(", ");
            format!("{}{rows}{}", self.head, self.tail).into()
        });
        AssertSqlSafe(Arc::clone(text))
    }

    /// Writes all items, the largest pieces first, and answers how many rows were touched.
    pub(super) async fn write<T>(
        &self,
        conn: &mut SqliteConnection,
        items: &[T],
        bind: impl for<'q> Fn(Bound<'q>, &T) -> Bound<'q>,
    ) -> StoreResult<u64> {
        let (mut rest, mut touched) = (items, 0);
        while !rest.is_empty() {
            let power = usize::try_from(rest.len().ilog2()).unwrap_or(0).min(LARGEST);
            let (piece, after) = rest.split_at(1 << power);
            let mut query = sqlx::query(self.text(power));
            for item in piece {
                query = bind(query, item);
            }
            touched += query.execute(&mut *conn).await?.rows_affected();
            rest = after;
        }
        Ok(touched)
    }

    /// Like [`write`](Self::write), but a row that was not touched is an inconsistency: the fence was read before.
    pub(super) async fn write_all<T>(
        &self,
        conn: &mut SqliteConnection,
        items: &[T],
        bind: impl for<'q> Fn(Bound<'q>, &T) -> Bound<'q>,
    ) -> StoreResult<()> {
        let touched = self.write(conn, items, bind).await?;
        if touched == items.len() as u64 {
            Ok(())
        } else {
            Err(StoreError::Inconsistent(format!("expected to write {} rows, wrote {touched}", items.len())))
        }
    }

    /// Reads what the items ask for. The last piece is filled up with its last item, whose rows may so come several
    /// times: the caller collects them into a map or set.
    pub(super) async fn read<T>(
        &self,
        conn: &mut SqliteConnection,
        items: &[T],
        bind: impl for<'q> Fn(Bound<'q>, &T) -> Bound<'q>,
    ) -> StoreResult<Vec<SqliteRow>> {
        let mut rows = Vec::new();
        for piece in items.chunks(1 << LARGEST) {
            let power = usize::try_from(piece.len().next_power_of_two().ilog2()).unwrap_or(0);
            let Some(last) = piece.last() else { continue };
            let filler = std::iter::repeat_n(last, (1 << power) - piece.len());
            let mut query = sqlx::query(self.text(power));
            for item in piece.iter().chain(filler) {
                query = bind(query, item);
            }
            rows.append(&mut query.fetch_all(&mut *conn).await?);
        }
        Ok(rows)
    }
}

/// Runs one statement and expects it to touch exactly one row.
pub(super) async fn one_row(conn: &mut SqliteConnection, query: Bound<'_>) -> StoreResult<()> {
    match query.execute(conn).await?.rows_affected() {
        1 => Ok(()),
        0 => Err(StoreError::NotFound),
        rows => Err(StoreError::Inconsistent(format!("expected to write one row, wrote {rows}"))),
    }
}
