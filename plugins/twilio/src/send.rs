use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_sdk::UnknownOutcome;
use switchyard_sdk::http::Response;
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::date;

use crate::config::Config;
use crate::refusal::refusal;
use crate::{CONNECTION, lookup, status, suppress};

/// Twilio's code for a recipient who opted out.
const OPTED_OUT: u64 = 21_610;

/// The data of `sms.send`.
#[derive(Deserialize)]
pub struct Command {
    /// Who gets it.
    pub to: String,
    /// The text.
    pub body: String,
    #[serde(default)]
    from: Option<String>,
}

/// Who sends it.
pub enum Sender<'a> {
    /// A number.
    From(&'a str),
    /// A messaging service, which chooses a number.
    Service(&'a str),
}

/// What came of the sending.
enum Answer {
    Message(Value),
    /// Taken, and the answer names no message.
    Unnamed(UnknownOutcome),
    Refused(Response),
}

/// Sends a message once, and says so.
pub fn send(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: Command = event.parse()?;
    let sender = sender(&command, &ctx.config)?;
    suppress::check(ctx, &command.to, sender.field().1)?;
    let answer = SendOnce::default()
        .run(
            ctx,
            || post(ctx, &command, &sender),
            |lost| Ok(lookup::find(ctx, &command, &sender, lost)?.map(Answer::Message)),
        )?
        .into_inner();
    match answer {
        Answer::Message(message) => taken(ctx, &command, &sender, &message),
        Answer::Unnamed(lost) => match lookup::find(ctx, &command, &sender, &lost)? {
            Some(message) => taken(ctx, &command, &sender, &message),
            None => {
                let message = "Twilio took the message and named no sid, and it was not found.";
                Err(PluginError::reject(Reason::UnknownOutcome, "malformed_answer", message))
            }
        },
        Answer::Refused(response) => refused(ctx, &command, &sender, &response),
    }
}

fn sender<'a>(command: &'a Command, config: &'a Config) -> Result<Sender<'a>, PluginError> {
    let number = command.from.as_deref().or(config.from.as_deref());
    match (number, config.messaging_service_sid.as_deref()) {
        (Some(number), _) => Ok(Sender::From(number)),
        (None, Some(service)) => Ok(Sender::Service(service)),
        (None, None) => {
            Err(PluginError::bad_config("from", "set a number or `messaging_service_sid`, or name it in the command."))
        }
    }
}

impl Sender<'_> {
    /// The parameter that names it to Twilio.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::From(number) => ("From", number),
            Self::Service(service) => ("MessagingServiceSid", service),
        }
    }
}

fn post(ctx: &Ctx<Config>, command: &Command, sender: &Sender) -> Result<Answer, HttpError> {
    let path = format!("/2010-04-01/Accounts/{}/Messages.json", ctx.config.account_sid);
    let callback = ctx.source_named("default").filter(|_| ctx.config.status_callbacks);
    let callback = callback.map(|source| format!("{}/status?ref={}", source.url, ctx.reference()));
    let mut form = vec![("To", command.to.as_str()), sender.field(), ("Body", command.body.as_str())];
    if let Some(callback) = &callback {
        form.push(("StatusCallback", callback));
    }
    let response = ctx.http(CONNECTION).post(path).form(&form).send()?;
    if !response.is_success() {
        return Ok(Answer::Refused(response));
    }
    let message = response.value();
    if message.get("sid").is_some_and(Value::is_string) {
        return Ok(Answer::Message(message));
    }
    Ok(Answer::Unnamed(UnknownOutcome { sent_at: ctx.now(), message: "the answer names no message".to_owned() }))
}

/// Twilio has the message: remember whose it is and how far it is, so that no other command adopts it and no late
/// callback lowers its status.
fn taken(ctx: &Ctx<Config>, command: &Command, sender: &Sender, message: &Value) -> Result<Output, PluginError> {
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    let Some(id) = text("sid") else {
        let message = "Twilio's record of the message has no sid.";
        return Err(PluginError::reject(Reason::BadData, "malformed_answer", message));
    };
    let state = text("status").unwrap_or("queued");
    lookup::claim(ctx, id, &command.to)?;
    status::remember(ctx, id, state, &command.to)?;
    let account = &ctx.config.account_sid;
    let data = json!({
        "message_id": id,
        "account": account,
        "from": text("from").unwrap_or(sender.field().1),
        "to": command.to,
        "body": command.body,
        "status": state,
        "hub_ref": ctx.reference(),
    });
    let key = format!("twilio:{account}:message:{id}");
    Ok(Emit::new("sms.sent", data).subject(id).dedupe(format!("{key}:sent")).ordering(key).into())
}

/// A refusal is final, and a recipient who opted out is also a fact that others want to know.
fn refused(ctx: &Ctx<Config>, command: &Command, sender: &Sender, answer: &Response) -> Result<Output, PluginError> {
    if answer.value().get("code").and_then(Value::as_u64) != Some(OPTED_OUT) {
        return Err(refusal("message", answer));
    }
    suppress::remember(ctx, &command.to, sender.field().1)?;
    Ok(opted_out(ctx, command, sender))
}

fn opted_out(ctx: &Ctx<Config>, command: &Command, sender: &Sender) -> Output {
    let (account, us) = (&ctx.config.account_sid, sender.field().1);
    let out = json!({ "from": command.to, "to": us, "reason": OPTED_OUT.to_string() });
    let failed = json!({
        "to": command.to, "from": us, "code": OPTED_OUT.to_string(), "reason": "opted_out", "hub_ref": ctx.reference()
    });
    vec![
        Emit::new(suppress::OUT, out).dedupe(format!(
            "twilio:{account}:optout:{}:{us}:{}",
            command.to,
            date(ctx.time())
        )),
        Emit::new("sms.failed", failed).dedupe(format!("twilio:{account}:failed:{}", ctx.reference())),
    ]
    .into()
}
