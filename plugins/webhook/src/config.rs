use schemars::JsonSchema;
use serde::Deserialize;

/// The installation's settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the sender signs.
    pub scheme: Scheme,
    /// Which type of event a request becomes.
    pub event: EventRule,
    /// How the body becomes the event's data.
    #[serde(default)]
    pub body: BodyRule,
    /// What makes two requests the same.
    #[serde(default)]
    pub dedupe: DedupeRule,
    /// Path into the body of what the event is about, such as `data.id`.
    #[serde(default)]
    pub subject_path: Option<String>,
}

/// How a sender signs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scheme {
    /// Standard Webhooks; the secret is bound to the slot `inbound-base64`.
    StandardWebhooks {
        /// The first part of the three header names; some senders write `svix`.
        #[serde(default = "standard_prefix")]
        header_prefix: String,
        /// How many seconds the time stamp may be off, either way.
        #[serde(default = "five_minutes")]
        tolerance_s: u64,
    },
    /// Stripe's scheme; the secret, `whsec_` included, is bound to the slot `inbound`.
    Stripe {
        /// How many seconds old the time stamp may be.
        #[serde(default = "five_minutes")]
        tolerance_s: u64,
    },
    /// Slack's scheme, with its URL verification; the secret is bound to the slot `inbound`.
    Slack {
        /// How many seconds the time stamp may be off, either way.
        #[serde(default = "five_minutes")]
        tolerance_s: u64,
    },
    /// GitHub's scheme; the secret is bound to the slot `inbound`. Nothing in it says when a request was made.
    Github,
    /// Any other HMAC in a header.
    Hmac(HmacScheme),
}

/// An HMAC in a header.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacScheme {
    /// The header with the signature.
    #[schemars(length(min = 1))]
    pub header: String,
    /// What stands before the signature in it, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// The hash function.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// What is signed: a text with `{body}` in it, and `{timestamp}`, `{id}` or `{url}` where the sender signs them.
    #[serde(default = "body_alone")]
    pub signed: String,
    /// The header with the time stamp in seconds; needed where `signed` names it.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// The header with the request's id; needed where `signed` names it.
    #[serde(default)]
    pub id_header: Option<String>,
    /// How many seconds the time stamp may be off, either way.
    #[serde(default = "five_minutes")]
    pub tolerance_s: u64,
    /// How the text of the secret becomes the key, and so the slot that it is bound to.
    #[serde(default)]
    pub key: KeyText,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hex digits.
    #[default]
    Hex,
    /// Standard base64.
    Base64,
}

/// A hash function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    #[default]
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

/// How the text of a secret becomes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyText {
    /// The text is the key; slot `inbound`.
    #[default]
    Text,
    /// Base64, with or without `whsec_`; slot `inbound-base64`.
    Base64,
    /// Hex digits; slot `inbound-hex`.
    Hex,
}

/// Which type of event a request becomes. Characters outside `a-z 0-9 _ .` become `_`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "lowercase", deny_unknown_fields)]
pub enum EventRule {
    /// Always this one.
    Fixed {
        /// The type.
        #[serde(rename = "type")]
        #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_]*(\.[a-z0-9][a-z0-9_]*)+$"))]
        event_type: String,
    },
    /// What a path into the body says.
    Body {
        /// Member names and list indexes with dots, such as `event.type`.
        path: String,
        /// What goes before it, such as `stripe.`. A type has two parts at least.
        #[serde(default)]
        prefix: String,
        /// The only types made, such as `stripe.invoice.*`; others are answered and forgotten. None means all.
        #[serde(default)]
        allow: Option<Vec<String>>,
    },
    /// What a header says. Headers are not signed: name the types allowed.
    Header {
        /// The header's name.
        name: String,
        /// What goes before it.
        #[serde(default)]
        prefix: String,
        /// The only types made; others are answered and forgotten.
        allow: Vec<String>,
    },
}

/// How the body becomes the event's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyRule {
    /// The body is JSON; what is no object becomes `{"value": ..}`.
    #[default]
    Json,
    /// The body is a form; each field's value is text, or a list where the name is repeated.
    Form,
    /// `{"body_text": ".."}`, or `{"body_base64": ".."}` where it is not UTF-8.
    Text,
}

/// What makes two requests the same.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupeRule {
    /// Path into the body of the sender's own id of the event. Without it the signed id is taken, or else a hash of
    /// all that was signed, so that equal requests are one.
    #[serde(default)]
    pub path: Option<String>,
}

fn standard_prefix() -> String {
    "webhook".to_owned()
}

fn five_minutes() -> u64 {
    300
}

fn body_alone() -> String {
    "{body}".to_owned()
}
