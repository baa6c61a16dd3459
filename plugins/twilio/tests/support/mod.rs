//! Signed requests about calls.

#![allow(dead_code, reason = "each test file uses a part of it")]

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use switchyard_sdk::testing::{MockHost, NOON};
use switchyard_sdk::{Emit, InboundRequest, Received};
use twilio::Twilio;

pub const URL: &str = "https://hub.test/in/src_0";
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const CALL: &str = "CA1";
pub const CALLER: &str = "+4520123456";

pub fn host() -> MockHost {
    MockHost::new().secret("twilio.password", TOKEN)
}

/// A signed form to a path behind the source.
pub fn form(path: &str, fields: &[(&str, &str)]) -> InboundRequest {
    let url = format!("{URL}{path}");
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    let text: String = sorted.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("{url}{text}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    InboundRequest::new("POST", &url)
        .with_header("content-type", "application/x-www-form-urlencoded")
        .with_header("x-twilio-signature", &signature)
        .with_body(body)
        .at(NOON)
}

/// The parameters that each request about the caller's call has, and some more.
pub fn fields<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("CallSid", CALL),
        ("AccountSid", "AC1"),
        ("From", CALLER),
        ("To", "+4570000001"),
        ("Direction", "inbound"),
        ("ApiVersion", "2010-04-01"),
        ("FromCity", ""),
    ];
    fields.extend_from_slice(more);
    fields
}

/// What the plugin makes of a request: events, and the document.
pub fn answered(host: &MockHost, config: &Value, path: &str, more: &[(&str, &str)]) -> (Vec<Emit>, String) {
    let received = host.receive::<Twilio>(config.clone(), form(path, &fields(more))).unwrap();
    match received {
        Received::Accepted { events, reply, .. } => {
            let reply = reply.unwrap_or(switchyard_sdk::Reply::status(200));
            (events, String::from_utf8(reply.body).unwrap())
        }
        other => panic!("not accepted: {other:?}"),
    }
}

/// A config with everything that a call can meet.
pub fn config() -> Value {
    json!({
        "account_sid": "AC1",
        "from": "+4570000001",
        "voice": {
            "language": "da-DK",
            "greeting": "Velkommen til {to}, {caller_name}.",
            "menu": {
                "prompt": "Tryk 1 for akut, 2 for kontoret.",
                "speech": true,
                "attempts": 2,
                "not_understood": "Det forstod jeg ikke.",
                "choices": [
                    { "digits": "1", "words": ["akut", "vand"], "say": "Vi stiller om.", "then": "forward" },
                    { "digits": "2", "then": "hangup" }
                ]
            },
            "forward": { "numbers": ["+4511111111", "+4522222222"], "timeout_s": 15 },
            "voicemail": { "prompt": "Læg en besked efter tonen.", "max_length_s": 60 },
            "goodbye": "Farvel.",
            "hours": {
                "time_zone": "Europe/Copenhagen",
                "open": [{ "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "until": "16:00" }],
                "closed": ["2026-11-23"]
            },
            "after_hours": { "say": "Vi har lukket." }
        }
    })
}
