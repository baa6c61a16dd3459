use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::{SortedMap, SortedSet};

use crate::config::Config;
use crate::model::{Invoice, SENT_STATES, State};

/// How long an invoice that a command made waits to be seen by a poll.
const OWN_KEPT: Duration = Duration::from_secs(35 * 86_400);

/// When everything that can change was last seen.
const SEEN_AT: &str = "seen_at";

/// What was last seen of an invoice, as small as it can be: there is one for every invoice of the company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The first letter of its state.
    #[serde(rename = "s")]
    state: char,
    /// How far its sending came.
    #[serde(rename = "t")]
    pub sent: u8,
    /// Paid in full.
    #[serde(rename = "p")]
    pub paid: bool,
    /// What is open, in hundredths.
    #[serde(rename = "b")]
    pub balance: i64,
    /// Hash of total, tax, due date and contact.
    #[serde(rename = "h")]
    pub hash: String,
    /// How often it was paid in full.
    #[serde(rename = "n", default)]
    pub times_paid: u32,
    /// How often an update was reported.
    #[serde(rename = "u", default)]
    pub updates: u32,
    /// The rest is what `invoice.query` answers while Billy is down; older entries have none of it.
    #[serde(rename = "no", default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Whom it is for.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// With tax, in hundredths.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// The tax, in hundredths.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<i64>,
    /// A date.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
    /// ISO 4217 code, where Billy says it.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When a command left it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

impl Entry {
    /// What is remembered of an invoice; the counts go on from `before`.
    pub fn of(invoice: &Invoice, before: Option<&Self>) -> Self {
        let tracked = format!("{}|{}|{:?}|{:?}", invoice.total(), invoice.tax, invoice.due_date, invoice.contact_id);
        let mut hash = hex::encode(Sha256::digest(tracked));
        hash.truncate(8);
        let was_paid = before.is_some_and(|before| before.paid);
        let times_paid = before.map_or(0, |before| before.times_paid) + u32::from(invoice.is_paid && !was_paid);
        Self {
            state: letter(invoice.state),
            sent: invoice.sent,
            paid: invoice.is_paid,
            balance: invoice.balance,
            hash,
            times_paid,
            updates: before.map_or(0, |before| before.updates),
            number: invoice.number.clone(),
            contact_id: invoice.contact_id.clone(),
            total: Some(invoice.total()),
            tax: Some(invoice.tax),
            due_date: invoice.due_date.clone(),
            currency: invoice.currency.clone(),
            at: None,
        }
    }

    /// Its state as Billy writes it.
    pub fn state_name(&self) -> &'static str {
        let states = [State::Draft, State::Approved, State::Voided];
        states.into_iter().find(|state| self.is(*state)).unwrap_or(State::Draft).as_str()
    }

    /// How far its sending came, as Billy writes it.
    pub fn sent_name(&self) -> &'static str {
        SENT_STATES.get(usize::from(self.sent)).unwrap_or(&SENT_STATES[0])
    }

    /// Whether it was in this state.
    pub fn is(&self, state: State) -> bool {
        self.state == letter(state)
    }

    /// Whether anything can still happen to it from outside: it is neither paid nor voided.
    fn is_open(&self) -> bool {
        !self.paid && !self.is(State::Voided)
    }
}

fn letter(state: State) -> char {
    match state {
        State::Draft => 'd',
        State::Approved => 'a',
        State::Voided => 'v',
    }
}

/// Remembers an invoice as a command left it, so that the first poll reports what happens to it later, although it
/// reports nothing else that was there before.
pub fn own(ctx: &Ctx<Config>, invoice: &Invoice) -> Result<(), PluginError> {
    let entry = Entry { at: Some(ctx.now()), ..Entry::of(invoice, None) };
    ctx.kv().set_json(&own_key(&invoice.id), &entry, &KvOptions::ttl(OWN_KEPT))
}

/// The same of an invoice that a command has just made or approved. Nothing was paid by then, so a payment that came in
/// while an answer was lost is still news to the first poll.
pub fn own_unpaid(ctx: &Ctx<Config>, invoice: &Invoice) -> Result<(), PluginError> {
    let unpaid = Invoice { is_paid: false, balance: invoice.total(), ..invoice.clone() };
    own(ctx, &unpaid)
}

/// What was last seen of an invoice and when; none of one that was never seen, or seen by a version that kept less.
pub fn last_seen(ctx: &Ctx<Config>, id: &str) -> Result<Option<(Entry, u64)>, PluginError> {
    let own = ctx.kv().get_json::<Entry>(&own_key(id))?;
    let polled = ctx.kv().get_json::<SortedMap<String, Entry>>(&part_key(id))?;
    let polled = polled.and_then(|mut entries| entries.remove(id));
    let seen_at: Option<u64> = ctx.kv().get_json(SEEN_AT)?;
    let own = own.map(|entry| (entry.at, entry));
    let polled = polled.map(|entry| (seen_at.max(entry.at), entry));
    // A poll may have seen a draft that a command has approved since.
    let known = match (own, polled) {
        (Some(own), Some(polled)) => Some(if own.0 > polled.0 { own } else { polled }),
        (own, polled) => own.or(polled),
    };
    Ok(known.and_then(|(at, entry)| Some((entry, at?))).filter(|(entry, _)| entry.total.is_some()))
}

