use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedSet;

use crate::config::{Algorithm, Config};
use crate::url;

/// The slot of the shared key.
pub const SHARED_KEY_SLOT: &str = "sharedkey";

/// The auth token: the password of the connection.
const AUTH_TOKEN: &str = "twilio.password";

/// The secret of the shared keys.
const SHARED_KEY: &str = "sharedkey.secret";

/// Twilio sends some forty parameters; more than this is no webhook, and would only cost time.
const MAX_PARAMETERS: usize = 1_000;

/// The parameter of the URL that carries the hash of a body that is no form.
const BODY_HASH: &str = "bodySHA256";

/// Parameters, sorted by name and value in byte order, each pair once.
type Parameters<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The parameters of a request that is proven to be from Twilio. Only [`verify`] makes one.
#[derive(Debug)]
pub struct Authentic<'a> {
    parameters: Parameters<'a>,
}

impl Authentic<'_> {
    /// The value of a parameter; the first in byte order where it is repeated. Empty text is a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.parameters.partition_point(|(known, _)| known.as_ref() < name);
        self.parameters.get(at).filter(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    /// The same, where an empty text means nothing.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| !text.is_empty())
    }
}

/// Why a request is not believed, for the tenant's admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No signature, or more than one.
    NoSignature,
    /// The signature is not base64.
    Malformed,
    /// The settings header does not name a key and an algorithm.
    UnreadableSettings,
    /// The key is not in the config.
    UnknownKey,
    /// The algorithm is not the one pinned to the key.
    WrongAlgorithm,
    /// A body that is no form came without its hash in the URL.
    NoBodyHash,
    /// The body is not the one whose hash was signed.
    WrongBodyHash,
    /// More parameters than any webhook has.
    TooManyParameters,
    /// No candidate of the URL gives this signature.
    Mismatch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::NoSignature => "there is not exactly one X-Twilio-Signature",
            Self::Malformed => "X-Twilio-Signature is not base64",
            Self::UnreadableSettings => "X-Twilio-Webhooks-Signature-Settings names no key and algorithm",
            Self::UnknownKey => "the shared key is not in the config's shared_keys",
            Self::WrongAlgorithm => "the algorithm is not the one pinned to the shared key",
            Self::NoBodyHash => "the body is no form and the URL has no bodySHA256",
            Self::WrongBodyHash => "the body does not have the hash that was signed",
            Self::TooManyParameters => "the request has more than 1,000 parameters",
            Self::Mismatch => "the signature does not match: check the auth token and the public URL",
        })
    }
}

/// Which secret and algorithm prove the request.
struct Key {
    secret: &'static str,
    algorithm: Mac,
}

/// Whether the request is from Twilio. The outer error says that it cannot be judged now, because no key is bound.
///
/// The text signed is the URL, followed for a form POST by each parameter's name and distinct values, sorted. A body
/// that is no form is covered by its SHA-256 in the URL. Several forms of the URL are tried, see [`url::try_each`].
pub fn verify<'a>(
    ctx: &Ctx<Config>,
    request: &'a InboundRequest,
) -> Result<Result<Authentic<'a>, Refusal>, PluginError> {
    let Prepared { key, tag, parameters, is_form } = match prepare(ctx, request) {
        Ok(prepared) => prepared,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let length = parameters.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let mut text = String::with_capacity(request.url.len() + 8 + length);
    let proven = url::try_each(&request.url, |url| {
        text.clear();
        text.push_str(url);
        if is_form {
            for (name, value) in &parameters {
                text.push_str(name);
                text.push_str(value);
            }
        }
        ctx.verify_mac(key.secret, key.algorithm, text.as_bytes(), &tag)
    })?;
    Ok(if proven { Ok(Authentic { parameters }) } else { Err(Refusal::Mismatch) })
}

/// All that needs no secret.
struct Prepared<'a> {
    key: Key,
    tag: Vec<u8>,
    parameters: Parameters<'a>,
    /// Whether the parameters are part of the text that was signed.
    is_form: bool,
}

fn prepare<'a>(ctx: &Ctx<Config>, request: &'a InboundRequest) -> Result<Prepared<'a>, Refusal> {
    let signature = request.header("x-twilio-signature").ok_or(Refusal::NoSignature)?;
    let tag = STANDARD.decode(signature).map_err(|_| Refusal::Malformed)?;
    let key = key(&ctx.config, request)?;
    if matches!(request.method.as_str(), "GET" | "HEAD") {
        return Ok(Prepared { key, tag, parameters: sorted(request.query().as_bytes())?, is_form: false });
    }
    let bare = request.body.is_empty() && !request.has_header("content-type");
    if bare || request.media_type() == "application/x-www-form-urlencoded" {
        return Ok(Prepared { key, tag, parameters: sorted(&request.body)?, is_form: true });
    }
    check_body_hash(request)?;
    Ok(Prepared { key, tag, parameters: json_parameters(&request.body), is_form: false })
}

/// The auth token, or the shared key that the settings header names. A request with that header is never judged by
/// the auth token, and one without it never by a shared key.
fn key(config: &Config, request: &InboundRequest) -> Result<Key, Refusal> {
    const SETTINGS: &str = "x-twilio-webhooks-signature-settings";
    if !request.has_header(SETTINGS) {
        return Ok(Key { secret: AUTH_TOKEN, algorithm: Mac::HmacSha1 });
    }
    let settings = request.header(SETTINGS).ok_or(Refusal::UnreadableSettings)?;
    let setting = |name: &str| {
        let mut pairs = settings.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let (id, algorithm) = setting("key").zip(setting("algorithm")).ok_or(Refusal::UnreadableSettings)?;
    let known = config.shared_keys.iter().find(|key| key.id == id).ok_or(Refusal::UnknownKey)?;
    if Algorithm::named(algorithm) != Some(known.algorithm) {
        return Err(Refusal::WrongAlgorithm);
    }
    let algorithm = match known.algorithm {
        Algorithm::HmacSha1 => Mac::HmacSha1,
        Algorithm::HmacSha256 => Mac::HmacSha256,
    };
    Ok(Key { secret: SHARED_KEY, algorithm })
}

/// Decodes a form, blank values kept.
fn sorted(encoded: &[u8]) -> Result<Parameters<'_>, Refusal> {
    let mut pairs = SortedSet::new();
    for (count, pair) in form_urlencoded::parse(encoded).enumerate() {
        if count >= MAX_PARAMETERS {
            return Err(Refusal::TooManyParameters);
        }
        pairs.insert(pair);
    }
    Ok(pairs.into())
}

fn check_body_hash(request: &InboundRequest) -> Result<(), Refusal> {
    let mut query = form_urlencoded::parse(request.query().as_bytes());
    let (_, expected) = query.find(|(name, _)| name == BODY_HASH).ok_or(Refusal::NoBodyHash)?;
    if hex::encode(Sha256::digest(&request.body)) == *expected { Ok(()) } else { Err(Refusal::WrongBodyHash) }
}

/// The members of a JSON object whose values are text, numbers or truth values. Any other body has no parameters.
fn json_parameters(body: &[u8]) -> Parameters<'static> {
    let members = match json::parse(body) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => return Vec::new(),
    };
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    let pair = |(name, value)| Some((Cow::Owned(name), Cow::Owned(text(value)?)));
    members.into_iter().filter_map(pair).collect::<SortedSet<_>>().into()
}
