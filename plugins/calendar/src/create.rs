use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switchyard_sdk::http::Response;
use switchyard_sdk::prelude::*;

use crate::client::{self, malformed};
use crate::command::{Asked, Attendee, Times, calendar, invited, moment, uninvited};
use crate::config::{Config, Rules};
use crate::conflict::Claim;
use crate::event::{self, REFERENCE};
use crate::model::Remote;

/// The note under which an event keeps the hash of the command's own key.
const KEY: &str = "hub_key";

/// The data of `appointment.create`.
#[derive(Clone, Debug, Deserialize)]
pub struct Command {
    #[serde(default)]
    calendar_id: Option<String>,
    title: String,
    start: String,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    duration_minutes: Option<u16>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    attendees: Vec<Attendee>,
    #[serde(default)]
    travel_buffer_minutes: Option<u16>,
    #[serde(default)]
    key: Option<String>,
}

/// Makes an appointment once. Its id follows from the command, so Google takes it once however often it is sent.
pub fn create(ctx: &Ctx<Config>, asked: &Event) -> Result<Output, PluginError> {
    let command: Command = asked.parse()?;
    let rules = ctx.config.rules()?;
    let calendar = calendar(&ctx.config, command.calendar_id.as_deref())?;
    let times = command.times(&ctx.config, &rules)?;
    let id = command.id(ctx);
    let buffer = command.travel_buffer_minutes.unwrap_or(ctx.config.travel_buffer_minutes);
    let claim = Claim {
        calendar,
        sharing: ctx.config.sharing(calendar),
        id: &id,
        span: times.span(),
        place: command.location.as_deref(),
        buffer: i64::from(buffer) * 60,
    };
    if let Some(clash) = claim.clash(ctx, &rules, false)? {
        // A command that was carried out before, in a run whose journal was discarded, clashes with what came later.
        return match fetch(ctx, calendar, &id)? {
            Some(known) if command.made(ctx, &known) && !known.cancelled => Ok(done(calendar, &known)),
            _ => Err(clash.refusal(&rules)),
        };
    }
    claim.reserve(ctx)?;
    let body = command.body(ctx, &id, &times)?;
    let invites = body["attendees"].as_array().is_some_and(|invited| !invited.is_empty());
    let request = client::events(ctx, Method::Post, calendar, "")
        .query("sendUpdates", if invites { "all" } else { "none" })
        .json(&body)
        .idempotency(Idempotency::OwnId);
    let made = written(ctx, &command, calendar, &id, client::written(&request)?)?;
    settle(ctx, &rules, &claim, invites, &made)?;
    Ok(done(calendar, &made))
}

fn done(calendar: &str, made: &Remote) -> Output {
    event::created(calendar, made, 1).into()
}

/// The event as Google has it after the insert, or after an earlier sending of it. An answer that says that it was made
/// and cannot be read is as good as none: the event is looked at.
fn written(
    ctx: &Ctx<Config>,
    command: &Command,
    calendar: &str,
    id: &str,
    response: Option<Response>,
) -> Result<Remote, PluginError> {
    match &response {
        Some(response) if response.is_success() => {
            if let Some(made) = Remote::read(&response.value()).filter(|made| made.id == id) {
                return Ok(made);
            }
        }
        Some(response) if response.status == 404 => return Err(client::no_calendar(ctx, calendar)),
        Some(response) if response.status != 409 => return Err(client::refusal(response)),
        Some(_) | None => {}
    }
    let Some(known) = fetch(ctx, calendar, id)? else {
        let message = "Google says that the appointment exists, and does not show it yet.";
        return Err(PluginError::retry(Reason::ProviderDown, "not_seen_yet", message));
    };
    if !command.made(ctx, &known) {
        let message = "Another event has the id of this appointment.";
        return Err(PluginError::reject(Reason::BadData, "id_taken", message));
    }
    if known.cancelled {
        let message = "The appointment that this command made was cancelled meanwhile; a new one needs another key.";
        return Err(PluginError::reject(Reason::BadData, "cancelled_meanwhile", message));
    }
    ctx.info("the appointment was there already", &[]);
    Ok(known)
}

