//! What a settle changes on the target's own row.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{accept::bytes, registry::installation, sql::Bound};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        ledger::{Effect, Settle},
    },
};

/// The health of an endpoint after a group: many attempts, one write.
#[derive(Default)]
struct Streak {
    last_success: Option<Timestamp>,
    failing_since: Option<Timestamp>,
}

/// Applies the effects of the settles that won, in their order. A target that is gone has nothing to change.
pub(super) async fn apply(conn: &mut SqliteConnection, settled: &[&Settle]) -> StoreResult<()> {
    let mut streaks: BTreeMap<(&TenantId, Key), Streak> = BTreeMap::new();
    for settle in settled {
        for effect in &settle.effects {
            match effect {
                Effect::EndpointSucceeded(key) => {
                    let streak = streaks.entry((&settle.tenant, *key)).or_default();
                    *streak = Streak { last_success: Some(settle.now), failing_since: None };
                }
                Effect::EndpointFailed(key, since) => {
                    streaks.entry((&settle.tenant, *key)).or_default().failing_since.get_or_insert(*since);
                }
                other => one(conn, settle, other).await?,
            }
        }
    }
    for ((tenant, key), streak) in streaks {
        write_streak(conn, tenant, key, &streak).await?;
    }
    Ok(())
}

async fn write_streak(conn: &mut SqliteConnection, tenant: &TenantId, key: Key, streak: &Streak) -> StoreResult<()> {
    // After a success in this group the streak is the group's own; else it goes on from the stored one.
    const WRITE: &str = "update endpoint set last_success = coalesce(?3, last_success), \
        failing_since = case when ?3 is null then coalesce(failing_since, ?4) else ?4 end \
        where tenant = ?1 and key = ?2";
    sqlx::query(WRITE)
        .bind(tenant.as_str().to_owned())
        .bind(bytes(key))
        .bind(streak.last_success.map(|at| at.0))
        .bind(streak.failing_since.map(|at| at.0))
        .execute(conn)
        .await?;
    Ok(())
}

const DISABLE_ENDPOINT: &str = "update endpoint set state = 'disabled', state_reason = ?3, state_since = ?4 \
    where tenant = ?1 and key = ?2 and state = 'active'";

const NEEDS_LOGIN: &str = "update connection set needs_login_reason = ?3, needs_login_since = ?4 \
    where tenant = ?1 and key = ?2 and needs_login_since is null and (?5 is null or token_version = ?5)";

const BLOCK: &str = "update installation set blocked_reason = ?3, blocked_code = ?4, blocked_message = ?5, \
    blocked_since = coalesce(blocked_since, ?6) where tenant = ?1 and plugin = ?2";

const BREAK: &str = "update installation set broken_version = ?3, \
    broken_since = case when broken_version = ?3 then broken_since else ?4 end where tenant = ?1 and plugin = ?2";

const STATE: &str = "update installation set state = ?3, state_reason = ?4 \
    where tenant = ?1 and plugin = ?2 and state = 'installing'";

const UPGRADED: &str = "update installation set in_force = case when ?4 is null then ?3 else in_force end, \
    upgrade_to = case when ?4 is null then null else upgrade_to end, upgrade_error = ?4 \
    where tenant = ?1 and plugin = ?2 and upgrade_to = ?3";

/// The effects that a group need not gather.
async fn one(conn: &mut SqliteConnection, settle: &Settle, effect: &Effect) -> StoreResult<()> {
    let of = |sql: &'static str| -> Bound<'static> { sqlx::query(sql).bind(settle.tenant.as_str().to_owned()) };
    let now = settle.now.0;
    let query = match effect {
        Effect::EndpointSucceeded(_) | Effect::EndpointFailed(..) => return Ok(()),
        Effect::EndpointDisabled(key, why) => of(DISABLE_ENDPOINT).bind(bytes(*key)).bind(why.clone()).bind(now),
        Effect::ConnectionNeedsLogin(key, why, version) => of(NEEDS_LOGIN)
            .bind(bytes(*key))
            .bind(why.clone())
            .bind(now)
            .bind(version.map(|version| i64::try_from(version).unwrap_or(i64::MAX))),
        Effect::InstallationBlocked(plugin, failure) => of(BLOCK)
            .bind(plugin.clone())
            .bind(failure.reason.as_str())
            .bind(failure.code.clone())
            .bind(failure.message.clone())
            .bind(now),
        Effect::VersionBroken(plugin, version) => of(BREAK).bind(plugin.clone()).bind(version.clone()).bind(now),
        Effect::InstallationState(plugin, end) => {
            let (state, reason) = match end {
                Ok(()) => ("ready", None),
                Err(reason) => ("failed", Some(reason.clone())),
            };
            of(STATE).bind(plugin.clone()).bind(state).bind(reason)
        }
        Effect::InstallationUpgraded(plugin, to, end) => {
            of(UPGRADED).bind(plugin.clone()).bind(to.clone()).bind(end.as_ref().err().cloned())
        }
        Effect::InstallationRemoved(plugin) => {
            return installation::remove(conn, &settle.tenant, plugin, settle.now).await.map(drop);
        }
    };
    query.execute(conn).await?;
    Ok(())
}
