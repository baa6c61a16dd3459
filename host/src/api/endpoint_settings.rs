//! What an endpoint may be set to: every fault names its field.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue, header};

use super::{
    Api,
    problem::{Answer, Problem},
};
use crate::{
    connection::guard::is_reserved_header,
    directory::{places, view::TenantView},
    id::Key,
    outbound::sign::{SigningSecret, generate_ed25519, generate_symmetric},
    queue::retry::MAX_ATTEMPTS,
    route::{filter::Filter, pattern::TypePattern},
    secret::{ExposeSecret as _, SecretString},
    store::registry::SealedSecret,
};

const MAX_PATTERNS: usize = 100;
const MAX_HEADERS: usize = 20;
const MAX_HEADER_BYTES: usize = 4096;
const MAX_DELAY_S: u64 = 7 * 86_400;

/// An https URL that may be called. The addresses behind a name are judged at every attempt.
pub(super) fn checked_url(api: &Api, url: String) -> Answer<String> {
    api.hub.client.policy().check_url(&url)?;
    Ok(url)
}

/// Types and patterns, each readable.
pub(super) fn checked_types(types: Vec<String>) -> Answer<Vec<String>> {
    if types.is_empty() || types.len() > MAX_PATTERNS {
        return Err(Problem::field(
            "event_types",
            format!("name 1 to {MAX_PATTERNS} types: `invoice.paid`, `invoice.*` or `*`"),
        ));
    }
    for (index, text) in types.iter().enumerate() {
        let field = format!("event_types[{index}]");
        if text.starts_with('_') {
            return Err(Problem::field(field, "types with a leading underscore are private to a plugin"));
        }
        if let Err(error) = text.parse::<TypePattern>() {
            return Err(Problem::field(field, format!("`{text}`: {error}; patterns are `invoice.*` and `*`")));
        }
    }
    Ok(types)
}

/// A filter that compiles.
pub(super) fn checked_filter(filter: String) -> Answer<String> {
    Filter::compile(&filter)?;
    Ok(filter)
}

/// `standard` or `cloudevents`.
pub(super) fn checked_format(format: String) -> Answer<String> {
    match format.as_str() {
        "standard" | "cloudevents" => Ok(format),
        _ => Err(Problem::field("format", "must be `cloudevents` or `standard`")),
    }
}

/// Seconds before each attempt, the first one included.
pub(super) fn checked_schedule(schedule: Vec<u64>) -> Answer<Vec<u64>> {
    if schedule.is_empty() || schedule.len() > MAX_ATTEMPTS {
        return Err(Problem::field(
            "retry_schedule",
            format!("give 1 to {MAX_ATTEMPTS} delays in seconds, the first attempt's included"),
        ));
    }
    match schedule.iter().position(|delay| *delay > MAX_DELAY_S) {
        Some(index) => {
            Err(Problem::field(format!("retry_schedule[{index}]"), format!("at most {MAX_DELAY_S} seconds")))
        }
        None => Ok(schedule),
    }
}

/// A number within bounds.
pub(super) fn checked_number(field: &str, value: u32, bounds: std::ops::RangeInclusive<u32>) -> Answer<u32> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(Problem::field(field, format!("must be {} to {}", bounds.start(), bounds.end())))
}

/// Own header fields, sealed. They may not touch the connection, the body or the signature.
pub(super) fn sealed_headers(
    api: &Api,
    tenant: &TenantView,
    endpoint: Key,
    headers: &BTreeMap<String, String>,
) -> Answer<Option<Vec<u8>>> {
    if headers.is_empty() {
        return Ok(None);
    }
    check_headers(headers)?;
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(headers).unwrap_or_default());
    let place = places::endpoint_headers(&tenant.row.id, &endpoint);
    Ok(Some(api.hub.vault.seal(&tenant.key, place, &plain)?))
}

