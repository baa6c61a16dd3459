use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_sdk::http::Response;
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;
use switchyard_sdk::{Emit, UnknownOutcome};

use super::report::Report;
use super::{lookup, track};
use crate::config::Config;
use crate::refusal::refusal;
use crate::voice::config::Voice;
use crate::voice::twiml::{Names, Twiml};
use crate::{CONNECTION, lookup as messages};

/// The data of `call.create`.
#[derive(Deserialize)]
struct Command {
    to: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    say: Option<String>,
    #[serde(default)]
    connect_to: Option<String>,
    #[serde(default)]
    record: bool,
    #[serde(default)]
    detect_machine: bool,
    #[serde(default)]
    timeout_s: Option<u16>,
}

/// What came of the request.
enum Answer {
    Call(Value),
    /// Taken, and the answer names no call.
    Unnamed(UnknownOutcome),
    Refused(Response),
}

/// Places a call once, and says so.
pub fn create(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: Command = event.parse()?;
    let Some(from) = command.from.as_deref().or(ctx.config.from.as_deref()) else {
        return Err(PluginError::bad_config("from", "set a number, or name it in the command."));
    };
    if command.say.is_none() && command.connect_to.is_none() {
        let message = "The command has neither `say` nor `connect_to`: there is nothing to do once somebody answers.";
        return Err(PluginError::reject(Reason::BadData, "nothing_to_do", message));
    }
    let document = document(ctx.config.voice()?.as_ref(), &command, from);
    let answer = SendOnce::default()
        .run(
            ctx,
            || post(ctx, &command, from, &document),
            |lost| Ok(lookup::find(ctx, &command.to, from, lost)?.map(Answer::Call)),
        )?
        .into_inner();
    let call = match answer {
        Answer::Call(call) => call,
        Answer::Unnamed(lost) => lookup::find(ctx, &command.to, from, &lost)?.ok_or_else(|| {
            let message = "Twilio took the call and named no sid, and it was not found.";
            PluginError::reject(Reason::UnknownOutcome, "malformed_answer", message)
        })?,
        Answer::Refused(response) => return Err(refusal("call", &response)),
    };
    taken(ctx, event, &command, from, &call)
}

/// What is done once somebody answers.
fn document(voice: Option<&Voice>, command: &Command, from: &str) -> String {
    let mut document = Twiml::new();
    if let Some(text) = &command.say {
        // The command's words are taken as they are; names in braces belong to the config.
        document.say(voice, "{speech}", &Names { speech: text, ..Names::default() });
    }
    if let Some(number) = &command.connect_to {
        document.open("Dial", &[("callerId", from)]);
        document.element("Number", &[], number);
        document.close("Dial");
    }
    document.finish()
}

fn post(ctx: &Ctx<Config>, command: &Command, from: &str, document: &str) -> Result<Answer, HttpError> {
    let path = format!("/2010-04-01/Accounts/{}/Calls.json", ctx.config.account_sid);
    let source = ctx.source_named("default").map(|source| source.url.as_str());
    let callback = source.filter(|_| ctx.config.status_callbacks);
    let callback = callback.map(|url| format!("{url}/call-status?ref={}", ctx.reference()));
    let recording = source.filter(|_| command.record).map(|url| format!("{url}/voice/recording"));
    let timeout = command.timeout_s.map(|seconds| seconds.to_string());
    let mut form = vec![("To", command.to.as_str()), ("From", from), ("Twiml", document)];
    if let Some(url) = &callback {
        form.push(("StatusCallback", url));
        for event in ["initiated", "ringing", "answered", "completed"] {
            form.push(("StatusCallbackEvent", event));
        }
    }
    if command.record {
        form.push(("Record", "true"));
    }
    if let Some(url) = &recording {
        form.push(("RecordingStatusCallback", url));
    }
    if command.detect_machine {
        form.push(("MachineDetection", "Enable"));
    }
    if let Some(seconds) = &timeout {
        form.push(("Timeout", seconds));
    }
    let response = ctx.http(CONNECTION).post(path).form(&form).send()?;
    if !response.is_success() {
        return Ok(Answer::Refused(response));
    }
    let call = response.value();
    if call.get("sid").is_some_and(Value::is_string) {
        return Ok(Answer::Call(call));
    }
    Ok(Answer::Unnamed(UnknownOutcome { sent_at: ctx.now(), message: "the answer names no call".to_owned() }))
}

/// Twilio has the call: remember whose it is and how far it is.
fn taken(ctx: &Ctx<Config>, event: &Event, command: &Command, from: &str, call: &Value) -> Result<Output, PluginError> {
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let Some(id) = text("sid") else {
        let message = "Twilio's record of the call has no sid.";
        return Err(PluginError::reject(Reason::BadData, "malformed_answer", message));
    };
    messages::claim(ctx, id, &command.to)?;
    let account = &ctx.config.account_sid;
    let state = text("status").unwrap_or("queued");
    let report = Report {
        call_id: id.to_owned(),
        account: account.clone(),
        status: Some(state.to_owned()),
        direction: Some("outbound-api".to_owned()),
        from: Some(from.to_owned()),
        to: Some(command.to.clone()),
        hub_ref: Some(ctx.reference().to_owned()),
        ..Report::default()
    };
    let data = json!({
        "call_id": id,
        "account": account,
        "from": from,
        "to": command.to,
        "status": state,
        "hub_ref": ctx.reference(),
    });
    let key = super::key(account, id);
    let created = Emit::new("call.created", data).subject(id).dedupe(format!("{key}:created")).ordering(key);
    let mut events = vec![created];
    events.extend(track::follow(ctx, &report, &event.id, ctx.time())?);
    Ok(events.into())
}