/// Remembers that everything that can change was seen at this time.
pub fn seen_all(ctx: &Ctx<Config>) -> Result<(), PluginError> {
    ctx.kv().set_json(SEEN_AT, &ctx.time(), &KvOptions::default())
}

fn own_key(id: &str) -> String {
    format!("own/{id}")
}

/// All that was last seen, in parts of which a run loads the ones it needs: 256 of entries, by the hash of the id,
/// and 16 of the ids that are open.
pub struct Snapshot<'a> {
    ctx: &'a Ctx<'a, Config>,
    parts: SortedMap<String, Part>,
    open: SortedMap<String, OpenPart>,
}

#[derive(Default)]
struct Part {
    entries: SortedMap<String, Entry>,
    changed: bool,
}

#[derive(Default)]
struct OpenPart {
    ids: SortedSet<String>,
    changed: bool,
}

impl<'a> Snapshot<'a> {
    /// Loads the open ids.
    pub fn load(ctx: &'a Ctx<'a, Config>) -> Result<Self, PluginError> {
        let keys: Vec<String> = (0..16).map(|part| format!("open/{part:x}")).collect();
        let stored = ctx.kv().get_many_json::<SortedSet<String>>(&keys)?;
        let open = keys.into_iter().zip(stored);
        let open = open.map(|(key, ids)| (key, OpenPart { ids: ids.unwrap_or_default(), changed: false }));
        Ok(Self { ctx, parts: SortedMap::new(), open: open.collect() })
    }

    /// Loads what was seen of these invoices, those that commands left included.
    pub fn prepare(&mut self, invoices: &[Invoice]) -> Result<(), PluginError> {
        let keys: SortedSet<String> = invoices.iter().map(|invoice| part_key(&invoice.id)).collect();
        let missing: Vec<String> = keys.into_iter().filter(|key| !self.parts.contains_key(key)).collect();
        let stored = self.ctx.kv().get_many_json::<SortedMap<String, Entry>>(&missing)?;
        for (key, entries) in missing.into_iter().zip(stored) {
            self.parts.insert(key, Part { entries: entries.unwrap_or_default(), changed: false });
        }
        let unknown = invoices.iter().filter(|invoice| self.get(&invoice.id).is_none());
        let unknown: Vec<String> = unknown.map(|invoice| invoice.id.clone()).collect();
        let keys: Vec<String> = unknown.iter().map(|id| own_key(id)).collect();
        for (id, entry) in unknown.iter().zip(self.ctx.kv().get_many_json::<Entry>(&keys)?) {
            if let Some(entry) = entry {
                self.put(id, entry);
                self.ctx.kv().delete(&own_key(id))?;
            }
        }
        Ok(())
    }

    /// What was last seen of a prepared invoice.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.parts.get(&part_key(id))?.entries.get(id)
    }

    /// Remembers what is seen now.
    pub fn put(&mut self, id: &str, entry: Entry) {
        self.set_open(id, entry.is_open());
        let part = self.parts.or_default(part_key(id));
        if part.entries.get(id) != Some(&entry) {
            part.entries.insert(id.to_owned(), entry);
            part.changed = true;
        }
    }

    /// Forgets a prepared invoice that is no more.
    pub fn forget(&mut self, id: &str) {
        self.set_open(id, false);
        if let Some(part) = self.parts.get_mut(&part_key(id)) {
            part.changed |= part.entries.remove(id).is_some();
        }
    }

    /// The ids of all that were open.
    pub fn open_ids(&self) -> impl Iterator<Item = &str> {
        self.open.values().flat_map(|part| part.ids.iter().map(String::as_str))
    }

    /// Writes the parts that changed.
    pub fn save(&self) -> Result<(), PluginError> {
        let kept = KvOptions::default();
        for (key, part) in self.parts.iter().filter(|(_, part)| part.changed) {
            self.ctx.kv().set_json(key, &part.entries, &kept)?;
        }
        for (key, part) in self.open.iter().filter(|(_, part)| part.changed) {
            self.ctx.kv().set_json(key, &part.ids, &kept)?;
        }
        Ok(())
    }

    fn set_open(&mut self, id: &str, open: bool) {
        let part = self.open.or_default(format!("open/{:x}", bucket(id) >> 4));
        part.changed |= if open { part.ids.insert(id.to_owned()) } else { part.ids.remove(id) };
    }
}

fn part_key(id: &str) -> String {
    format!("seen/{:02x}", bucket(id))
}

/// Spreads ids evenly, the same for ever.
fn bucket(id: &str) -> u8 {
    Sha256::digest(id).first().copied().unwrap_or(0)
}
