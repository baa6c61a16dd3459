use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use switchyard_sdk::prelude::*;

use crate::config::{BodyRule, Config, EventRule, Scheme};
use crate::json::MAX_VALUES;
use crate::verify::Verified;

/// The longest name of a type.
const TYPE_BYTES: usize = 128;

/// Longer ids are hashed, so that a key stays below the contract's 255 bytes.
const ID_BYTES: usize = 180;

/// What a verified request means: an event, a handshake, or a type that is not wanted.
pub fn received(ctx: &Ctx<Config>, request: &InboundRequest, verified: &Verified) -> Result<Received, PluginError> {
    let data = data(ctx.config.body, &request.body)?;
    if let Some(challenge) = challenge(&ctx.config.scheme, &data) {
        return Ok(Received::Handled(Reply::content("text/plain", challenge)));
    }
    let event_type = event_type(&ctx.config.event, request, &data)?;
    if !allowed(&ctx.config.event, &event_type) {
        return Ok(Received::Handled(Reply::status(200)));
    }
    let key = dedupe_key(ctx, request, verified, &data)?;
    let mut event = Emit::new(event_type, Value::Null).dedupe(key);
    if let Some(subject) = ctx.config.subject_path.as_deref().and_then(|path| text_at(&data, path)) {
        event = event.subject(subject);
    }
    event.data = data;
    Ok(Received::accepted(vec![event]))
}

/// The body as the event's data. The signature was good, so what does not parse is the sender's mistake: 400.
fn data(rule: BodyRule, body: &[u8]) -> Result<Value, PluginError> {
    match rule {
        BodyRule::Json => match crate::json::parse(body) {
            Ok(object @ Value::Object(_)) => Ok(object),
            Ok(value) => Ok(json!({ "value": value })),
            Err(error) => {
                let message = format!("The body is not JSON that a hub takes: {error}.");
                Err(PluginError::reject(Reason::BadData, "malformed_json", message))
            }
        },
        BodyRule::Form => form(body).ok_or_else(|| {
            PluginError::reject(Reason::BadData, "too_many_fields", "The form has more fields than a hub takes.")
        }),
        BodyRule::Text => Ok(match std::str::from_utf8(body) {
            Ok(text) => json!({ "body_text": text }),
            Err(_) => json!({ "body_base64": STANDARD.encode(body) }),
        }),
    }
}

/// None if the form has more fields than data may have values; the lists of repeated names count as well.
fn form(body: &[u8]) -> Option<Value> {
    let mut fields = Map::new();
    for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if count >= MAX_VALUES / 2 {
            return None;
        }
        match fields.get_mut(name.as_ref()) {
            Some(Value::Array(values)) => values.push(json!(value)),
            Some(first) => *first = json!([first.take(), value]),
            None => {
                fields.insert(name.into_owned(), json!(value));
            }
        }
    }
    Some(Value::Object(fields))
}

/// Slack asks once whether a URL is ours.
fn challenge(scheme: &Scheme, data: &Value) -> Option<String> {
    let asked = matches!(scheme, Scheme::Slack { .. }) && data.get("type")? == "url_verification";
    if asked { data.get("challenge")?.as_str().map(str::to_owned) } else { None }
}

fn event_type(rule: &EventRule, request: &InboundRequest, data: &Value) -> Result<String, PluginError> {
    let (prefix, name) = match rule {
        EventRule::Fixed { event_type } => ("", Some(event_type.clone())),
        EventRule::Body { path, prefix, .. } => (prefix.as_str(), text_at(data, path)),
        EventRule::Header { name, prefix, .. } => (prefix.as_str(), request.header(name).map(str::to_owned)),
    };
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
        PluginError::reject(Reason::BadData, "no_event_type", "The request does not say what type of event it is.")
    })?;
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '_' };
    let event_type: String = format!("{prefix}{name}").to_ascii_lowercase().chars().map(plain).collect();
    if !is_type(&event_type) {
        let message = "What the request says does not make the name of a type.";
        return Err(PluginError::reject(Reason::BadData, "bad_event_type", message));
    }
    Ok(event_type)
}

/// Two parts or more, each beginning with a letter or digit: a leading underscore would make the type private to this
/// installation.
fn is_type(name: &str) -> bool {
    let starts = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= TYPE_BYTES && name.contains('.') && name.split('.').all(starts)
}

fn allowed(rule: &EventRule, event_type: &str) -> bool {
    let patterns = match rule {
        EventRule::Fixed { .. } | EventRule::Body { allow: None, .. } => return true,
        EventRule::Body { allow: Some(allow), .. } | EventRule::Header { allow, .. } => allow,
    };
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) if start.is_empty() || start.ends_with('.') => event_type.starts_with(start),
        _ => pattern == event_type,
    })
}

/// Built from signed bytes only. An id inside the body is the sender's own and may be small, so the source's name,
/// which the admin gave, keeps the ids of two senders apart.
fn dedupe_key(
    ctx: &Ctx<Config>,
    request: &InboundRequest,
    verified: &Verified,
    data: &Value,
) -> Result<String, PluginError> {
    if let Some(path) = &ctx.config.dedupe.path {
        let id = text_at(data, path).ok_or_else(|| {
            PluginError::reject(Reason::BadData, "no_dedupe_id", format!("The body has no id at `{path}`."))
        })?;
        let source = ctx.source(&request.source_id).map_or("default", |source| &source.name);
        return Ok(format!("webhook:{source}:path:{}", short(&id)));
    }
    Ok(match &verified.id {
        Some(id) => format!("webhook:id:{}", short(id)),
        None => format!("webhook:sha256:{}", verified.signed_hash),
    })
}

fn short(id: &str) -> String {
    if id.len() <= ID_BYTES { id.to_owned() } else { format!("sha256-{}", hex::encode(Sha256::digest(id))) }
}

/// The text, number or truth value at a path of member names and list indexes.
fn text_at(data: &Value, path: &str) -> Option<String> {
    let mut value = data;
    for step in path.split('.') {
        value = match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            other => other.get(step)?,
        };
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
