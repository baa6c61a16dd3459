use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use switchyard_simulators::subscriber::Received;
use switchyard_tests::world::build_folder;

use crate::{
    ledger::{self, Delivery, Entry, State},
    load::{Books, Kind, Load, Shared},
    world::{MARKER, OTHER_MARKER, SECRETS, World},
};

/// Everything has ended so long after the last fault.
const DRAINS_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks at what is still live.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// At most so many of a set are shown.
const SHOWN: usize = 8;

/// What was found. All sets but the counts must be empty.
#[derive(Default)]
pub struct Verdict {
    /// Answered with a 2xx, and not stored, not routed, or said to be delivered without having arrived.
    pub lost: BTreeSet<String>,
    /// Arrived, and never asked for.
    pub unexpected: BTreeSet<String>,
    /// Effects that exist more than once.
    pub doubled: BTreeSet<String>,
    /// Arrived before one that was accepted earlier with the same ordering key.
    pub disordered: BTreeSet<String>,
    /// Endpoints that were sent more at once than they allow.
    pub crowded: BTreeSet<String>,
    /// Requests that carry another tenant's marker.
    pub leaked: BTreeSet<String>,
    /// Places that hold a secret in clear text.
    pub spilled: BTreeSet<String>,
    /// Still not ended after a minute without faults.
    pub stuck: BTreeSet<String>,
    /// Answers that nobody should get.
    pub wrong: BTreeSet<String>,
    /// What SQLite finds wrong with its file.
    pub damaged: BTreeSet<String>,
    /// How many events were accepted.
    pub accepted: usize,
    /// How many deliveries there are, by state.
    pub deliveries: BTreeMap<State, usize>,
    /// Why deliveries are dead.
    pub deaths: BTreeMap<String, usize>,
    /// Requests that arrived again, which is allowed.
    pub repeated: usize,
    /// Where the database and the log lie, if something was found.
    pub kept: Option<PathBuf>,
}

impl Verdict {
    fn sets(&self) -> [(&'static str, &BTreeSet<String>); 10] {
        [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("doubled effects", &self.doubled),
            ("order", &self.disordered),
            ("concurrency", &self.crowded),
            ("leaked", &self.leaked),
            ("spilled", &self.spilled),
            ("stuck", &self.stuck),
            ("wrong answers", &self.wrong),
            ("damaged", &self.damaged),
        ]
    }

    /// Whether every set is empty.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sets().iter().all(|(_, set)| set.is_empty())
    }

    /// Prints the sets.
    ///
    /// # Panics
    /// One of them is not empty.
    #[track_caller]
    pub fn must_be_clean(&self) {
        println!("{self}");
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "accepted {}, deliveries {:?}, dead by cause {:?}, arrived again {}",
            self.accepted, self.deliveries, self.deaths, self.repeated
        )?;
        for (name, set) in self.sets() {
            let shown: Vec<_> = set.iter().take(SHOWN).collect();
            let more = if set.len() > SHOWN { ", ..." } else { "" };
            writeln!(f, "  {name:15} {} {shown:?}{more}", set.len())?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  the database and the log are kept in {}", kept.display())?;
        }
        Ok(())
    }
}

/// Ends the load on a hub that runs, waits until everything has ended, stops the hub, and looks at what is left.
///
/// # Panics
/// The hub does not stop, or its files cannot be read.
pub async fn conclude(world: &mut World, load: Load) -> Verdict {
    let shared = load.end().await;
    drain(world).await;
    let status = world.hub.stop().await;
    assert!(status.success(), "{status}: {}", world.hub.log());
    judge(world, &shared).await
}

