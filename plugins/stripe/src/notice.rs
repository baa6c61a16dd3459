use serde_json::Value;
use switchyard_sdk::prelude::*;

use crate::amount::money;

/// An event as Stripe sends it: a moment, a type, and the object as it was then.
pub struct Notice<'a> {
    /// `evt_..`, the same in every repetition.
    pub id: &'a str,
    /// `customer.subscription.updated` and so on.
    pub kind: &'a str,
    /// When it happened, in seconds since 1970.
    pub created: u64,
    /// Whether it is about real money.
    pub livemode: bool,
    /// The connected account that it is about, where the endpoint listens to several.
    pub account: Option<&'a str>,
    /// The object it is about.
    pub object: &'a Value,
    /// What the changed attributes of the object were before.
    pub previous: &'a Value,
}

impl<'a> Notice<'a> {
    /// Reads the envelope. None if it is not of that form: a body that is signed and no event is nobody's.
    pub fn read(body: &'a Value) -> Option<Self> {
        Some(Self {
            id: text(body, "id")?,
            kind: text(body, "type")?,
            created: seconds(body, "created")?,
            livemode: body.get("livemode").and_then(Value::as_bool).unwrap_or(false),
            account: text(body, "account"),
            object: body.pointer("/data/object").filter(|object| object.is_object())?,
            previous: body.pointer("/data/previous_attributes").unwrap_or(&Value::Null),
        })
    }

    /// The id of the object.
    pub fn object_id(&self) -> Result<&'a str, PluginError> {
        self.require("id")
    }

    /// A text of the object that must be there. Its absence is held and not refused, since Stripe is believed and a
    /// later version of this plugin may know better.
    pub fn require(&self, name: &str) -> Result<&'a str, PluginError> {
        text(self.object, name).ok_or_else(|| self.unreadable(name))
    }

    /// The id under this name, also where the object itself stands there.
    pub fn reference(&self, name: &str) -> Option<&'a str> {
        reference(self.object, name)
    }

    /// An amount of the object.
    pub fn money(&self, name: &str) -> Result<Money, PluginError> {
        let amount = self.object.get(name).and_then(Value::as_i64);
        let amount = amount.ok_or_else(|| self.unreadable(name))?;
        money(amount, self.require("currency")?).ok_or_else(|| self.unreadable("currency"))
    }

    /// The failure of an event of a known type whose object is not what it should be: the request is parked.
    pub fn unreadable(&self, name: &str) -> PluginError {
        let message = format!("An event of the type {} has no readable `{name}`.", known(self.kind));
        PluginError::needs_attention(Reason::BadData, "unreadable_event", message)
    }
}

/// Longer than any id, name or code of Stripe's; such a text is taken as absent, since it could be no key.
const LONGEST_TEXT: usize = 255;

/// The last second of the year 9999, beyond which no time can be written.
const LATEST: u64 = 253_402_300_799;

/// Text that is neither empty nor longer than any that Stripe sends.
pub fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty() && text.len() <= LONGEST_TEXT)
}

/// A moment in seconds since 1970.
pub fn seconds(object: &Value, name: &str) -> Option<u64> {
    object.get(name)?.as_u64().filter(|seconds| *seconds <= LATEST)
}

/// An id, also where the object itself stands in its place.
pub fn reference<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    match object.get(name)? {
        Value::String(_) => text(object, name),
        expanded @ Value::Object(_) => text(expanded, "id"),
        _ => None,
    }
}

/// A type's name as part of a message: short, whatever was sent.
fn known(kind: &str) -> String {
    kind.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')).take(64).collect()
}
