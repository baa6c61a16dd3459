//! `events.list`: windows, pages, and sync tokens with everything that may not stand beside them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Behaviour,
    agenda::{Agenda, Occurrence},
    errors::ApiError,
    event::Status,
    moment::{query_time, zone},
};

/// What Google refuses beside a sync token.
const NOT_WITH_SYNC: [&str; 8] = [
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "sharedExtendedProperty",
    "timeMin",
    "timeMax",
    "updatedMin",
];

/// Deleted events are remembered this long, so no one may ask for changes before that.
const REMEMBERED_MS: i64 = 30 * 86_400_000;

const PAGE: usize = 250;
const MOST: usize = 2_500;

/// What the next request must know, sealed into a token that clients do not read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Token {
    /// The epoch of sync tokens.
    epoch: u64,
    /// Changes after this one are new; none in a full list.
    since: Option<u64>,
    /// The change at which the first page was read.
    as_of: u64,
    single_events: bool,
    /// The window of the full list.
    min: Option<String>,
    max: Option<String>,
    /// Where the page before ended: start and id.
    after: Option<(String, String)>,
    /// Further parameters, which must stay the same over pages.
    filters: Vec<(String, String)>,
}

impl Token {
    fn seal(&self, kind: &str) -> String {
        format!("{kind}{}", URL_SAFE_NO_PAD.encode(json!(self).to_string()))
    }

    fn open(text: &str, kind: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.strip_prefix(kind)?).ok()?).ok()
    }
}

/// A list request.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) const fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &'static str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(ApiError::invalid(format!("Invalid boolean value: {other}"))),
        }
    }

    fn page_size(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("maxResults") else { return Ok(PAGE) };
        let size: usize = text.parse().map_err(|_| ApiError::invalid("Invalid value for maxResults"))?;
        if size == 0 { Err(ApiError::invalid("Invalid value for maxResults")) } else { Ok(size.min(MOST)) }
    }

    fn filters(&self) -> Vec<(String, String)> {
        let same = |name: &str| !matches!(name, "pageToken" | "syncToken" | "maxResults" | "timeZone" | "fields");
        self.pairs.iter().filter(|(name, _)| same(name)).cloned().collect()
    }

    /// The state that this request continues, or begins.
    fn state(&self, agenda: &Agenda) -> Result<Token, ApiError> {
        let single_events = self.flag("singleEvents")?;
        if let Some(text) = self.get("pageToken") {
            let token = Token::open(text, "p").ok_or_else(|| ApiError::invalid("Invalid page token value."))?;
            if token.filters != self.filters() {
                return Err(ApiError::invalid("Parameters must stay the same from page to page."));
            }
            return Ok(token);
        }
        if let Some(text) = self.get("syncToken") {
            if let Some(name) = NOT_WITH_SYNC.into_iter().find(|name| self.get(name).is_some()) {
                let message = format!("Sync token cannot be used with other query restrictions: {name}");
                return Err(ApiError::invalid(message));
            }
            let token = Token::open(text, "s").ok_or_else(|| ApiError::invalid("Invalid sync token value."))?;
            if token.epoch < agenda.epoch {
                return Err(ApiError::full_sync_required());
            }
            if token.single_events != single_events {
                return Err(ApiError::invalid("Sync token cannot be used with other parameters than its list had."));
            }
            return Ok(Token { as_of: agenda.change, filters: self.filters(), ..token });
        }
        let window = |name: &'static str| self.get(name).map(|text| query_time(text, name)).transpose();
        let (min, max) = (window("timeMin")?, window("timeMax")?);
        if matches!((min, max), (Some(min), Some(max)) if max <= min) {
            return Err(ApiError::time_range_empty());
        }
        if self.get("orderBy") == Some("startTime") && !single_events {
            return Err(ApiError::invalid("The requested ordering is not available for the particular query."));
        }
        Ok(Token {
            epoch: agenda.epoch,
            since: None,
            as_of: agenda.change,
            single_events,
            min: self.get("timeMin").map(str::to_owned),
            max: self.get("timeMax").map(str::to_owned),
            after: None,
            filters: self.filters(),
        })
    }
}

