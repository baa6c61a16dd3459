//! One calendar with its events, and every change of them under a number.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Map, Value};

use super::{
    errors::ApiError,
    event::{Event, Mode, Status, check_id},
    moment::{Moment, zone},
    recurrence::Rule,
};

/// A calendar keeps so many events; an insert beyond them is refused.
const MOST_EVENTS: usize = 50_000;

/// An endless series is shown this far ahead of now.
const AHEAD_DAYS: i64 = 730;

/// A calendar.
pub(crate) struct Agenda {
    pub(crate) id: String,
    pub(crate) zone_name: String,
    pub(crate) zone: TimeZone,
    pub(crate) events: BTreeMap<String, Event>,
    /// The last change.
    pub(crate) change: u64,
    /// Sync tokens of an earlier epoch are forgotten.
    pub(crate) epoch: u64,
    /// What `freeBusy` answers instead of busy times.
    pub(crate) freebusy_error: Option<String>,
}

/// Who writes, when, and under which new number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke<'a> {
    pub(crate) now_ms: i64,
    pub(crate) change: u64,
    pub(crate) by: &'a str,
}

/// An event as a list sees it: itself, or one instance of a series.
pub(crate) struct Occurrence {
    pub(crate) event: Event,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl Agenda {
    pub(crate) fn new(id: &str, zone_name: &str) -> Self {
        Self {
            id: id.to_owned(),
            zone_name: zone_name.to_owned(),
            zone: zone(zone_name).unwrap_or(TimeZone::UTC),
            events: BTreeMap::new(),
            change: 0,
            epoch: 0,
            freebusy_error: None,
        }
    }

    pub(crate) fn insert(
        &mut self,
        body: &Map<String, Value>,
        fresh_id: String,
        stroke: Stroke<'_>,
    ) -> Result<&Event, ApiError> {
        let id = match body.get("id").filter(|id| !id.is_null()) {
            Some(given) => {
                let given = given.as_str().ok_or_else(|| ApiError::invalid("Invalid resource id value."))?;
                check_id(given)?;
                given.to_owned()
            }
            None => fresh_id,
        };
        if self.events.contains_key(&id) {
            return Err(ApiError::duplicate());
        }
        if self.events.len() >= MOST_EVENTS {
            return Err(ApiError::invalid("The calendar is full."));
        }
        let nowhere = Moment::Time { at: Timestamp::UNIX_EPOCH, zone: None };
        let mut event = Event {
            status: Status::Confirmed,
            created_ms: stroke.now_ms,
            updated_ms: stroke.now_ms,
            change: stroke.change,
            sequence: 0,
            ical_uid: format!("{id}@google.com"),
            start: nowhere.clone(),
            end: nowhere,
            recurrence: Vec::new(),
            of_series: None,
            fields: Map::new(),
            retired: BTreeMap::new(),
            creator: stroke.by.to_owned(),
            id: id.clone(),
        };
        event.apply(body, Mode::Replace)?;
        self.change = stroke.change;
        Ok(self.events.entry(id).or_insert(event))
    }

    /// An event, or an instance that so far is like its series.
    pub(crate) fn find(&self, id: &str) -> Result<Event, ApiError> {
        if let Some(event) = self.events.get(id) {
            return Ok(event.clone());
        }
        let series = id.rsplit_once('_').and_then(|(series, _)| self.events.get(series));
        let instance = series.and_then(|series| {
            let horizon = Timestamp::MAX;
            self.instances(series, horizon).into_iter().find(|instance| instance.id == id)
        });
        instance.ok_or_else(ApiError::not_found)
    }

    /// Changes an event under `If-Match`.
    pub(crate) fn update(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
        mode: Mode,
        if_match: Option<&str>,
        stroke: Stroke<'_>,
    ) -> Result<Event, ApiError> {
        let before = self.find(id)?;
        matches(&before, if_match)?;
        let mut event = before.clone();
        if event.apply(body, mode)? {
            event.sequence += 1;
        }
        self.store(&before, event, stroke)
    }

    /// Deletes an event under `If-Match`; its id stays taken.
    pub(crate) fn delete(&mut self, id: &str, if_match: Option<&str>, stroke: Stroke<'_>) -> Result<Event, ApiError> {
        let before = self.find(id)?;
        if before.status == Status::Cancelled {
            return Err(ApiError::deleted());
        }
        matches(&before, if_match)?;
        let mut event = before.clone();
        event.status = Status::Cancelled;
        self.store(&before, event, stroke)
    }

    fn store(&mut self, before: &Event, mut event: Event, stroke: Stroke<'_>) -> Result<Event, ApiError> {
        event.updated_ms = stroke.now_ms;
        event.change = stroke.change;
        if !before.recurrence.is_empty() {
            let now: BTreeSet<String> = self.named(&event);
            for gone in self.named(before).difference(&now) {
                event.retired.insert(gone.clone(), stroke.change);
            }
        }
        self.change = stroke.change;
        self.events.insert(event.id.clone(), event.clone());
        Ok(event)
    }

    fn named(&self, series: &Event) -> BTreeSet<String> {
        self.instances(series, Timestamp::MAX).into_iter().map(|instance| instance.id).collect()
    }

    /// The instances of a series that begin before `limit`, but for those that have become events of their own.
    fn instances(&self, series: &Event, limit: Timestamp) -> Vec<Event> {
        let Ok(rule) = Rule::read(&series.recurrence) else { return Vec::new() };
        let starts = rule.starts(&series.start, &self.zone_name, limit);
        let instance = |start: Moment| {
            let id = format!("{}_{}", series.id, start.suffix());
            if self.events.contains_key(&id) {
                return None;
            }
            let end = series.end.moved(&series.start, &start)?;
            let of_series = Some((series.id.clone(), start.clone()));
            Some(Event {
                id,
                start,
                end,
                of_series,
                recurrence: Vec::new(),
                retired: BTreeMap::new(),
                ..series.clone()
            })
        };
        starts.into_iter().filter_map(instance).collect()
    }

    /// Everything as lists show it, deleted events included: series as one, or as their instances.
    pub(crate) fn occurrences(&self, single_events: bool, until: Option<Timestamp>, now_ms: i64) -> Vec<Occurrence> {
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let horizon = now.checked_add((AHEAD_DAYS * 24).hours()).unwrap_or(Timestamp::MAX);
        let limit = until.map_or(horizon, |until| until.min(horizon));
        let mut all = Vec::new();
        for event in self.events.values() {
            if single_events && !event.recurrence.is_empty() {
                all.extend(self.instances(event, limit));
                all.extend(event.retired.iter().map(|(id, change)| Event {
                    id: id.clone(),
                    status: Status::Cancelled,
                    change: *change,
                    of_series: Some((event.id.clone(), event.start.clone())),
                    recurrence: Vec::new(),
                    ..event.clone()
                }));
            } else {
                all.push(event.clone());
            }
        }
        all.into_iter().map(|event| self.occurrence(event)).collect()
    }

    fn occurrence(&self, event: Event) -> Occurrence {
        let (start, end) = (event.start.instant(&self.zone), event.end.instant(&self.zone));
        Occurrence { event, start, end }
    }
}

fn matches(event: &Event, if_match: Option<&str>) -> Result<(), ApiError> {
    match if_match {
        Some("*") | None => Ok(()),
        Some(etag) if etag == event.etag() => Ok(()),
        Some(_) => Err(ApiError::condition_not_met()),
    }
}
