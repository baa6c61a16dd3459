//! Installations with their sources and schedules.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{
    super::{
        row::{Fields, inconsistent},
        shadow,
    },
    audit, config_version, plugin,
    write::{cancel_target, json, one_row, require_tenant, slots, stop_accepts, word},
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    store::{
        StoreError, StoreResult,
        registry::{AuditEntry, InstallationRow, QueueRow, ScheduleRow, SourceRow, Upgrade, UpgradeChange},
    },
};

const PUT: &str = "insert into installation (tenant, plugin, mode, version, config, connections, grants, \
    retry_schedule, state, state_reason, updated_at, shadow_version, in_force) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    on conflict (tenant, plugin) do update set mode = excluded.mode, version = excluded.version, \
    config = excluded.config, connections = excluded.connections, grants = excluded.grants, \
    retry_schedule = excluded.retry_schedule, state = excluded.state, state_reason = excluded.state_reason, \
    updated_at = excluded.updated_at, shadow_version = excluded.shadow_version, in_force = excluded.in_force, \
    upgrade_to = null, upgrade_error = null, blocked_reason = null, blocked_code = null, blocked_message = null, \
    blocked_since = null, broken_version = null, broken_since = null";

/// Makes or replaces an installation and answers it as stored. The last of several nodes wins, as a whole.
pub(in super::super) async fn put(
    conn: &mut PgConnection,
    new: &InstallationRow,
    entry: &AuditEntry,
) -> StoreResult<InstallationRow> {
    require_tenant(conn, &new.tenant).await?;
    keep_needed(conn, new).await?;
    let texts: HashMap<&String, String> =
        new.connections.iter().map(|(slot, key)| (slot, key.with_prefix("con"))).collect();
    let query = sqlx::query(PUT)
        .bind(new.tenant.as_str())
        .bind(&new.plugin)
        .bind(word(&new.mode)?)
        .bind(&new.version)
        .bind(&new.config)
        .bind(json(&texts)?)
        .bind(json(&new.grants)?)
        .bind(new.retry_schedule.as_ref().map(json).transpose()?)
        .bind(word(&new.state)?)
        .bind(&new.state_reason)
        .bind(new.updated_at.0)
        .bind(&new.shadow_version)
        .bind(&new.in_force);
    one_row(conn, query).await?;
    put_sources(conn, new).await?;
    put_schedules(conn, new).await?;
    config_version::note(conn, new, entry).await?;
    audit::write(conn, entry).await?;
    let stored = list(conn, Some(&new.tenant), Some(&new.plugin)).await?;
    stored.into_iter().next().ok_or_else(|| inconsistent("installation"))
}

/// Versions and connections that it names are not removed meanwhile.
async fn keep_needed(conn: &mut PgConnection, new: &InstallationRow) -> StoreResult<()> {
    const CONNECTIONS: &str = "select 1 from connection where tenant = $1 and key = any($2) order by key for key share";
    let versions = [&new.version, &new.in_force, &new.shadow_version];
    let versions: Vec<&str> = versions.into_iter().flatten().map(String::as_str).collect();
    plugin::keep_versions(conn, &new.plugin, &versions).await?;
    let keys: Vec<&[u8]> = new.connections.values().map(|key| &key.0[..]).collect();
    if !keys.is_empty() {
        sqlx::query(CONNECTIONS).bind(new.tenant.as_str()).bind(keys).fetch_all(conn).await?;
    }
    Ok(())
}