/// Answers a list request.
pub(super) fn list(agenda: &Agenda, query: &Query, behaviour: Behaviour, now_ms: i64) -> Result<Value, ApiError> {
    let state = query.state(agenda)?;
    let size = query.page_size()?;
    let shown_in = match query.get("timeZone") {
        Some(name) => zone(name).ok_or_else(|| ApiError::invalid("Invalid time zone"))?,
        None => agenda.zone.clone(),
    };
    let ordered = query.get("orderBy") == Some("startTime");
    let mut found = select(agenda, query, &state, now_ms)?;
    found.sort_by_key(|occurrence| key(occurrence, ordered));
    let mut page: Vec<&Occurrence> = found
        .iter()
        .filter(|occurrence| state.after.as_ref().is_none_or(|after| key(occurrence, ordered) > *after))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let items: Vec<Value> = page.iter().map(|one| show(agenda, one, &shown_in, behaviour)).collect();
    let mut answer = json!({
        "kind": "calendar#events",
        "etag": format!("\"{:016}\"", agenda.change),
        "summary": agenda.id,
        "updated": super::event::stamp(now_ms),
        "timeZone": agenda.zone_name,
        "accessRole": "owner",
        "defaultReminders": [],
        "items": items,
    });
    match page.last().filter(|_| more) {
        Some(last) => {
            let next = Token { after: Some(key(last, ordered)), ..state };
            answer["nextPageToken"] = json!(next.seal("p"));
        }
        None if query.get("orderBy").is_none() && query.get("q").is_none() => {
            let next = Token { since: Some(state.as_of), after: None, filters: Vec::new(), ..state };
            answer["nextSyncToken"] = json!(next.seal("s"));
        }
        None => {}
    }
    Ok(answer)
}

fn key(occurrence: &Occurrence, ordered: bool) -> (String, String) {
    let start = if ordered { format!("{:020}", occurrence.start.as_second()) } else { String::new() };
    (start, occurrence.event.id.clone())
}

fn select(agenda: &Agenda, query: &Query, state: &Token, now_ms: i64) -> Result<Vec<Occurrence>, ApiError> {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let (min, max) = (time(&state.min), time(&state.max));
    let show_deleted = query.flag("showDeleted")?;
    let updated_min = query.get("updatedMin").map(|text| query_time(text, "updatedMin")).transpose()?;
    if updated_min.is_some_and(|min| min.as_millisecond() < now_ms - REMEMBERED_MS) {
        return Err(ApiError::updated_min_too_long_ago());
    }
    let wanted = |one: &Occurrence| {
        let event = &one.event;
        let cancelled = event.status == Status::Cancelled;
        if let Some(since) = state.since {
            // What was deleted always comes, and the window of the full list no longer holds.
            return event.change > since;
        }
        (!cancelled || show_deleted || updated_min.is_some())
            && min.is_none_or(|min| one.end > min)
            && max.is_none_or(|max| one.start < max)
            && updated_min.is_none_or(|min| event.updated_ms >= min.as_millisecond())
            && query.get("iCalUID").is_none_or(|uid| event.ical_uid == uid)
            && query.get("q").is_none_or(|q| event.text("summary").to_lowercase().contains(&q.to_lowercase()))
            && query.get("privateExtendedProperty").is_none_or(|wanted| has_property(&event.fields, wanted))
    };
    Ok(agenda.occurrences(state.single_events, max, now_ms).into_iter().filter(|one| wanted(one)).collect())
}

fn has_property(fields: &serde_json::Map<String, Value>, wanted: &str) -> bool {
    let Some((name, value)) = wanted.split_once('=') else { return false };
    fields.get("extendedProperties").is_some_and(|properties| properties["private"][name] == value)
}

fn show(agenda: &Agenda, one: &Occurrence, shown_in: &TimeZone, behaviour: Behaviour) -> Value {
    let event = &one.event;
    if event.status == Status::Cancelled {
        return event.show_deleted(&agenda.id, shown_in, &agenda.zone_name, behaviour.bare_deletions);
    }
    event.show(&agenda.id, shown_in, &agenda.zone_name)
}
