use std::fmt;

use switchyard_sdk::prelude::*;

use crate::config::Config;

/// The slot of the installation's own signing secret.
pub const SLOT: &str = "signing";

/// The slot of the operator's app, and the field of its signing secret.
pub const APP_SLOT: &str = "app";

const HEADER: &str = "stripe-signature";

/// How many signatures of one request are tried. Stripe sends one for each secret that is active, at most a few.
const MAX_SIGNATURES: usize = 16;

/// Why a request is not believed, for the tenant's admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The header is missing, repeated or not text.
    NoHeader,
    /// The header has no time stamp, or several.
    NoTimestamp,
    /// The time stamp is older than the tolerance.
    TooOld,
    /// There is no signature of the version `v1`.
    NoSignature,
    /// No signature matches.
    Mismatch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::NoHeader => "there is not exactly one header Stripe-Signature",
            Self::NoTimestamp => "the header Stripe-Signature has not exactly one time stamp t",
            Self::TooOld => "the time stamp is outside the tolerance",
            Self::NoSignature => "there is no signature of the version v1",
            Self::Mismatch => "no signature matches: check that the signing secret is whole and without spaces",
        })
    }
}

/// Whether the request is from Stripe. The outer error says that it cannot be judged, because no secret is bound.
///
/// A stamp from the future is taken, as Stripe's own libraries take it; the age is that on arrival, so that a request
/// that was parked is not too old when it is looked at again.
pub fn verify(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Result<(), Refusal>, PluginError> {
    let (stamp, tags) = match read(request) {
        Ok(read) => read,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let arrived = request.received_at / 1000;
    if stamp.parse::<u64>().is_ok_and(|stamp| arrived.saturating_sub(stamp) > ctx.config.tolerance_s) {
        return Ok(Err(Refusal::TooOld));
    }
    let secret =
        if ctx.installation().is_empty() { format!("{APP_SLOT}.webhook_secret") } else { format!("{SLOT}.secret") };
    let signed = [stamp.as_bytes(), b".", &request.body].concat();
    for tag in tags {
        if ctx.verify_mac(&secret, Mac::HmacSha256, &signed, &tag)? {
            return Ok(Ok(()));
        }
    }
    Ok(Err(Refusal::Mismatch))
}

/// The time stamp as it was signed, and the signatures of the version `v1`; others are not looked at.
fn read(request: &InboundRequest) -> Result<(&str, Vec<Vec<u8>>), Refusal> {
    let header = request.header(HEADER).ok_or(Refusal::NoHeader)?;
    let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let mut stamps = pairs().filter(|(name, _)| *name == "t").map(|(_, value)| value);
    let (Some(stamp), None) = (stamps.next(), stamps.next()) else { return Err(Refusal::NoTimestamp) };
    let digits = stamp.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || stamp.parse::<u64>().is_err() {
        return Err(Refusal::NoTimestamp);
    }
    let mut tags = pairs().filter(|(name, _)| *name == "v1").take(MAX_SIGNATURES).peekable();
    if tags.peek().is_none() {
        return Err(Refusal::NoSignature);
    }
    // What is not hex can match nothing; another one still may.
    Ok((stamp, tags.filter_map(|(_, tag)| hex::decode(tag).ok()).collect()))
}
