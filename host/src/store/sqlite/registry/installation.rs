//! Installations with their sources and schedules.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    super::{
        row::{Fields, inconsistent},
        shadow,
        sql::one_row,
    },
    audit, config_version, json, word,
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
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    on conflict do update set mode = excluded.mode, version = excluded.version, config = excluded.config, \
    connections = excluded.connections, grants = excluded.grants, retry_schedule = excluded.retry_schedule, \
    state = excluded.state, state_reason = excluded.state_reason, updated_at = excluded.updated_at, \
    shadow_version = excluded.shadow_version, in_force = excluded.in_force, upgrade_to = null, upgrade_error = null, \
    blocked_reason = null, blocked_code = null, blocked_message = null, blocked_since = null, \
    broken_version = null, broken_since = null";

/// Makes or replaces an installation and answers it as stored.
pub(in super::super) async fn put(
    conn: &mut SqliteConnection,
    new: InstallationRow,
    entry: AuditEntry,
) -> StoreResult<InstallationRow> {
    super::require_tenant(conn, &new.tenant).await?;
    let slots: HashMap<&String, String> =
        new.connections.iter().map(|(slot, key)| (slot, key.with_prefix("con"))).collect();
    let query = sqlx::query(PUT)
        .bind(new.tenant.as_str().to_owned())
        .bind(new.plugin.clone())
        .bind(word(&new.mode)?)
        .bind(new.version.clone())
        .bind(new.config.clone())
        .bind(json(&slots)?)
        .bind(json(&new.grants)?)
        .bind(new.retry_schedule.as_ref().map(json).transpose()?)
        .bind(word(&new.state)?)
        .bind(new.state_reason.clone())
        .bind(new.updated_at.0)
        .bind(new.shadow_version.clone())
        .bind(new.in_force.clone());
    one_row(conn, query).await?;
    put_sources(conn, &new).await?;
    put_schedules(conn, &new).await?;
    config_version::note(conn, &new, &entry).await?;
    audit::write(conn, entry).await?;
    let stored = list(conn, Some(&new.tenant), Some(&new.plugin)).await?;
    stored.into_iter().next().ok_or_else(|| inconsistent("installation"))
}

