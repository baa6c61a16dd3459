//! May it happen, at routing and again when each attempt starts. Pure: who asks brings what is stored.
//!
//! | first that applies | answer |
//! |---|---|
//! | an emergency | allow |
//! | a person whom the command reaches opted out | refuse `opted_out` |
//! | the tenant is locked down | hold |
//! | the plan is not paid for, or its cap is used up | refuse `plan_canceled`, `plan_past_due`, `plan_cap` |
//! | the command waits for business hours, and they are over | wait |
//!
//! Lockdown holds every target but `rules`. The others are asked about commands that a plugin carries out.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    directory::view::{Hold, TenantView},
    event::{Event, EventType, Target, Urgency},
    plugin::model::EventKind,
    queue::reason::{Failure, ReasonClass},
    store::registry::TenantRow,
};

/// Channels and addresses.
pub mod address;

/// What persons say about being reached.
pub mod consent;

/// Requests that reach people.
pub mod gate;

/// Business hours.
pub mod hours;

/// STOP and START in all their spellings.
pub mod keyword;

/// Whom a mail goes to.
mod mail;

/// What a plan allows.
pub mod plan;

/// Whom a command reaches.
pub mod reach;

/// What the hub follows of a tenant's settings.
pub mod settings;

use hours::BusinessHours;
use plan::{DayUsage, LocalDay, Plan, Room};

/// The plugin whose runs go on under lockdown, since emergencies are recognised there.
const RULES: &str = "rules";

/// How long to wait for hours that never come before it is asked again.
const A_DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// Never: dead, `policy`.
    Refuse(Failure),
    /// Not until a person acts.
    Hold(Hold),
    /// Not before this time.
    Wait(Timestamp, Failure),
}

/// What the precedence is decided on: what each rule says by itself, none where it does not apply.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Somebody is in danger.
    pub emergency: bool,
    /// Somebody whom it reaches opted out.
    pub opted_out: Option<Failure>,
    /// The tenant is locked down.
    pub locked_down: Option<Hold>,
    /// The plan has no room for it.
    pub over_cap: Option<Failure>,
    /// It is closed until then.
    pub closed: Option<(Timestamp, Failure)>,
}

/// The precedence: emergency, opt-out, lockdown, plan, business hours.
#[must_use]
pub fn decide(facts: Facts) -> Verdict {
    let Facts { emergency, opted_out, locked_down, over_cap, closed } = facts;
    if emergency {
        Verdict::Allow
    } else if let Some(failure) = opted_out {
        Verdict::Refuse(failure)
    } else if let Some(hold) = locked_down {
        Verdict::Hold(hold)
    } else if let Some(failure) = over_cap {
        Verdict::Refuse(failure)
    } else if let Some((until, failure)) = closed {
        Verdict::Wait(until, failure)
    } else {
        Verdict::Allow
    }
}

/// What is stored about those whom an event concerns. Without it the rules that need it do not apply, and are asked again
/// when the attempt starts.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Somebody whom the command reaches opted out.
    pub opted_out: Option<Failure>,
    /// Commands that the tenant had carried out in this month, if its plan caps this one.
    pub used: Vec<DayUsage>,
    /// Whether an earlier attempt has an effect at the provider. Then neither plan nor hours keep it from being finished.
    pub begun: bool,
}

/// The parts of a tenant that the policy follows, read once.
#[derive(Clone, Debug)]
pub struct TenantPolicy {
    /// Where its days and hours are.
    pub zone: TimeZone,
    /// When commands that reach people are carried out; none is always.
    pub hours: Option<BusinessHours>,
    /// What its plan allows; none is everything.
    pub plan: Option<Plan>,
}

impl TenantPolicy {
    /// Reads it. Settings that are not understood, which the interface refuses, close nothing.
    #[must_use]
    pub fn of(row: &TenantRow, plan: Option<Plan>) -> Self {
        let settings = serde_json::from_str::<Map<String, Value>>(&row.settings).unwrap_or_default();
        let hours = settings::read(&settings).unwrap_or_else(|fault| {
            tracing::error!(tenant = %row.id, field = fault.field, "stored settings are damaged");
            None
        });
        Self { zone: TimeZone::get(&row.time_zone).unwrap_or(TimeZone::UTC), hours, plan }
    }

    /// Until when a command waits, if it does.
    #[must_use]
    pub fn closed(&self, command: &EventType, now: Timestamp) -> Option<(Timestamp, Failure)> {
        let hours = self.hours.as_ref().filter(|hours| hours.commands.iter().any(|name| name == command.as_str()))?;
        if hours.is_open(now, &self.zone) {
            return None;
        }
        let until = hours.opens(now, &self.zone).unwrap_or_else(|| now.after(A_DAY));
        let message = format!("outside business hours; it goes on at {until}");
        Some((until, Failure::new(ReasonClass::Policy, "business_hours", message)))
    }

    fn over_cap(&self, command: &str, used: &[DayUsage], now: Timestamp) -> Option<Failure> {
        let plan = self.plan.as_ref()?;
        plan.unpaid(now).or_else(|| {
            let today = LocalDay::at(now, &self.zone);
            match plan.room(command, used, &std::collections::BTreeMap::new(), today) {
                Room::Full { all, month, cap } => Some(plan::full(command, all, month, cap)),
                Room::Free | Room::Taken => None,
            }
        })
    }
}

/// Whether an event asks for something to be done. Those that reach people do, whatever a plugin's manifest calls them.
#[must_use]
pub fn is_command(kind: EventKind, event_type: &EventType) -> bool {
    kind == EventKind::Command || reach::REACHING.contains(&event_type.as_str())
}

/// Judges one delivery at a moment.
#[must_use]
pub fn judge(
    tenant: &TenantView,
    event: &Event,
    kind: EventKind,
    target: &Target,
    standing: &Standing,
    now: Timestamp,
) -> Verdict {
    let carried_out = matches!(target, Target::Plugin(_)) && is_command(kind, &event.event_type);
    let bound = carried_out && !standing.begun;
    let policy = &tenant.policy;
    decide(Facts {
        emergency: event.urgency == Urgency::Emergency,
        opted_out: standing.opted_out.clone().filter(|_| carried_out),
        locked_down: lockdown(tenant, target),
        over_cap: bound.then(|| policy.over_cap(event.event_type.as_str(), &standing.used, now)).flatten(),
        closed: bound.then(|| policy.closed(&event.event_type, now)).flatten(),
    })
}

/// The hold that a tenant's lockdown puts on a target. `receive` and rules go on, else no emergency would be seen.
#[must_use]
pub fn lockdown(tenant: &TenantView, target: &Target) -> Option<Hold> {
    let is_rules = matches!(target, Target::Plugin(name) if **name == *RULES);
    if !tenant.row.lockdown || is_rules {
        return None;
    }
    let failure = Failure::new(ReasonClass::Policy, "lockdown", "the tenant is locked down");
    Some(Hold { failure, since: tenant.row.lockdown_since.unwrap_or(tenant.row.created_at) })
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
