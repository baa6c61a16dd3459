use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::catalogue::CHANGED;
use crate::config::Config;
use crate::poll;
use crate::{APP_SECRET, WEBHOOK_SECRET};

/// What of one request is followed up one by one; beyond that the poll finds it.
const MOST_HINTS: usize = 1_000;

/// The kinds of entities that this plugin knows.
const ENTITIES: [&str; 4] = ["customer", "invoice", "payment", "salesreceipt"];

/// Longer ids and stamps are nothing that Intuit sends.
const LONGEST: usize = 128;

/// One entity that changed.
struct Hint {
    realm: String,
    entity: String,
    id: String,
    operation: &'static str,
    time: String,
    /// What makes this notification the same as another: of signed bytes only.
    identity: String,
}

/// Proves a request by its raw bytes, then reads either format. Nothing is fetched here: Intuit waits three seconds.
pub fn receive(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Received, PluginError> {
    let is_app = ctx.tenant().is_empty();
    let Some(signature) = request.header("intuit-signature") else {
        return Ok(Received::unauthenticated("there is not exactly one intuit-signature"));
    };
    let Ok(tag) = STANDARD.decode(signature) else {
        return Ok(Received::unauthenticated("intuit-signature is not base64"));
    };
    let secret = if is_app { APP_SECRET } else { WEBHOOK_SECRET };
    if !ctx.verify_mac(secret, Mac::HmacSha256, &request.body, &tag)? {
        return Ok(Received::unauthenticated("the signature does not match: check the verifier token"));
    }
    let Some(hints) = read(&request.body) else { return unknown(ctx, is_app) };
    let (mut events, mut foreign, mut over) = (Vec::new(), 0_usize, false);
    for hint in hints.iter().filter(|hint| ENTITIES.contains(&hint.entity.as_str())) {
        if !is_app && hint.realm != ctx.config.realm_id {
            foreign += 1;
        } else if events.len() >= MOST_HINTS {
            over = true;
        } else {
            events.push(hint.event(is_app));
        }
    }
    if foreign > 0 {
        ctx.warn("changes of other companies than the config's were left out", &[("changes", &foreign.to_string())]);
    }
    let poll_now = if over { vec![poll::SCHEDULE.to_owned()] } else { Vec::new() };
    Ok(Received::Accepted { events, reply: None, poll_now })
}

/// What is signed but not understood: the poll finds what it was about, and where there is none the request is kept
/// until there is a version that reads it.
fn unknown(ctx: &Ctx<Config>, is_app: bool) -> Result<Received, PluginError> {
    if is_app {
        let message = "The signed request is in none of the formats that this version reads.";
        return Err(PluginError::retry(Reason::BadData, "unknown_format", message));
    }
    ctx.warn("a signed request in no known format was taken as a call to look for changes", &[]);
    Ok(Received::Accepted { events: Vec::new(), reply: None, poll_now: vec![poll::SCHEDULE.to_owned()] })
}

/// The entities of an array of CloudEvents or of the older object; none if it is neither. A member that cannot be read is
/// left out, so that it does not take its neighbours with it.
fn read(body: &[u8]) -> Option<Vec<Hint>> {
    match json::parse(body).ok()? {
        Value::Array(events) => Some(events.iter().filter_map(cloud_event).collect()),
        Value::Object(body) => {
            let notifications = body.get("eventNotifications")?.as_array()?;
            Some(notifications.iter().flat_map(legacy).collect())
        }
        _ => None,
    }
}

fn cloud_event(event: &Value) -> Option<Hint> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let kind = text("type")?.strip_prefix("qbo.")?;
    let mut parts = kind.split('.');
    let (entity, operation) = (parts.next()?, operation(parts.next()?)?);
    Hint {
        realm: text("intuitaccountid")?.to_owned(),
        entity: entity.to_ascii_lowercase(),
        id: text("intuitentityid")?.to_owned(),
        operation,
        time: text("time").unwrap_or_default().to_owned(),
        identity: text("id")?.to_owned(),
    }
    .sound()
}

fn legacy(notification: &Value) -> Vec<Hint> {
    let Some(realm) = notification.get("realmId").and_then(Value::as_str) else { return Vec::new() };
    let entities = notification.pointer("/dataChangeEvent/entities").and_then(Value::as_array);
    let hint = |entity: &Value| {
        let text = |name: &str| entity.get(name).and_then(Value::as_str);
        let (name, id, time) = (text("name")?, text("id")?, text("lastUpdated").unwrap_or_default());
        let operation = operation(text("operation")?)?;
        Hint {
            realm: realm.to_owned(),
            entity: name.to_ascii_lowercase(),
            id: id.to_owned(),
            operation,
            time: time.to_owned(),
            identity: format!("{name}:{id}:{operation}:{time}"),
        }
        .sound()
    };
    entities.into_iter().flatten().filter_map(hint).collect()
}

/// The same word for both formats: the newer one writes `created`, the older one `Create`.
fn operation(text: &str) -> Option<&'static str> {
    match text {
        "created" | "Create" => Some("created"),
        "updated" | "Update" => Some("updated"),
        "deleted" | "Delete" => Some("deleted"),
        "merged" | "Merge" => Some("merged"),
        "voided" | "Void" => Some("voided"),
        "emailed" | "Emailed" => Some("emailed"),
        _ => None,
    }
}

impl Hint {
    /// Itself, if its names are such as Intuit gives.
    fn sound(self) -> Option<Self> {
        let plain = |text: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(known)
        };
        let sound =
            plain(&self.realm) && plain(&self.id) && self.time.len() <= LONGEST && self.identity.len() <= 4 * LONGEST;
        sound.then_some(self)
    }

    fn event(&self, is_app: bool) -> Emit {
        let key = format!("{}:{}", self.entity, self.id);
        let mut data = json!({ "key": key, "entity": self.entity, "id": self.id, "operation": self.operation });
        if !self.time.is_empty() {
            data["time"] = json!(self.time);
        }
        // A hash keeps the key short however long the identity is.
        let identity = hex::encode(&Sha256::digest(&self.identity)[..16]);
        let event = Emit::new(CHANGED, data)
            .subject(&self.id)
            .ordering(format!("quickbooks:{}:{key}", self.realm))
            .dedupe(format!("quickbooks:{}:hint:{identity}", self.realm));
        if is_app { event.account(&self.realm) } else { event }
    }
}
