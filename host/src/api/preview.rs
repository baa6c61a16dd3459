//! Preview of a replay: what would come of it, without doing it. Only GET and HEAD leave the hub.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{Json as Out, extract::State};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _},
    body::Json,
    dead_letters::{JournalChoice, selection},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::view::{EndpointView, TenantView},
    event::{Event, Target},
    outbound::egress::EgressError,
    policy::Verdict,
    queue::{
        dispatch::hold,
        reason::{Failure, ReasonClass},
        state::State as Stored,
    },
    run::preview::{self, AT_ONCE, Found, Reached},
    store::{
        ledger::Claimed,
        records::{DeliveryFilter, DeliveryRow, Page, Selection},
    },
};

const TAG: &str = "dead letters";
const SAMPLES: u32 = 20;
const MOST_SAMPLES: u32 = 100;
/// The tenant's last deliveries, in which successes are looked for.
const RECENT: u32 = 200;
/// All of a preview; what was not looked at by then is `unproven`.
const TIME: Duration = Duration::from_secs(20);

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post(
        "/v1/tenants/{tenant}/dead-letters/preview",
        doc(TAG, Manage::SCOPE, "Say what a replay would do, for some of the dead letters; sends nothing but GETs")
            .body::<PreviewIn>()
            .answers::<Previews>(200, "What a replay would do."),
        preview,
    )
}

/// Which dead letters, and how they would be replayed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewIn {
    /// A group.
    fingerprint: Option<String>,
    /// These, by id.
    deliveries: Option<Vec<String>>,
    /// All of a target: `ep_..` or `plugin:billy`.
    target: Option<String>,
    /// `discard`: as if every call were made anew.
    journal: Option<JournalChoice>,
    /// How many are looked at, the newest first: 1 to 100, 20 without it.
    samples: Option<u32>,
}

/// What a replay would do.
#[derive(Serialize, ToSchema)]
struct Previews {
    /// How many were looked at.
    sampled: usize,
    /// How many answers of each kind.
    summary: BTreeMap<&'static str, usize>,
    data: Vec<Preview>,
    /// Whether there are dead letters that were not looked at.
    more: bool,
}

/// What a replay of one delivery would do.
#[derive(Serialize, ToSchema)]
struct Preview {
    delivery: String,
    event_id: String,
    event_type: String,
    /// Where it would go; for a command without a handler the one it has now.
    target: String,
    /// `blocked`, `last_ok` or `unproven`; of a plugin also `fails`, `mismatch`, `reaches`, `completes` or `may_double`.
    answer: &'static str,
    /// Why it is blocked, fails or is unproven.
    reason: Option<&'static str>,
    code: Option<String>,
    message: Option<String>,
    /// When the endpoint last took something.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_ok: Option<Timestamp>,
    /// The first new write that it comes to.
    write: Option<Write>,
    /// Where it leaves its journal: both calls.
    mismatch: Option<Mismatch>,
    /// Recorded writes that may be made a second time.
    may_double: Vec<String>,
    /// Types of the events that it would emit.
    emits: Vec<String>,
    /// The plugin's version that ran.
    version: Option<String>,
    /// The calls on the way, reads made for this preview among them.
    #[schema(value_type = Vec<Object>)]
    calls: Vec<Value>,
}

/// A write at a provider.
#[derive(Serialize, ToSchema)]
struct Write {
    method: String,
    connection: String,
    path: String,
    /// Whether it repeats, under its key, a write whose outcome is unknown.
    repeats: bool,
}

/// Two calls that should be equal.
#[derive(Serialize, ToSchema)]
struct Mismatch {
    /// Which call, from 0.
    index: usize,
    /// What the journal has.
    recorded: String,
    /// What the run did.
    actual: String,
}

impl Preview {
    fn of(row: &DeliveryRow, target: &Target, answer: &'static str) -> Self {
        Self {
            delivery: row.key.with_prefix("dlv"),
            event_id: row.event_id.to_string(),
            event_type: row.event_type.clone(),
            target: target.to_string(),
            answer,
            reason: None,
            code: None,
            message: None,
            last_ok: None,
            write: None,
            mismatch: None,
            may_double: Vec::new(),
            emits: Vec::new(),
            version: None,
            calls: Vec::new(),
        }
    }

    fn because(mut self, failure: Failure) -> Self {
        self.reason = Some(failure.reason.as_str());
        (self.code, self.message) = (Some(failure.code), Some(failure.message));
        self
    }

