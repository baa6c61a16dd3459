//! `switchyard simulate`: people and faults at the simulators.

use std::path::Path;

use serde_json::{Map, Value, json};
use switchyard_simulators::faults::{Armed, Fault, FaultBody};
use url::Url;

use super::{
    args::GlobalArgs,
    client::{CliError, HubClient},
    output::{Output, text},
};

/// The words.
pub(super) mod words;

use words::{
    AnyCommand, BillyCommand, Body, FailArgs, GmailCommand, ProviderCommand, QuickbooksCommand, SimulateArgs,
    StripeCommand, TwilioCommand, When,
};

/// Where `switchyard dev` writes the addresses of its simulators, in its folder.
pub(crate) const ADDRESSES: &str = "simulators.json";

/// The folder of `switchyard dev` where none is given.
const DEV_FOLDER: &str = "data/dev";

/// What is asked of a simulator under `/_sim/`.
#[derive(Debug, PartialEq)]
enum Control {
    Read(String),
    Post(String, Value),
    Delete(String),
}

/// Carries out one command at its simulator and prints the answer.
///
/// # Errors
/// The simulator is not there or refuses; each error says the fix.
pub(super) async fn run(args: SimulateArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let (name, control) = control(args.provider)?;
    let url = match args.sim_url {
        Some(url) => url,
        None => address(name, |variable| std::env::var(variable).ok(), Path::new(DEV_FOLDER))?,
    };
    let simulator = HubClient::new(url.clone(), None)?;
    let answered = match &control {
        Control::Read(action) => simulator.get(&["_sim", action]).await,
        Control::Post(action, arguments) => simulator.post(&["_sim", action], arguments).await,
        Control::Delete(action) => simulator.delete(&["_sim", action]).await,
    };
    let answer = answered.map_err(|error| at_simulator(error, name, &url))?;
    Output::new(global.json).result(&answer, told)
}

