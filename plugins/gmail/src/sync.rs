use std::time::Duration;

use serde_json::Value;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedSet;

use crate::client::{ask, get, malformed, number, read, refusal, segment, text};
use crate::config::Config;
use crate::cursor::{Cursor, Relist};
use crate::event;
use crate::history::{Change, Page, What};
use crate::message::Mail;
use crate::watch;

/// How much one run does at most. Small runs keep an attempt's loss small; the next one begins at once.
const FETCHES: usize = 30;
const EVENTS: usize = 200;
const EVENT_BYTES: usize = 512 * 1024;
const FETCHED_BYTES: usize = 4 << 20;
const PAGES: usize = 10;

/// How many records a page of history has.
const RECORDS: &str = "100";

/// How a gap is filled: so many messages of the last week, so many a page.
const RELISTED: usize = 500;
const LISTED: usize = 25;
const SINCE: &str = "newer_than:7d";

/// Follows the mailbox from the stored id. Gmail's pushes are hints only: what they say is not used.
pub fn poll(ctx: &Ctx<Config>, cursor: Option<&str>) -> Result<PollOutput, PluginError> {
    let run = Run { ctx, found: Vec::new(), bytes: 0, fetched: 0, fetches: 0, seen: SortedSet::new() };
    let cursor = match cursor.map(Cursor::read) {
        Some(Some(cursor)) => cursor,
        Some(None) => {
            ctx.warn("the stored cursor cannot be read; the last week is listed anew", &[]);
            return run.reset(0);
        }
        None => Cursor::at(first(ctx)?),
    };
    watch::follow_config(ctx)?;
    match cursor.relist.clone() {
        Some(relist) => run.relist(cursor, relist),
        None => run.follow(cursor),
    }
}

/// Where the mailbox stood when the plugin was installed; without that, where it stands now.
fn first(ctx: &Ctx<Config>) -> Result<u64, PluginError> {
    match ctx.kv().get_json::<u64>(watch::BASELINE)? {
        Some(baseline) => Ok(baseline),
        None => stand(ctx),
    }
}

/// Where the mailbox stands now.
pub fn stand(ctx: &Ctx<Config>) -> Result<u64, PluginError> {
    let profile = read(ctx, &ask(&get(ctx, "/profile"))?)?;
    number(profile.get("historyId")).ok_or_else(|| malformed("has no history id"))
}

/// One poll.
struct Run<'a> {
    ctx: &'a Ctx<'a, Config>,
    found: Vec<Emit>,
    /// Of the events found.
    bytes: usize,
    /// Of the messages fetched.
    fetched: usize,
    fetches: usize,
    /// Messages that this run has fetched.
    seen: SortedSet<String>,
}