/// Looks once more, now that the appointment can be seen by others: somebody outside may have booked the same time while
/// it was written. Whoever was made first stays. Without knowing, or at the same time, ours goes, so that of two hubs that do the
/// same never both stay.
fn settle(ctx: &Ctx<Config>, rules: &Rules, claim: &Claim, invites: bool, made: &Remote) -> Result<(), PluginError> {
    let Some(clash) = claim.clash(ctx, rules, true)? else { return Ok(()) };
    if matches!((&made.created, &clash.created), (Some(ours), Some(theirs)) if ours < theirs) {
        ctx.warn("somebody booked the same time after this appointment was made", &[]);
        return Ok(());
    }
    let response = client::event(ctx, Method::Delete, claim.calendar, claim.id)
        .query("sendUpdates", if invites { "all" } else { "none" })
        .send()?;
    match response.status {
        200..=299 | 404 | 410 => Err(clash.refusal(rules)),
        _ => Err(client::refusal(&response)),
    }
}

/// An event; none if Google has none of this id.
pub fn fetch(ctx: &Ctx<Config>, calendar: &str, id: &str) -> Result<Option<Remote>, PluginError> {
    let response = client::event(ctx, Method::Get, calendar, id).send()?;
    if matches!(response.status, 404 | 410) {
        return Ok(None);
    }
    let answer = client::read(&response)?;
    let found = Remote::read(&answer).filter(|found| found.id == id);
    found.map(Some).ok_or_else(|| malformed("has no readable event"))
}

impl Command {
    fn times(&self, config: &Config, rules: &Rules) -> Result<Times, PluginError> {
        let asked = Asked {
            start: Some(&self.start),
            end: self.end.as_deref(),
            duration_minutes: self.duration_minutes,
            service: self.service.as_deref(),
            time_zone: self.time_zone.as_deref(),
        };
        let start = moment("start", &self.start, asked.zone(rules)?)?;
        asked.times(config, rules, start, i64::from(config.default_duration_minutes) * 60)
    }

    fn key_hash(&self, ctx: &Ctx<Config>) -> Option<String> {
        let key = self.key.as_deref()?;
        Some(hex::encode(&Sha256::digest(format!("{}|{}|{key}", ctx.tenant(), ctx.installation()))[..16]))
    }

    /// `hub` and 32 hex digits, all of Google's alphabet for ids.
    fn id(&self, ctx: &Ctx<Config>) -> String {
        format!("hub{}", self.key_hash(ctx).unwrap_or_else(|| ctx.reference().to_owned()))
    }

    /// Whether an event came from this command.
    fn made(&self, ctx: &Ctx<Config>, known: &Remote) -> bool {
        let same_key = self.key_hash(ctx).is_some_and(|key| known.note(KEY) == Some(&key));
        same_key || known.note(REFERENCE) == Some(ctx.reference())
    }

    fn body(&self, ctx: &Ctx<Config>, id: &str, times: &Times) -> Result<Value, PluginError> {
        let mut notes = json!({ REFERENCE: ctx.reference() });
        if let Some(key) = self.key_hash(ctx) {
            notes[KEY] = json!(key);
        }
        if let Some((name, text)) = uninvited(&self.attendees) {
            notes[name] = json!(text);
        }
        let (mut start, mut end) = times.body();
        for moment in [&mut start, &mut end] {
            if let Some(members) = moment.as_object_mut() {
                members.retain(|_, value| !value.is_null());
            }
        }
        let mut body = json!({
            "id": id, "summary": self.title, "start": start, "end": end,
            "attendees": invited(&self.attendees)?,
            "extendedProperties": { "private": notes }, "reminders": { "useDefault": true },
        });
        for (name, value) in [("location", &self.location), ("description", &self.description)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        Ok(body)
    }
}