/// The answer for people: armed faults as lines, anything else as it is.
fn told(answer: &Value) -> String {
    let Some(armed) = answer["armed"].as_array() else {
        return serde_json::to_string_pretty(answer).unwrap_or_default();
    };
    if armed.is_empty() {
        return "nothing goes wrong".to_owned();
    }
    let line = |fault: &Value| {
        let mut more = fault.as_object().cloned().unwrap_or_default();
        more.retain(|name, _| !["operation", "kind", "times"].contains(&name.as_str()));
        let more = if more.is_empty() { String::new() } else { format!(" {}", Value::Object(more)) };
        format!("{} of {}, {} times{more}", text(fault, "kind"), text(fault, "operation"), fault["times"])
    };
    armed.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Where a simulator listens: as the environment says, else as a `switchyard dev` in this folder has written.
fn address(name: &str, variable: impl Fn(&str) -> Option<String>, dev: &Path) -> Result<Url, CliError> {
    let own = format!("SWITCHYARD_SIM_{}", name.to_uppercase());
    let file = dev.join(ADDRESSES);
    let of_all = "SWITCHYARD_SIM_URL".to_owned();
    let given = [own.clone(), of_all].into_iter().find_map(|place| variable(&place).map(|url| (place, Some(url))));
    let (place, found) = match given {
        Some(given) => given,
        None => {
            let written = std::fs::read_to_string(&file).ok();
            let written: Option<Map<String, Value>> = written.and_then(|json| serde_json::from_str(&json).ok());
            let url = written.and_then(|addresses| Some(addresses.get(name)?.as_str()?.to_owned()));
            (file.display().to_string(), url)
        }
    };
    let found =
        found.ok_or_else(|| CliError::NoSimulator { name: name.to_owned(), variable: own, place: place.clone() })?;
    found.parse().map_err(|_| CliError::NoSimulatorAddress { place, found })
}

/// The simulator's name and the control request.
fn control(command: ProviderCommand) -> Result<(&'static str, Control), CliError> {
    Ok(match command {
        ProviderCommand::Twilio(command) => ("twilio", of_twilio(command)?),
        ProviderCommand::Billy(command) => ("billy", of_billy(command)?),
        ProviderCommand::Google(command) => ("google", of_any(command)?),
        ProviderCommand::Gmail(command) => ("gmail", of_gmail(command)?),
        ProviderCommand::Calendar(command) => ("calendar", of_any(command)?),
        ProviderCommand::Quickbooks(command) => ("quickbooks", of_quickbooks(command)?),
        ProviderCommand::Stripe(command) => ("stripe", of_stripe(command)?),
    })
}

fn post(action: &str, arguments: Value) -> Control {
    Control::Post(action.to_owned(), arguments)
}

fn of_twilio(command: TwilioCommand) -> Result<Control, CliError> {
    Ok(match command {
        TwilioCommand::Sms { from, to, body } => post("sms", json!({"from": from, "to": to, "body": body})),
        TwilioCommand::Call { from, to } => post("call", json!({"from": from, "to": to})),
        TwilioCommand::Replay { message_sid } => post("replay", json!({"message_sid": message_sid})),
        TwilioCommand::Any(command) => of_any(command)?,
    })
}

fn of_billy(command: BillyCommand) -> Result<Control, CliError> {
    Ok(match command {
        BillyCommand::Pay { invoice, amount } => {
            let mut order = json!({"invoice_id": invoice});
            if let Some(amount) = amount {
                order["amount"] = parsed("--amount", &amount)?;
            }
            post("pay", order)
        }
        BillyCommand::Any(command) => of_any(command)?,
    })
}

fn of_gmail(command: GmailCommand) -> Result<Control, CliError> {
    Ok(match command {
        GmailCommand::Mail { from, subject, text } => {
            post("receive", json!({"from": from, "subject": subject, "text": text}))
        }
        GmailCommand::Any(command) => of_any(command)?,
    })
}

fn of_quickbooks(command: QuickbooksCommand) -> Result<Control, CliError> {
    Ok(match command {
        QuickbooksCommand::Pay { invoice, amount } => {
            let mut act = json!({"do": "pay", "id": invoice});
            if let Some(amount) = amount {
                act["amount"] = parsed("--amount", &amount)?;
            }
            post("act", act)
        }
        QuickbooksCommand::Any(command) => of_any(command)?,
    })
}

fn of_stripe(command: StripeCommand) -> Result<Control, CliError> {
    Ok(match command {
        StripeCommand::Subscribe { customer, status } => {
            post("subscribe", json!({"customer": customer, "status": status}))
        }
        StripeCommand::Any(command) => of_any(command)?,
    })
}

fn of_any(command: AnyCommand) -> Result<Control, CliError> {
    let (when, fault) = match command {
        AnyCommand::Fail(args) => failure(args)?,
        AnyCommand::Slow { when, ms } => (when, Fault::Latency { ms }),
        AnyCommand::DropAnswerAfterCommit(when) => (when, Fault::DropAfter),
        AnyCommand::DropRequest(when) => (when, Fault::DropBefore),
        AnyCommand::Reset(when) => (when, Fault::ResetAfter),
        AnyCommand::Hang(when) => (when, Fault::HangAfter),
        AnyCommand::Spoil { when, body } => (when, Fault::Spoil { body: shape(body) }),
        AnyCommand::ExpireToken(when) => (when, Fault::ExpireToken),
        AnyCommand::WrongToken(when) => (when, Fault::WrongToken),
        AnyCommand::Duplicate(when) => (when, Fault::Duplicate),
        AnyCommand::Reorder(when) => (when, Fault::OutOfOrder),
        AnyCommand::Delay { when, ms } => (when, Fault::Delay { ms }),
        AnyCommand::WrongSignature(when) => (when, Fault::WrongSignature),
        AnyCommand::Faults => return Ok(Control::Read("faults".to_owned())),
        AnyCommand::Clear => return Ok(Control::Delete("faults".to_owned())),
        AnyCommand::Release => return Ok(post("release", json!({}))),
        AnyCommand::Counts => return Ok(Control::Read("counts".to_owned())),
        AnyCommand::Clock { offset_ms } => return Ok(post("clock", json!({"offset_ms": offset_ms}))),
        AnyCommand::Control { action, data: None } => return Ok(Control::Read(action)),
        AnyCommand::Control { action, data: Some(data) } => return Ok(Control::Post(action, parsed("--data", &data)?)),
    };
    let armed = Armed { operation: when.operation, fault, times: when.times };
    Ok(post("faults", json!(armed)))
}

/// With 429 nothing is executed, so `--after` would ask for what no provider does.
fn failure(args: FailArgs) -> Result<(When, Fault), CliError> {
    let FailArgs { when, status, after, retry_after, body } = args;
    let fault = match (status, after, retry_after) {
        (429, false, retry_after_s) if body == Body::Provider => Fault::RateLimit { retry_after_s },
        (_, _, Some(_)) => {
            return Err(CliError::Senseless("--retry-after goes with --status 429 alone, without --after and --body"));
        }
        (_, true, None) => Fault::FailAfter { status, body: shape(body) },
        (_, false, None) => Fault::FailBefore { status, body: shape(body) },
    };
    Ok((when, fault))
}

const fn shape(body: Body) -> FaultBody {
    match body {
        Body::Provider => FaultBody::Provider,
        Body::Html => FaultBody::Html,
        Body::LogLineThenProvider => FaultBody::LogLineThenProvider,
        Body::Empty => FaultBody::Empty,
        Body::Truncated => FaultBody::Truncated,
        Body::WrongTypes => FaultBody::WrongTypes,
        Body::EmptyObject => FaultBody::EmptyObject,
        Body::Huge => FaultBody::Huge,
        Body::Drip => FaultBody::Drip,
    }
}

fn parsed(place: &str, json: &str) -> Result<Value, CliError> {
    serde_json::from_str(json).map_err(|reason| CliError::NotJson { place: place.to_owned(), reason })
}

/// A simulator that is not there needs another fix than a hub that is not there.
fn at_simulator(error: CliError, name: &str, url: &Url) -> CliError {
    let reason = match error {
        CliError::NotRunning { .. } => format!(
            "nobody listens there. Simulators run while `switchyard dev` or `switchyard demo` does, which print their \
             addresses; set --sim-url or SWITCHYARD_SIM_{}",
            name.to_uppercase()
        ),
        CliError::NotAHub { .. } => format!("that is no simulator of {name}; check --sim-url"),
        other => return other,
    };
    CliError::Unreachable { url: url.clone(), reason }
}

#[cfg(test)]
mod tests;
