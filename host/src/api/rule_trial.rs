//! Trying rules: what each would do on given or recent events, without doing it.

use axum::{Json as Out, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Need as _, Read},
    body::Json,
    problem::{Answer, Problem},
    routes::{Routes, doc},
    rules::{TAG, in_force, warnings, with_surroundings},
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::catalogue::Catalogue,
    event::{Event, EventType, Urgency},
    route::filter::EventFacts,
    rule::{
        PLUGIN,
        check::check,
        definition::{RuleMode, Rules},
        evaluate::{Matched, act},
        facts::RuleFacts,
        fault::RuleFault,
        set::{CompiledRule, Verdict, compile},
    },
    run::run::private,
    schedule::timetable::Timetable,
    store::records::{EventFilter, Page},
};

/// The most events that are tried at once.
const MAX_EVENTS: usize = 50;

/// How many recent events are tried when none are given.
const RECENT: u32 = 20;

/// How many times of a schedule are shown.
const SHOWN_TIMES: usize = 3;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post(
        "/v1/tenants/{tenant}/rules/test",
        doc(TAG, Read::SCOPE, "Try rules on given or recent events: what matches, why not, and what would be emitted")
            .body::<Trial>()
            .answers::<Tried>(200, "Nothing was emitted."),
        test,
    )
}

/// What is tried on what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// The rules to try; those in force without it.
    rules: Option<Value>,
    /// Beside `rules`.
    #[serde(default)]
    own_types: Vec<String>,
    /// The events to try them on; recent ones without it.
    events: Option<Vec<TrialEvent>>,
    /// Which recent events: a type or a pattern, and how many.
    recent: Option<RecentEvents>,
}

/// An event that is not stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrialEvent {
    #[serde(rename = "type")]
    event_type: String,
    #[schema(value_type = Object)]
    data: Value,
    subject: Option<String>,
    source: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = String)]
    urgency: Urgency,
}

/// Which recent events.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RecentEvents {
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// 1 to 50.
    limit: Option<u32>,
}

/// What would happen.
#[derive(Serialize, ToSchema)]
struct Tried {
    /// What is wrong with the rules; a rule that is named here is not tried.
    faults: Vec<Fault>,
    warnings: Vec<String>,
    events: Vec<TriedEvent>,
    /// Rules that run at times.
    schedules: Vec<TriedSchedule>,
}

