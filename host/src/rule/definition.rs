//! What a tenant writes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schedule::timetable::Missed;

/// The most rules of a tenant.
pub const MAX_RULES: usize = 200;

/// The most events that one rule emits.
pub const MAX_EMITS: usize = 16;

/// The most types of its own that a tenant names.
pub const MAX_OWN_TYPES: usize = 500;

/// The most types that one rule waits for.
pub const MAX_TYPES: usize = 32;

/// The most emissions that a throttle lets through in its period.
pub const MAX_THROTTLE: u32 = 100;

/// The longest period of a throttle, in seconds.
pub const MAX_PERIOD_S: u64 = 31 * 24 * 3600;

/// All rules of a tenant: the config of the installation `rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// In the order in which they are shown; all that match act.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Types of the tenant's own that no plugin defines, so that a misspelt one is told from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["order.placed"]))]
    pub own_types: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `[a-z0-9][a-z0-9-]{0,62}`, unique among the tenant's rules.
    #[schema(example = "missed-call-sms")]
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `live`; `shadow`: evaluated and recorded, emits nothing; `off`.
    #[serde(default)]
    #[schema(value_type = String)]
    pub mode: RuleMode,
    /// A type (`sms.received`), a pattern (`invoice.*`), several of them, or `schedule`.
    #[schema(value_type = Object)]
    pub on: On,
    /// CEL over `event`, `data`, `settings`, `tenant` and `local`; none is always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What is emitted, in this order.
    pub emit: Vec<Emission>,
    /// How often it may act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// CEL: it acts once for each value of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once_per: Option<String>,
    /// Of a rule on `schedule`: minute, hour, day of month, month, day of week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// An IANA name; none is the tenant's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of a time that passed while nobody could run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub missed: Option<Missed>,
    /// Up to so many seconds later than the clock says, so that not everybody begins at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_s: Option<u32>,
}

/// How a rule takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleMode {
    /// It acts.
    #[default]
    Live,
    /// It is evaluated and recorded, and emits nothing.
    Shadow,
    /// It is not evaluated.
    Off,
}

/// What a rule waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a type, a list of types, or `schedule`")]
pub enum On {
    /// One type or pattern.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl On {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// One thing that a rule emits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Emission {
    /// An event or a command: `sms.send`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// CEL that makes a map: `{'to': data.from, 'body': 'We call you back.'}`.
    pub data: String,
    /// CEL that makes a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// CEL that makes a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// Not worth delivering so many seconds later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after_s: Option<u64>,
    /// Takes the emergency lane, which the installation needs the grant `emergency` for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// At most so often in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// How often, up to 100.
    pub count: u32,
    /// In how many seconds.
    pub period_s: u64,
    /// CEL: for each value of this by itself; none is for the rule as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Rule {
    /// Whether it runs at times.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        matches!(&self.on, On::One(on) if on == super::SCHEDULE)
    }
}
