use serde::Deserialize;
use serde_json::{Map, Value, json};
use switchyard_sdk::prelude::*;

use crate::client::{self, malformed};
use crate::command::{Asked, Attendee, Times, bad, calendar, invited, moment, uninvited};
use crate::config::{Config, Rules};
use crate::conflict::Claim;
use crate::create::fetch;
use crate::event::{self, UNINVITED};
use crate::model::Remote;
use crate::snapshot::Entry;
use crate::time::Moment;

/// How often it is read and applied again when somebody else was faster.
const TRIES: usize = 3;

/// The note that names the last command that changed an event, so that one whose answer was lost is recognised.
const LAST: &str = "hub_last";

/// The data of `appointment.update`; what it leaves out stays.
#[derive(Clone, Debug, Deserialize)]
pub struct Command {
    #[serde(default)]
    calendar_id: Option<String>,
    appointment_id: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    start: Option<String>,
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
    attendees: Option<Vec<Attendee>>,
    #[serde(default)]
    travel_buffer_minutes: Option<u16>,
}

/// Changes an appointment as it is now, under the condition that it still is so.
pub fn update(ctx: &Ctx<Config>, asked: &Event) -> Result<Output, PluginError> {
    let command: Command = asked.parse()?;
    let rules = ctx.config.rules()?;
    let calendar = calendar(&ctx.config, command.calendar_id.as_deref())?;
    let mut first: Option<Remote> = None;
    for _ in 0..TRIES {
        let now = found(ctx, calendar, &command.appointment_id)?;
        let before = first.get_or_insert_with(|| now.clone()).clone();
        if now.note(LAST) == Some(ctx.reference()) {
            return Ok(told(&rules, calendar, &before, &now));
        }
        let times = command.times(&ctx.config, &rules, &now)?;
        let claim = command.claim(ctx, calendar, &now, times.as_ref());
        if let Some(claim) = &claim {
            if let Some(clash) = claim.clash(ctx, &rules, false)? {
                return Err(clash.refusal(&rules));
            }
            claim.reserve(ctx)?;
        }
        let body = command.body(ctx, times.as_ref())?;
        let invites =
            body.get("attendees").and_then(Value::as_array).map_or(!now.guests.is_empty(), |all| !all.is_empty());
        let request = client::event(ctx, Method::Patch, calendar, &now.id)
            .query("sendUpdates", if invites { "all" } else { "none" })
            .header("if-match", now.etag.as_deref().unwrap_or("*"))
            .json(&body)
            .idempotency(Idempotency::OwnId);
        let response = client::written(&request)?;
        if response.as_ref().is_some_and(|response| response.status == 412) {
            ctx.info("somebody else changed the appointment meanwhile; it is read again", &[]);
            continue;
        }
        let after = match response {
            Some(response) if !response.is_success() => return Err(client::refusal(&response)),
            response => response.and_then(|response| Remote::read(&response.value())),
        };
        // It was changed, also where the answer cannot be read.
        let after = match after.filter(|after| after.id == now.id) {
            Some(after) => after,
            None => found(ctx, calendar, &now.id)?,
        };
        if let Some(claim) = &claim {
            settle(ctx, &rules, claim, invites, &now, &after)?;
        }
        return Ok(told(&rules, calendar, &before, &after));
    }
    let message = "Somebody else changes the appointment all the time.";
    Err(PluginError::retry(Reason::Other("conflict".to_owned()), "changed_meanwhile", message))
}

/// An appointment that must be there.
fn found(ctx: &Ctx<Config>, calendar: &str, id: &str) -> Result<Remote, PluginError> {
    match fetch(ctx, calendar, id)? {
        Some(found) if !found.cancelled => Ok(found),
        Some(_) => {
            let message = "The appointment was cancelled.";
            Err(PluginError::reject(Reason::BadData, "cancelled_meanwhile", message))
        }
        None => Err(bad("appointment_id", "`appointment_id` names no appointment of this calendar.")),
    }
}

fn told(rules: &Rules, calendar: &str, before: &Remote, after: &Remote) -> Output {
    let (was, is) = (Entry::of(before, rules.zone, 1, 0), Entry::of(after, rules.zone, 1, 0));
    let changed = was.changed(&is);
    if changed.is_empty() {
        return Output::none();
    }
    event::updated(calendar, after, &changed, (&was.start, &was.end)).into()
}

