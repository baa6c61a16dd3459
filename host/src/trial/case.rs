//! The file of a case: what the plugin is called with, what its imports answer, and what is expected of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::plugin::model::Method;

/// One call of a plugin. Exactly one of `event`, `request` and `poll` says which.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The installation's config.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Calls `handle` with this event or command.
    pub event: Option<EventCase>,
    /// Calls `receive` with this request.
    pub request: Option<RequestCase>,
    /// Calls `poll`.
    pub poll: Option<PollCase>,
    /// What providers answer, each once, in any order.
    #[serde(default)]
    pub http: Vec<RecordedAnswer>,
    /// What the installation has stored.
    #[serde(default)]
    pub kv: BTreeMap<String, String>,
    /// Secrets as `<slot>.<field>`; for tests, never real ones.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// What the issuers of tokens publish, by slot: a key set for each secret of kind `jwt`.
    #[serde(default)]
    pub key_sets: BTreeMap<String, Value>,
    /// Grants of the installation; `emits:*` where none are named.
    pub grants: Option<Vec<String>>,
    /// The time of the run in milliseconds since 1970; now where it is not named.
    pub time_ms: Option<u64>,
    /// What `plugin test` compares the report with: each member named here must be the same there.
    pub expect: Option<Value>,
}

/// An event for `handle`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCase {
    /// `invoice.create`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The payload.
    #[serde(default)]
    pub data: Value,
    /// The event's id.
    #[serde(default = "event_id")]
    pub id: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
}

fn event_id() -> String {
    "evt_00000000000000000000000000000001".to_owned()
}

/// A request for `receive`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCase {
    /// The method.
    #[serde(default = "post")]
    pub method: String,
    /// The public URL at which it arrived.
    #[serde(default = "source_url")]
    pub url: String,
    /// Its fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body: text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Value,
}

fn post() -> String {
    "POST".to_owned()
}

fn source_url() -> String {
    "https://hub.example/in/src_1".to_owned()
}

/// A call of `poll`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollCase {
    /// Which schedule is due.
    pub schedule: String,
    /// Where the last poll ended.
    pub cursor: Option<String>,
}

/// What a provider answers to one call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedAnswer {
    /// The connection's slot.
    pub connection: String,
    /// The method.
    pub method: Method,
    /// The path; without a query it fits every query.
    pub path: String,
    /// The status.
    #[serde(default = "ok")]
    pub status: u16,
    /// The answer's fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The answer's body: text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Value,
    /// Instead of an answer: the line fails.
    pub fails: Option<Failing>,
}

const fn ok() -> u16 {
    200
}

/// How a call fails without an answer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failing {
    /// Nobody listens: certainly not executed.
    Unreachable,
    /// No answer in time: perhaps executed.
    Timeout,
}

/// A body as bytes: text as it is, nothing for null, anything else as JSON.
#[must_use]
pub fn body_bytes(body: &Value) -> Vec<u8> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// It is no JSON of this form; the text names the place.
    pub fn read(json: &[u8]) -> anyhow::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            anyhow::anyhow!("the case is not usable at `{path}`: {}", error.into_inner())
        })
    }
}
