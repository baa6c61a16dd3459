//! `X-Twilio-Signature` from the sender's side, in the variants that Twilio's own back end produces.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use url::Url;

/// Which hash a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// The classic scheme.
    #[serde(rename = "HMAC_SHA1")]
    HmacSha1,
    /// Offered with shared keys only.
    #[serde(rename = "HMAC_SHA256")]
    HmacSha256,
}

impl Algorithm {
    /// The name as it stands in the settings header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HMAC_SHA1",
            Self::HmacSha256 => "HMAC_SHA256",
        }
    }
}

/// What is done to the port of the URL before it is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// Signed as configured.
    #[default]
    Kept,
    /// The scheme's standard port is written out if the URL has none.
    Added,
    /// Any port is left out.
    Removed,
}

/// The text that is signed: the URL without its fragment, then every parameter name with each of its distinct values,
/// names and values in byte order.
#[must_use]
pub fn base_string(url: &str, params: &[(String, String)]) -> String {
    let mut pairs: Vec<&(String, String)> = params.iter().collect();
    pairs.sort();
    pairs.dedup();
    let mut text = url.split('#').next().unwrap_or_default().to_owned();
    for (name, value) in pairs {
        text.push_str(name);
        text.push_str(value);
    }
    text
}

/// The base64 signature of `text` under `key`.
#[must_use]
pub fn sign(algorithm: Algorithm, key: &str, text: &str) -> String {
    match algorithm {
        Algorithm::HmacSha1 => mac::<Hmac<Sha1>>(key, text),
        Algorithm::HmacSha256 => mac::<Hmac<Sha256>>(key, text),
    }
}

fn mac<M: Mac + KeyInit>(key: &str, text: &str) -> String {
    // HMAC takes a key of any length, so the other arm is never reached; an empty signature verifies nowhere.
    <M as KeyInit>::new_from_slice(key.as_bytes()).map_or_else(
        |_| String::new(),
        |mut mac| {
            mac.update(text.as_bytes());
            STANDARD.encode(mac.finalize().into_bytes())
        },
    )
}

/// The lower-case hex digest that `bodySHA256` carries.
#[must_use]
pub fn body_sha256(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// `url` with `bodySHA256` added to its query, before a fragment if there is one.
#[must_use]
pub fn with_body_sha256(url: &str, digest: &str) -> String {
    let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    let joint = if rest.contains('?') { '&' } else { '?' };
    let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
    format!("{rest}{joint}bodySHA256={digest}{fragment}")
}

/// `url` with its port treated as asked, every other character untouched.
#[must_use]
pub fn with_port(url: &str, port: Port) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let at = if user.is_empty() { "" } else { "@" };
    // A colon inside brackets belongs to an IPv6 address.
    let colon = host.rfind(':').filter(|colon| !host[*colon..].contains(']'));
    let host = match (port, colon) {
        (Port::Removed, Some(colon)) => host[..colon].to_owned(),
        (Port::Added, None) => format!("{host}:{}", if scheme == "https" { 443 } else { 80 }),
        _ => host.to_owned(),
    };
    format!("{scheme}://{user}{at}{host}{tail}")
}

/// `url` as a WHATWG parser writes it again, for example `'` in the query as `%27`.
#[must_use]
pub fn whatwg(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), Into::into)
}