    fn unproven(row: &DeliveryRow, message: &str) -> Self {
        Self { message: Some(message.to_owned()), ..Self::of(row, &row.target, "unproven") }
    }
}

async fn preview(State(api): State<Api>, within: In<Manage>, Json(asked): Json<PreviewIn>) -> Answer<Out<Previews>> {
    let samples = match asked.samples.unwrap_or(SAMPLES) {
        samples @ 1..=MOST_SAMPLES => samples,
        _ => return Err(Problem::field("samples", format!("must be 1 to {MOST_SAMPLES}"))),
    };
    let discard = asked.journal.is_some();
    let selection = selection(asked.fingerprint, asked.deliveries, asked.target)?;
    let after = json!({"selection": format!("{selection:?}"), "samples": samples, "discard_journal": discard});
    let (mut rows, more) = chosen(&api, &within.tenant, selection, samples).await?;
    let audit = api.audit(&within.caller, Some(within.id()), "deliveries.previewed", "dead-letters");
    // Before the first GET: a provider may be called with the tenant's credentials.
    api.hub.store.audit(audit.showing(None, Some(&after))).await?;
    let successes = successes(&api, &within.tenant).await?;
    let started = api.hub.clock.monotonic();
    let one = async |row: DeliveryRow| {
        let left = TIME.saturating_sub(api.hub.clock.monotonic().saturating_sub(started));
        match tokio::time::timeout(left, preview_one(&api, &within.tenant, &row, &successes, discard)).await {
            Ok(answer) => answer,
            Err(_) => Ok(Preview::unproven(&row, "the preview ran out of time before this one")),
        }
    };
    let mut data: Vec<Preview> = Vec::with_capacity(rows.len());
    let mut answers = futures_util::stream::iter(rows.drain(..).map(one)).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        data.push(answer?);
    }
    let mut summary = BTreeMap::new();
    for preview in &data {
        *summary.entry(preview.answer).or_insert(0) += 1;
    }
    Ok(Out(Previews { sampled: data.len(), summary, data, more }))
}

/// When each target last took something, as far as the tenant's last deliveries say.
async fn successes(api: &Api, tenant: &TenantView) -> Answer<HashMap<Target, Timestamp>> {
    let page = Page { limit: RECENT, after: None };
    let rows = api.hub.store.deliveries(&tenant.row.id, DeliveryFilter::default(), page).await?;
    let mut successes = HashMap::new();
    for row in rows.into_iter().filter(|row| row.state == Stored::Delivered) {
        let last = successes.entry(row.target).or_insert(row.updated_at);
        *last = (*last).max(row.updated_at);
    }
    Ok(successes)
}

/// The dead letters that are looked at, the newest first, and whether there are more.
async fn chosen(
    api: &Api,
    tenant: &TenantView,
    selection: Selection,
    samples: u32,
) -> Answer<(Vec<DeliveryRow>, bool)> {
    let (mut target, mut fingerprint) = (None, None);
    match selection {
        Selection::Deliveries(keys) => {
            let mut rows = Vec::new();
            for key in &keys {
                let row = api.hub.store.delivery(&tenant.row.id, *key).await?;
                if row.state == Stored::Dead {
                    rows.push(row);
                }
            }
            let more = rows.len() > samples as usize;
            rows.truncate(samples as usize);
            return Ok((rows, more));
        }
        Selection::Fingerprint(group) => fingerprint = Some(group),
        Selection::Target(of, _) | Selection::Window { target: of, .. } => target = Some(of),
        Selection::AllDead => {}
    }
    let filter = DeliveryFilter { states: vec![Stored::Dead], target, fingerprint, ..DeliveryFilter::default() };
    let page = Page { limit: samples + 1, after: None };
    let mut rows = api.hub.store.deliveries(&tenant.row.id, filter, page).await?;
    let more = rows.len() > samples as usize;
    rows.truncate(samples as usize);
    Ok((rows, more))
}

