//! May it happen, at routing and again when each attempt starts. Pure.

use crate::{
    directory::view::{Hold, TenantView},
    event::{Event, Target, Urgency},
    plugin::model::EventKind,
    queue::reason::{Failure, ReasonClass},
};

/// The plugin whose runs go on under lockdown, since emergencies are recognised there.
const RULES: &str = "rules";

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// Never: dead, `policy`.
    Refuse(Failure),
    /// Not until a person acts.
    Hold(Hold),
}

/// Judges one delivery. Emergencies pass every rule.
#[must_use]
pub fn judge(tenant: &TenantView, event: &Event, kind: EventKind, target: &Target) -> Verdict {
    if event.urgency == Urgency::Emergency {
        return Verdict::Allow;
    }
    match lockdown(tenant, target) {
        Some(hold) if kind == EventKind::Command || !is_rules(target) => Verdict::Hold(hold),
        Some(_) | None => Verdict::Allow,
    }
}

/// The hold that a tenant's lockdown puts on a target. `receive` and rules go on, else no emergency would be seen.
#[must_use]
pub fn lockdown(tenant: &TenantView, target: &Target) -> Option<Hold> {
    if !tenant.row.lockdown || is_rules(target) {
        return None;
    }
    let failure = Failure::new(ReasonClass::Policy, "lockdown", "the tenant is locked down");
    Some(Hold { failure, since: tenant.row.lockdown_since.unwrap_or(tenant.row.created_at) })
}

fn is_rules(target: &Target) -> bool {
    matches!(target, Target::Plugin(name) if **name == *RULES)
}