fn check_headers(headers: &BTreeMap<String, String>) -> Answer<()> {
    if headers.len() > MAX_HEADERS {
        return Err(Problem::field("headers", format!("at most {MAX_HEADERS}")));
    }
    for (name, value) in headers {
        let field = format!("headers.{name}");
        let Ok(parsed) = HeaderName::try_from(name.as_str()) else {
            return Err(Problem::field(field, "is no header name"));
        };
        let ours = parsed.as_str().starts_with("webhook-") || parsed == header::CONTENT_TYPE;
        if ours || is_reserved_header(&parsed) {
            return Err(Problem::field(field, "is set by the hub"));
        }
        if value.len() > MAX_HEADER_BYTES || HeaderValue::try_from(value.as_str()).is_err() {
            return Err(Problem::field(
                field,
                format!("the value must be at most {MAX_HEADER_BYTES} visible characters"),
            ));
        }
    }
    Ok(())
}

/// How an endpoint's deliveries are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SigningScheme {
    /// HMAC with a secret that both sides know.
    V1,
    /// ed25519 with a published key.
    V1a,
}

impl SigningScheme {
    /// That of a secret.
    pub(super) fn of(secret: &SigningSecret) -> Self {
        if secret.public_text().is_some() { Self::V1a } else { Self::V1 }
    }
}

/// `v1` or `v1a`.
pub(super) fn checked_scheme(text: &str) -> Answer<SigningScheme> {
    match text {
        "v1" => Ok(SigningScheme::V1),
        "v1a" => Ok(SigningScheme::V1a),
        _ => Err(Problem::field("signing", "must be `v1` (HMAC) or `v1a` (ed25519)")),
    }
}

/// A signing secret for an endpoint.
pub(super) struct MadeSecret {
    /// To be stored.
    pub(super) sealed: SealedSecret,
    /// What the caller is shown this once. The private half of a pair that the hub made never leaves it.
    pub(super) shown: Option<String>,
    /// The public half of a pair.
    pub(super) public: Option<String>,
}

/// The signing secret that was given, or a new one; of the given scheme, if one is named.
pub(super) fn signing_secret(
    api: &Api,
    tenant: &TenantView,
    endpoint: Key,
    given: Option<String>,
    scheme: Option<SigningScheme>,
) -> Answer<MadeSecret> {
    let (is_given, ids) = (given.is_some(), &api.hub.ids);
    let text = match (given, scheme) {
        (Some(text), _) => SecretString::from(text),
        (None, Some(SigningScheme::V1a)) => generate_ed25519(ids),
        (None, Some(SigningScheme::V1) | None) => generate_symmetric(ids),
    };
    let public = SigningSecret::parse(&text)?.public_text();
    let place = places::endpoint_secret(&tenant.row.id, &endpoint);
    let sealed = api.hub.vault.seal(&tenant.key, place, text.expose_secret().as_bytes())?;
    let shown = (is_given || public.is_none()).then(|| text.expose_secret().to_owned());
    Ok(MadeSecret { sealed: SealedSecret { sealed, expires_at: None }, shown, public })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(problem: &Problem) -> String {
        serde_json::to_value(problem).unwrap()["errors"][0]["field"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn types_are_checked_one_by_one() {
        let types = |list: &[&str]| checked_types(list.iter().map(ToString::to_string).collect());
        assert!(types(&["invoice.*", "*", "sms.received"]).is_ok());
        for (list, at) in [(&["a.b", "Invoice.paid"], 1), (&["a.b", "invoice*"], 1), (&["_poll.due", "a.b"], 0)] {
            assert_eq!(field(&types(list).unwrap_err()), format!("event_types[{at}]"));
        }
        assert_eq!(field(&types(&[]).unwrap_err()), "event_types");
    }

    #[test]
    fn headers_of_the_hub_cannot_be_set() {
        let check = |name: &str, value: &str| check_headers(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert!(check("X-Team", "billing").is_ok() && check("Authorization", "Bearer x").is_ok());
        for name in ["Host", "webhook-signature", "Content-Length", "content-type", "no spaces", "traceparent"] {
            assert!(check(name, "x").is_err(), "{name}");
        }
        assert!(check("X-Team", "a\r\nX-Other: b").is_err());
    }

    #[test]
    fn a_retry_schedule_has_bounds() {
        assert!(checked_schedule(vec![0, 5, 300]).is_ok());
        assert!(checked_schedule(Vec::new()).is_err() && checked_schedule(vec![0; 51]).is_err());
        assert_eq!(field(&checked_schedule(vec![0, MAX_DELAY_S + 1]).unwrap_err()), "retry_schedule[1]");
    }
}