/// Known names keep their URL; names that are gone lose it.
async fn put_sources(conn: &mut PgConnection, new: &InstallationRow) -> StoreResult<()> {
    const DROP: &str = "delete from source where tenant = $1 and plugin = $2 and name <> all($3)";
    const ADD: &str = "insert into source (id, tenant, plugin, name, amqp_url, shown_url, queue) \
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant, plugin, name) do update \
        set amqp_url = excluded.amqp_url, shown_url = excluded.shown_url, queue = excluded.queue";
    let names: Vec<&str> = new.sources.iter().map(|source| source.name.as_str()).collect();
    sqlx::query(DROP).bind(new.tenant.as_str()).bind(&new.plugin).bind(names).execute(&mut *conn).await?;
    for source in &new.sources {
        let query = sqlx::query(ADD).bind(&source.id).bind(new.tenant.as_str()).bind(&new.plugin);
        let queue = source.queue.as_ref();
        query
            .bind(&source.name)
            .bind(queue.map(|queue| &queue.url))
            .bind(queue.map(|queue| &queue.shown_url))
            .bind(queue.map(|queue| &queue.name))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Known names keep the cursor and, where the times are the same, when they are due; a new one is due at once.
async fn put_schedules(conn: &mut PgConnection, new: &InstallationRow) -> StoreResult<()> {
    const DROP: &str = "delete from schedule where tenant = $1 and plugin = $2 and name <> all($3)";
    const ADD: &str = "insert into schedule (tenant, plugin, name, due_at, timetable) values ($1, $2, $3, $4, $5) \
        on conflict (tenant, plugin, name) do update set due_at = excluded.due_at, timetable = excluded.timetable \
        where schedule.timetable is distinct from excluded.timetable";
    let names: Vec<&str> = new.schedules.iter().map(|schedule| schedule.name.as_str()).collect();
    sqlx::query(DROP).bind(new.tenant.as_str()).bind(&new.plugin).bind(names).execute(&mut *conn).await?;
    for schedule in &new.schedules {
        let due_at = schedule.due_at.unwrap_or(new.updated_at);
        let query = sqlx::query(ADD).bind(new.tenant.as_str()).bind(&new.plugin);
        let timetable = schedule.timetable.as_ref().map(json).transpose()?;
        query.bind(&schedule.name).bind(due_at.0).bind(timetable).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Removes an installation with what it holds, and cancels what is on its way to it.
pub(in super::super) async fn delete(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    entry: &AuditEntry,
) -> StoreResult<()> {
    stop_accepts(conn, tenant).await?;
    if !remove(conn, tenant, plugin, entry.at).await? {
        return Err(StoreError::NotFound);
    }
    audit::write(conn, entry).await
}

/// The removal itself; answers whether there was one.
pub(in super::super) async fn remove(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    now: Timestamp,
) -> StoreResult<bool> {
    const THERE: &str = "select 1 from installation where tenant = $1 and plugin = $2";
    // Sources and schedules go by their foreign keys.
    const DELETE: &str = "delete from installation where tenant = $1 and plugin = $2";
    const KV: &str = "delete from kv where tenant = $1 and plugin = $2";
    const PARKED: &str = "delete from parked where tenant = $1 and plugin = $2";
    let named = |sql| sqlx::query(sql).bind(tenant.as_str()).bind(plugin);
    if named(THERE).fetch_optional(&mut *conn).await?.is_none() {
        return Ok(false);
    }
    // In the order in which a settle locks: deliveries, kv rows, what they belong to.
    cancel_target(conn, tenant, &format!("plugin:{plugin}"), now).await?;
    named(KV).execute(&mut *conn).await?;
    named(PARKED).execute(&mut *conn).await?;
    shadow::forget(conn, tenant, plugin).await?;
    Ok(named(DELETE).execute(conn).await?.rows_affected() == 1)
}

const LIST: &str = "select tenant, plugin, mode, version, config, connections, grants, retry_schedule, state, \
    state_reason, blocked_reason, blocked_code, blocked_message, blocked_since, broken_version, broken_since, \
    updated_at, shadow_version, in_force, upgrade_to, upgrade_error from installation \
    where ($1::text is null or tenant = $1) and ($2::text is null or plugin = $2) order by tenant, plugin";

/// All installations, those of a tenant, or one.
pub(super) async fn list(
    conn: &mut PgConnection,
    tenant: Option<&TenantId>,
    plugin: Option<&str>,
) -> StoreResult<Vec<InstallationRow>> {
    let query = sqlx::query(LIST).bind(tenant.map(TenantId::as_str)).bind(plugin);
    let rows = query.fetch_all(&mut *conn).await?;
    let mut sources = sources(conn, tenant).await?;
    let mut schedules = schedules(conn, tenant).await?;
    rows.iter()
        .map(|row| {
            let mut installation = read(&mut Fields::of(row))?;
            let name = (installation.tenant.as_str().to_owned(), installation.plugin.clone());
            installation.sources = sources.remove(&name).unwrap_or_default();
            installation.schedules = schedules.remove(&name).unwrap_or_default();
            Ok(installation)
        })
        .collect()
}

fn read(fields: &mut Fields<'_>) -> StoreResult<InstallationRow> {
    Ok(InstallationRow {
        tenant: fields.parsed()?,
        plugin: fields.text()?,
        mode: fields.word()?,
        version: fields.opt_text()?,
        config: fields.text()?,
        connections: slots(fields.json()?)?,
        grants: fields.json()?,
        retry_schedule: fields.opt_json()?,
        state: fields.word()?,
        state_reason: fields.opt_text()?,
        blocked: fields.failure()?.zip(fields.opt_time()?),
        broken: fields.opt_text()?.zip(fields.opt_time()?),
        updated_at: fields.time()?,
        shadow_version: fields.opt_text()?,
        in_force: fields.opt_text()?,
        upgrade: read_upgrade(fields)?,
        sources: Vec::new(),
        schedules: Vec::new(),
    })
}

/// Two columns: the version, and why it was refused.
fn read_upgrade(fields: &mut Fields<'_>) -> StoreResult<Option<Upgrade>> {
    let (to, refused) = (fields.opt_text()?, fields.opt_text()?);
    Ok(to.map(|to| Upgrade { to, refused }))
}

/// Notes for which version an installation is set up, or is being set up. Answers false if it is gone or another version
/// is in force by now, so of several nodes one is told that it may go on.
pub(in super::super) async fn set_upgrade(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    from: Option<&str>,
    change: &UpgradeChange,
) -> StoreResult<bool> {
    const IN_FORCE: &str = "update installation set in_force = $4, upgrade_to = null, upgrade_error = null \
        where tenant = $1 and plugin = $2 and in_force is not distinct from $3";
    const CALLED: &str = "update installation set upgrade_to = $4, upgrade_error = null \
        where tenant = $1 and plugin = $2 and in_force is not distinct from $3";
    let (sql, version) = match change {
        UpgradeChange::InForce(version) => (IN_FORCE, version),
        UpgradeChange::Called(version) => (CALLED, version),
    };
    plugin::keep_versions(conn, plugin, &[version]).await?;
    let query = sqlx::query(sql).bind(tenant.as_str()).bind(plugin).bind(from).bind(version);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Holds an installation back while it runs a version; answers false if it is gone or held back already, so that of
/// several nodes one tells of it.
pub(in super::super) async fn break_version(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    version: &str,
    now: Timestamp,
) -> StoreResult<bool> {
    const BREAK: &str = "update installation set broken_version = $3, broken_since = $4 \
        where tenant = $1 and plugin = $2 and broken_version is distinct from $3";
    let query = sqlx::query(BREAK).bind(tenant.as_str()).bind(plugin).bind(version).bind(now.0);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Three columns, all set or none.
fn read_queue(fields: &mut Fields<'_>) -> StoreResult<Option<QueueRow>> {
    let (url, shown_url, name) = (fields.opt_bytes()?, fields.opt_text()?, fields.opt_text()?);
    Ok(url.zip(shown_url).zip(name).map(|((url, shown_url), name)| QueueRow { url, shown_url, name }))
}

/// (tenant, plugin)
pub(super) type Name = (String, String);

async fn sources(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<HashMap<Name, Vec<SourceRow>>> {
    const SOURCES: &str = "select tenant, plugin, id, name, amqp_url, shown_url, queue from source \
        where $1::text is null or tenant = $1 order by tenant, plugin, name";
    let rows = sqlx::query(SOURCES).bind(tenant.map(TenantId::as_str)).fetch_all(conn).await?;
    let mut sources: HashMap<Name, Vec<SourceRow>> = HashMap::new();
    for row in &rows {
        let mut fields = Fields::of(row);
        let of = sources.entry((fields.text()?, fields.text()?)).or_default();
        of.push(SourceRow { id: fields.text()?, name: fields.text()?, queue: read_queue(&mut fields)? });
    }
    Ok(sources)
}

/// The schedules of installations, as they stand.
pub(super) async fn schedules(
    conn: &mut PgConnection,
    tenant: Option<&TenantId>,
) -> StoreResult<HashMap<Name, Vec<ScheduleRow>>> {
    const SCHEDULES: &str = "select s.tenant, s.plugin, s.name, \
          case when i.mode = 'live' and not exists \
            (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2)) then s.due_at end, \
          s.succeeded_at, s.timetable, s.missed, s.missed_at from schedule s \
        join installation i on i.tenant = s.tenant and i.plugin = s.plugin \
        where $1::text is null or s.tenant = $1 order by s.tenant, s.plugin, s.name";
    let rows = sqlx::query(SCHEDULES).bind(tenant.map(TenantId::as_str)).fetch_all(conn).await?;
    let mut schedules: HashMap<Name, Vec<ScheduleRow>> = HashMap::new();
    for row in &rows {
        let mut fields = Fields::of(row);
        let of = schedules.entry((fields.text()?, fields.text()?)).or_default();
        of.push(ScheduleRow {
            name: fields.text()?,
            due_at: fields.opt_time()?,
            succeeded_at: fields.opt_time()?,
            timetable: fields.opt_json()?,
            missed: fields.number()?,
            missed_at: fields.opt_time()?,
        });
    }
    Ok(schedules)
}

/// Whether any installation of the tenant uses the connection.
pub(super) async fn uses_connection(conn: &mut PgConnection, tenant: &TenantId, connection: &str) -> StoreResult<bool> {
    const USES: &str = "select 1 from installation i, jsonb_each_text(i.connections::jsonb) c \
        where i.tenant = $1 and c.value = $2 limit 1";
    let query = sqlx::query(USES).bind(tenant.as_str()).bind(connection);
    Ok(query.fetch_optional(conn).await?.is_some())
}