/// What is wrong with a rule.
#[derive(Serialize, ToSchema)]
struct Fault {
    rule: String,
    /// `rules[2].emit[0].data`.
    field: String,
    /// Counted from 1, where the field is an expression.
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

/// What rules say to one event.
#[derive(Serialize, ToSchema)]
struct TriedEvent {
    /// Of a stored event.
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Where the data of a given event breaks the schema of its type, so that it could not be accepted.
    data_fault: Option<String>,
    /// Of recent events without the rules that wait for other types.
    rules: Vec<TriedRule>,
}

/// What one rule says.
#[derive(Serialize, ToSchema)]
struct TriedRule {
    name: String,
    #[schema(value_type = String)]
    mode: RuleMode,
    /// `emits`, `would_emit` (a shadow), `fails`, `condition_false`, `condition_failed`, `other_type` or `off`.
    outcome: &'static str,
    /// Why it fails or its condition cannot be evaluated.
    why: Option<String>,
    /// What it emits, if its throttle and `once_per` let it.
    #[schema(value_type = Vec<Object>)]
    emits: Vec<Value>,
    /// Whether a throttle has a say.
    throttled: bool,
    /// Whether it acts once for something.
    once: bool,
}

/// A rule that runs at times.
#[derive(Serialize, ToSchema)]
struct TriedSchedule {
    /// The next times.
    #[schema(value_type = Vec<String>)]
    next: Vec<Timestamp>,
    #[serde(flatten)]
    rule: TriedRule,
}

async fn test(State(api): State<Api>, within: In<Read>, Json(trial): Json<Trial>) -> Answer<Out<Tried>> {
    let tenant = &within.tenant;
    let rules = match trial.rules {
        Some(rules) => serde_json::from_value(json!({"rules": rules, "own_types": trial.own_types}))
            .map_err(|error| Problem::field("rules", error.to_string()))?,
        None => in_force(tenant),
    };
    let given = trial.events.is_some();
    let events = match trial.events {
        Some(events) => given_events(&api, tenant, events)?,
        None => recent_events(&api, tenant, trial.recent.unwrap_or_default()).await?,
    };
    let faults = with_surroundings(&api, tenant, |around| check(&rules, around));
    let warnings = warnings(&api, &rules);
    let work = || tried(&api, tenant, &rules, faults, warnings, &events, given);
    // Expressions over long texts take a while, and other requests go on meanwhile.
    let threads = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    Ok(Out(if threads { tokio::task::block_in_place(work) } else { work() }))
}

fn tried(
    api: &Api,
    tenant: &TenantView,
    rules: &Rules,
    faults: Vec<RuleFault>,
    warnings: Vec<String>,
    events: &[Tryable],
    given: bool,
) -> Tried {
    let (compiled, _) = compile(rules);
    let sound = |rule: &&CompiledRule| !faults.iter().any(|fault| fault.rule == rule.rule.name);
    let sound: Vec<&CompiledRule> = compiled.iter().filter(sound).collect();
    let catalogue = api.hub.catalogue.load();
    let events = events.iter().map(|tryable| {
        let facts = EventFacts::new(&tryable.event, &tryable.data);
        let facts = RuleFacts::new(&facts, &tenant.row);
        let said = sound
            .iter()
            .filter(|rule| !rule.rule.is_scheduled())
            .map(|rule| said(rule, rule.judge(&tryable.event.event_type, &facts), &facts, &catalogue));
        TriedEvent {
            id: tryable.id.clone(),
            event_type: tryable.event.event_type.to_string(),
            time: tryable.event.time,
            data_fault: tryable.fault.clone(),
            rules: said.filter(|rule| given || rule.outcome != "other_type").collect(),
        }
    });
    Tried {
        events: events.collect(),
        schedules: sound.iter().filter_map(|rule| scheduled(api, tenant, rule, &catalogue)).collect(),
        faults: faults.into_iter().map(fault).collect(),
        warnings,
    }
}

fn fault(fault: RuleFault) -> Fault {
    Fault {
        field: fault.path(),
        line: fault.at.map(|at| at.0),
        column: fault.at.map(|at| at.1),
        rule: fault.rule,
        message: fault.message,
    }
}

fn said(rule: &CompiledRule, verdict: Verdict, facts: &RuleFacts<'_>, catalogue: &Catalogue) -> TriedRule {
    let (mode, name) = (rule.rule.mode, rule.rule.name.clone());
    let silent = |outcome, why| TriedRule {
        name: name.clone(),
        mode,
        outcome,
        why,
        emits: Vec::new(),
        throttled: rule.rule.throttle.is_some(),
        once: rule.rule.once_per.is_some(),
    };
    match verdict {
        Verdict::Off => silent("off", None),
        Verdict::OtherType => silent("other_type", None),
        Verdict::ConditionFalse => silent("condition_false", None),
        Verdict::ConditionFailed(why) => silent("condition_failed", Some(why)),
        Verdict::Matches => {
            let Matched { emits, failure, .. } = act(rule, facts, catalogue);
            let outcome = match (&failure, mode) {
                (Some(_), _) => "fails",
                (None, RuleMode::Shadow) => "would_emit",
                (None, RuleMode::Live | RuleMode::Off) => "emits",
            };
            let why = failure.map(|failure| format!("{}: {}", failure.field, failure.message));
            let emits = emits.iter().filter_map(|emitted| serde_json::to_value(emitted).ok()).collect();
            TriedRule { emits, ..silent(outcome, why) }
        }
    }
}

/// What a rule at a time would do now.
fn scheduled(api: &Api, tenant: &TenantView, rule: &CompiledRule, catalogue: &Catalogue) -> Option<TriedSchedule> {
    let cron = rule.rule.cron.clone().filter(|_| rule.rule.is_scheduled())?;
    let time_zone = rule.rule.time_zone.clone();
    let timetable = Timetable { cron, time_zone, missed: rule.rule.missed.unwrap_or_default(), jitter_s: 0 };
    let mut at = api.hub.clock.now();
    let next = std::iter::from_fn(|| {
        at = timetable.next_after(&tenant.row.time_zone, at, 0.0)?;
        Some(at)
    });
    let next: Vec<_> = next.take(SHOWN_TIMES).collect();
    let data = json!({"schedule": rule.rule.name, "cursor": null, "due_at": next.first(), "missed": 0});
    let event = api.hub.private_event(&tenant.row.id, PLUGIN, private::SCHEDULE_DUE, &data);
    let facts = EventFacts::new(&event, &data);
    let facts = RuleFacts::new(&facts, &tenant.row);
    let verdict = if rule.rule.mode == RuleMode::Off { Verdict::Off } else { rule.condition(&facts) };
    Some(TriedSchedule { next, rule: said(rule, verdict, &facts, catalogue) })
}

/// An event with its parsed data.
struct Tryable {
    id: Option<String>,
    event: Event,
    data: Value,
    fault: Option<String>,
}

fn given_events(api: &Api, tenant: &TenantView, given: Vec<TrialEvent>) -> Answer<Vec<Tryable>> {
    if given.len() > MAX_EVENTS {
        return Err(Problem::field("events", format!("at most {MAX_EVENTS}")));
    }
    let tryable = |(n, said): (usize, TrialEvent)| {
        let event_type: EventType =
            said.event_type.parse().map_err(|error| Problem::field(format!("events[{n}].type"), format!("{error}")))?;
        let mut event = api.hub.private_event(&tenant.row.id, PLUGIN, private::SCHEDULE_DUE, &said.data);
        event.private_to = None;
        event.source = said.source.unwrap_or_else(|| "api".to_owned()).into();
        (event.subject, event.urgency) = (said.subject, said.urgency);
        event.time = said.time.unwrap_or(event.time);
        let fault = api.hub.catalogue.load().check(event_type.as_str(), &said.data).err();
        event.event_type = event_type;
        let fault = fault.map(|fault| format!("data{}: {}", fault.path, fault.message));
        Ok(Tryable { id: None, event, data: said.data, fault })
    };
    given.into_iter().enumerate().map(tryable).collect()
}

async fn recent_events(api: &Api, tenant: &TenantView, recent: RecentEvents) -> Answer<Vec<Tryable>> {
    let limit = recent.limit.unwrap_or(RECENT);
    if !(1..=MAX_EVENTS).contains(&(limit as usize)) {
        return Err(Problem::field("recent.limit", format!("must be 1 to {MAX_EVENTS}")));
    }
    let filter = EventFilter { event_type: recent.event_type, ..EventFilter::default() };
    let events = api.hub.store.events(&tenant.row.id, filter, Page { limit, after: None }).await?;
    let public = events.into_iter().filter(|event| event.private_to.is_none());
    let tryable = |event: std::sync::Arc<Event>| Tryable {
        id: Some(event.id.to_string()),
        data: serde_json::from_str(&event.data).unwrap_or_default(),
        event: (*event).clone(),
        fault: None,
    };
    Ok(public.map(tryable).collect())
}
