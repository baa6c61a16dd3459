//! Dead letters: what was given up, grouped by how it failed; replayed or discarded by a person.

use axum::{Json as Out, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    delivery_detail::record,
    paging,
    problem::{Answer, Problem},
    routes::{Routes, doc},
    unrouted::route_anew,
};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::reason::ReasonClass,
    run::preview::is_effect,
    store::records::{DeadGroup, Replay, Selection},
};

const TAG: &str = "dead letters";
/// Deliveries touched by one transaction.
const STEP: u32 = 1_000;
/// Deliveries touched by one request.
const MAX_TOUCHED: usize = 100_000;
/// A replay at a rate is one transaction, so that its pace is one.
const MAX_PACED: u32 = 10_000;
const MAX_NAMED: usize = 1_000;
/// Journals looked into for effects that may double.
const MAX_JOURNALS: usize = 50;

pub(super) fn routes(routes: Routes) -> Routes {
    let all = "/v1/tenants/{tenant}/dead-letters";
    routes
        .get(
            all,
            doc(TAG, Read::SCOPE, "List dead letters in groups that failed alike, newest first")
                .query::<GroupParams>()
                .answers::<Groups>(200, "The groups."),
            list,
        )
        .post(
            &format!("{all}/replay"),
            doc(TAG, Manage::SCOPE, "Queue dead letters again: all, a group, a target's, or those named")
                .body::<ReplayIn>()
                .answers::<Replayed>(202, "Queued again."),
            replay,
        )
        .post(
            &format!("{all}/discard"),
            doc(TAG, Manage::SCOPE, "Give dead letters up for good, with a reason")
                .body::<DiscardIn>()
                .answers::<Discarded>(200, "Discarded."),
            discard,
        )
}

/// How many groups.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct GroupParams {
    /// At most so many groups.
    limit: Option<u32>,
}

/// Groups of dead letters.
#[derive(Serialize, ToSchema)]
struct Groups {
    data: Vec<Group>,
    /// Always null: the newest groups are shown.
    next: Option<String>,
}

/// Dead letters that failed alike.
#[derive(Serialize, ToSchema)]
struct Group {
    fingerprint: String,
    target: String,
    reason: &'static str,
    code: String,
    message: String,
    /// `ours` (plugin bug, config) or `theirs`.
    ledger: &'static str,
    count: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// One of them.
    sample: String,
}

/// Which dead letters are replayed, and how.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayIn {
    /// A group.
    fingerprint: Option<String>,
    /// These, by id.
    deliveries: Option<Vec<String>>,
    /// All of a target: `ep_..` or `plugin:billy`.
    target: Option<String>,
    /// Starts per second; at once without it.
    rate_per_s: Option<u32>,
    /// Deliveries that were delivered, too.
    #[serde(default)]
    include_delivered: bool,
    /// `discard` makes every call anew; effects may double. Without it recorded answers are served.
    journal: Option<JournalChoice>,
}

/// What becomes of the journals.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum JournalChoice {
    Discard,
}

/// What a replay did.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    /// How many deliveries are queued again.
    replayed: usize,
    /// Their ids, at most 1,000 of them.
    deliveries: Vec<String>,
    /// How many of them were commands without a handler that have one now: their events were routed anew, and these
    /// dead letters are cancelled.
    rerouted: usize,
    /// How many stay dead because nobody handles their command; their reason is that of today.
    still_unrouted: usize,
    /// Recorded writes that are made again because the journal was discarded.
    may_double: Vec<String>,
    /// Whether there are more; ask again.
    more: bool,
}

/// Which dead letters are given up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DiscardIn {
    fingerprint: Option<String>,
    deliveries: Option<Vec<String>>,
    target: Option<String>,
    /// Why, for the audit.
    reason: String,
}

/// What a discard did.
#[derive(Serialize, ToSchema)]
struct Discarded {
    discarded: usize,
    more: bool,
}

