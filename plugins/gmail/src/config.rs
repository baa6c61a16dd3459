use schemars::JsonSchema;
use serde::Deserialize;

/// The installation's settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The mailbox's own address. Mail is sent from it, and it is part of every dedupe key.
    #[schemars(length(max = 128), regex(pattern = r"^[^@\s<>,;]+@[^@\s<>,;]+$"))]
    pub mailbox: String,
    /// The name that recipients see beside the address.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128))]
    pub from_name: Option<String>,
    /// The labels that make a new message one that was received.
    #[serde(default = "inbox")]
    #[schemars(length(min = 1, max = 20))]
    pub labels: Vec<String>,
    /// How often the mailbox is looked at when nothing is heard of it, in minutes.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 15))]
    pub poll_minutes: u8,
    /// Notifications by Cloud Pub/Sub. Without it the mailbox is polled only.
    #[serde(default)]
    pub push: Option<Push>,
}

/// Where Gmail announces changes, and whose tokens prove that a push is ours.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The topic that Gmail publishes to; it is in the project of the OAuth client.
    #[schemars(regex(pattern = r"^projects/[^/\s]+/topics/[^/\s]+$"))]
    pub topic: String,
    /// The service account whose token the push subscription sends. Any customer of Google can have a token for any
    /// audience, so this address is what binds a push to the subscription.
    #[schemars(length(min = 3), regex(pattern = r"^[^@\s]+@[^@\s]+$"))]
    pub service_account: String,
    /// The audience of the push subscription, compared exactly; the URL of the source if the subscription names none.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub audience: Option<String>,
}

impl Config {
    /// Whether this is the mailbox's own address; Gmail ignores the case.
    pub fn is_mailbox(&self, address: &str) -> bool {
        self.mailbox.eq_ignore_ascii_case(address.trim())
    }
}

fn inbox() -> Vec<String> {
    vec!["INBOX".to_owned()]
}

const fn ten() -> u8 {
    10
}
