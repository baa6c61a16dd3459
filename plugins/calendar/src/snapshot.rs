use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::{SortedMap, SortedSet, by_key};

use crate::config::Config;
use crate::model::Remote;
use crate::zone::Zone;

/// What is remembered of a calendar lies in so many parts, of which a run loads the ones it needs.
pub const PARTS: u8 = 64;

/// Titles are remembered up to this many characters.
const TITLE: usize = 120;

/// What was last seen of an event, as small as it can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Start and end, as Google wrote them.
    #[serde(rename = "s")]
    pub start: String,
    #[serde(rename = "e")]
    pub end: String,
    /// The title.
    #[serde(rename = "t")]
    pub title: String,
    /// Hashes of title, place and attendees.
    #[serde(rename = "h")]
    hashes: [u32; 3],
    /// How often it came to be.
    #[serde(rename = "n")]
    pub life: u32,
    /// It was cancelled.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The full list in which it was last seen.
    #[serde(rename = "g")]
    pub list: u32,
    /// When it begins and ends, in seconds since 1970.
    #[serde(rename = "a")]
    pub begins: i64,
    #[serde(rename = "z")]
    pub ends: i64,
}

impl Entry {
    /// What is remembered of an event that takes place.
    pub fn of(remote: &Remote, zone: Zone, life: u32, list: u32) -> Self {
        let span = remote.span(zone);
        let mut guests: Vec<&str> = remote.guests.iter().map(|guest| guest.email.as_str()).collect();
        by_key(&mut guests, |guest| *guest);
        let title = remote.title.as_deref().unwrap_or_default();
        Self {
            start: remote.start.as_ref().map(|when| when.text.clone()).unwrap_or_default(),
            end: remote.end.as_ref().map(|when| when.text.clone()).unwrap_or_default(),
            title: title.chars().take(TITLE).collect(),
            hashes: [title, remote.location.as_deref().unwrap_or_default(), &guests.join(",")].map(hash),
            life,
            cancelled: false,
            list,
            begins: span.map_or(0, |span| span.start),
            ends: span.map_or(0, |span| span.end),
        }
    }

    /// The same, cancelled.
    pub fn ended(self) -> Self {
        Self { cancelled: true, ..self }
    }

    /// What differs from another sight of the event. Times are compared by what they mean, not by how they are written.
    pub fn changed(&self, now: &Self) -> Vec<&'static str> {
        let day = |text: &str| text.len() == 10;
        let pairs = [
            ("start", self.begins != now.begins || day(&self.start) != day(&now.start)),
            ("end", self.ends != now.ends || day(&self.end) != day(&now.end)),
            ("title", self.hashes[0] != now.hashes[0]),
            ("location", self.hashes[1] != now.hashes[1]),
            ("attendees", self.hashes[2] != now.hashes[2]),
        ];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

fn hash(text: &str) -> u32 {
    let sum = Sha256::digest(text);
    u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]])
}

/// All that was last seen of one calendar.
pub struct Snapshot<'a> {
    ctx: &'a Ctx<'a, Config>,
    calendar: String,
    parts: SortedMap<u8, Part>,
}

#[derive(Default)]
struct Part {
    entries: SortedMap<String, Entry>,
    changed: bool,
}

impl<'a> Snapshot<'a> {
    /// Nothing is loaded yet.
    pub fn new(ctx: &'a Ctx<'a, Config>, calendar: &str) -> Self {
        Self { ctx, calendar: calendar.to_owned(), parts: SortedMap::new() }
    }

    /// Loads what was seen of these.
    pub fn prepare<'i>(&mut self, ids: impl Iterator<Item = &'i str>) -> Result<(), PluginError> {
        let parts: SortedSet<u8> = ids.map(part_of).collect();
        self.load(parts.into_iter())
    }

    /// Loads parts.
    pub fn load(&mut self, parts: impl Iterator<Item = u8>) -> Result<(), PluginError> {
        let missing: Vec<u8> = parts.filter(|part| !self.parts.contains_key(part)).collect();
        let keys: Vec<String> = missing.iter().map(|part| key(&self.calendar, *part)).collect();
        let stored = self.ctx.kv().get_many_json::<SortedMap<String, Entry>>(&keys)?;
        for (part, entries) in missing.into_iter().zip(stored) {
            self.parts.insert(part, Part { entries: entries.unwrap_or_default(), changed: false });
        }
        Ok(())
    }

    /// What was last seen of a prepared event.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.parts.get(&part_of(id))?.entries.get(id)
    }

    /// Remembers what is seen now.
    pub fn put(&mut self, id: &str, entry: Entry) {
        let part = self.parts.or_default(part_of(id));
        if part.entries.get(id) != Some(&entry) {
            part.entries.insert(id.to_owned(), entry);
            part.changed = true;
        }
    }

    /// The ids of a loaded part.
    pub fn ids(&self, part: u8) -> Vec<String> {
        self.parts.get(&part).map(|part| part.entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a prepared event.
    pub fn forget(&mut self, id: &str) {
        if let Some(part) = self.parts.get_mut(&part_of(id)) {
            part.changed |= part.entries.remove(id).is_some();
        }
    }

    /// Writes the parts that changed.
    pub fn save(&mut self) -> Result<(), PluginError> {
        for (number, part) in self.parts.iter_mut().filter(|(_, part)| part.changed) {
            self.ctx.kv().set_json(&key(&self.calendar, *number), &part.entries, &KvOptions::default())?;
            part.changed = false;
        }
        Ok(())
    }
}

fn key(calendar: &str, part: u8) -> String {
    format!("seen/{}/{part:02x}", hex::encode(&Sha256::digest(calendar)[..8]))
}

/// Spreads ids evenly, the same for ever.
fn part_of(id: &str) -> u8 {
    Sha256::digest(id).first().copied().unwrap_or(0) % PARTS
}