fn shown(group: DeadGroup) -> Group {
    let ours = matches!(group.failure.reason, ReasonClass::PluginBug | ReasonClass::Config);
    Group {
        fingerprint: group.fingerprint,
        target: group.target.to_string(),
        reason: group.failure.reason.as_str(),
        code: group.failure.code,
        message: group.failure.message,
        ledger: if ours { "ours" } else { "theirs" },
        count: group.count,
        first_at: group.first_at,
        last_at: group.last_at,
        sample: group.sample.with_prefix("dlv"),
    }
}

async fn list(State(api): State<Api>, within: In<Read>, Params(params): Params<GroupParams>) -> Answer<Out<Groups>> {
    let groups = api.hub.store.dead_groups(within.id(), paging::limit(params.limit)?).await?;
    Ok(Out(Groups { data: groups.into_iter().map(shown).collect(), next: None }))
}

/// At most one way to choose; none means all dead letters.
pub(super) fn selection(
    fingerprint: Option<String>,
    deliveries: Option<Vec<String>>,
    target: Option<String>,
) -> Answer<Selection> {
    match (fingerprint, deliveries, target) {
        (None, None, None) => Ok(Selection::AllDead),
        (Some(fingerprint), None, None) => Ok(Selection::Fingerprint(fingerprint)),
        (None, Some(ids), None) => {
            if ids.is_empty() || ids.len() > MAX_NAMED {
                return Err(Problem::field("deliveries", format!("name 1 to {MAX_NAMED}")));
            }
            let parse = |(index, id): (usize, String)| {
                let wrong =
                    || Problem::field(format!("deliveries[{index}]"), format!("`{id}` is no delivery's id, dlv_.."));
                Key::parse("dlv", &id).ok_or_else(wrong)
            };
            Ok(Selection::Deliveries(ids.into_iter().enumerate().map(parse).collect::<Answer<_>>()?))
        }
        (None, None, Some(target)) => {
            let target = target.parse().map_err(|error| Problem::field("target", format!("{error}")))?;
            Ok(Selection::Target(target, None))
        }
        _ => Err(Problem::field(
            "fingerprint",
            "give one of fingerprint, deliveries and target, or none of them for all",
        )),
    }
}

/// Milliseconds between two starts.
pub(super) fn spacing(rate_per_s: Option<u32>) -> Answer<u64> {
    match rate_per_s {
        None => Ok(0),
        Some(rate @ 1..=1000) => Ok(u64::from(1000 / rate).max(1)),
        Some(_) => Err(Problem::field("rate_per_s", "must be 1 to 1000")),
    }
}

async fn replay(State(api): State<Api>, within: In<Manage>, Json(asked): Json<ReplayIn>) -> Answer<impl IntoResponse> {
    let spacing_ms = spacing(asked.rate_per_s)?;
    let selection = selection(asked.fingerprint, asked.deliveries, asked.target)?;
    let discard = matches!(asked.journal, Some(JournalChoice::Discard));
    let what = "dead-letters";
    let replayed =
        replay_selection(&api, &within, selection, asked.include_delivered, discard, spacing_ms, what).await?;
    Ok((StatusCode::ACCEPTED, Out(replayed)))
}

