//! A tenant's plan: its state, its caps, and what was used of them.

use std::collections::BTreeMap;

use axum::{Json as Out, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{In, Need as _, Operate, Read},
    body::Json,
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::{EventType, TenantId},
    policy::plan::{ALL, Cap, DayUsage, Follows, LocalDay, Plan, PlanState},
    store::policy::PlanRow,
};

const TAG: &str = "plan";
const GRACE_DAYS: u32 = 7;
const MAX_GRACE_DAYS: u32 = 90;
const MAX_CAPS: usize = 100;
const MAX_CAP: u64 = 1_000_000_000;

pub(super) fn routes(routes: Routes) -> Routes {
    let one = "/v1/tenants/{tenant}/plan";
    routes
        .get(
            one,
            doc(TAG, Read::SCOPE, "Read a tenant's plan and what was used of it")
                .answers::<ShownPlan>(200, "The plan."),
            read,
        )
        .put(
            one,
            doc(TAG, Operate::SCOPE, "Give a tenant a plan, or replace it")
                .body::<NewPlan>()
                .answers::<ShownPlan>(200, "It is in force."),
            put,
        )
        .delete(
            one,
            doc(TAG, Operate::SCOPE, "Take a tenant's plan away: everything is allowed").answers_as(204, "Gone.", None),
            delete,
        )
}

/// A plan to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPlan {
    /// `trialing`, `active`, `past_due` or `canceled`.
    state: PlanState,
    /// How long commands go on when it is past due, 0 to 90; 7 without it.
    grace_days: Option<u32>,
    /// How many commands may be carried out, by their type; `*` counts those of all types.
    #[serde(default)]
    #[schema(example = json!({"sms.send": {"day": 100, "month": 1000}, "*": {"day": 2000}}))]
    caps: BTreeMap<String, Cap>,
    /// Where its state is told from now on.
    follows: Option<NewFollows>,
}

/// In whose events the state of a plan is told: `plan.changed` of the plugin `stripe`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFollows {
    /// The tenant that has the plugin; without it the plan's own.
    tenant: Option<String>,
    /// The customer at the provider.
    #[schema(example = "cus_1")]
    customer_id: String,
}

/// A tenant's plan.
#[derive(Serialize, ToSchema)]
struct ShownPlan {
    state: PlanState,
    /// Since when it is in this state.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    grace_days: u32,
    caps: BTreeMap<String, Cap>,
    follows: Option<ShownFollows>,
    /// What was carried out in the tenant's day and month, by type of command, and of all types under `*`.
    used: BTreeMap<String, Used>,
    /// Why commands are refused, if all are.
    refuses: Option<String>,
}

/// Where a plan's state is told.
#[derive(Serialize, ToSchema)]
struct ShownFollows {
    tenant: String,
    customer_id: String,
}

/// Commands that were carried out.
#[derive(Default, Serialize, ToSchema)]
struct Used {
    day: u64,
    month: u64,
}

fn used(usage: &[DayUsage], today: LocalDay) -> BTreeMap<String, Used> {
    let mut used = BTreeMap::<String, Used>::new();
    for one in usage.iter().filter(|one| one.day >= today.month_from) {
        for name in [&*one.command, ALL] {
            let used = used.entry(name.to_owned()).or_default();
            used.month += one.total;
            used.day += if one.day == today.day { one.total } else { 0 };
        }
    }
    used
}

async fn shown(api: &Api, tenant: &TenantView) -> Answer<ShownPlan> {
    let plan = tenant.policy.plan.as_ref().ok_or_else(|| Problem::not_found("plan"))?;
    let now = api.hub.clock.now();
    let today = LocalDay::at(now, &tenant.policy.zone);
    let usage = api.hub.store.usage(&tenant.row.id, today.month_from).await?;
    Ok(ShownPlan {
        state: plan.state,
        since: plan.since,
        grace_days: plan.grace_days,
        caps: plan.caps.clone(),
        follows: plan.follows.as_ref().map(|follows| ShownFollows {
            tenant: follows.tenant.to_string(),
            customer_id: follows.customer_id.clone(),
        }),
        used: used(&usage, today),
        refuses: plan.unpaid(now).map(|failure| failure.message),
    })
}

