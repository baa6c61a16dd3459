//! What a tenant's plan allows: its state, and caps on commands that were carried out.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    event::{Event, TenantId},
    queue::reason::{Failure, ReasonClass},
};

/// Stands for the commands of all types.
pub const ALL: &str = "*";

/// The plugin whose word on plans is followed.
const TELLER: &str = "switchyard:plugin/stripe";

/// What it says.
const CHANGED: &str = "plan.changed";

/// Whether a plan is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// It is being tried; caps count.
    Trialing,
    /// It is paid for; caps count.
    Active,
    /// A payment failed. Commands go on within the days of grace, and are refused after them.
    PastDue,
    /// It is over: commands are refused. What comes in, events and deliveries to endpoints go on.
    Canceled,
}

impl PlanState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trialing, Self::Active, Self::PastDue, Self::Canceled];

    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How many commands may be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// On one day of the tenant's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
    /// In one month of the tenant's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<u64>,
}

/// In whose events the state of a plan is told, and of which customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// The tenant to which the customer's subscriptions are told.
    pub tenant: TenantId,
    /// The customer.
    pub customer_id: String,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether it is paid for.
    pub state: PlanState,
    /// Since when.
    pub since: Timestamp,
    /// How long commands go on when it is past due.
    pub grace_days: u32,
    /// By type of command, or [`ALL`].
    pub caps: BTreeMap<String, Cap>,
    /// Where its state is told.
    pub follows: Option<Follows>,
}

/// Commands of one type that were carried out on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayUsage {
    /// Days since 1970, in the tenant's time zone.
    pub day: i64,
    /// The type.
    pub command: String,
    /// How many.
    pub total: u64,
}

/// A day of a tenant, and the first of its month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDay {
    /// Days since 1970.
    pub day: i64,
    /// Days since 1970 of the first day of its month.
    pub month_from: i64,
}

impl LocalDay {
    /// The day in `zone` at a moment.
    #[must_use]
    pub fn at(now: Timestamp, zone: &TimeZone) -> Self {
        let Ok(now) = jiff::Timestamp::from_millisecond(now.0) else { return Self { day: 0, month_from: 0 } };
        let date = now.to_zoned(zone.clone()).date();
        let number = |date: jiff::civil::Date| {
            let since = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1)));
            since.map_or(0, |span| i64::from(span.get_days()))
        };
        Self { day: number(date), month_from: number(date.first_of_month()) }
    }

    /// The day as people write it.
    #[must_use]
    pub fn show(day: i64) -> String {
        let since = jiff::Span::new().try_days(day);
        let date = since.and_then(|since| jiff::civil::date(1970, 1, 1).checked_add(since));
        date.map_or_else(|_| day.to_string(), |date| date.to_string())
    }
}

/// What a plan says of one more command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room for it.
    Free,
    /// There would be, but for commands that run now and may fail.
    Taken,
    /// None in this period.
    Full {
        /// Of which cap: a type of command, or all of them.
        all: bool,
        /// Whether it is the cap of a month.
        month: bool,
        /// How many it allows.
        cap: u64,
    },
}

impl Plan {
    /// Whether a cap counts commands of this type.
    #[must_use]
    pub fn caps(&self, command: &str) -> bool {
        self.caps.contains_key(command) || self.caps.contains_key(ALL)
    }

    /// Why a command is refused, whatever was used: nobody pays for it.
    #[must_use]
    pub fn unpaid(&self, now: Timestamp) -> Option<Failure> {
        let grace = std::time::Duration::from_secs(u64::from(self.grace_days) * 86_400);
        let (code, message) = match self.state {
            PlanState::Trialing | PlanState::Active => return None,
            PlanState::PastDue if now < self.since.after(grace) => return None,
            PlanState::PastDue => (
                "plan_past_due",
                format!(
                    "the plan has been past due since {}, longer than the {} days of grace: commands are refused until it \
                     is paid",
                    self.since, self.grace_days
                ),
            ),
            PlanState::Canceled => (
                "plan_canceled",
                format!(
                    "the plan has been canceled since {}: commands are refused until it is active again",
                    self.since
                ),
            ),
        };
        Some(Failure::new(ReasonClass::Policy, code, message))
    }

    /// Whether there is room for one more `command` beside those that were carried out in this month and those that
    /// run now, given by type.
    #[must_use]
    pub fn room(&self, command: &str, used: &[DayUsage], running: &BTreeMap<String, u64>, today: LocalDay) -> Room {
        let mut room = Room::Free;
        for (name, all) in [(command, false), (ALL, true)] {
            let Some(cap) = self.caps.get(name) else { continue };
            let counts = |usage: &&DayUsage| all || usage.command == command;
            let in_month = || used.iter().filter(counts).filter(|usage| usage.day >= today.month_from);
            let of_day: u64 = in_month().filter(|usage| usage.day == today.day).map(|usage| usage.total).sum();
            let of_month: u64 = in_month().map(|usage| usage.total).sum();
            let now: u64 = running.iter().filter(|(name, _)| all || *name == command).map(|(_, count)| count).sum();
            for (limit, month, done) in [(cap.day, false, of_day), (cap.month, true, of_month)] {
                let Some(cap) = limit else { continue };
                if done >= cap {
                    return Room::Full { all, month, cap };
                }
                if done.saturating_add(now) >= cap {
                    room = Room::Taken;
                }
            }
        }
        room
    }
}

/// That a cap is used up.
#[must_use]
pub fn full(command: &str, all: bool, month: bool, cap: u64) -> Failure {
    let what = if all { "commands" } else { command };
    let period = if month { "month" } else { "day" };
    let message =
        format!("the plan allows {cap} {what} a {period}, and they are used up until the next {period} begins");
    Failure::new(ReasonClass::Policy, "plan_cap", message)
}

/// What an event tells of a customer's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// The tenant to which it is told.
    pub tenant: TenantId,
    /// The customer.
    pub customer_id: String,
    /// The state.
    pub state: PlanState,
    /// Since when.
    pub at: Timestamp,
}

/// What an event tells of a customer's plan, if it does. Only a run of the plugin that verified the provider's word is
/// believed, not somebody who may publish events.
#[must_use]
pub fn told_by(event: &Event, data: &Value) -> Option<Telling> {
    if event.event_type.as_str() != CHANGED || &*event.source != TELLER || event.cause.is_none() {
        return None;
    }
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    Some(Telling {
        tenant: event.tenant.clone(),
        customer_id: text("customer_id")?.to_owned(),
        state: PlanState::parse(text("state")?)?,
        at: event.time.min(event.accepted_at),
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
