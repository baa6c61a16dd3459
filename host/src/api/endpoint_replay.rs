//! Replaying an endpoint's deliveries of a window of time, at a rate, with progress and a way to stop.

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    dead_letters::{Replayed, replay_selection, spacing},
    endpoints::found,
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{clock::Timestamp, event::Target, store::records::Selection};

const TAG: &str = "endpoints";

/// Deliveries that one transaction gives up.
const STEP: u32 = 1_000;

/// And one request.
const MAX_STEPS: usize = 100;

pub(super) fn routes(routes: Routes) -> Routes {
    let path = "/v1/tenants/{tenant}/endpoints/{id}/replay";
    routes
        .post(
            path,
            doc(TAG, Manage::SCOPE, "Replay its dead deliveries, or all, that were made in a window of time")
                .body::<EndpointReplay>()
                .answers::<BegunReplay>(202, "Queued again."),
            replay,
        )
        .get(
            path,
            doc(TAG, Read::SCOPE, "See how far its replays are")
                .query::<ProgressParams>()
                .answers::<Progress>(200, "Counts of the deliveries that were replayed."),
            progress,
        )
        .delete(
            path,
            doc(TAG, Manage::SCOPE, "Stop its replays: what has not begun is a dead letter again")
                .answers::<Aborted>(200, "Stopped."),
            abort,
        )
}

/// Which deliveries of an endpoint are replayed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointReplay {
    /// Those made at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Those made before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Starts per second; at once without it.
    rate_per_s: Option<u32>,
    /// Those that were delivered, too.
    #[serde(default)]
    include_delivered: bool,
}

/// A replay that has begun.
#[derive(Serialize, ToSchema)]
struct BegunReplay {
    #[serde(flatten)]
    replayed: Replayed,
    /// When it began, to ask for its progress.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Whose progress.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ProgressParams {
    /// Of replays that began at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// How far an endpoint's replays are.
#[derive(Serialize, ToSchema)]
struct Progress {
    /// Not begun.
    waiting: u64,
    running: u64,
    /// Failed once more, and to be tried again.
    retrying: u64,
    delivered: u64,
    dead: u64,
    /// When the next of those that wait may start.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// When the last of them may start.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_at: Option<Timestamp>,
}

/// What stopping a replay did.
#[derive(Serialize, ToSchema)]
struct Aborted {
    /// Deliveries that will not start.
    aborted: usize,
    /// Whether there are more; ask again.
    more: bool,
}

async fn replay(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(asked): Json<EndpointReplay>,
) -> Answer<impl IntoResponse> {
    let target = Target::Endpoint(found(&within.tenant, &id)?.row.key);
    if asked.from.zip(asked.to).is_some_and(|(from, to)| from >= to) {
        return Err(Problem::field("to", "must be later than `from`"));
    }
    let selection = Selection::Window { target, from: asked.from, to: asked.to };
    let (spacing_ms, at) = (spacing(asked.rate_per_s)?, api.hub.clock.now());
    let replayed = replay_selection(&api, &within, selection, asked.include_delivered, false, spacing_ms, &id).await?;
    Ok((StatusCode::ACCEPTED, Out(BegunReplay { replayed, at })))
}

async fn progress(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, id)): Path<(String, String)>,
    Params(params): Params<ProgressParams>,
) -> Answer<Out<Progress>> {
    let target = Target::Endpoint(found(&within.tenant, &id)?.row.key);
    let seen = api.hub.store.replay_progress(within.id(), &target, params.since.unwrap_or_default()).await?;
    Ok(Out(Progress {
        waiting: seen.waiting,
        running: seen.running,
        retrying: seen.retrying,
        delivered: seen.delivered,
        dead: seen.dead,
        next_at: seen.next_at,
        last_at: seen.last_at,
    }))
}

async fn abort(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Aborted>> {
    let target = Target::Endpoint(found(&within.tenant, &id)?.row.key);
    let mut result = Aborted { aborted: 0, more: false };
    for _ in 0..MAX_STEPS {
        let audit = api
            .audit(&within.caller, Some(within.id()), "endpoint.replay_aborted", id.as_str())
            .showing(None, Some(&json!({"aborted_before": result.aborted})));
        let touched = api.hub.store.abort_replay(within.id(), &target, STEP, audit).await?;
        api.hub.wake(&touched.lanes);
        result.aborted += touched.deliveries.len();
        result.more = touched.deliveries.len() >= STEP as usize;
        if !result.more {
            break;
        }
    }
    Ok(Out(result))
}
