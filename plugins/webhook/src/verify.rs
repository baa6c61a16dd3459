use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use switchyard_sdk::prelude::*;

use crate::config::{Algorithm, Config, Encoding, HmacScheme, KeyText, Scheme};
use crate::template::{self, Part};
use crate::{BASE64_KEY, HEX_KEY, TEXT_KEY};

/// How many signatures of one request are tried: a sender that rotates keys has up to ten old ones.
const MAX_SIGNATURES: usize = 16;

/// What is proven of a request. Only [`verify`] makes one.
#[derive(Debug)]
pub struct Verified {
    /// SHA-256 of all that was signed, in hex.
    pub signed_hash: String,
    /// The request's id, where it was signed.
    pub id: Option<String>,
}

/// Why a request is not believed, for the tenant's admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A header is missing, repeated or not text.
    Header(String),
    /// A header is not of the scheme's form.
    Malformed(String),
    /// The time stamp is too old.
    TooOld,
    /// The time stamp lies in the future.
    TooNew,
    /// No signature is of the kind that proves anything.
    NoSignature,
    /// No signature matches.
    Mismatch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(to, "there is not exactly one header {name}"),
            Self::Malformed(name) => write!(to, "the header {name} is not of the scheme's form"),
            Self::TooOld => to.write_str("the time stamp is too old"),
            Self::TooNew => to.write_str("the time stamp lies in the future"),
            Self::NoSignature => to.write_str("there is no signature of the scheme's version"),
            Self::Mismatch => to.write_str("the signature does not match: check the secret"),
        }
    }
}

/// One signature to try: the key's slot, the algorithm, the bytes signed, and the tags.
struct Claim {
    slot: &'static str,
    algorithm: Mac,
    signed: Vec<u8>,
    tags: Vec<Vec<u8>>,
    id: Option<String>,
}

/// How far a time stamp may lie in the past and in the future, in seconds.
struct Window {
    past: u64,
    future: Option<u64>,
}

/// Whether the request is from the sender. The outer error says that it cannot be judged: the config is wrong, or no
/// key is bound.
pub fn verify(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Result<Verified, Refusal>, PluginError> {
    let claim = match &ctx.config.scheme {
        Scheme::StandardWebhooks { header_prefix, tolerance_s } => standard(request, header_prefix, *tolerance_s),
        Scheme::Stripe { tolerance_s } => stripe(request, *tolerance_s),
        Scheme::Slack { tolerance_s } => slack(request, *tolerance_s),
        Scheme::Github => github(request),
        Scheme::Hmac(scheme) => generic(request, scheme, &template::parse(&scheme.signed)?, &checked(scheme)?),
    };
    let claim = match claim {
        Ok(claim) => claim,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let secret = format!("{}.secret", claim.slot);
    for tag in &claim.tags {
        if ctx.verify_mac(&secret, claim.algorithm, &claim.signed, tag)? {
            let signed_hash = hex::encode(Sha256::digest(&claim.signed));
            return Ok(Ok(Verified { signed_hash, id: claim.id }));
        }
    }
    Ok(Err(Refusal::Mismatch))
}

/// `{id}.{timestamp}.{body}`, base64, any `v1` of a list. An id with a dot is refused: with it, one signature would
/// fit two divisions of the same bytes.
fn standard(request: &InboundRequest, prefix: &str, tolerance_s: u64) -> Result<Claim, Refusal> {
    let id = field(request, &format!("{prefix}-id"))?;
    if id.is_empty() || id.contains('.') {
        return Err(Refusal::Malformed(format!("{prefix}-id")));
    }
    let timestamp = field(request, &format!("{prefix}-timestamp"))?;
    within(
        request,
        timestamp,
        &format!("{prefix}-timestamp"),
        &Window { past: tolerance_s, future: Some(tolerance_s) },
    )?;
    let list = field(request, &format!("{prefix}-signature"))?;
    let entries = list.split(' ').filter_map(|entry| entry.strip_prefix("v1,")).take(MAX_SIGNATURES);
    let tags: Vec<Vec<u8>> = entries.filter_map(|tag| STANDARD.decode(tag).ok()).collect();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body].concat();
    claim(BASE64_KEY, Mac::HmacSha256, signed, tags, Some(id.to_owned()))
}

/// `{t}.{body}`, hex, any `v1`. Like Stripe's own libraries it takes a time stamp from the future.
fn stripe(request: &InboundRequest, tolerance_s: u64) -> Result<Claim, Refusal> {
    const HEADER: &str = "stripe-signature";
    let pairs: Vec<(&str, &str)> =
        field(request, HEADER)?.split(',').filter_map(|pair| pair.trim().split_once('=')).collect();
    let mut stamps = pairs.iter().filter(|(name, _)| *name == "t").map(|(_, value)| *value);
    let (Some(timestamp), None) = (stamps.next(), stamps.next()) else {
        return Err(Refusal::Malformed(HEADER.to_owned()));
    };
    within(request, timestamp, HEADER, &Window { past: tolerance_s, future: None })?;
    let entries = pairs.iter().filter(|(name, _)| *name == "v1").take(MAX_SIGNATURES);
    let tags = entries.filter_map(|(_, tag)| hex::decode(tag).ok()).collect();
    let signed = [timestamp.as_bytes(), b".", &request.body].concat();
    claim(TEXT_KEY, Mac::HmacSha256, signed, tags, None)
}

/// `v0:{timestamp}:{body}`, hex after `v0=`.
fn slack(request: &InboundRequest, tolerance_s: u64) -> Result<Claim, Refusal> {
    const STAMP: &str = "x-slack-request-timestamp";
    let timestamp = field(request, STAMP)?;
    within(request, timestamp, STAMP, &Window { past: tolerance_s, future: Some(tolerance_s) })?;
    let tag = tag(request, "x-slack-signature", "v0=", Encoding::Hex)?;
    let signed = [b"v0:", timestamp.as_bytes(), b":", &request.body].concat();
    claim(TEXT_KEY, Mac::HmacSha256, signed, vec![tag], None)
}

/// The body, hex after `sha256=`.
fn github(request: &InboundRequest) -> Result<Claim, Refusal> {
    let tag = tag(request, "x-hub-signature-256", "sha256=", Encoding::Hex)?;
    claim(TEXT_KEY, Mac::HmacSha256, request.body.clone(), vec![tag], None)
}

/// The headers that a template needs, which its config must name, and a time stamp that counts only when signed.
struct Needs<'a> {
    timestamp: Option<&'a str>,
    id: Option<&'a str>,
}

