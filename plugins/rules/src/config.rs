use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The installation's settings. The host compiles and evaluates them; here they are only described.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In the order in which they are shown; all that match act.
    #[serde(default = "nothing")]
    #[schemars(with = "Vec<Rule>", length(max = 200))]
    pub rules: IgnoredAny,
    /// Types of the tenant's own that no plugin defines, such as `order.placed`.
    #[serde(default = "nothing")]
    #[schemars(with = "Vec<String>")]
    pub own_types: IgnoredAny,
}

const fn nothing() -> IgnoredAny {
    IgnoredAny
}

/// One rule.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rule {
    /// Unique among the rules.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,62}$"))]
    pub name: String,
    /// For people.
    #[schemars(default)]
    pub description: String,
    /// `live`; `shadow`: evaluated and recorded, emits nothing; `off`.
    #[schemars(default)]
    pub mode: RuleMode,
    /// A type (`sms.received`), a pattern (`invoice.*`), several of them, or `schedule`.
    pub on: On,
    /// CEL over `event`, `data`, `settings`, `tenant` and `local`; none is always.
    #[schemars(default)]
    pub when: Option<String>,
    /// What is emitted, in this order.
    #[schemars(length(min = 1, max = 16))]
    pub emit: Vec<Emit>,
    /// How often it may act.
    #[schemars(default)]
    pub throttle: Option<Throttle>,
    /// CEL: it acts once for each value of this.
    #[schemars(default)]
    pub once_per: Option<String>,
    /// Of a rule on `schedule`: minute, hour, day of month, month, day of week.
    #[schemars(default)]
    pub cron: Option<String>,
    /// An IANA name; none is the tenant's zone.
    #[schemars(default)]
    pub time_zone: Option<String>,
    /// What becomes of a time that passed while nobody could run it.
    #[schemars(default)]
    pub missed: Option<Missed>,
    /// Up to so many seconds later than the clock says.
    #[schemars(default, range(max = 3600))]
    pub jitter_s: Option<u32>,
}

/// How a rule takes part.
#[derive(Default, JsonSchema)]
#[schemars(rename_all = "lowercase")]
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
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum On {
    /// One type or pattern, or `schedule`.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// One thing that a rule emits.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Emit {
    /// An event or a command.
    #[schemars(rename = "type")]
    pub event_type: String,
    /// CEL that makes a map.
    pub data: String,
    /// CEL that makes a text.
    #[schemars(default)]
    pub subject: Option<String>,
    /// CEL that makes a text.
    #[schemars(default)]
    pub ordering_key: Option<String>,
    /// Not worth delivering so many seconds later.
    #[schemars(default)]
    pub expires_after_s: Option<u64>,
    /// Takes the emergency lane, which the installation needs the grant `emergency` for.
    #[schemars(default)]
    pub emergency: bool,
}

/// At most so often in a period.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Throttle {
    /// How often.
    #[schemars(range(min = 1, max = 100))]
    pub count: u32,
    /// In how many seconds.
    #[schemars(range(min = 1, max = 2_678_400))]
    pub period_s: u64,
    /// CEL: for each value of this by itself; none is for the rule as a whole.
    #[schemars(default)]
    pub key: Option<String>,
}

/// What becomes of a time that passed while nobody could run it.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Missed {
    /// It is left out.
    Skip,
    /// It runs once, as soon as it can.
    RunOnce,
}