impl Run<'_> {
    fn is_full(&self) -> bool {
        self.fetches >= FETCHES
            || self.found.len() >= EVENTS
            || self.bytes >= EVENT_BYTES
            || self.fetched >= FETCHED_BYTES
    }

    fn ends(self, cursor: &Cursor, has_more: bool) -> PollOutput {
        let next_in = Duration::from_secs(u64::from(self.ctx.config.poll_minutes) * 60);
        PollOutput { events: self.found, cursor: cursor.write(), has_more, next_in: Some(next_in) }
    }

    fn follow(mut self, mut cursor: Cursor) -> Result<PollOutput, PluginError> {
        for _ in 0..PAGES {
            let Some(page) = self.page(&cursor)? else { return self.reset(cursor.history_id) };
            if let Some(cursor) = self.visit_page(&cursor, &page)? {
                return Ok(self.ends(&cursor, true));
            }
            cursor = match (page.next, page.last) {
                // The last page says where the mailbox stands, which is further than its last record.
                (None, last) => {
                    let stands = page.history_id.or(last).unwrap_or(0).max(cursor.history_id);
                    return Ok(self.ends(&Cursor::at(stands), false));
                }
                (Some(_), Some(last)) if last > cursor.history_id => Cursor::at(last),
                (Some(next), None) if cursor.page.as_ref() != Some(&next) => {
                    Cursor { page: Some(next), ..Cursor::at(cursor.history_id) }
                }
                _ => return Err(malformed("has a history that does not go on")),
            };
        }
        Ok(self.ends(&cursor, true))
    }

    /// One page of history; none if the stored id is too old, which Gmail says by 404.
    fn page(&self, cursor: &Cursor) -> Result<Option<Page>, PluginError> {
        let mut request = get(self.ctx, "/history").query("startHistoryId", &cursor.history_id.to_string());
        for kind in ["messageAdded", "labelAdded", "labelRemoved"] {
            request = request.query("historyTypes", kind);
        }
        request = request.query("maxResults", RECORDS);
        if let Some(page) = &cursor.page {
            request = request.query("pageToken", page);
        }
        let response = ask(&request)?;
        if response.status == 404 {
            return Ok(None);
        }
        Page::read(&read(self.ctx, &response)?).map(Some)
    }

    /// Tells of a page. When the run is full in between, where to go on.
    fn visit_page(&mut self, cursor: &Cursor, page: &Page) -> Result<Option<Cursor>, PluginError> {
        let (mut done, mut skip, mut inside) = (cursor.history_id, cursor.skip, 0);
        let mut record = None;
        for change in &page.changes {
            if record.is_some_and(|record| record != change.record) {
                (done, skip, inside) = (record.unwrap_or(done), 0, 0);
            }
            record = Some(change.record);
            if inside >= skip {
                if self.is_full() {
                    return Ok(Some(Cursor { history_id: done, skip: inside, page: None, relist: None }));
                }
                self.visit(change)?;
            }
            inside += 1;
        }
        Ok(None)
    }

    fn visit(&mut self, change: &Change) -> Result<(), PluginError> {
        match &change.what {
            What::Added { message, labels } => {
                let told = labels.is_empty() || labels.iter().any(|label| self.is_told(label));
                if told && !labels.iter().any(|label| label == "DRAFT") {
                    self.fetch(message, labels)?;
                }
            }
            What::Labels(change_of) if change_of.now.iter().any(|label| label == "DRAFT") => {}
            What::Labels(change_of) => {
                let event = event::labels_changed(self.ctx, change.record, change_of);
                self.tell(event);
                if change_of.added.iter().any(|label| label == "SENT") {
                    self.fetch(&change_of.message, &change_of.added)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a new message with this label makes an event.
    fn is_told(&self, label: &str) -> bool {
        label == "SENT" || self.ctx.config.labels.iter().any(|wanted| wanted == label)
    }

    /// Fetches a message and tells of it; `before` are labels that it had when it came and may have lost since.
    fn fetch(&mut self, id: &str, before: &[String]) -> Result<(), PluginError> {
        if !self.seen.insert(id.to_owned()) {
            return Ok(());
        }
        self.fetches += 1;
        let Some((mail, bytes)) = fetch(self.ctx, id)? else { return Ok(()) };
        self.fetched += bytes;
        if mail.has_label("DRAFT") {
            return Ok(());
        }
        let known = |label: &str| mail.has_label(label) || before.iter().any(|had| had == label);
        if known("SENT") {
            self.tell(event::sent(self.ctx, &mail));
        } else if self.ctx.config.labels.iter().any(|wanted| known(wanted)) {
            self.tell(event::received(self.ctx, &mail));
        }
        Ok(())
    }

    fn tell(&mut self, event: Emit) {
        self.bytes += json::write(&event.data).len();
        self.found.push(event);
    }

    /// The stored id is too old: say so, and list the last week. Where the mailbox stands is asked before, so that what
    /// comes while the listing is under way is in the history after it.
    fn reset(mut self, from: u64) -> Result<PollOutput, PluginError> {
        let to = stand(self.ctx)?;
        self.ctx.warn("the history from the stored id is gone; the last week is listed anew", &[]);
        self.tell(event::reset(self.ctx, from, to));
        let relist = Relist { page: None, skip: 0, left: RELISTED };
        let cursor = Cursor { relist: Some(relist), ..Cursor::at(to) };
        Ok(self.ends(&cursor, true))
    }

    /// Tells of one page of the listing. What was told before is known by its dedupe key.
    fn relist(mut self, cursor: Cursor, relist: Relist) -> Result<PollOutput, PluginError> {
        let mut request = get(self.ctx, "/messages").query("q", SINCE).query("maxResults", &LISTED.to_string());
        if let Some(page) = &relist.page {
            request = request.query("pageToken", page);
        }
        let answer = read(self.ctx, &ask(&request)?)?;
        let listed = match answer.get("messages") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(listed)) => listed.clone(),
            Some(_) => return Err(malformed("has messages that are no list")),
        };
        for (place, message) in listed.iter().enumerate().skip(relist.skip) {
            if self.is_full() {
                let cursor = Cursor { relist: Some(Relist { skip: place, ..relist }), ..cursor };
                return Ok(self.ends(&cursor, true));
            }
            let Some(id) = text(message, "id") else { return Err(malformed("lists a message without id")) };
            self.fetch(id, &[])?;
        }
        let left = relist.left.saturating_sub(listed.len());
        let next = text(&answer, "nextPageToken").map(str::to_owned);
        if next.is_some() && left == 0 {
            self.ctx.warn("the listing ended at its limit; older messages of the gap are not told", &[]);
        }
        let more = next.filter(|next| left > 0 && !listed.is_empty() && relist.page.as_ref() != Some(next));
        let relist = more.map(|page| Relist { page: Some(page), skip: 0, left });
        Ok(self.ends(&Cursor { relist, ..cursor }, true))
    }
}

/// A message with the size of its answer; none if it is gone. One that is too large to be read whole is read without
/// its body.
fn fetch(ctx: &Ctx<Config>, id: &str) -> Result<Option<(Mail, usize)>, PluginError> {
    let path = format!("/messages/{}", segment(id));
    let (response, whole) = match get(ctx, &path).query("format", "full").send() {
        Ok(response) => (response, true),
        Err(HttpError::ResponseTooLarge { .. }) => (ask(&get(ctx, &path).query("format", "metadata"))?, false),
        Err(error) => return Err(error.into()),
    };
    if response.status == 404 {
        ctx.debug("a message was gone before it was read", &[]);
        return Ok(None);
    }
    if !response.is_success() {
        return Err(refusal(ctx, &response));
    }
    let Some(mut mail) = Mail::read(&read(ctx, &response)?) else { return Err(malformed("is no message")) };
    mail.body.truncated |= !whole;
    Ok(Some((mail, response.body.len())))
}