/// Looks once more at a new time. Somebody outside may have taken it while it was written; then the appointment goes back
/// to where it was, since a person's booking is not ours to move.
fn settle(
    ctx: &Ctx<Config>,
    rules: &Rules,
    claim: &Claim,
    invites: bool,
    before: &Remote,
    after: &Remote,
) -> Result<(), PluginError> {
    let Some(clash) = claim.clash(ctx, rules, true)? else { return Ok(()) };
    let back = |when: &Option<crate::model::When>| match when {
        Some(when) if when.moment.is_day() => json!({ "date": when.text, "dateTime": null }),
        Some(when) => json!({ "dateTime": when.text, "date": null }),
        None => Value::Null,
    };
    let body = json!({ "start": back(&before.start), "end": back(&before.end) });
    let response = client::event(ctx, Method::Patch, claim.calendar, claim.id)
        .query("sendUpdates", if invites { "all" } else { "none" })
        .header("if-match", after.etag.as_deref().unwrap_or("*"))
        .json(&body)
        .idempotency(Idempotency::OwnId)
        .send()?;
    match response.status {
        // Somebody moved it again meanwhile, which is theirs to decide.
        200..=299 | 404 | 410 | 412 => Err(clash.refusal(rules)),
        _ => Err(client::refusal(&response)),
    }
}

impl Command {
    /// The new times; none if they stay.
    fn times(&self, config: &Config, rules: &Rules, now: &Remote) -> Result<Option<Times>, PluginError> {
        let asked = Asked {
            start: self.start.as_deref(),
            end: self.end.as_deref(),
            duration_minutes: self.duration_minutes,
            service: self.service.as_deref(),
            time_zone: self.time_zone.as_deref(),
        };
        if asked.start.is_none() && asked.end.is_none() && asked.length(config)?.is_none() {
            return Ok(None);
        }
        let (Some(start), Some(span)) = (&now.start, now.span(rules.zone)) else {
            return Err(malformed("has an event without times"));
        };
        let start = match asked.start {
            Some(text) => moment("start", text, asked.zone(rules)?)?,
            None => start.moment,
        };
        // A whole day that moves stays as long as it was, like a time does.
        let asked_end = match (asked.end, start) {
            (None, Moment::Day(day)) if now.start.as_ref().is_some_and(|was| was.moment.is_day()) => {
                Some(crate::time::show_day(day + (span.end - span.start + 43_200) / 86_400))
            }
            (end, _) => end.map(str::to_owned),
        };
        let asked = Asked { end: asked_end.as_deref(), ..asked };
        asked.times(config, rules, start, span.end - span.start).map(Some)
    }

    /// What must be free; none if neither time nor place changes.
    fn claim<'a>(
        &'a self,
        ctx: &Ctx<Config>,
        calendar: &'a str,
        now: &'a Remote,
        times: Option<&Times>,
    ) -> Option<Claim<'a>> {
        let buffer = self.travel_buffer_minutes.unwrap_or(ctx.config.travel_buffer_minutes);
        Some(Claim {
            calendar,
            sharing: ctx.config.sharing(calendar),
            id: &now.id,
            span: times?.span(),
            place: self.location.as_deref().or(now.location.as_deref()),
            buffer: i64::from(buffer) * 60,
        })
    }

    fn body(&self, ctx: &Ctx<Config>, times: Option<&Times>) -> Result<Value, PluginError> {
        let mut notes = json!({ LAST: ctx.reference() });
        let mut body = Map::new();
        for (name, value) in
            [("summary", &self.title), ("location", &self.location), ("description", &self.description)]
        {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(times) = times {
            let (start, end) = times.body();
            body.insert("start".to_owned(), start);
            body.insert("end".to_owned(), end);
        }
        if let Some(attendees) = &self.attendees {
            body.insert("attendees".to_owned(), Value::Array(invited(attendees)?));
            notes[UNINVITED] = uninvited(attendees).map_or(Value::Null, |(_, text)| json!(text));
        }
        body.insert("extendedProperties".to_owned(), json!({ "private": notes }));
        Ok(Value::Object(body))
    }
}
