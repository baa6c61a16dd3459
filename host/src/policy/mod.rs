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

/// The command outside of whose run a provider's path is closed: sending costs money or reaches people, so that no plugin
/// does it on the side. None where the path is open.
#[must_use]
pub fn gate_of(provider: &str, reads: bool, path: &str) -> Option<&'static str> {
    let route = path.split('?').next().unwrap_or_default();
    match provider {
        _ if reads => None,
        "twilio" if route.ends_with("/Messages.json") => Some("sms.send"),
        "twilio" if route.ends_with("/Calls.json") => Some("call.create"),
        // A login at Google is one for mail and calendar alike, so it may go by either name.
        "gmail" | "google" if route.ends_with("/messages/send") || route.ends_with("/drafts/send") => {
            Some("email.send")
        }
        _ => None,
    }
}

fn is_rules(target: &Target) -> bool {
    matches!(target, Target::Plugin(name) if **name == *RULES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_is_closed_outside_its_command_and_reading_is_open() {
        let messages = "/2010-04-01/Accounts/AC1/Messages.json";
        assert_eq!(gate_of("twilio", false, messages), Some("sms.send"));
        assert_eq!(gate_of("twilio", false, "/2010-04-01/Accounts/AC1/Messages.json?x=1"), Some("sms.send"));
        assert_eq!(gate_of("twilio", false, "/2010-04-01/Accounts/AC1/Calls.json"), Some("call.create"));
        assert_eq!(gate_of("gmail", false, "/users/me/messages/send"), Some("email.send"));
        assert_eq!(gate_of("google", false, "/gmail/v1/users/me/messages/send"), Some("email.send"));
        assert_eq!(gate_of("twilio", true, messages), None);
        assert_eq!(gate_of("billy", false, messages), None);
    }
}
