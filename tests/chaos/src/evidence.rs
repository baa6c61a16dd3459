use std::collections::{HashMap, HashSet};

use serde_json::Value;
use switchyard_simulators::subscriber::Received;

use crate::{
    checker::Verdict,
    ledger::{Delivery, Entry, State},
    load::{Books, Kind},
    world::{MARKER, OTHER_MARKER, World},
};

/// What the database and the other sides hold.
pub struct Evidence<'a> {
    world: &'a World,
    books: &'a Books,
    entries: &'a [Entry],
    /// By path and webhook id.
    arrived: HashMap<(String, String), Vec<Received>>,
    arrivals: Vec<Received>,
    by_event: HashMap<(&'a str, &'a str), Vec<&'a Entry>>,
}

impl<'a> Evidence<'a> {
    /// Brings together what a hub left that has stopped, and what was asked of it.
    #[must_use]
    pub fn gather(world: &'a World, entries: &'a [Entry], books: &'a Books) -> Self {
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

    /// Fills the sets of a verdict.
    pub fn judge(&self, verdict: &mut Verdict) {
        self.find_lost(verdict);
        self.find_lost_effects(verdict);
        self.find_lost_emissions(verdict);
        self.find_unexpected(verdict);
        self.find_doubled(verdict);
        self.find_disordered(verdict);
        self.find_crowded(verdict);
        self.find_leaked(verdict);
        self.count(verdict);
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
        for (id, delivery) in self.commands(Kind::Call, "plugin:caller", verdict) {
            let answered = self.entries.iter().filter(|entry| entry.event_type == "api.answered");
            if !answered.into_iter().any(|entry| entry.data.contains(&format!("\"call\":\"{id}\""))) {
                verdict.lost.insert(format!("{id} was delivered as {} and not told of", delivery.target));
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
