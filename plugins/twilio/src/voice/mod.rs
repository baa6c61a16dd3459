//! Calls as they come in: each request is answered with a document that the config describes, and becomes events.

use form_urlencoded::parse;
use serde_json::{Map, Number, Value, json};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::call::report::{CALL, Report, Step};
use crate::config::Config;
use crate::signature::Authentic;

/// What callers hear and where they get to.
pub mod config;

/// Whether somebody is there.
mod hours;

/// Documents for Twilio.
pub mod twiml;

/// What a caller is told next.
mod flow;

use flow::{Flow, Turn};
use twiml::{Names, Twiml};

/// How the request came to be, by the path behind the source's address and by signed parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Voice,
    Fallback,
    Gather(u8),
    Dialled,
    Recorded,
    Recording,
    Status,
}

/// What an authentic request about a call means, and what the caller is told.
pub fn receive(
    ctx: &Ctx<Config>,
    request: &InboundRequest,
    form: &Authentic,
    account: &str,
    call_id: &str,
) -> Result<Received, PluginError> {
    let kind = kind(request, form);
    let report = report(request, form, account, call_id);
    match kind {
        Kind::Recording => Ok(recording(form, account, call_id)),
        Kind::Status => {
            let sequence = report.sequence.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let state = report.status.clone().unwrap_or_default();
            Ok(Received::accepted(vec![report.emit(&format!("{sequence}:{state}"))]))
        }
        Kind::Voice | Kind::Fallback => opening(ctx, request, form, report, kind == Kind::Fallback),
        Kind::Gather(turn) => gathered(ctx, request, form, report, turn),
        Kind::Dialled => dialled(ctx, request, form, report),
        Kind::Recorded => {
            let voice = ctx.config.voice()?;
            let flow = Flow::new(ctx, voice.as_ref(), request, names(form));
            Ok(Received::accepted(vec![report.emit("recorded")]).reply(document(flow.farewell())))
        }
    }
}

fn kind(request: &InboundRequest, form: &Authentic) -> Kind {
    let path = request.url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once(request.source_id.as_str()).map_or("", |(_, path)| path);
    match path {
        "/voice/gather" => Kind::Gather(turn(request)),
        "/voice/dial" => Kind::Dialled,
        "/voice/recorded" => Kind::Recorded,
        _ if form.text("RecordingStatus").is_some() => Kind::Recording,
        "/call-status" => Kind::Status,
        // A number may have one address for everything.
        _ if form.text("CallbackSource").is_some() || form.text("SequenceNumber").is_some() => Kind::Status,
        "/voice/fallback" => Kind::Fallback,
        _ if form.text("ErrorCode").is_some() => Kind::Fallback,
        _ => Kind::Voice,
    }
}

fn turn(request: &InboundRequest) -> u8 {
    let turn = parse(request.query().as_bytes()).find(|(name, _)| name == "turn");
    turn.and_then(|(_, text)| text.parse().ok()).unwrap_or(u8::MAX)
}

fn names<'a>(form: &'a Authentic) -> Names<'a> {
    Names {
        from: form.get("From").unwrap_or_default(),
        to: form.get("To").unwrap_or_default(),
        caller_name: form.get("CallerName").unwrap_or_default(),
        digits: form.get("Digits").unwrap_or_default(),
        speech: form.get("SpeechResult").unwrap_or_default(),
    }
}

fn document(text: String) -> Reply {
    Reply::content("text/xml", text)
}

/// What every request says of its call.
fn report(request: &InboundRequest, form: &Authentic, account: &str, call_id: &str) -> Report {
    let text = |name: &str| form.text(name).map(str::to_owned);
    let number = |name: &str| form.text(name).and_then(|text| text.parse::<u64>().ok());
    Report {
        call_id: call_id.to_owned(),
        account: account.to_owned(),
        status: text("CallStatus"),
        step: None,
        sequence: number("SequenceNumber"),
        direction: text("Direction"),
        from: text("From"),
        to: text("To"),
        duration_s: number("CallDuration"),
        answered_by: text("AnsweredBy"),
        sip_code: number("SipResponseCode"),
        dial_status: text("DialCallStatus"),
        at: form.text("Timestamp").and_then(switchyard_sdk::time::parse_rfc2822),
        hub_ref: crate::inbound::reference(request),
    }
}

/// A call begins, or Twilio asks once more because the first address has failed.
fn opening(
    ctx: &Ctx<Config>,
    request: &InboundRequest,
    form: &Authentic,
    mut report: Report,
    fallback: bool,
) -> Result<Received, PluginError> {
    let voice = ctx.config.voice()?;
    let flow = Flow::new(ctx, voice.as_ref(), request, names(form));
    let closed = flow.is_closed(request.received_at)?;
    let (text, step) = if fallback { flow.fallback() } else { flow.opening(closed == Some(true)) };
    report.step = step;
    let mut events = Vec::with_capacity(2);
    if report.direction.as_deref().is_none_or(|direction| direction == "inbound") {
        events.push(received(form, &report, closed));
    }
    events.push(report.emit("voice"));
    Ok(Received::accepted(events).reply(document(text)))
}