/// Waits until nothing is live, for a bounded time; what is live then is found by [`judge`].
pub async fn drain(world: &World) {
    let empty = async {
        loop {
            let status = world.hub.get("/v1/status").await;
            let live = |state: &str| status.json()["deliveries"][state].as_u64().unwrap_or(0);
            let parked = status.json()["parked"].as_u64().unwrap_or(0);
            if status.status == 200 && live("queued") + live("running") + live("waiting") + parked == 0 {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(DRAINS_WITHIN, empty).await.ok();
}

/// Compares what was answered with what a hub left that has stopped.
///
/// # Panics
/// Its files cannot be read.
pub async fn judge(world: &World, shared: &Shared) -> Verdict {
    let file = world.hub.database();
    let entries = ledger::entries(&file).await;
    let books = shared.books();
    let mut verdict = Verdict { accepted: books.count(), ..Verdict::default() };
    verdict.wrong.extend(books.wrong.iter().cloned());
    let evidence = Evidence::gather(world, &entries, &books);
    evidence.find_lost(&mut verdict);
    evidence.find_lost_effects(&mut verdict);
    evidence.find_lost_emissions(&mut verdict);
    evidence.find_unexpected(&mut verdict);
    evidence.find_doubled(&mut verdict);
    evidence.find_disordered(&mut verdict);
    evidence.find_crowded(&mut verdict);
    evidence.find_leaked(&mut verdict);
    evidence.count(&mut verdict);
    drop(books);
    find_spilled(world, &mut verdict);
    verdict.damaged.extend(ledger::damage(&file).await);
    if !verdict.is_clean() {
        verdict.kept = keep(world);
    }
    verdict
}

/// Puts the database and the log of a hub aside, for whoever wants to know what happened.
fn keep(world: &World) -> Option<PathBuf> {
    let folder = build_folder().join(format!("chaos-found-{}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    std::fs::copy(world.hub.database(), folder.join("hub.db")).ok()?;
    std::fs::write(folder.join("hub.log"), world.hub.log()).ok()?;
    Some(folder)
}

/// What the database and the other sides hold.
struct Evidence<'a> {
    world: &'a World,
    books: &'a Books,
    entries: &'a [Entry],
    /// By path and webhook id.
    arrived: HashMap<(String, String), Vec<Received>>,
    arrivals: Vec<Received>,
    by_event: HashMap<(&'a str, &'a str), Vec<&'a Entry>>,
}

impl<'a> Evidence<'a> {
    fn gather(world: &'a World, entries: &'a [Entry], books: &'a Books) -> Self {
        let arrivals = world.at.all_requests();
        let mut arrived: HashMap<_, Vec<_>> = HashMap::new();
        for request in &arrivals {
            let id = request.webhook_id().unwrap_or_default().to_owned();
            arrived.entry((request.path.clone(), id)).or_default().push(request.clone());
        }
        let mut by_event: HashMap<_, Vec<_>> = HashMap::new();
        for entry in entries {
            by_event.entry((entry.tenant.as_str(), entry.event.as_str())).or_default().push(entry);
        }
        Self { world, books, entries, arrived, arrivals, by_event }
    }

    /// The delivery of an event to a target.
    fn delivery(&self, tenant: &str, event: &str, target: &str) -> Option<&'a Delivery> {
        let entries = self.by_event.get(&(tenant, event))?;
        entries.iter().filter_map(|entry| entry.delivery.as_ref()).find(|delivery| delivery.target == target)
    }

    fn was_taken(&self, path: &str, event: &str) -> bool {
        let arrived = self.arrived.get(&(path.to_owned(), event.to_owned()));
        arrived.is_some_and(|requests| requests.iter().any(|request| request.status == Some(200)))
    }

    /// Every accepted event has a delivery to each of its subscribers, which arrived if it says so.
    fn find_lost(&self, verdict: &mut Verdict) {
        let hooks: HashMap<String, &str> = self.hooks();
        for subscription in &self.world.subscriptions {
            let Some(kind) = subscription.kind else { continue };
            for id in self.books.of(kind) {
                let event = if kind == Kind::Hook { hooks.get(id).copied() } else { Some(id.as_str()) };
                let found = event.and_then(|event| self.delivery(subscription.tenant, event, &subscription.endpoint));
                match (found, event) {
                    (Some(delivery), Some(event)) if delivery.state == State::Delivered => {
                        if !self.was_taken(subscription.path, event) {
                            verdict.lost.insert(format!("{id} did not arrive at {}", subscription.path));
                        }
                    }
                    (Some(_), _) => {}
                    (None, _) => drop(verdict.lost.insert(format!("{id} has no delivery"))),
                }
            }
        }
    }

    /// Every accepted command has a delivery to its plugin; where that is delivered, its effect is there and was told.
    fn find_lost_effects(&self, verdict: &mut Verdict) {
        let mut told: HashMap<&str, Vec<&str>> = HashMap::new();
        for entry in self.entries {
            told.entry(&entry.event_type).or_default().push(&entry.data);
        }
        // A poll may tell of an invoice before the command does, so what counts is the invoice, not who told of it.
        let is_told = |event_type: &str, text: &str| {
            told.get(event_type).is_some_and(|events| events.iter().any(|data| data.contains(text)))
        };
        for (id, delivery) in self.commands(Kind::Invoice, "plugin:billy", verdict) {
            let invoices = self.world.billy.invoices();
            let ours = invoices.iter().find(|invoice| mentions(invoice.contact_message.as_deref(), delivery));
            let Some(invoice) = ours else {
                verdict.lost.insert(format!("{id} had no effect"));
                continue;
            };
            for event_type in ["invoice.created", "invoice.approved"] {
                if !is_told(event_type, &invoice.id) {
                    verdict.lost.insert(format!("{id} made invoice {} and no {event_type}", invoice.id));
                }
            }
        }
        for (id, _) in self.commands(Kind::Text, "plugin:twilio", verdict) {
            let text = format!("{MARKER} {id}");
            match self.world.twilio.messages().iter().find(|message| message.body == text) {
                None => drop(verdict.lost.insert(format!("{id} had no effect"))),
                Some(message) if !is_told("sms.sent", &message.sid) => {
                    verdict.lost.insert(format!("{id} made message {} and no sms.sent", message.sid));
                }
                Some(_) => {}
            }
        }
    }

    /// The accepted commands that are delivered, with their deliveries.
    fn commands(&self, kind: Kind, plugin: &str, verdict: &mut Verdict) -> Vec<(&'a str, &'a Delivery)> {
        let mut delivered = Vec::new();
        for id in self.books.of(kind) {
            match self.delivery("acme", id, plugin) {
                None => drop(verdict.lost.insert(format!("{id} has no delivery"))),
                Some(delivery) if delivery.state == State::Delivered => delivered.push((id.as_str(), delivery)),
                Some(_) => {}
            }
        }
        delivered
    }

    /// What plugins emitted goes the same way as what clients published.
    fn find_lost_emissions(&self, verdict: &mut Verdict) {
        for entry in self.entries {
            let Some(delivery) = entry.delivery.as_ref().filter(|delivery| delivery.state == State::Delivered) else {
                continue;
            };
            let at = self.world.subscriptions.iter().find(|subscription| subscription.endpoint == delivery.target);
            if let Some(at) = at.filter(|at| !self.was_taken(at.path, &entry.event)) {
                verdict.lost.insert(format!("{} {} did not arrive at {}", entry.event_type, entry.event, at.path));
            }
        }
    }

    /// The events that requests of the sender became, by the sender's own id.
    fn hooks(&self) -> HashMap<String, &'a str> {
        let hooks = self.entries.iter().filter(|entry| entry.event_type == "hook.arrived");
        hooks.map(|entry| (sender_id(&entry.data), entry.event.as_str())).collect()
    }

    /// Nothing arrives that is not stored, at an endpoint that is not its own, or that nobody ever tried.
    fn find_unexpected(&self, verdict: &mut Verdict) {
        let hooks = self.entries.iter().filter(|entry| entry.event_type == "hook.arrived");
        let known_hooks: HashMap<&str, String> =
            hooks.map(|entry| (entry.event.as_str(), sender_id(&entry.data))).collect();
        for (path, id) in self.arrived.keys() {
            let Some(at) = self.world.subscriptions.iter().find(|subscription| subscription.path == path) else {
                verdict.unexpected.insert(format!("{id} at {path}"));
                continue;
            };
            let tried = match at.kind {
                None => true,
                Some(Kind::Hook) => known_hooks.get(id.as_str()).is_some_and(|id| self.books.tried.contains(id)),
                Some(_) => self.books.tried.contains(id),
            };
            if !tried || self.delivery(at.tenant, id, &at.endpoint).is_none() {
                verdict.unexpected.insert(format!("{id} at {path}"));
            }
        }
    }

    /// At most one invoice a delivery, one message a command, one event a signed request.
    fn find_doubled(&self, verdict: &mut Verdict) {
        let mut seen = HashSet::new();
        let references = self.world.billy.invoices().into_iter().filter_map(|invoice| invoice.contact_message);
        let messages = self.world.twilio.messages().into_iter().map(|message| message.body);
        let hooks = self.entries.iter().filter(|entry| entry.event_type == "hook.arrived");
        let mut events = HashMap::new();
        for entry in hooks {
            let first = events.entry((entry.tenant.clone(), sender_id(&entry.data))).or_insert(&entry.event);
            if *first != &entry.event {
                verdict.doubled.insert(format!("request {}", entry.data));
            }
        }
        for effect in references.chain(messages) {
            if !seen.insert(effect.clone()) {
                verdict.doubled.insert(effect);
            }
        }
    }

    /// The first arrivals of each ordering key are in the order of publication.
    fn find_disordered(&self, verdict: &mut Verdict) {
        let mut latest: HashMap<u64, u64> = HashMap::new();
        let mut first = HashSet::new();
        for request in self.arrivals.iter().filter(|request| request.path == "/ordered") {
            let data = &request.json()["data"];
            let (key, seq) = (data["key"].as_u64().unwrap_or(0), data["seq"].as_u64().unwrap_or(0));
            if !first.insert((key, seq)) {
                continue;
            }
            if let Some(before) = latest.insert(key, seq).filter(|before| *before > seq) {
                verdict.disordered.insert(format!("key {key}: {seq} after {before}"));
            }
        }
    }

    fn find_crowded(&self, verdict: &mut Verdict) {
        let peaks = self.world.at.peaks();
        for subscription in &self.world.subscriptions {
            let peak = peaks.get(subscription.path).copied().unwrap_or(0);
            if peak > subscription.concurrency {
                let text = format!("{} had {peak} at once, {} allowed", subscription.path, subscription.concurrency);
                verdict.crowded.insert(text);
            }
        }
    }

    fn find_leaked(&self, verdict: &mut Verdict) {
        for request in &self.arrivals {
            let body = String::from_utf8_lossy(&request.body);
            let foreign = if request.path.starts_with("/other") { MARKER } else { OTHER_MARKER };
            if body.contains(foreign) {
                verdict.leaked.insert(format!("request {} at {}", request.number, request.path));
            }
        }
    }

    fn count(&self, verdict: &mut Verdict) {
        verdict.repeated = self.arrived.values().map(|requests| requests.len() - 1).sum();
        for entry in self.entries {
            let Some(delivery) = &entry.delivery else { continue };
            *verdict.deliveries.entry(delivery.state).or_default() += 1;
            match delivery.state {
                State::Dead => {
                    *verdict.deaths.entry(delivery.code.clone().unwrap_or_default()).or_default() += 1;
                }
                // The next poll may be due at any time.
                State::Live if !entry.event_type.starts_with("_poll.") => {
                    verdict.stuck.insert(format!("{} {} to {}", entry.event_type, entry.event, delivery.target));
                }
                State::Live | State::Delivered | State::Cancelled => {}
            }
        }
    }
}

/// The sender's own id of the request that an event was.
fn sender_id(data: &str) -> String {
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    data["id"].as_str().unwrap_or_default().to_owned()
}

fn mentions(text: Option<&str>, delivery: &Delivery) -> bool {
    text.is_some_and(|text| text.contains(&delivery.key))
}

/// No log line and no file of the hub holds a secret, and no log line holds what events carry.
fn find_spilled(world: &World, verdict: &mut Verdict) {
    let log = world.hub.log();
    for text in SECRETS.iter().chain(&[MARKER, OTHER_MARKER]) {
        if log.contains(text) {
            verdict.spilled.insert(format!("{text} in the log"));
        }
    }
    for name in ["hub.db", "hub.db-wal"] {
        let bytes = std::fs::read(world.hub.folder().join(name)).unwrap_or_default();
        for secret in SECRETS.iter().filter(|secret| holds(&bytes, secret)) {
            verdict.spilled.insert(format!("{secret} in {name}"));
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let Some(first) = text.bytes().next() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(text.as_bytes()) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Whether a file is there, for messages.
#[must_use]
pub fn size_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |meta| meta.len())
}
