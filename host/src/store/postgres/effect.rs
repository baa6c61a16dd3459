//! What a settle changes on the target's own row.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{registry::installation, transaction::note_change};
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
pub(super) async fn apply(conn: &mut PgConnection, settled: &[&Settle]) -> StoreResult<()> {
    let mut streaks: BTreeMap<(&TenantId, Key), Streak> = BTreeMap::new();
    let mut others = Vec::new();
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
                other => others.push((*settle, other)),
            }
        }
    }
    write_streaks(conn, &streaks).await?;
    // Of one tenant in their order; of several in that of the tenants, which all nodes keep.
    others.sort_by(|one, other| one.0.tenant.cmp(&other.0.tenant));
    for (settle, effect) in others {
        one(conn, settle, effect).await?;
        note_change(conn, Some(&settle.tenant)).await?;
    }
    Ok(())
}

async fn write_streaks(conn: &mut PgConnection, streaks: &BTreeMap<(&TenantId, Key), Streak>) -> StoreResult<()> {
    // After a success in this group the streak is the group's own; else it goes on from the stored one. The rows are
    // locked in the order of their keys first.
    const WRITE: &str = "update endpoint e set last_success = coalesce(w.last_success, e.last_success), \
        failing_since = case when w.last_success is null then coalesce(e.failing_since, w.failing_since) \
            else w.failing_since end \
        from (select l.key, x.last_success, x.failing_since \
            from unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[]) as x (tenant, key, last_success, failing_since) \
            join endpoint l on l.key = x.key and l.tenant = x.tenant order by l.key for no key update of l) w \
        where e.key = w.key";
    if streaks.is_empty() {
        return Ok(());
    }
    sqlx::query(WRITE)
        .bind(streaks.keys().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>())
        .bind(streaks.keys().map(|(_, key)| &key.0[..]).collect::<Vec<_>>())
        .bind(streaks.values().map(|streak| streak.last_success.map(|at| at.0)).collect::<Vec<_>>())
        .bind(streaks.values().map(|streak| streak.failing_since.map(|at| at.0)).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

const DISABLE_ENDPOINT: &str = "update endpoint set state = 'disabled', state_reason = $3, state_since = $4 \
    where tenant = $1 and key = $2 and state = 'active'";

const NEEDS_LOGIN: &str = "update connection set needs_login_reason = $3, needs_login_since = $4 \
    where tenant = $1 and key = $2 and needs_login_since is null and ($5::int8 is null or token_version = $5)";

const BLOCK: &str = "update installation set blocked_reason = $3, blocked_code = $4, blocked_message = $5, \
    blocked_since = coalesce(blocked_since, $6) where tenant = $1 and plugin = $2";

const BREAK: &str = "update installation set broken_version = $3, \
    broken_since = case when broken_version = $3 then broken_since else $4 end where tenant = $1 and plugin = $2";

const STATE: &str = "update installation set state = $3, state_reason = $4 \
    where tenant = $1 and plugin = $2 and state = 'installing'";

const UPGRADED: &str = "update installation set in_force = case when $4::text is null then $3 else in_force end, \
    upgrade_to = case when $4::text is null then null else upgrade_to end, upgrade_error = $4 \
    where tenant = $1 and plugin = $2 and upgrade_to = $3";

/// The effects that a group need not gather.
async fn one(conn: &mut PgConnection, settle: &Settle, effect: &Effect) -> StoreResult<()> {
    let of = |sql: &'static str| sqlx::query(sql).bind(settle.tenant.as_str());
    let now = settle.now.0;
    let query = match effect {
        Effect::EndpointSucceeded(_) | Effect::EndpointFailed(..) => return Ok(()),
        Effect::EndpointDisabled(key, why) => of(DISABLE_ENDPOINT).bind(&key.0[..]).bind(why).bind(now),
        Effect::ConnectionNeedsLogin(key, why, version) => of(NEEDS_LOGIN)
            .bind(&key.0[..])
            .bind(why)
            .bind(now)
            .bind(version.map(|version| i64::try_from(version).unwrap_or(i64::MAX))),
        Effect::InstallationBlocked(plugin, failure) => {
            of(BLOCK).bind(plugin).bind(failure.reason.as_str()).bind(&failure.code).bind(&failure.message).bind(now)
        }
        Effect::VersionBroken(plugin, version) => of(BREAK).bind(plugin).bind(version).bind(now),
        Effect::InstallationState(plugin, end) => {
            let (state, reason) = match end {
                Ok(()) => ("ready", None),
                Err(reason) => ("failed", Some(reason)),
            };
            of(STATE).bind(plugin).bind(state).bind(reason)
        }
        Effect::InstallationUpgraded(plugin, to, end) => of(UPGRADED).bind(plugin).bind(to).bind(end.as_ref().err()),
        Effect::InstallationRemoved(plugin) => {
            return installation::remove(conn, &settle.tenant, plugin, settle.now).await.map(drop);
        }
    };
    query.execute(conn).await?;
    Ok(())
}
