//! The last net under the rule that no secret is logged.
//!
//! The first net is the type system: secrets are `secrecy` types and bodies are not logged. What slips through,
//! a credential in a library's error or in a URL, is masked here, on the way to the log's sink.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    sync::{LazyLock, Mutex, PoisonError},
};

use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwapOption;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use http::HeaderMap;
use regex::Regex;
use secrecy::zeroize::Zeroizing;
use url::Url;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// Shorter values are not registered: they would mask ordinary words.
const SHORTEST_SECRET: usize = 8;

/// Registered values; more are refused, so that the net stays small and quick.
const MOST_SECRETS: usize = 4096;

/// Masks secrets by their form and by their registered value.
#[derive(Default)]
pub struct Redactor {
    values: Mutex<Vec<Zeroizing<String>>>,
    matcher: ArcSwapOption<AhoCorasick>,
}

impl Redactor {
    /// Masks `secret` wherever it appears from now on: as it is, in base64, in hex and percent-encoded. Answers
    /// whether it was taken; values under 8 bytes are not, nor is one beyond the net's capacity.
    pub fn register(&self, secret: &[u8]) -> bool {
        if secret.len() < SHORTEST_SECRET {
            return false;
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= MOST_SECRETS {
            return false;
        }
        for form in forms(secret) {
            if !values.contains(&form) {
                values.push(form);
            }
        }
        let patterns = values.iter().map(|value| value.as_bytes());
        let longest = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns);
        let Ok(matcher) = longest else { return false };
        self.matcher.store(Some(matcher.into()));
        true
    }

    /// The text with every secret masked.
    #[must_use]
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if let Some(matcher) = self.matcher.load().as_deref()
            && matcher.is_match(text.as_ref())
        {
            let mut masked = String::with_capacity(text.len());
            matcher.replace_all_with(&text, &mut masked, |_, _, out| {
                out.push_str(MASK);
                true
            });
            text = Cow::Owned(masked);
        }
        for (pattern, replacement) in PATTERNS.iter() {
            if let Cow::Owned(masked) = pattern.replace_all(&text, *replacement) {
                text = Cow::Owned(masked);
            }
        }
        text
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// The ways in which a secret may be written.
fn forms(secret: &[u8]) -> Vec<Zeroizing<String>> {
    let mut forms = vec![
        Zeroizing::new(STANDARD.encode(secret)),
        Zeroizing::new(STANDARD_NO_PAD.encode(secret)),
        Zeroizing::new(URL_SAFE_NO_PAD.encode(secret)),
        Zeroizing::new(hex::encode(secret)),
        Zeroizing::new(hex::encode_upper(secret)),
        Zeroizing::new(form_urlencoded_bytes(secret)),
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        forms.push(Zeroizing::new(text.to_owned()));
        // As JSON and Debug write it, without the quotes.
        let quoted = Zeroizing::new(format!("{text:?}"));
        forms.push(Zeroizing::new(quoted.trim_matches('"').to_owned()));
    }
    forms
}

fn form_urlencoded_bytes(secret: &[u8]) -> String {
    url::form_urlencoded::byte_serialize(secret).collect()
}

/// Secrets that are known by their form. Each replacement keeps what says which kind it was.
static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        // Signing secrets of endpoints and keys of this hub.
        (r"\b(whsec_|whsk_|swk_)[A-Za-z0-9+/=_.-]+", "${1}***"),
        // Credentials of Authorization headers.
        (r"(?i)\b(bearer|basic)(\s+|%20|\+)[A-Za-z0-9._~+/=-]{8,}", "${1} ***"),
        // JSON Web Tokens.
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", MASK),
        // Private keys, up to the end of the string they stand in.
        (r#"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^"\\]|\\[^"])*"#, MASK),
        // User and password of a URL, then its query and fragment. No pattern takes a quote or the backslash before
        // one, so that a line of JSON stays one.
        (r#"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'<>@\\]*@"#, "${1}***@"),
        (r#"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>?#\\]*)[?#][^\s"'<>)\]}\\]*"#, "${1}?***"),
    ]
    .into_iter()
    .filter_map(|(pattern, replacement)| Some((Regex::new(pattern).ok()?, replacement)))
    .collect()
});

/// A URL for a log line: without user, password, query and fragment.
#[must_use]
pub fn safe_url(url: &Url) -> String {
    let mut safe = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        let _ = write!(safe, ":{port}");
    }
    safe.push_str(url.path());
    safe
}

/// Headers whose values may be logged; of all others only the name is.
const SAFE_HEADERS: [&str; 14] = [
    "accept",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "retry-after",
    "server",
    "traceparent",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-correlation-id",
    "x-request-id",
];

/// Headers for a log line: allow-listed values, and `***` for the rest.
#[must_use]
pub fn safe_headers(headers: &HeaderMap) -> impl fmt::Display + '_ {
    SafeHeaders(headers)
}

struct SafeHeaders<'a>(&'a HeaderMap);

impl fmt::Display for SafeHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let shown = if SAFE_HEADERS.contains(&name.as_str()) { value.to_str().unwrap_or(MASK) } else { MASK };
            write!(f, "{separator}{name}: {shown}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_their_form() {
        let redactor = Redactor::default();
        for (text, masked) in [
            ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw end", "secret whsec_*** end"),
            ("key=swk_0192_abcdef.XYZ", "key=swk_***"),
            ("Authorization: Bearer abcdef.ghijkl", "Authorization: Bearer ***"),
            ("authorization: basic QWxhZGRpbjpvcGVu", "authorization: basic ***"),
            ("postgres://hub:hunter2@db:5432/hub", "postgres://***@db:5432/hub"),
            ("GET https://a.example/x?token=abc#frag failed", "GET https://a.example/x?*** failed"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln end", "jwt *** end"),
            (r#""-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n" ok"#, r#""***" ok"#),
            (r#""say \"https://a.example/?x=1\" ok""#, r#""say \"https://a.example/?***\" ok""#),
            ("nothing to hide here", "nothing to hide here"),
        ] {
            assert_eq!(redactor.scrub(text), masked);
        }
        assert_eq!(PATTERNS.len(), 6, "every pattern compiles");
    }

    #[test]
    fn a_registered_secret_is_masked_however_it_is_written() {
        let redactor = Redactor::default();
        let secret = b"pa\"ss/w\xc3\xb8rd-42";
        assert!(redactor.register(secret));
        for written in forms(secret) {
            let line = format!("before {} after", *written);
            assert_eq!(redactor.scrub(&line), "before *** after", "{}", *written);
        }
    }

    #[test]
    fn a_short_value_is_not_registered() {
        let redactor = Redactor::default();
        assert!(!redactor.register(b"admin"));
        assert_eq!(redactor.scrub("admin logged in"), "admin logged in");
    }

    #[test]
    fn urls_and_headers_are_printed_without_what_may_be_secret() {
        let url: Url = "https://user:pass@a.example:8443/x/y?sig=1#z".parse().unwrap();
        assert_eq!(safe_url(&url), "https://a.example:8443/x/y");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("x-api-token", "marker".parse().unwrap());
        assert_eq!(safe_headers(&headers).to_string(), "content-type: application/json, x-api-token: ***");
    }
}
