//! What the host found: the rules that match an event, with what they emit.

use serde::Deserialize;
use serde_json::Value;
use switchyard_sdk::prelude::*;
use switchyard_sdk::read::read;

/// Where it stands among the event's attributes.
const ATTRIBUTE: &str = "matched_rules";

/// A rule that matched.
#[derive(Clone, Debug, Deserialize)]
pub struct Matched {
    /// Its name.
    pub name: String,
    /// Whether it acts.
    pub mode: Mode,
    /// What it emits if nothing speaks against it.
    pub emits: Vec<Emission>,
    /// How often it may.
    #[serde(default)]
    pub throttle: Option<Throttle>,
    /// The key of what it acts once for.
    #[serde(default)]
    pub once: Option<String>,
    /// Why it cannot act.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// How a rule takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It acts.
    Live,
    /// It is recorded only.
    Shadow,
}

/// One thing to emit.
#[derive(Clone, Debug, Deserialize)]
pub struct Emission {
    /// The type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The payload.
    pub data: Value,
    /// What it is about.
    #[serde(default)]
    pub subject: Option<String>,
    /// What it is kept in order with.
    #[serde(default)]
    pub ordering_key: Option<String>,
    /// Not worth delivering so many seconds later.
    #[serde(default)]
    pub expires_after_s: Option<u64>,
    /// Takes the emergency lane.
    #[serde(default)]
    pub emergency: bool,
}

/// A throttle with what it counts under.
#[derive(Clone, Debug, Deserialize)]
pub struct Throttle {
    /// What it counts under.
    pub key: String,
    /// How often.
    pub count: u64,
    /// In how many seconds.
    pub period_s: u64,
}

/// Why a rule cannot act.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// The part of the rule.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// The rules that match an event; none where the host is not one that evaluates rules.
pub fn of(event: &Event) -> Result<Vec<Matched>, PluginError> {
    let matched = event.extensions.as_ref().and_then(|attributes| attributes.get(ATTRIBUTE));
    let Some(matched) = matched else { return Ok(Vec::new()) };
    read(matched).map_err(|misfit| {
        let message = format!("The host's list of rules does not fit at `{}`.", misfit.path());
        PluginError::reject(Reason::PluginBug, "bad_matched_rules", message)
    })
}