fn received(form: &Authentic, report: &Report, closed: Option<bool>) -> Emit {
    let mut data = json!({
        "call_id": report.call_id,
        "account": report.account,
        "from": form.get("From").unwrap_or_default(),
        "to": form.get("To").unwrap_or_default(),
    });
    for (name, parameter) in [("caller_name", "CallerName"), ("forwarded_from", "ForwardedFrom")] {
        if let Some(text) = form.text(parameter) {
            data[name] = json!(text);
        }
    }
    if let Some(closed) = closed {
        data["after_hours"] = json!(closed);
    }
    let key = format!("{}:received", report.key());
    Emit::new("call.received", data).subject(report.call_id.as_str()).dedupe(key)
}

/// Something was entered, or nothing.
fn gathered(
    ctx: &Ctx<Config>,
    request: &InboundRequest,
    form: &Authentic,
    mut report: Report,
    turn: u8,
) -> Result<Received, PluginError> {
    let names = names(form);
    let voice = ctx.config.voice()?;
    let flow = Flow::new(ctx, voice.as_ref(), request, names);
    let Turn { document: text, step, choice } = flow.gathered(turn);
    report.step = step;
    let mut events = Vec::with_capacity(2);
    if !names.digits.is_empty() || !names.speech.is_empty() {
        events.push(input(form, &report, turn, choice));
    }
    events.push(report.emit(&format!("gather:{turn}")));
    Ok(Received::accepted(events).reply(document(text)))
}

/// What was entered is told as an event, so that a rule may act on it while the call goes on.
fn input(form: &Authentic, report: &Report, turn: u8, choice: Option<usize>) -> Emit {
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| {
        data.insert(name.to_owned(), value);
    };
    put("call_id", json!(report.call_id));
    put("account", json!(report.account));
    put("from", json!(form.get("From").unwrap_or_default()));
    put("to", json!(form.get("To").unwrap_or_default()));
    put("turn", json!(turn));
    if let Some(digits) = form.text("Digits") {
        put("digits", json!(digits));
    }
    if let Some(speech) = form.text("SpeechResult") {
        put("speech", json!(speech));
    }
    if let Some(sure) = form.text("Confidence").and_then(|text| text.parse::<Number>().ok()?.as_f64()) {
        put("confidence", json!(sure));
    }
    if let Some(choice) = choice {
        put("choice", json!(choice));
    }
    let key = format!("{}:input:{turn}", report.key());
    Emit::new("call.input_received", Value::Object(data)).subject(report.call_id.as_str()).dedupe(key)
}

/// Whoever was called for the caller has hung up, or did not answer.
fn dialled(
    ctx: &Ctx<Config>,
    request: &InboundRequest,
    form: &Authentic,
    mut report: Report,
) -> Result<Received, PluginError> {
    let voice = ctx.config.voice()?;
    let flow = Flow::new(ctx, voice.as_ref(), request, names(form));
    let talked = matches!(report.dial_status.as_deref(), Some("completed" | "answered"));
    let (text, step) = if talked { (flow.farewell(), None) } else { flow.unanswered() };
    report.step = step;
    Ok(Received::accepted(vec![report.emit("dial")]).reply(document(text)))
}

/// A recording can be fetched. One that is absent or failed is no event.
fn recording(form: &Authentic, account: &str, call_id: &str) -> Received {
    let (Some(id), Some(url), Some("completed")) =
        (form.text("RecordingSid"), form.text("RecordingUrl"), form.text("RecordingStatus"))
    else {
        return Received::Handled(Reply::status(204));
    };
    let seconds = form.text("RecordingDuration").and_then(|text| text.parse::<u64>().ok());
    let event = crate::call::recording::ready(account, call_id, id, url, seconds, form.text("RecordingSource"));
    Received::accepted(vec![event])
}

impl Report {
    /// The report as a private event, once for each request that Twilio makes.
    fn emit(&self, request: &str) -> Emit {
        let data = json::value(self);
        let key = format!("twilio:{}:callback:{}:{request}", self.account, self.call_id);
        Emit::new(CALL, data).subject(self.call_id.as_str()).ordering(self.key()).dedupe(key)
    }

    fn key(&self) -> String {
        crate::call::key(&self.account, &self.call_id)
    }
}

/// The step of a document that ends in one.
fn step_of(next: config::Next) -> Option<Step> {
    match next {
        config::Next::Forward => Some(Step::Transfer),
        config::Next::Voicemail => Some(Step::Voicemail),
        config::Next::Hangup => None,
    }
}

/// The answer to calls where the config has nothing to say to them.
fn nothing() -> String {
    Twiml::EMPTY.to_owned()
}