fn checked(scheme: &HmacScheme) -> Result<Needs<'_>, PluginError> {
    let parts = template::parse(&scheme.signed)?;
    let named = |part: Part, header: &'_ Option<String>, path: &str| match (parts.contains(&part), header.is_some()) {
        (true, false) => Err(PluginError::bad_config(path, "name the header, since `signed` contains it.")),
        (false, true) => Err(PluginError::bad_config(path, "it proves nothing unless `signed` contains it.")),
        _ => Ok(()),
    };
    named(Part::Timestamp, &scheme.timestamp_header, "scheme.timestamp_header")?;
    named(Part::Id, &scheme.id_header, "scheme.id_header")?;
    Ok(Needs { timestamp: scheme.timestamp_header.as_deref(), id: scheme.id_header.as_deref() })
}

fn generic(request: &InboundRequest, scheme: &HmacScheme, parts: &[Part], needs: &Needs) -> Result<Claim, Refusal> {
    let timestamp = needs.timestamp.map(|name| field(request, name)).transpose()?;
    if let (Some(timestamp), Some(name)) = (timestamp, needs.timestamp) {
        within(request, timestamp, name, &Window { past: scheme.tolerance_s, future: Some(scheme.tolerance_s) })?;
    }
    let id = needs.id.map(|name| field(request, name)).transpose()?;
    let tag = tag(request, &scheme.header, &scheme.prefix, scheme.encoding)?;
    let mut signed: Vec<u8> = Vec::with_capacity(request.body.len() + scheme.signed.len());
    for part in parts {
        signed.extend_from_slice(match part {
            Part::Text(text) => text.as_bytes(),
            Part::Body => &request.body,
            Part::Timestamp => timestamp.unwrap_or_default().as_bytes(),
            Part::Id => id.unwrap_or_default().as_bytes(),
            Part::Url => request.url.as_bytes(),
        });
    }
    let algorithm = match scheme.algorithm {
        Algorithm::Sha1 => Mac::HmacSha1,
        Algorithm::Sha256 => Mac::HmacSha256,
        Algorithm::Sha512 => Mac::HmacSha512,
    };
    let slot = match scheme.key {
        KeyText::Text => TEXT_KEY,
        KeyText::Base64 => BASE64_KEY,
        KeyText::Hex => HEX_KEY,
    };
    claim(slot, algorithm, signed, vec![tag], id.map(str::to_owned))
}

fn claim(
    slot: &'static str,
    algorithm: Mac,
    signed: Vec<u8>,
    tags: Vec<Vec<u8>>,
    id: Option<String>,
) -> Result<Claim, Refusal> {
    if tags.is_empty() { Err(Refusal::NoSignature) } else { Ok(Claim { slot, algorithm, signed, tags, id }) }
}

fn field<'a>(request: &'a InboundRequest, name: &str) -> Result<&'a str, Refusal> {
    request.header(name).ok_or_else(|| Refusal::Header(name.to_owned()))
}

fn tag(request: &InboundRequest, name: &str, prefix: &str, encoding: Encoding) -> Result<Vec<u8>, Refusal> {
    let malformed = || Refusal::Malformed(name.to_owned());
    let text = field(request, name)?.strip_prefix(prefix).ok_or_else(malformed)?;
    match encoding {
        Encoding::Hex => hex::decode(text).map_err(|_| malformed()),
        Encoding::Base64 => STANDARD.decode(text).map_err(|_| malformed()),
    }
}

/// The window is judged at the time of arrival, so that a parked request is not too old when it is looked at again.
fn within(request: &InboundRequest, timestamp: &str, name: &str, window: &Window) -> Result<(), Refusal> {
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let stamp: u64 = Some(timestamp)
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Refusal::Malformed(name.to_owned()))?;
    let now = request.received_at / 1000;
    if now.saturating_sub(stamp) > window.past {
        return Err(Refusal::TooOld);
    }
    match window.future {
        Some(future) if stamp.saturating_sub(now) > future => Err(Refusal::TooNew),
        _ => Ok(()),
    }
}
