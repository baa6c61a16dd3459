//! What persons say about being reached, and what that means for a command.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    address::Channel,
    keyword::{Wish, wish},
    reach::Reached,
};
use crate::{
    clock::Timestamp,
    event::Event,
    queue::reason::{Failure, ReasonClass},
};

/// What a person said last of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsentState {
    /// They may be reached.
    Granted,
    /// They may not, except in an emergency.
    Withdrawn,
}

impl ConsentState {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentSource {
    /// The person, by STOP or a word like it.
    StopKeyword,
    /// The person, by START or a word like it.
    StartKeyword,
    /// The carrier, which refused a message for an opt-out that it knows of (Twilio's 21610).
    #[serde(rename = "carrier_21610")]
    Carrier21610,
    /// An admin.
    Api,
    /// An event that says no more than that.
    Event,
}

impl ConsentSource {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::StopKeyword, Self::StartKeyword, Self::Carrier21610, Self::Api, Self::Event];

    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StopKeyword => "stop_keyword",
            Self::StartKeyword => "start_keyword",
            Self::Carrier21610 => "carrier_21610",
            Self::Api => "api",
            Self::Event => "event",
        }
    }
}

impl fmt::Display for ConsentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no source.
#[derive(Debug, thiserror::Error)]
#[error("unknown source of a consent")]
pub struct UnknownSource;

impl FromStr for ConsentSource {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|source| source.as_str() == text).ok_or(UnknownSource)
    }
}

/// What an event says of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// The channel.
    pub channel: Channel,
    /// The person's address, normalised.
    pub address: String,
    /// What they want.
    pub state: ConsentState,
    /// Who said it.
    pub source: ConsentSource,
    /// When. Never later than the event was accepted: a time to come would silence what is said until then.
    pub at: Timestamp,
}

/// What an event says of a person's consent, if it does.
///
/// Everybody who may publish or emit such an event is believed when it withdraws. A grant is believed when it came with a
/// provider's request or by the interface, but not from a run: a plugin must not talk itself out of an opt-out.
#[must_use]
pub fn said_by(event: &Event, data: &Value) -> Option<Saying> {
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let (state, source) = match event.event_type.as_str() {
        "sms.received" => of_message(text("opt_out"), text("body"))?,
        "sms.opt_out" => (
            ConsentState::Withdrawn,
            match text("reason") {
                Some("21610") => ConsentSource::Carrier21610,
                Some("keyword" | "opt_out_type") => ConsentSource::StopKeyword,
                _ => ConsentSource::Event,
            },
        ),
        "sms.opt_in" => (
            ConsentState::Granted,
            match text("reason") {
                Some("keyword" | "opt_out_type") => ConsentSource::StartKeyword,
                _ => ConsentSource::Event,
            },
        ),
        _ => return None,
    };
    if state == ConsentState::Granted && event.cause.is_some() {
        return None;
    }
    let address = Channel::Sms.normalised(text("from")?)?;
    Some(Saying { channel: Channel::Sms, address, state, source, at: event.time.min(event.accepted_at) })
}

/// What the carrier says that it understood counts before the words.
fn of_message(told: Option<&str>, body: Option<&str>) -> Option<(ConsentState, ConsentSource)> {
    let wish = match told {
        Some("STOP") => Wish::Stop,
        Some("START") => Wish::Start,
        _ => wish(body.unwrap_or_default())?,
    };
    Some(match wish {
        Wish::Stop => (ConsentState::Withdrawn, ConsentSource::StopKeyword),
        Wish::Start => (ConsentState::Granted, ConsentSource::StartKeyword),
    })
}

/// Why a command may not reach a person, given what is known of the person on each channel.
#[must_use]
pub fn refusal(reached: &Reached, known: impl Fn(Channel) -> Option<ConsentState>) -> Option<Failure> {
    let state = match reached.channel {
        // Somebody who asked to be left alone by text message was not thinking of a machine that calls instead.
        Channel::Call => known(Channel::Call).or_else(|| known(Channel::Sms)),
        channel => known(channel),
    };
    (state == Some(ConsentState::Withdrawn)).then(|| {
        let what = match reached.channel {
            Channel::Sms => "text messages",
            Channel::Call => "calls",
            Channel::Email => "e-mail",
        };
        // The address itself stays out: failures are shown to many, and outlive an erasure.
        let message = format!(
            "the recipient in `{}` opted out of {what}; only an emergency reaches them until they opt in again",
            reached.field
        );
        Failure::new(ReasonClass::Policy, "opted_out", message)
    })
}

#[cfg(test)]
#[path = "consent_tests.rs"]
mod tests;