/// Queues deliveries again, a bounded part at a time, and wakes their lanes.
pub(super) async fn replay_selection(
    api: &Api,
    within: &In<Manage>,
    selection: Selection,
    include_delivered: bool,
    discard_journal: bool,
    spacing_ms: u64,
    what: &str,
) -> Answer<Replayed> {
    let may_double = if discard_journal { doubling(api, within, &selection).await? } else { Vec::new() };
    let limit = if spacing_ms == 0 { STEP } else { MAX_PACED };
    let mut result =
        Replayed { replayed: 0, deliveries: Vec::new(), rerouted: 0, still_unrouted: 0, may_double, more: false };
    // One time for all steps: what this replay delivers again is younger and is not taken twice.
    let now = api.hub.queue_clock.now();
    let steps = if spacing_ms == 0 { MAX_TOUCHED / STEP as usize } else { 1 };
    for _ in 0..steps {
        let after = json!({"selection": format!("{selection:?}"), "include_delivered": include_delivered,
            "discard_journal": discard_journal, "spacing_ms": spacing_ms});
        let audit =
            api.audit(&within.caller, Some(within.id()), "deliveries.replayed", what).showing(None, Some(&after));
        let replay = Replay {
            tenant: within.id().clone(),
            selection: selection.clone(),
            include_delivered,
            discard_journal,
            spacing_ms,
            limit,
            now,
        };
        let touched = api.hub.store.replay(replay, audit).await?;
        api.hub.wake(&touched.lanes);
        let count = touched.deliveries.len();
        result.took(&touched.deliveries);
        result.more = count >= limit as usize;
        if !result.more || matches!(selection, Selection::Deliveries(_)) {
            break;
        }
    }
    let routed = route_anew(api, within, &selection, spacing_ms).await?;
    result.took(&routed.handled.iter().map(|row| row.key).collect::<Vec<_>>());
    result.rerouted = routed.handled.len();
    result.still_unrouted = routed.still_unrouted;
    result.more |= routed.more;
    Ok(result)
}

impl Replayed {
    fn took(&mut self, deliveries: &[Key]) {
        self.replayed += deliveries.len();
        let room = MAX_NAMED.saturating_sub(self.deliveries.len());
        self.deliveries.extend(deliveries.iter().take(room).map(|key| key.with_prefix("dlv")));
    }
}

/// The recorded writes of named deliveries, which a replay without the journal makes again.
async fn doubling(api: &Api, within: &In<Manage>, selection: &Selection) -> Answer<Vec<String>> {
    let Selection::Deliveries(keys) = selection else { return Ok(Vec::new()) };
    let mut writes = Vec::new();
    for key in keys.iter().take(MAX_JOURNALS) {
        let Some(record) = record(api, &within.tenant, *key).await? else { continue };
        let effects = record.entries.into_iter().filter(is_effect);
        writes.extend(effects.map(|entry| format!("{}: {}", key.with_prefix("dlv"), entry.call)));
    }
    Ok(writes)
}

async fn discard(State(api): State<Api>, within: In<Manage>, Json(asked): Json<DiscardIn>) -> Answer<Out<Discarded>> {
    if asked.reason.trim().is_empty() || asked.reason.len() > 500 {
        return Err(Problem::field("reason", "say why in 1 to 500 bytes; the audit keeps it"));
    }
    let selection = selection(asked.fingerprint, asked.deliveries, asked.target)?;
    let mut result = Discarded { discarded: 0, more: false };
    for _ in 0..MAX_TOUCHED / STEP as usize {
        let after = json!({"selection": format!("{selection:?}"), "reason": asked.reason});
        let audit = api
            .audit(&within.caller, Some(within.id()), "deliveries.discarded", "dead-letters")
            .showing(None, Some(&after));
        let touched = api.hub.store.discard(within.id(), selection.clone(), STEP, audit).await?;
        result.discarded += touched.deliveries.len();
        result.more = touched.deliveries.len() >= STEP as usize;
        if !result.more {
            break;
        }
    }
    Ok(Out(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_to_choose_is_taken() {
        assert!(matches!(selection(None, None, None), Ok(Selection::AllDead)));
        assert!(matches!(selection(Some("f".into()), None, None), Ok(Selection::Fingerprint(_))));
        assert!(matches!(selection(None, None, Some("plugin:billy".into())), Ok(Selection::Target(_, None))));
        assert!(selection(Some("f".into()), None, Some("unrouted".into())).is_err());
        assert!(selection(None, Some(vec!["evt_1".into()]), None).is_err());
        assert!(selection(None, Some(Vec::new()), None).is_err());
    }

    #[test]
    fn a_rate_becomes_a_distance() {
        assert_eq!(spacing(None).ok(), Some(0));
        assert_eq!(spacing(Some(10)).ok(), Some(100));
        assert_eq!(spacing(Some(1000)).ok(), Some(1));
        assert!(spacing(Some(0)).is_err() && spacing(Some(1001)).is_err());
    }
}
