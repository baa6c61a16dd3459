use schemars::JsonSchema;
use serde::Deserialize;

/// The installation's settings. An app's requests come without any.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How old a signature may be on arrival, in seconds.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 3600))]
    pub tolerance_s: u64,
    /// Only events of live mode (true) or of test mode (false); all where it is not set.
    #[serde(default)]
    pub livemode: Option<bool>,
}

fn five_minutes() -> u64 {
    300
}
