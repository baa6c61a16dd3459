use schemars::JsonSchema;
use serde::Deserialize;
use switchyard_sdk::PluginError;
use switchyard_sdk::read::read;

use crate::voice::config::Voice;

/// The settings of an installation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The account whose numbers are used, `AC` and 32 hex digits.
    #[schemars(regex(pattern = r"^AC[0-9A-Za-z]{1,62}$"))]
    pub account_sid: String,
    /// The number that messages are sent from when the command names none, in E.164.
    #[serde(default)]
    pub from: Option<String>,
    /// The messaging service to send with when there is no number; `from` wins.
    #[serde(default)]
    pub messaging_service_sid: Option<String>,
    /// The shared keys that may sign webhooks. All of them use the secret bound to the slot `sharedkey`.
    #[serde(default)]
    pub shared_keys: Vec<SharedKey>,
    /// Whether to ask Twilio for the status of messages sent and calls placed.
    #[serde(default = "yes")]
    pub status_callbacks: bool,
    /// What callers hear and where they get to. Without it calls are told as events and end at once.
    #[serde(default)]
    #[schemars(with = "Option<Voice>")]
    voice: Option<serde_json::Value>,
}

impl Config {
    /// What callers hear. It is read only where a call needs it, since most requests are about messages.
    ///
    /// # Errors
    /// It does not fit its schema, which the hub checks when it is saved.
    pub fn voice(&self) -> Result<Option<Voice>, PluginError> {
        let voice = self.voice.as_ref().map(read).transpose();
        voice.map_err(|error| PluginError::bad_config("voice", &error.to_string()))
    }
}

/// A shared key, with the algorithm that it is used with. The algorithm is pinned here because the header that names
/// it is not signed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedKey {
    /// The key's id at Twilio, `webhooks_sharedkey_...`.
    pub id: String,
    /// The only algorithm believed with it.
    pub algorithm: Algorithm,
}

/// An algorithm of webhook signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC-SHA1.
    #[serde(rename = "HMAC_SHA1")]
    HmacSha1,
    /// HMAC-SHA256.
    #[serde(rename = "HMAC_SHA256")]
    HmacSha256,
}

impl Algorithm {
    /// By the name that Twilio puts into its header.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "HMAC_SHA1" => Some(Self::HmacSha1),
            "HMAC_SHA256" => Some(Self::HmacSha256),
            _ => None,
        }
    }
}

fn yes() -> bool {
    true
}
