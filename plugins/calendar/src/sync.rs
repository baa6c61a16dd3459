use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_sdk::http::Response;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::read::from_slice;
use switchyard_sdk::sorted::SortedMap;
use switchyard_sdk::time::rfc3339;

use crate::client::{self, malformed};
use crate::config::{Config, Rules};
use crate::event;
use crate::model::Remote;
use crate::snapshot::{Entry, PARTS, Snapshot};

/// The schedule's name.
pub const SCHEDULE: &str = "sync";

/// Everything is listed again so often, so that the window moves on and nothing stays missed.
const FULL_EVERY: u64 = 7 * 86_400_000;

/// Bounds of one run: pages, and bytes of what it found.
const PAGES: usize = 8;
const EVENT_BYTES: usize = 400_000;

/// Events on a page; halved when a page does not fit into an answer.
const PAGE: u16 = 250;

/// What was cancelled is remembered for so long after its end, for deletions that are seen twice.
const REMEMBERED_S: i64 = 35 * 86_400;

/// Where a poll goes on.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    #[serde(default)]
    calendars: SortedMap<String, Place>,
}

/// Where one calendar goes on.
#[derive(Clone, Serialize, Deserialize)]
struct Place {
    /// Google's place in its changes.
    #[serde(default)]
    token: Option<String>,
    /// The next page of a list under way.
    #[serde(default)]
    page: Option<String>,
    /// A full list under way.
    #[serde(default)]
    full: Option<Full>,
    /// How many full lists were begun.
    #[serde(default)]
    lists: u32,
    /// When the last full list began, and when the last list came to its end.
    #[serde(default)]
    full_at: u64,
    #[serde(default)]
    known_at: u64,
    #[serde(default = "page_size")]
    size: u16,
}

/// A full list under way.
#[derive(Clone, Serialize, Deserialize)]
struct Full {
    /// Its window, as it was asked for.
    min: u64,
    max: u64,
    /// What is new is remembered without a word.
    silent: bool,
    /// The list is over, and parts from this one on are looked through for what it did not have.
    #[serde(default)]
    swept: Option<u8>,
}

fn page_size() -> u16 {
    PAGE
}

impl Default for Place {
    fn default() -> Self {
        Self { token: None, page: None, full: None, lists: 0, full_at: 0, known_at: 0, size: PAGE }
    }
}

/// One poll of all calendars. A calendar that cannot be read does not stop the others; its trouble is the run's result
/// once there is nothing else to report.
pub fn poll(ctx: &Ctx<Config>, cursor: Option<&str>) -> Result<PollOutput, PluginError> {
    let rules = ctx.config.rules()?;
    let mut before: Cursor = cursor.and_then(|text| from_slice(text.as_bytes()).ok()).unwrap_or_default();
    let mut after = Cursor::default();
    let mut run = Run { ctx, rules: &rules, found: Vec::new(), bytes: 0, pages: 0 };
    let (mut trouble, mut moved, mut has_more) = (None, false, false);
    for calendar in &ctx.config.calendars {
        let id = &calendar.id;
        let mut place = before.calendars.remove(id).unwrap_or_default();
        let met = run.calendar(id, &mut place);
        match met {
            Ok(Progress { done, advanced }) => {
                moved |= advanced;
                has_more |= !done;
            }
            Err(error) => {
                ctx.warn("a calendar could not be read", &[("error.code", &error.detail().code)]);
                trouble = Some(error);
            }
        }
        after.calendars.insert(id.clone(), place);
    }
    match trouble {
        // What the others found is kept first; the next run comes at once and says what is wrong.
        Some(_) if moved => has_more = true,
        Some(error) => return Err(error),
        None => {}
    }
    let cursor = json::written(&after).ok();
    Ok(PollOutput { events: run.found, cursor, has_more, next_in: None })
}

/// How far a calendar came.
struct Progress {
    /// There is nothing more to list.
    done: bool,
    /// Something was found.
    advanced: bool,
}

/// One run of a poll.
struct Run<'a> {
    ctx: &'a Ctx<'a, Config>,
    rules: &'a Rules,
    found: Vec<Emit>,
    bytes: usize,
    pages: usize,
}

