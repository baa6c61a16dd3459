use serde_json::{Map, Value, json};
use switchyard_sdk::prelude::*;

use crate::catalogue::CALLBACK;
use crate::config::Config;
use crate::signature::Authentic;
use crate::{suppress, voice};

/// The words that Twilio acts on by itself when they are the whole message.
const STOP_WORDS: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START_WORDS: [&str; 3] = ["START", "YES", "UNSTOP"];
const HELP_WORDS: [&str; 2] = ["HELP", "INFO"];

/// Twilio's limit of media in one message is ten.
const MAX_MEDIA: u64 = 20;

/// What an authentic request means: an inbound message, a status callback, something about a call, or nothing that this
/// plugin knows.
pub fn receive(ctx: &Ctx<Config>, request: &InboundRequest, form: &Authentic) -> Result<Received, PluginError> {
    let account = form.text("AccountSid").unwrap_or(&ctx.config.account_sid);
    if let Some(id) = form.text("MessageSid").or(form.text("SmsSid")) {
        let told = form.text("MessageStatus");
        return match told.or(form.text("SmsStatus")) {
            Some(state) if told.is_some() || state != "received" => {
                Ok(Received::accepted(vec![callback(request, form, account, id, state)]))
            }
            _ => Ok(Received::accepted(message(form, account, id)).reply(twiml())),
        };
    }
    if let Some(id) = form.text("CallSid") {
        return voice::receive(ctx, request, form, account, id);
    }
    Err(PluginError::reject(Reason::BadData, "no_sid", "The signed request has neither a MessageSid nor a CallSid."))
}

fn twiml() -> Reply {
    Reply::content("text/xml", voice::twiml::Twiml::EMPTY)
}

fn message(form: &Authentic, account: &str, id: &str) -> Vec<Emit> {
    let (from, to) = (form.get("From").unwrap_or_default(), form.get("To").unwrap_or_default());
    let body = form.get("Body").unwrap_or_default();
    let number = |name: &str| form.text(name).and_then(|text| text.parse::<u64>().ok());
    let num_media = number("NumMedia").unwrap_or(0);
    let opt = opt_type(form, body);
    let mut data = json!({
        "message_id": id,
        "account": account,
        "from": from,
        "to": to,
        "body": body,
        "num_media": num_media,
        "media": media(form, num_media),
        "num_segments": number("NumSegments").unwrap_or(1),
    });
    if let Some(opt) = opt {
        data["opt_out"] = json!(opt);
    }
    if let Some(service) = form.text("MessagingServiceSid") {
        data["messaging_service_id"] = json!(service);
    }
    let received =
        Emit::new("sms.received", data).subject(id).dedupe(format!("twilio:{account}:message:{id}:received"));
    let mut events = vec![received];
    events.extend(opt.and_then(|opt| opt_event(form, account, opt, from, to, id)));
    events
}

/// What Twilio says it did, else what the message's only word means.
fn opt_type(form: &Authentic, body: &str) -> Option<&'static str> {
    let known = |word: &str, words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if let Some(stated) = form.text("OptOutType") {
        for kind in ["STOP", "START", "HELP"] {
            if known(stated, &[kind]) {
                return Some(kind);
            }
        }
    }
    let word = body.trim();
    if known(word, &START_WORDS) {
        return Some("START");
    }
    if known(word, &HELP_WORDS) {
        return Some("HELP");
    }
    // A wish to be left alone counts however it is punctuated; Twilio itself may not have understood it.
    let bare = word.trim_matches(|mark: char| mark.is_ascii_punctuation() || mark.is_whitespace());
    known(bare, &STOP_WORDS).then_some("STOP")
}

fn opt_event(form: &Authentic, account: &str, opt: &str, from: &str, to: &str, id: &str) -> Option<Emit> {
    let name = match opt {
        "STOP" => suppress::OUT,
        "START" => suppress::IN,
        _ => return None,
    };
    let reason = if form.text("OptOutType").is_some() { "opt_out_type" } else { "keyword" };
    let mut data = json!({ "from": from, "to": to, "reason": reason, "message_id": id });
    if let Some(service) = form.text("MessagingServiceSid") {
        data["messaging_service_id"] = json!(service);
    }
    Some(Emit::new(name, data).subject(id).dedupe(format!("twilio:{account}:optout:{from}:{to}:{id}")))
}

fn media(form: &Authentic, count: u64) -> Vec<Value> {
    let one = |index: u64| {
        let mut item = Map::new();
        item.insert("url".to_owned(), json!(form.text(&format!("MediaUrl{index}"))?));
        if let Some(kind) = form.text(&format!("MediaContentType{index}")) {
            item.insert("content_type".to_owned(), json!(kind));
        }
        Some(Value::Object(item))
    };
    (0..count.min(MAX_MEDIA)).filter_map(one).collect()
}

/// The callback as a private event, once per message and status. The reference stands in the callback's URL, which
/// is signed.
fn callback(request: &InboundRequest, form: &Authentic, account: &str, id: &str, state: &str) -> Emit {
    let mut data = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            data.insert(name.to_owned(), json!(value));
        }
    };
    put("message_id", Some(id));
    put("account", Some(account));
    put("status", Some(state));
    put("from", form.text("From"));
    put("to", form.text("To"));
    put("error_code", form.text("ErrorCode"));
    put("hub_ref", reference(request).as_deref());
    Emit::new(CALLBACK, Value::Object(data))
        .subject(id)
        .ordering(format!("twilio:{account}:message:{id}"))
        .dedupe(format!("twilio:{account}:callback:{id}:{state}"))
}

/// Our reference in the address of a callback, which is signed.
pub fn reference(request: &InboundRequest) -> Option<String> {
    let shaped = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (_, value) = form_urlencoded::parse(request.query().as_bytes()).find(|(name, _)| name == "ref")?;
    shaped(&value).then(|| value.into_owned())
}
