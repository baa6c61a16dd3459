use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use switchyard_sdk::host::Swap;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::by_key;

use crate::busy::taken;
use crate::client::no_calendar;
use crate::config::{Config, Rules};
use crate::time::{Span, rfc3339};

/// How long a time is kept for a command that is writing it. After that the event itself is there to be seen, or the
/// command looks again before it ends.
const RESERVED_MS: u64 = 60_000;

/// How soon a command looks again that found its time reserved.
const SOON: std::time::Duration = std::time::Duration::from_secs(2);

/// What a command wants of a calendar.
pub struct Claim<'a> {
    /// The calendar that it writes to.
    pub calendar: &'a str,
    /// All calendars in which the time must be free; empty where overlaps are allowed.
    pub sharing: Vec<String>,
    /// Its own event.
    pub id: &'a str,
    /// When.
    pub span: Span,
    /// Where.
    pub place: Option<&'a str>,
    /// Seconds between two places.
    pub buffer: i64,
}

/// Why a time is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The calendar that is taken.
    pub calendar: String,
    /// When it is.
    pub span: Span,
    /// When what takes it was made; none if that is not known.
    pub created: Option<String>,
    /// It would be free but for the way to another place.
    pub travel: bool,
}

/// A time that a command is about to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reserved {
    id: String,
    start: i64,
    end: i64,
    until: u64,
}

impl Claim<'_> {
    /// What stands in the way at Google now. With `written`, its own event is there already, and time that is only known
    /// as taken is its own where it lies in it.
    pub fn clash(&self, ctx: &Ctx<Config>, rules: &Rules, written: bool) -> Result<Option<Clash>, PluginError> {
        if self.sharing.is_empty() {
            return Ok(None);
        }
        let window = self.span.padded(self.buffer.max(1));
        for (calendar, answer) in taken(ctx, rules, &self.sharing, window)? {
            let all = match answer {
                Ok(all) => all,
                Err(reason) if reason == "notFound" => return Err(no_calendar(ctx, &calendar)),
                Err(reason) => {
                    let message = format!("Google does not say when a calendar is free: {reason}.");
                    return Err(PluginError::retry(Reason::ProviderDown, "free_busy_failed", message));
                }
            };
            for one in all {
                let own = match &one.event {
                    Some((id, _)) => id == self.id,
                    None => written && calendar == self.calendar && one.span.common(self.span) == Some(one.span),
                };
                if own || !one.kept(self.buffer, self.place).overlaps(self.span) {
                    continue;
                }
                let created = one.event.and_then(|(_, created)| created);
                let travel = !one.span.overlaps(self.span);
                return Ok(Some(Clash { calendar, span: one.span, created, travel }));
            }
        }
        Ok(None)
    }

    /// Keeps the time for this command, against other commands of the installation that look at the same moment. It
    /// becomes durable with the write that follows; if another command was faster, the run begins again.
    pub fn reserve(&self, ctx: &Ctx<Config>) -> Result<(), PluginError> {
        let now = ctx.now();
        let mut calendars = self.sharing.clone();
        by_key(&mut calendars, String::clone);
        for calendar in calendars {
            let key = format!("slot/{}", hex::encode(&Sha256::digest(&calendar)[..12]));
            let entry = ctx.kv().get(&key)?;
            let mut all: Vec<Reserved> = entry
                .as_ref()
                .and_then(|entry| switchyard_sdk::read::from_slice(&entry.value).ok())
                .unwrap_or_default();
            all.retain(|one| one.until > now && one.id != self.id);
            let wanted = self.span.padded(self.buffer);
            if all.iter().any(|one| Span::new(one.start, one.end).overlaps(wanted)) {
                let message = "Another command is writing an appointment at this time.";
                return Err(
                    PluginError::retry(Reason::Other("slot_reserved".to_owned()), "slot_reserved", message).after(SOON)
                );
            }
            let (start, end) = (self.span.start, self.span.end);
            all.push(Reserved { id: self.id.to_owned(), start, end, until: now + RESERVED_MS });
            let value = json::written(&all).unwrap_or_default();
            let expected = entry.map(|entry| entry.version);
            let kept = KvOptions::ttl(std::time::Duration::from_millis(2 * RESERVED_MS));
            if let Swap::Stale(_) = ctx.kv().swap(&key, expected, value.as_bytes(), &kept)? {
                let message = "A reservation changed under the run.";
                return Err(PluginError::retry(Reason::Other("slot_reserved".to_owned()), "slot_reserved", message));
            }
        }
        Ok(())
    }
}

impl Clash {
    /// The refusal, with the time that is taken and no more of it.
    pub fn refusal(&self, rules: &Rules) -> PluginError {
        let (start, end) = (rfc3339(self.span.start, rules.zone), rfc3339(self.span.end, rules.zone));
        let message = if self.travel {
            format!("The time is too close to another appointment, from {start} to {end}, at another place.")
        } else {
            format!("The time is taken by another appointment, from {start} to {end}.")
        };
        PluginError::reject(Reason::BadData, "slot_taken", message).with_details(json!({
            "calendar_id": self.calendar, "busy": { "start": start, "end": end }, "travel": self.travel
        }))
    }
}