fn audited(plan: &Plan) -> Value {
    let follows =
        plan.follows.as_ref().map(|follows| json!({"tenant": follows.tenant, "customer_id": follows.customer_id}));
    json!({"state": plan.state, "grace_days": plan.grace_days, "caps": plan.caps, "follows": follows})
}

async fn read(State(api): State<Api>, within: In<Read>) -> Answer<Out<ShownPlan>> {
    shown(&api, &within.tenant).await.map(Out)
}

async fn put(State(api): State<Api>, within: In<Operate>, Json(new): Json<NewPlan>) -> Answer<Out<ShownPlan>> {
    let (tenant, now) = (&within.tenant, api.hub.clock.now());
    let before = tenant.policy.plan.as_ref();
    let plan = Plan {
        state: new.state,
        // The days of grace go on when the same state is given again.
        since: before.filter(|before| before.state == new.state).map_or(now, |before| before.since),
        grace_days: checked_grace(new.grace_days)?,
        caps: checked_caps(new.caps)?,
        follows: new.follows.map(|follows| checked_follows(&api, tenant, follows)).transpose()?,
    };
    let audit = api.audit(&within.caller, Some(within.id()), "plan.put", within.id().to_string());
    let audit = audit.showing(before.map(audited).as_ref(), Some(&audited(&plan)));
    api.hub.store.put_plan(PlanRow { tenant: within.id().clone(), plan, updated_at: now }, audit).await?;
    api.tenant_changed(within.id()).await?;
    let changed = api.hub.directory.tenant(within.id()).ok_or_else(|| Problem::not_found("tenant"))?;
    shown(&api, &changed).await.map(Out)
}

async fn delete(State(api): State<Api>, within: In<Operate>) -> Answer<StatusCode> {
    let before = within.tenant.policy.plan.as_ref().ok_or_else(|| Problem::not_found("plan"))?;
    let audit = api.audit(&within.caller, Some(within.id()), "plan.deleted", within.id().to_string());
    api.hub.store.delete_plan(within.id(), audit.showing(Some(&audited(before)), None)).await?;
    api.tenant_changed(within.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked_grace(days: Option<u32>) -> Answer<u32> {
    match days.unwrap_or(GRACE_DAYS) {
        days @ 0..=MAX_GRACE_DAYS => Ok(days),
        _ => Err(Problem::field("grace_days", format!("must be 0 to {MAX_GRACE_DAYS}"))),
    }
}

fn checked_caps(caps: BTreeMap<String, Cap>) -> Answer<BTreeMap<String, Cap>> {
    if caps.len() > MAX_CAPS {
        return Err(Problem::field("caps", format!("at most {MAX_CAPS} entries")));
    }
    for (name, cap) in &caps {
        let field = format!("caps.{name}");
        let exact = name.parse::<EventType>().is_ok_and(|name| !name.is_private());
        if name != ALL && !exact {
            return Err(Problem::field(field, "must be the exact type of a command, such as sms.send, or `*` for all"));
        }
        if cap.day.is_none() && cap.month.is_none() {
            return Err(Problem::field(field, "must have `day`, `month` or both"));
        }
        for (part, value) in [("day", cap.day), ("month", cap.month)] {
            if value.is_some_and(|value| value > MAX_CAP) {
                return Err(Problem::field(format!("{field}.{part}"), format!("must be at most {MAX_CAP}")));
            }
        }
    }
    Ok(caps)
}

fn checked_follows(api: &Api, tenant: &TenantView, new: NewFollows) -> Answer<Follows> {
    let teller = match new.tenant {
        None => tenant.row.id.clone(),
        Some(name) => {
            let field = |message: String| Problem::field("follows.tenant", message);
            let id: TenantId = name.parse().map_err(|error| field(format!("{error}")))?;
            if api.hub.directory.tenant(&id).is_none() {
                return Err(field(format!("there is no tenant `{id}`")));
            }
            id
        }
    };
    let customer_id = new.customer_id.trim().to_owned();
    if customer_id.is_empty() || customer_id.len() > 255 || customer_id.chars().any(char::is_control) {
        return Err(Problem::field("follows.customer_id", "must have 1 to 255 bytes and no control characters"));
    }
    Ok(Follows { tenant: teller, customer_id })
}
