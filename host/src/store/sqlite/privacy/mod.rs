//! Requests of persons, in SQLite.

use async_trait::async_trait;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    accept::bytes,
    registry::{audit, require_tenant},
    row::{Fields, inconsistent},
    shred,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        privacy::{Asked, KeptRows, Place, Portion, Privacy, PrivacyRow, PrivacyStep, Standing},
        records::{Page, Touched},
        registry::AuditEntry,
    },
};

/// What is looked through.
mod look;

/// What is written over it.
mod empty;

/// After every key.
const LAST: Key = Key([0xff; 16]);

/// A file up to this size is written anew after an erasure; a larger one would keep everybody waiting.
const WRITTEN_ANEW: u64 = 128 << 20;

macro_rules! columns {
    () => {
        "key, tenant, asked, kind, person, standing, progress, turn, due_at, created_at, updated_at, actor"
    };
}

fn read(row: &SqliteRow) -> StoreResult<PrivacyRow> {
    let mut fields = Fields::of(row);
    Ok(PrivacyRow {
        key: fields.key()?,
        tenant: fields.parsed()?,
        asked: match fields.str()? {
            "export" => Asked::Export,
            "erase" => Asked::Erase,
            _ => return Err(inconsistent("request of a person")),
        },
        kind: fields.parsed()?,
        person: fields.array()?,
        standing: match fields.str()? {
            "running" => Standing::Running,
            "done" => Standing::Done,
            _ => return Err(inconsistent("standing")),
        },
        progress: fields.text()?,
        turn: fields.number()?,
        due_at: fields.time()?,
        created_at: fields.time()?,
        updated_at: fields.time()?,
        actor: fields.text()?,
    })
}

async fn begin(conn: &mut SqliteConnection, request: PrivacyRow, entry: AuditEntry) -> StoreResult<()> {
    const BEGIN: &str =
        concat!("insert into privacy_request (", columns!(), ") values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    require_tenant(conn, &request.tenant).await?;
    sqlx::query(BEGIN)
        .bind(bytes(request.key))
        .bind(request.tenant.as_str().to_owned())
        .bind(request.asked.as_str())
        .bind(request.kind.as_str())
        .bind(request.person.to_vec())
        .bind(request.standing.as_str())
        .bind(request.progress)
        .bind(i64::try_from(request.turn).unwrap_or(i64::MAX))
        .bind(request.due_at.0)
        .bind(request.created_at.0)
        .bind(request.updated_at.0)
        .bind(request.actor)
        .execute(&mut *conn)
        .await?;
    audit::write(conn, entry).await
}

async fn one(conn: &mut SqliteConnection, tenant: &TenantId, request: Key) -> StoreResult<PrivacyRow> {
    const ONE: &str = concat!("select ", columns!(), " from privacy_request where tenant = ? and key = ?");
    read(&sqlx::query(ONE).bind(tenant.as_str().to_owned()).bind(bytes(request)).fetch_one(conn).await?)
}

async fn list(conn: &mut SqliteConnection, tenant: &TenantId, page: Page) -> StoreResult<Vec<PrivacyRow>> {
    const LIST: &str =
        concat!("select ", columns!(), " from privacy_request where tenant = ? and key < ? order by key desc limit ?");
    let query = sqlx::query(LIST).bind(tenant.as_str().to_owned());
    let query = query.bind(bytes(page.after.unwrap_or(LAST))).bind(page.limit);
    query.fetch_all(conn).await?.iter().map(read).collect()
}

async fn due(conn: &mut SqliteConnection, now: Timestamp, limit: u32) -> StoreResult<Vec<PrivacyRow>> {
    const DUE: &str = concat!(
        "select ",
        columns!(),
        " from privacy_request where standing = 'running' and due_at <= ? order by due_at, key limit ?"
    );
    sqlx::query(DUE).bind(now.0).bind(limit).fetch_all(conn).await?.iter().map(read).collect()
}

async fn erasures(conn: &mut SqliteConnection) -> StoreResult<Vec<PrivacyRow>> {
    const ERASURES: &str = concat!("select ", columns!(), " from privacy_request where asked = 'erase' order by key");
    sqlx::query(ERASURES).fetch_all(conn).await?.iter().map(read).collect()
}

async fn piece(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    request: Key,
    number: u32,
) -> StoreResult<Option<Vec<u8>>> {
    const PIECE: &str = "select sealed from privacy_piece where tenant = ? and request = ? and number = ?";
    let query = sqlx::query(PIECE).bind(tenant.as_str().to_owned()).bind(bytes(request)).bind(number);
    query.fetch_optional(conn).await?.map(|row| Fields::of(&row).bytes()).transpose()
}

/// Whether there is a part to be removed: looking every now and then must not write each time.
async fn is_old(conn: &mut SqliteConnection, before: Timestamp) -> StoreResult<bool> {
    const OLD: &str = "select 1 from privacy_request r join privacy_piece p on p.request = r.key \
        where r.standing = 'done' and r.asked = 'export' and r.updated_at < ? limit 1";
    Ok(sqlx::query(OLD).bind(before.0).fetch_optional(conn).await?.is_some())
}

async fn forget(conn: &mut SqliteConnection, before: Timestamp, limit: u32) -> StoreResult<u64> {
    const FORGET: &str = "delete from privacy_piece where (request, number) in (select p.request, p.number \
        from privacy_request r join privacy_piece p on p.request = r.key \
        where r.standing = 'done' and r.asked = 'export' and r.updated_at < ? limit ?)";
    shred::begin(conn).await?;
    let gone = sqlx::query(FORGET).bind(before.0).bind(limit).execute(&mut *conn).await?.rows_affected();
    shred::end(conn).await?;
    Ok(gone)
}

#[async_trait]
impl Privacy for SqliteStore {
    async fn begin_privacy(&self, request: PrivacyRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(begin(conn, request, audit))).await
    }

    async fn privacy_request(&self, tenant: &TenantId, request: Key) -> StoreResult<PrivacyRow> {
        one(&mut *self.reader().await?, tenant, request).await
    }

    async fn privacy_requests(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<PrivacyRow>> {
        list(&mut *self.reader().await?, tenant, page).await
    }

    async fn privacy_due(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<PrivacyRow>> {
        due(&mut *self.reader().await?, now, limit).await
    }

    async fn erasures(&self) -> StoreResult<Vec<PrivacyRow>> {
        erasures(&mut *self.reader().await?).await
    }

    async fn kept(
        &self,
        tenant: &TenantId,
        place: Place,
        after: Option<&str>,
        portion: Portion,
    ) -> StoreResult<KeptRows> {
        look::kept(&mut *self.reader().await?, tenant, place, after, portion).await
    }

    async fn privacy_step(&self, step: PrivacyStep) -> StoreResult<Option<Touched>> {
        self.writer.alone(|conn| Box::pin(empty::step(conn, step))).await
    }

    async fn privacy_piece(&self, tenant: &TenantId, request: Key, number: u32) -> StoreResult<Option<Vec<u8>>> {
        piece(&mut *self.reader().await?, tenant, request, number).await
    }

    async fn forget_pieces(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        if !is_old(&mut *self.reader().await?, before).await? {
            return Ok(0);
        }
        self.writer.alone(move |conn| Box::pin(async move { forget(conn, before, limit).await })).await
    }

    async fn shred_emptied(&self) -> StoreResult<bool> {
        shred::write_anew(&self.path, WRITTEN_ANEW).await
    }
}