async fn preview_one(
    api: &Api,
    tenant: &Arc<TenantView>,
    row: &DeliveryRow,
    successes: &HashMap<Target, Timestamp>,
    discard: bool,
) -> Answer<Preview> {
    let event = api.hub.store.event(&tenant.row.id, &row.event_id).await?;
    let target = match &row.target {
        Target::Unrouted => {
            let routes = api.hub.routes_of(tenant, &event);
            if let Some(failure) = routes.iter().find_map(|route| route.dead.clone()) {
                return Ok(Preview::of(row, &row.target, "fails").because(failure));
            }
            let handler =
                routes.into_iter().map(|route| route.target).find(|target| matches!(target, Target::Plugin(_)));
            handler.unwrap_or(Target::Unrouted)
        }
        target => target.clone(),
    };
    if let Some(held) = hold(tenant, &target, row.lane.urgency) {
        return Ok(Preview::of(row, &target, "blocked").because(held.failure));
    }
    Ok(match &target {
        Target::Endpoint(key) => match tenant.endpoints.get(key) {
            Some(endpoint) => endpoint_preview(api, row, endpoint, successes.get(&target).copied()),
            None => gone(row, "endpoint_deleted", "the endpoint was deleted"),
        },
        Target::Plugin(_) => match api.hub.would_permit(tenant, &event, &target).await? {
            Verdict::Refuse(failure) => Preview::of(row, &target, "fails").because(failure),
            Verdict::Wait(_, failure) => Preview::of(row, &target, "blocked").because(failure),
            Verdict::Hold(hold) => Preview::of(row, &target, "blocked").because(hold.failure),
            Verdict::Allow => plugin_preview(api, tenant, row, &target, event, discard).await,
        },
        Target::Unrouted => gone(row, "no_handler", "no installed plugin handles the command"),
    })
}

fn gone(row: &DeliveryRow, code: &str, text: &str) -> Preview {
    Preview::of(row, &row.target, "fails").because(Failure::new(ReasonClass::Config, code, text))
}

/// Nothing is sent to an endpoint: what is known of it is all there is.
fn endpoint_preview(api: &Api, row: &DeliveryRow, endpoint: &EndpointView, success: Option<Timestamp>) -> Preview {
    let policy = api.hub.client.policy();
    let judged = match (&endpoint.row.amqp, &endpoint.exchange) {
        (None, _) => policy.check_url(&endpoint.row.url).map(|_| ()),
        (Some(_), Some(exchange)) => policy.check_broker(&exchange.broker),
        (Some(_), None) => Err(EgressError::MalformedUrl("it cannot be read")),
    };
    if let Err(error) = judged {
        let text = format!("the endpoint's URL is refused: {error}");
        return Preview::of(row, &row.target, "blocked").because(Failure::new(ReasonClass::Config, error.code(), text));
    }
    let last_ok = success.max(endpoint.row.last_success);
    match (last_ok, endpoint.row.failing_since) {
        (_, Some(since)) if last_ok.is_none_or(|at| at < since) => {
            let message = format!("every attempt since {since} has failed");
            Preview { last_ok, ..Preview::unproven(row, &message) }
        }
        (Some(_), _) => Preview { last_ok, ..Preview::of(row, &row.target, "last_ok") },
        (None, _) => Preview::unproven(row, "nothing is known of it"),
    }
}

async fn plugin_preview(
    api: &Api,
    tenant: &Arc<TenantView>,
    row: &DeliveryRow,
    target: &Target,
    event: Arc<Event>,
    discard: bool,
) -> Preview {
    let Target::Plugin(name) = target else { return Preview::unproven(row, "no plugin") };
    let Some(installation) = tenant.installations.get(&**name) else {
        return gone(row, "plugin_removed", "the plugin was removed from the tenant");
    };
    let Ok(_turn) = api.hub.previews.acquire().await else {
        return Preview::unproven(row, "the hub is stopping");
    };
    let claimed = Claimed {
        delivery: row.key,
        lane: row.lane.clone(),
        epoch: row.epoch.saturating_add(1),
        tries: 1,
        crashes: 0,
        journalled: true,
        replayed: true,
        created_at: row.created_at,
        event,
    };
    let preview::Preview { found, version, calls, doubles } =
        api.hub.preview_run(tenant, installation, &claimed, discard).await;
    let plain = |answer| Preview::of(row, target, answer);
    let doubling = !doubles.is_empty();
    let answer = match found {
        Found::Fails(failure) => plain("fails").because(failure),
        Found::Mismatch(end) => {
            let mismatch = Mismatch { index: end.index, recorded: end.recorded, actual: end.actual };
            Preview { mismatch: Some(mismatch), ..plain("mismatch") }
        }
        Found::Reaches(Reached { method, connection, path, repeats }) => {
            let answer = if doubling { "may_double" } else { "reaches" };
            Preview { write: Some(Write { method, connection, path, repeats }), ..plain(answer) }
        }
        Found::Completes(emits) => Preview { emits, ..plain(if doubling { "may_double" } else { "completes" }) },
        Found::Unproven(text) => Preview { message: Some(text), ..plain("unproven") },
    };
    Preview { version, calls, may_double: doubles, ..answer }
}