/// Known names keep their URL; names that are gone lose it.
async fn put_sources(conn: &mut SqliteConnection, new: &InstallationRow) -> StoreResult<()> {
    const DROP: &str = "delete from source where tenant = ? and plugin = ? \
        and name not in (select value from json_each(?))";
    const ADD: &str = "insert into source (id, tenant, plugin, name, amqp_url, shown_url, queue) \
        values (?, ?, ?, ?, ?, ?, ?) on conflict (tenant, plugin, name) do update set amqp_url = excluded.amqp_url, \
        shown_url = excluded.shown_url, queue = excluded.queue";
    let names: Vec<&String> = new.sources.iter().map(|source| &source.name).collect();
    let query = sqlx::query(DROP).bind(new.tenant.as_str().to_owned()).bind(new.plugin.clone());
    query.bind(json(&names)?).execute(&mut *conn).await?;
    for source in &new.sources {
        let query = sqlx::query(ADD).bind(source.id.clone()).bind(new.tenant.as_str().to_owned());
        let queue = source.queue.as_ref();
        query
            .bind(new.plugin.clone())
            .bind(source.name.clone())
            .bind(queue.map(|queue| queue.url.clone()))
            .bind(queue.map(|queue| queue.shown_url.clone()))
            .bind(queue.map(|queue| queue.name.clone()))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Known names keep the cursor and, where the times are the same, when they are due; a new one is due at once.
async fn put_schedules(conn: &mut SqliteConnection, new: &InstallationRow) -> StoreResult<()> {
    const DROP: &str = "delete from schedule where tenant = ? and plugin = ? \
        and name not in (select value from json_each(?))";
    const ADD: &str = "insert into schedule (tenant, plugin, name, due_at, timetable) values (?, ?, ?, ?, ?) \
        on conflict do update set due_at = excluded.due_at, timetable = excluded.timetable \
        where schedule.timetable is not excluded.timetable";
    let names: Vec<&String> = new.schedules.iter().map(|schedule| &schedule.name).collect();
    let query = sqlx::query(DROP).bind(new.tenant.as_str().to_owned()).bind(new.plugin.clone());
    query.bind(json(&names)?).execute(&mut *conn).await?;
    for schedule in &new.schedules {
        let query = sqlx::query(ADD).bind(new.tenant.as_str().to_owned()).bind(new.plugin.clone());
        let due_at = schedule.due_at.unwrap_or(new.updated_at);
        let timetable = schedule.timetable.as_ref().map(json).transpose()?;
        query.bind(schedule.name.clone()).bind(due_at.0).bind(timetable).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Removes an installation with what it holds, and cancels what is on its way to it.
pub(in super::super) async fn delete(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    entry: AuditEntry,
) -> StoreResult<()> {
    if !remove(conn, tenant, plugin, entry.at).await? {
        return Err(StoreError::NotFound);
    }
    audit::write(conn, entry).await
}

/// The removal itself; answers whether there was one.
pub(in super::super) async fn remove(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    now: Timestamp,
) -> StoreResult<bool> {
    // Sources and schedules go by their foreign keys.
    const DELETE: &str = "delete from installation where tenant = ? and plugin = ?";
    const KV: &str = "delete from kv where tenant = ? and plugin = ?";
    const PARKED: &str = "delete from parked where tenant = ? and plugin = ?";
    let named = |sql| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(plugin.to_owned());
    if named(DELETE).execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(false);
    }
    named(KV).execute(&mut *conn).await?;
    named(PARKED).execute(&mut *conn).await?;
    shadow::forget(conn, tenant, plugin).await?;
    super::cancel_target(conn, tenant, &format!("plugin:{plugin}"), now).await?;
    Ok(true)
}

const LIST: &str = "select tenant, plugin, mode, version, config, connections, grants, retry_schedule, state, \
    state_reason, blocked_reason, blocked_code, blocked_message, blocked_since, broken_version, broken_since, \
    updated_at, shadow_version, in_force, upgrade_to, upgrade_error from installation where (?1 is null or tenant = ?1) and (?2 is null or plugin = ?2) \
    order by tenant, plugin";

/// All installations, those of a tenant, or one.
pub(super) async fn list(
    conn: &mut SqliteConnection,
    tenant: Option<&TenantId>,
    plugin: Option<&str>,
) -> StoreResult<Vec<InstallationRow>> {
    let query = sqlx::query(LIST).bind(tenant.map(|tenant| tenant.as_str().to_owned()));
    let rows = query.bind(plugin.map(str::to_owned)).fetch_all(&mut *conn).await?;
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
        connections: super::slots(fields.json()?)?,
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
/// is in force by now.
pub(in super::super) async fn set_upgrade(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    from: Option<String>,
    change: UpgradeChange,
) -> StoreResult<bool> {
    const IN_FORCE: &str = "update installation set in_force = ?4, upgrade_to = null, upgrade_error = null \
        where tenant = ?1 and plugin = ?2 and in_force is ?3";
    const CALLED: &str = "update installation set upgrade_to = ?4, upgrade_error = null \
        where tenant = ?1 and plugin = ?2 and in_force is ?3";
    let (sql, version) = match change {
        UpgradeChange::InForce(version) => (IN_FORCE, version),
        UpgradeChange::Called(version) => (CALLED, version),
    };
    let query = sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(plugin.to_owned()).bind(from).bind(version);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Holds an installation back while it runs a version; answers false if it is gone or held back already.
pub(in super::super) async fn break_version(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: String,
    version: String,
    now: Timestamp,
) -> StoreResult<bool> {
    const BREAK: &str = "update installation set broken_version = ?3, broken_since = ?4 \
        where tenant = ?1 and plugin = ?2 and broken_version is not ?3";
    let query = sqlx::query(BREAK).bind(tenant.as_str().to_owned()).bind(plugin).bind(version).bind(now.0);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Three columns, all set or none.
fn read_queue(fields: &mut Fields<'_>) -> StoreResult<Option<QueueRow>> {
    let (url, shown_url, name) = (fields.opt_bytes()?, fields.opt_text()?, fields.opt_text()?);
    Ok(url.zip(shown_url).zip(name).map(|((url, shown_url), name)| QueueRow { url, shown_url, name }))
}

/// (tenant, plugin)
pub(super) type Name = (String, String);

async fn sources(conn: &mut SqliteConnection, tenant: Option<&TenantId>) -> StoreResult<HashMap<Name, Vec<SourceRow>>> {
    const SOURCES: &str = "select tenant, plugin, id, name, amqp_url, shown_url, queue from source \
        where ?1 is null or tenant = ?1 order by tenant, plugin, name";
    let rows = sqlx::query(SOURCES).bind(tenant.map(|tenant| tenant.as_str().to_owned())).fetch_all(conn).await?;
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
    conn: &mut SqliteConnection,
    tenant: Option<&TenantId>,
) -> StoreResult<HashMap<Name, Vec<ScheduleRow>>> {
    const SCHEDULES: &str = "select s.tenant, s.plugin, s.name, \
          case when i.mode = 'live' and not exists \
            (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2)) then s.due_at end, \
          s.succeeded_at, s.timetable, s.missed, s.missed_at from schedule s \
        join installation i on i.tenant = s.tenant and i.plugin = s.plugin \
        where ?1 is null or s.tenant = ?1 order by s.tenant, s.plugin, s.name";
    let rows = sqlx::query(SCHEDULES).bind(tenant.map(|tenant| tenant.as_str().to_owned())).fetch_all(conn).await?;
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
pub(super) async fn uses_connection(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    connection: &str,
) -> StoreResult<bool> {
    const USES: &str = "select 1 from installation i, json_each(i.connections) c \
        where i.tenant = ? and c.value = ? limit 1";
    let query = sqlx::query(USES).bind(tenant.as_str().to_owned()).bind(connection.to_owned());
    Ok(query.fetch_optional(conn).await?.is_some())
}
