//! Requests by which a provider reaches people. They are open only in a run of the command that asks for it, and only to
//! the persons whom that command names: the policy was asked about those.
//!
//! | provider | request | in a run of | to whom it goes is read from |
//! |---|---|---|---|
//! | Twilio | `POST .../Messages` | `sms.send` | the parameters `To` |
//! | Twilio | `POST .../Calls` | `call.create` | the parameters `To` |
//! | Google | `.../messages/send` | `email.send` | `To`, `Cc` and `Bcc` of the message |
//! | Google | `.../drafts/send`, mail settings, batches | never | it cannot be told |
//! | Google | a calendar's event with `sendUpdates` | `appointment.*` | `attendees`, who may not have withdrawn |
//!
//! What cannot be told from a request: whom the document of a call dials further (`Twiml`, `Url`), who is in a messaging
//! service's or a thread's history, and the attendees whom Google already has of an event. A provider is known by the
//! connection's name for it and by the host that is called, whichever says it.

use std::borrow::Cow;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;

use super::{address::Channel, mail};

/// Addresses of one request that are looked at; more are not let through.
const MOST: usize = 1_000;

/// URL-safe, however it is padded.
const RAW: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a request says whom it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// In parameters `To` of a form or of the query.
    Form(Channel),
    /// In the header of a mail.
    Mail,
    /// As attendees of a calendar's event.
    Attendees,
    /// Not at all, so that it is never let through.
    Nowhere,
}

/// A request that is not open to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// In whose runs it is open.
    pub commands: &'static [&'static str],
    /// How it says whom it reaches.
    pub told: Told,
}

/// A request as it will be sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The connection's name for its provider.
    pub provider: &'a str,
    /// The host that the plugin means: the connection's own, else the manifest's.
    pub host: &'a str,
    /// Upper-case method.
    pub method: &'a str,
    /// Path and query below the base URL.
    pub path: &'a str,
    /// Whether a field asks the provider to take it for another method.
    pub overridden: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Twilio,
    Google,
}

impl Family {
    fn of(asked: &Asked<'_>) -> Option<Self> {
        let host = asked.host.trim_end_matches('.').to_ascii_lowercase();
        let under = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        match asked.provider {
            "twilio" => Some(Self::Twilio),
            // A login at Google is one for mail and calendar alike, so it may go by any name.
            "gmail" | "google" | "calendar" | "google_calendar" | "gcal" => Some(Self::Google),
            _ if under("twilio.com") => Some(Self::Twilio),
            _ if under("googleapis.com") => Some(Self::Google),
            _ => None,
        }
    }
}

/// The gate that a request meets; none if it is open.
#[must_use]
pub fn gate(asked: &Asked<'_>) -> Option<Gate> {
    let family = Family::of(asked)?;
    let reads = matches!(asked.method, "GET" | "HEAD") && !asked.overridden;
    if reads {
        return None;
    }
    let (route, query) = asked.path.split_once('?').unwrap_or((asked.path, ""));
    let segments = segments(route);
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match family {
        Family::Twilio => twilio(&names),
        Family::Google => google(&names, query),
    }
}

fn twilio(names: &[&str]) -> Option<Gate> {
    match *names.last()? {
        "messages" | "smsmessages" => Some(Gate { commands: &["sms.send"], told: Told::Form(Channel::Sms) }),
        "calls" => Some(Gate { commands: &["call.create"], told: Told::Form(Channel::Call) }),
        _ => None,
    }
}

fn google(names: &[&str], query: &str) -> Option<Gate> {
    const MAIL: &[&str] = &["email.send"];
    const VISIT: &[&str] = &["appointment.create", "appointment.update", "appointment.cancel"];
    let settings =
        names.iter().position(|name| *name == "users").is_some_and(|at| names.get(at + 2) == Some(&"settings"));
    match names {
        // Any request may stand in a batch.
        ["batch", ..] | [.., "batch"] => Some(Gate { commands: MAIL, told: Told::Nowhere }),
        [.., "messages", "send"] => Some(Gate { commands: MAIL, told: Told::Mail }),
        [.., "drafts", "send"] => Some(Gate { commands: MAIL, told: Told::Nowhere }),
        // Forwarding, vacation answers and delegates write to people too.
        _ if settings => Some(Gate { commands: MAIL, told: Told::Nowhere }),
        // Whom a cancellation is told to is not in the request: they were invited before.
        _ if names.contains(&"events") && names.contains(&"calendars") && mails(query) => {
            Some(Gate { commands: VISIT, told: Told::Attendees })
        }
        _ => None,
    }
}

