use serde_json::{Value, json};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;
use switchyard_sdk::text::lower;

use crate::client::{self, malformed};
use crate::config::{Config, Rules};
use crate::model::Remote;
use crate::slots::{merged, without};
use crate::time::{Moment, Span, read_exact, rfc3339};

/// Events on a page of a window, and pages of a calendar.
const PAGE: &str = "250";
const PAGES: usize = 6;

/// One event that takes time.
#[derive(Clone, Debug)]
pub struct Taken {
    /// When.
    pub span: Span,
    /// Which event, and when it was made; none for time of which only is known that it is taken.
    pub event: Option<(String, Option<String>)>,
    /// Where.
    pub location: Option<String>,
}

impl Taken {
    /// What it keeps another appointment away from: itself, and the way to another place.
    pub fn kept(&self, buffer: i64, place: Option<&str>) -> Span {
        let same = |known: &String| place.is_some_and(|place| plain(place) == plain(known));
        if self.location.as_ref().is_some_and(same) { self.span } else { self.span.padded(buffer) }
    }
}

/// Places are the same if their letters and digits are.
fn plain(place: &str) -> String {
    place.chars().filter(|char| char.is_alphanumeric()).map(lower).collect()
}

/// What is taken in a calendar, or Google's word for why it does not say.
pub type Answer = Result<Vec<Taken>, String>;

/// What is taken in these calendars inside a window: the events that the login may see with their places, and what
/// free-busy knows beyond them.
pub fn taken(
    ctx: &Ctx<Config>,
    rules: &Rules,
    calendars: &[String],
    window: Span,
) -> Result<SortedMap<String, Answer>, PluginError> {
    let busy = free_busy(ctx, rules, calendars, window)?;
    let mut all = SortedMap::new();
    for calendar in calendars {
        let answer = match busy.get(calendar) {
            Some(Ok(busy)) => {
                let mut taken = listed(ctx, rules, calendar, window)?;
                let known = merged(taken.iter().map(|one| one.span).collect());
                let unknown = without(&merged(busy.clone()), &known);
                taken.extend(unknown.into_iter().map(|span| Taken { span, event: None, location: None }));
                Ok(taken)
            }
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("missing".to_owned()),
        };
        all.insert(calendar.clone(), answer);
    }
    Ok(all)
}

fn free_busy(
    ctx: &Ctx<Config>,
    rules: &Rules,
    calendars: &[String],
    window: Span,
) -> Result<SortedMap<String, Result<Vec<Span>, String>>, PluginError> {
    let items: Vec<Value> = calendars.iter().map(|id| json!({ "id": id })).collect();
    let body = json!({
        "timeMin": rfc3339(window.start, rules.zone), "timeMax": rfc3339(window.end, rules.zone),
        "timeZone": "UTC", "items": items,
    });
    let answer = client::read(&client::post(ctx, "/freeBusy", &body).read_only().send()?)?;
    let told = answer.get("calendars").and_then(Value::as_object).ok_or_else(|| malformed("has no calendars"))?;
    let mut all = SortedMap::new();
    for (id, calendar) in told {
        let error = calendar.pointer("/errors/0").map(|error| error["reason"].as_str().unwrap_or("unknown").to_owned());
        let busy = calendar.get("busy").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let spans: Option<Vec<Span>> =
            busy.iter().map(|one| Some(Span::new(at(&one["start"])?, at(&one["end"])?))).collect();
        let spans = spans.ok_or_else(|| malformed("has busy times that are no times"))?;
        all.insert(id.clone(), error.map_or(Ok(spans), Err));
    }
    Ok(all)
}

fn at(value: &Value) -> Option<i64> {
    match read_exact(value.as_str()?)? {
        Moment::At(at) => Some(at),
        Moment::Day(_) => None,
    }
}

/// The events of a window that take time; none of a calendar whose free-busy alone may be seen.
fn listed(ctx: &Ctx<Config>, rules: &Rules, calendar: &str, window: Span) -> Result<Vec<Taken>, PluginError> {
    let mut all = Vec::new();
    let mut page: Option<String> = None;
    for _ in 0..PAGES {
        let mut request = client::events(ctx, Method::Get, calendar, "")
            .query("singleEvents", "true")
            .query("timeMin", &rfc3339(window.start, rules.zone))
            .query("timeMax", &rfc3339(window.end, rules.zone))
            .query("maxResults", PAGE);
        if let Some(page) = &page {
            request = request.query("pageToken", page);
        }
        let response = request.send()?;
        let hidden = response.status == 404
            || (response.status == 403 && matches!(client::refusal(&response), PluginError::NeedsAttention(_)));
        if hidden {
            return Ok(Vec::new());
        }
        let answer = client::read(&response)?;
        let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for remote in items.iter().filter_map(Remote::read) {
            let Some(span) = remote.busy(rules.zone).filter(|span| span.overlaps(window)) else { continue };
            all.push(Taken { span, event: Some((remote.id, remote.created)), location: remote.location });
        }
        match answer.get("nextPageToken").and_then(Value::as_str) {
            Some(next) => page = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
    // What was not listed is still known by free-busy.
    ctx.warn("a window has more events than are listed", &[]);
    Ok(all)
}