/// What one request for a page came to.
enum Page {
    Listed(Value),
    /// Google no longer knows the place, and says so in this word.
    Lost(String),
}

impl Run<'_> {
    /// A run that found this much leaves the rest, unseen, to the next.
    fn is_full(&self) -> bool {
        self.bytes >= EVENT_BYTES || self.pages >= PAGES
    }

    fn report(&mut self, event: Emit) {
        self.bytes += json::write(&event.data).len() + 500;
        self.found.push(event);
    }

    fn calendar(&mut self, calendar: &str, place: &mut Place) -> Result<Progress, PluginError> {
        let begun = self.found.len();
        let mut snapshot = Snapshot::new(self.ctx, calendar);
        if place.full.is_none()
            && (place.token.is_none() || self.ctx.time() >= place.full_at.saturating_add(FULL_EVERY))
        {
            self.begin(place);
        }
        // What a full list taught is kept, also where it was nothing to tell.
        let learns = place.full.is_some();
        let mut done = false;
        while !done && !self.is_full() {
            if let Some(part) = place.full.as_ref().and_then(|full| full.swept) {
                done = self.sweep(calendar, place, &mut snapshot, part)?;
                continue;
            }
            match self.page(calendar, place)? {
                Page::Lost(why) => {
                    self.ctx.warn("a place in a calendar's changes was lost; it is read anew", &[("reason", &why)]);
                    let from = place.known_at;
                    if place.full.is_none() {
                        self.report(event::reset(calendar, &why, from, self.ctx.time()));
                    }
                    self.begin(place);
                }
                Page::Listed(answer) => done = self.listed(calendar, place, &mut snapshot, &answer)?,
            }
        }
        snapshot.save()?;
        Ok(Progress { done, advanced: learns || self.found.len() > begun || !done })
    }

    /// Begins to list everything. The first time what is there is only remembered.
    fn begin(&self, place: &mut Place) {
        let now = self.ctx.time();
        let config = &self.ctx.config;
        let days = |count: u16| u64::from(count) * 86_400_000;
        let silent = place.known_at == 0 && !config.emit_existing;
        let full = Full {
            min: now.saturating_sub(days(config.sync_past_days)),
            max: now + days(config.sync_future_days),
            silent,
            swept: None,
        };
        *place =
            Place { token: None, page: None, full: Some(full), lists: place.lists + 1, full_at: now, ..place.clone() };
    }

    fn page(&mut self, calendar: &str, place: &mut Place) -> Result<Page, PluginError> {
        self.pages += 1;
        let mut request = client::events(self.ctx, Method::Get, calendar, "")
            .query("singleEvents", "true")
            .query("showDeleted", "true")
            .query("maxResults", &place.size.to_string());
        match (&place.full, &place.token) {
            (Some(full), _) => {
                request = request.query("timeMin", &rfc3339(full.min)).query("timeMax", &rfc3339(full.max));
            }
            (None, Some(token)) => request = request.query("syncToken", token),
            (None, None) => return Err(malformed("left no place to go on from")),
        }
        if let Some(page) = &place.page {
            request = request.query("pageToken", page);
        }
        let response = match request.send() {
            Err(HttpError::ResponseTooLarge { .. }) if place.size > 1 => {
                place.size = (place.size / 4).max(1);
                return Ok(Page::Lost("answer_too_large".to_owned()));
            }
            other => other?,
        };
        self.judged(calendar, place, &response)
    }

    fn judged(&self, calendar: &str, place: &Place, response: &Response) -> Result<Page, PluginError> {
        let held = place.page.is_some() || (place.full.is_none() && place.token.is_some());
        match response.status {
            200..=299 => client::read(response).map(Page::Listed),
            410 => Ok(Page::Lost(client::reason(response))),
            // A token that Google cannot read any more is as good as none.
            400 if held => Ok(Page::Lost(format!("refused: {}", client::reason(response)))),
            404 => Err(client::no_calendar(self.ctx, calendar)),
            _ => Err(client::refusal(response)),
        }
    }

    /// Takes a page in; true when the list is over.
    fn listed(
        &mut self,
        calendar: &str,
        place: &mut Place,
        snapshot: &mut Snapshot,
        answer: &Value,
    ) -> Result<bool, PluginError> {
        let token = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let (next_page, next_token) = (token("nextPageToken"), token("nextSyncToken"));
        if next_page.is_none() && next_token.is_none() {
            return Err(malformed("has neither a next page nor a sync token"));
        }
        if next_page.is_some() && next_page == place.page {
            return Err(malformed("names the same page again"));
        }
        let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let remotes: Vec<Remote> = items.iter().filter_map(Remote::read).collect();
        if remotes.len() < items.len() {
            self.ctx.warn("events that could not be read were left out", &[]);
        }
        snapshot.prepare(remotes.iter().map(|remote| remote.id.as_str()))?;
        let silent = place.full.as_ref().is_some_and(|full| full.silent);
        for remote in &remotes {
            if self.bytes >= EVENT_BYTES {
                // The page is asked for again, and what was taken in makes no difference then.
                return Ok(false);
            }
            self.sight(calendar, snapshot, remote, place.lists, silent);
        }
        if let Some(page) = next_page {
            place.page = Some(page);
            return Ok(false);
        }
        place.page = None;
        place.token = next_token;
        match &mut place.full {
            Some(full) => {
                full.swept = Some(0);
                Ok(false)
            }
            None => {
                place.known_at = self.ctx.time();
                Ok(true)
            }
        }
    }

    /// Compares an event with what was last seen of it.
    fn sight(&mut self, calendar: &str, snapshot: &mut Snapshot, remote: &Remote, list: u32, silent: bool) {
        let before = snapshot.get(&remote.id).cloned();
        if remote.cancelled {
            if let Some(entry) = before.filter(|entry| !entry.cancelled) {
                self.gone(calendar, snapshot, &remote.id, entry);
            }
            return;
        }
        let zone = self.rules.zone;
        match before {
            Some(entry) if !entry.cancelled => {
                let now = Entry::of(remote, zone, entry.life, list);
                let changed = entry.changed(&now);
                if !changed.is_empty() {
                    self.report(event::updated(calendar, remote, &changed, (&entry.start, &entry.end)));
                }
                snapshot.put(&remote.id, now);
            }
            before => {
                let life = before.map_or(1, |entry| entry.life + 1);
                if !silent {
                    self.report(event::created(calendar, remote, life));
                }
                snapshot.put(&remote.id, Entry::of(remote, zone, life, list));
            }
        }
    }

    fn gone(&mut self, calendar: &str, snapshot: &mut Snapshot, id: &str, entry: Entry) {
        let times = Some((entry.start.as_str(), entry.end.as_str()));
        self.report(event::cancelled(calendar, id, Some(&entry.title), times, entry.life));
        snapshot.put(id, entry.ended());
    }

    /// Looks through a part for what a full list should have had and did not, and forgets what is long over. True when
    /// it was the last.
    fn sweep(
        &mut self,
        calendar: &str,
        place: &mut Place,
        snapshot: &mut Snapshot,
        part: u8,
    ) -> Result<bool, PluginError> {
        let Some(full) = place.full.clone() else { return Ok(true) };
        snapshot.load(std::iter::once(part))?;
        let seconds = |ms: u64| i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
        let (min, max) = (seconds(full.min), seconds(full.max));
        for id in snapshot.ids(part) {
            let Some(entry) = snapshot.get(&id).cloned() else { continue };
            let inside = entry.ends > min && entry.begins < max;
            if entry.ends < min.saturating_sub(REMEMBERED_S) || (!entry.cancelled && entry.ends <= min) {
                snapshot.forget(&id);
            } else if !entry.cancelled && inside && entry.list < place.lists {
                self.gone(calendar, snapshot, &id, entry);
            }
        }
        if part + 1 < PARTS {
            place.full = Some(Full { swept: Some(part + 1), ..full });
            return Ok(false);
        }
        place.full = None;
        place.known_at = self.ctx.time();
        Ok(true)
    }
}
