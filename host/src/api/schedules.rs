//! Schedules: when polls and rules ran, when they run next, and running one now.

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Manage, Need as _, Read},
    body::Params,
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    plugin::model::Trigger,
    rule,
    store::{
        ledger::{Accept, ScheduleName},
        registry::{Mode, ScheduleRow},
    },
};

const TAG: &str = "schedules";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/schedules",
            doc(TAG, Read::SCOPE, "List the schedules of plugins and rules, with the age of their last success")
                .query::<PageParams>()
                .lists::<Schedule>("A page."),
            list,
        )
        .post(
            "/v1/tenants/{tenant}/schedules/{id}/run",
            doc(TAG, Manage::SCOPE, "Run a schedule now, beside its times").answers::<Schedule>(202, "It is due."),
            run,
        )
}

/// A schedule.
#[derive(Serialize, ToSchema)]
struct Schedule {
    /// `plugin:name`.
    #[schema(example = "rules:overdue-reminders")]
    id: String,
    plugin: String,
    name: String,
    /// `poll` of a plugin, or `rule`.
    kind: &'static str,
    /// The cron expression; null where it runs every so often.
    cron: Option<String>,
    /// The zone of the expression.
    time_zone: Option<String>,
    /// Seconds between two starts, where it runs every so often.
    every_s: Option<u64>,
    /// What becomes of missed times: `skip` or `run_once`.
    missed_policy: Option<&'static str>,
    jitter_s: u32,
    /// When it runs next; null while it runs, or its installation is off.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Timestamp>,
    /// How long ago that was.
    last_success_age_s: Option<u64>,
    /// How many runs were missed ever.
    missed: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    missed_at: Option<Timestamp>,
}

fn shown(tenant: &TenantView, plugin: &str, row: ScheduleRow, now: Timestamp) -> Schedule {
    let version = tenant.installations.get(plugin).and_then(|view| view.version.as_ref());
    let spec = version.and_then(|version| version.manifest.schedules.iter().find(|spec| spec.name == row.name));
    let (cron, zone, every) = match (&row.timetable, spec.map(|spec| &spec.trigger)) {
        (Some(timetable), _) => (Some(timetable.cron.clone()), timetable.time_zone.clone(), None),
        (None, Some(Trigger::Cron { expression, time_zone })) => (Some(expression.clone()), time_zone.clone(), None),
        (None, Some(Trigger::Every(ms))) => (None, None, Some(ms / 1000)),
        (None, None) => (None, None, None),
    };
    let policy = cron.is_some().then(|| row.timetable.as_ref().map(|timetable| timetable.missed).unwrap_or_default());
    Schedule {
        id: format!("{plugin}:{}", row.name),
        kind: if plugin == rule::PLUGIN { "rule" } else { "poll" },
        time_zone: cron.is_some().then(|| zone.unwrap_or_else(|| tenant.row.time_zone.clone())),
        cron,
        every_s: every,
        missed_policy: policy.map(crate::schedule::timetable::Missed::as_str),
        jitter_s: row.timetable.as_ref().map_or(0, |timetable| timetable.jitter_s),
        due_at: row.due_at,
        last_success_at: row.succeeded_at,
        last_success_age_s: row.succeeded_at.map(|at| now.since(at).as_secs()),
        missed: row.missed,
        missed_at: row.missed_at,
        plugin: plugin.to_owned(),
        name: row.name,
    }
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(page): Params<PageParams>,
) -> Answer<Out<Paged<Schedule>>> {
    let now = api.hub.clock.now();
    let rows = api.hub.store.schedules(within.id()).await?;
    let mut entries: Vec<_> = rows
        .into_iter()
        .map(|(plugin, row)| {
            let schedule = shown(&within.tenant, &plugin, row, now);
            (schedule.id.clone(), schedule)
        })
        .collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    paged_by_name(entries, &page).map(Out)
}

async fn run(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<impl IntoResponse> {
    let missing = || Problem::not_found("schedule");
    let (plugin, name) = id.split_once(':').ok_or_else(missing)?;
    let view = within.tenant.installations.get(plugin).ok_or_else(missing)?;
    let find = |rows: Vec<(String, ScheduleRow)>| {
        rows.into_iter().find(|(of, row)| of == plugin && row.name == name).map(|(_, row)| row).ok_or_else(missing)
    };
    find(api.hub.store.schedules(within.id()).await?)?;
    if view.row.mode == Mode::Off {
        let text = format!("{plugin} is switched off; set its mode to live first");
        return Err(Problem::new(Code::Conflict, text));
    }
    let audit = api.audit(&within.caller, Some(within.id()), "schedule.run", id.as_str());
    api.hub.store.audit(audit).await?;
    let name = ScheduleName { tenant: within.id().clone(), plugin: plugin.to_owned(), schedule: name.to_owned() };
    api.hub.store.accept(Accept { polls_now: vec![name.clone()], ..Accept::default() }).await?;
    api.hub.polls_moved.notify_one();
    let rows = api.hub.store.schedules(within.id()).await?;
    let row = rows.into_iter().find(|(of, row)| *of == name.plugin && row.name == name.schedule);
    let (_, row) = row.ok_or_else(missing)?;
    Ok((StatusCode::ACCEPTED, Out(shown(&within.tenant, &name.plugin, row, api.hub.clock.now()))))
}
