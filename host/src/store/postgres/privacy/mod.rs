//! Requests of persons, in PostgreSQL.

use async_trait::async_trait;
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    PostgresStore,
    records::LAST,
    registry::{Concerns, audit, write::require_tenant},
    row::{Fields, inconsistent},
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

macro_rules! columns {
    () => {
        "key, tenant, asked, kind, person, standing, progress, turn, due_at, created_at, updated_at, actor"
    };
}

fn read(row: &PgRow) -> StoreResult<PrivacyRow> {
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

async fn begin(conn: &mut PgConnection, request: &PrivacyRow, entry: &AuditEntry) -> StoreResult<()> {
    const BEGIN: &str = concat!(
        "insert into privacy_request (",
        columns!(),
        ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    );
    require_tenant(conn, &request.tenant).await?;
    sqlx::query(BEGIN)
        .bind(request.key.0)
        .bind(request.tenant.as_str())
        .bind(request.asked.as_str())
        .bind(request.kind.as_str())
        .bind(&request.person[..])
        .bind(request.standing.as_str())
        .bind(&request.progress)
        .bind(i64::try_from(request.turn).unwrap_or(i64::MAX))
        .bind(request.due_at.0)
        .bind(request.created_at.0)
        .bind(request.updated_at.0)
        .bind(&request.actor)
        .execute(&mut *conn)
        .await?;
    audit::write(conn, entry).await
}

async fn one(conn: &mut PgConnection, tenant: &TenantId, request: Key) -> StoreResult<PrivacyRow> {
    const ONE: &str = concat!("select ", columns!(), " from privacy_request where tenant = $1 and key = $2");
    read(&sqlx::query(ONE).bind(tenant.as_str()).bind(request.0).fetch_one(conn).await?)
}

async fn list(conn: &mut PgConnection, tenant: &TenantId, page: Page) -> StoreResult<Vec<PrivacyRow>> {
    const LIST: &str = concat!(
        "select ",
        columns!(),
        " from privacy_request where tenant = $1 and key < $2 order by key desc limit $3"
    );
    let query = sqlx::query(LIST).bind(tenant.as_str());
    let query = query.bind(page.after.unwrap_or(LAST).0).bind(i64::from(page.limit));
    query.fetch_all(conn).await?.iter().map(read).collect()
}

async fn due(conn: &mut PgConnection, now: Timestamp, limit: u32) -> StoreResult<Vec<PrivacyRow>> {
    const DUE: &str = concat!(
        "select ",
        columns!(),
        " from privacy_request where standing = 'running' and due_at <= $1 order by due_at, key limit $2"
    );
    sqlx::query(DUE).bind(now.0).bind(i64::from(limit)).fetch_all(conn).await?.iter().map(read).collect()
}

async fn erasures(conn: &mut PgConnection) -> StoreResult<Vec<PrivacyRow>> {
    const ERASURES: &str = concat!("select ", columns!(), " from privacy_request where asked = 'erase' order by key");
    sqlx::query(ERASURES).fetch_all(conn).await?.iter().map(read).collect()
}

async fn piece(conn: &mut PgConnection, tenant: &TenantId, request: Key, number: u32) -> StoreResult<Option<Vec<u8>>> {
    const PIECE: &str = "select sealed from privacy_piece where tenant = $1 and request = $2 and number = $3";
    let query = sqlx::query(PIECE).bind(tenant.as_str()).bind(request.0).bind(i64::from(number));
    query.fetch_optional(conn).await?.map(|row| Fields::of(&row).bytes()).transpose()
}

/// Whether there is a part to be removed: looking every now and then must not write each time.
async fn is_old(conn: &mut PgConnection, before: Timestamp) -> StoreResult<bool> {
    const OLD: &str = "select 1 from privacy_request r join privacy_piece p on p.request = r.key \
        where r.standing = 'done' and r.asked = 'export' and r.updated_at < $1 limit 1";
    Ok(sqlx::query(OLD).bind(before.0).fetch_optional(conn).await?.is_some())
}

async fn forget(conn: &mut PgConnection, before: Timestamp, limit: u32) -> StoreResult<u64> {
    const FORGET: &str = "delete from privacy_piece where (request, number) in (select p.request, p.number \
        from privacy_request r join privacy_piece p on p.request = r.key \
        where r.standing = 'done' and r.asked = 'export' and r.updated_at < $1 limit $2)";
    Ok(sqlx::query(FORGET).bind(before.0).bind(i64::from(limit)).execute(conn).await?.rows_affected())
}

#[async_trait]
impl Privacy for PostgresStore {
    async fn begin_privacy(&self, request: PrivacyRow, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Nobody, (request, audit), |conn, (request, audit)| Box::pin(begin(conn, request, audit)))
            .await
    }

    async fn privacy_request(&self, tenant: &TenantId, request: Key) -> StoreResult<PrivacyRow> {
        self.look(tenant, request, |conn, tenant, request| Box::pin(one(conn, tenant, *request))).await
    }

    async fn privacy_requests(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<PrivacyRow>> {
        self.look(tenant, page, |conn, tenant, page| Box::pin(list(conn, tenant, *page))).await
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
        if place == Place::AppRequests {
            // They are no tenant's, so that only the hub itself sees them.
            return look::kept(&mut *self.reader().await?, tenant, place, after, portion).await;
        }
        self.look(tenant, (place, after.map(str::to_owned), portion), |conn, tenant, (place, after, portion)| {
            Box::pin(look::kept(conn, tenant, *place, after.as_deref(), *portion))
        })
        .await
    }

    async fn privacy_step(&self, step: PrivacyStep) -> StoreResult<Option<Touched>> {
        self.change(Concerns::Nobody, step, |conn, step| Box::pin(empty::step(conn, step))).await
    }

    async fn privacy_piece(&self, tenant: &TenantId, request: Key, number: u32) -> StoreResult<Option<Vec<u8>>> {
        self.look(tenant, (request, number), |conn, tenant, (request, number)| {
            Box::pin(piece(conn, tenant, *request, *number))
        })
        .await
    }

    async fn forget_pieces(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        if !is_old(&mut *self.reader().await?, before).await? {
            return Ok(0);
        }
        self.change(Concerns::Nobody, (before, limit), |conn, (before, limit)| Box::pin(forget(conn, *before, *limit)))
            .await
    }

    /// What was emptied stays in the pages' free space until they are cleaned, in the log until it is recycled, and in
    /// archives and backups as long as those are kept.
    async fn shred_emptied(&self) -> StoreResult<bool> {
        Ok(false)
    }
}