/// Whether Google sends mail about a change of an event.
fn mails(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| match &*name {
        "sendUpdates" => !value.eq_ignore_ascii_case("none"),
        "sendNotifications" => value.eq_ignore_ascii_case("true"),
        _ => false,
    })
}

/// The parts of a path as a lenient server reads them: decoded, in lower case, without parameters, empty parts and the
/// ending of the last.
fn segments(route: &str) -> Vec<Cow<'static, str>> {
    let decoded = percent_decoded(route).to_ascii_lowercase();
    let mut parts: Vec<Cow<'static, str>> = decoded
        .split(['/', '\\'])
        .map(|part| part.split(';').next().unwrap_or_default())
        .filter(|part| !part.is_empty() && *part != ".")
        .map(|part| Cow::Owned(part.to_owned()))
        .collect();
    if let Some(last) = parts.last_mut()
        && let Some((name, ending)) = last.rsplit_once('.')
        && ["json", "xml", "csv", "html"].contains(&ending)
    {
        *last = Cow::Owned(name.to_owned());
    }
    parts
}

/// A path decoded until nothing is left to decode, since a proxy before the provider may decode it once more.
fn percent_decoded(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..3 {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if first == b'%' => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                _ => {
                    bytes.push(first);
                    rest = after;
                }
            }
        }
        let next = String::from_utf8_lossy(&bytes).into_owned();
        if next == text {
            break;
        }
        text = next;
    }
    text
}

/// The addresses that a request goes to, normalised.
///
/// # Errors
/// It cannot be told, in words for the plugin's author.
pub fn recipients(gate: &Gate, path: &str, body: &[u8]) -> Result<Vec<(Channel, String)>, &'static str> {
    let found: Vec<(Channel, String)> = match gate.told {
        Told::Nowhere => return Err("whom it reaches cannot be told from the request"),
        Told::Form(channel) => {
            let query = path.split_once('?').map_or("", |(_, query)| query);
            let fields = url::form_urlencoded::parse(query.as_bytes()).chain(url::form_urlencoded::parse(body));
            let to = fields.filter(|(name, _)| name.eq_ignore_ascii_case("to"));
            let named = to.map(|(_, value)| channel.normalised(&value).map(|address| (channel, address)));
            named.take(MOST + 1).collect::<Option<_>>().ok_or("a parameter `To` is no telephone number")?
        }
        Told::Mail => {
            let message = raw_message(body).ok_or("the body is no JSON object with the message in `raw`")?;
            let addresses = mail::addresses(&message).into_iter().take(MOST + 1);
            addresses.filter_map(|text| Some((Channel::Email, Channel::Email.normalised(&text)?))).collect()
        }
        Told::Attendees => {
            let event: Value = if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(body).map_err(|_| "the body is no JSON object")?
            };
            let all = event.get("attendees").and_then(Value::as_array).into_iter().flatten();
            let emails = all.filter_map(|attendee| attendee.get("email")?.as_str());
            return Ok(emails
                .filter_map(|text| Some((Channel::Email, Channel::Email.normalised(text)?)))
                .take(MOST + 1)
                .collect());
        }
    };
    match found.len() {
        0 => Err("the request names no recipient"),
        1..=MOST => Ok(found),
        _ => Err("the request names too many recipients"),
    }
}

/// The message of a request of Gmail's: `{"raw"}`.
fn raw_message(body: &[u8]) -> Option<Vec<u8>> {
    let json: Value = serde_json::from_slice(body).ok()?;
    RAW.decode(json.get("raw")?.as_str()?).ok()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
