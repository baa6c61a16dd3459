//! From something said to something stored: one transaction for events, dedupe keys and routed deliveries, and the
//! start of those deliveries that got a slot before the insert.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::{
        Event, EventType, Target, Urgency,
        catalogue::SchemaFault,
        text::{NOT_STORABLE, is_storable},
    },
    failpoint::{self, Point},
    hub::Hub,
    id::Key,
    plugin::model::EventKind,
    policy::{self, Standing, Verdict},
    queue::{
        dispatch::Slot,
        lane::{Lane, LaneKey},
        reason::{Failure, ReasonClass},
        tell::{About, tells_of_deliveries},
    },
    route::route::{Route, routes},
    store::{
        StoreError,
        ledger::{Accept, Claimed, DedupeKey, EventOutcome, NewDelivery, NewEvent, Start},
        policy::PolicyChange,
    },
};

/// Stored events, routed again.
mod reroute;

/// What events change for the policy.
mod changes;

/// An event that came from an event that came from an event: beyond this it is a loop.
const MAX_HOPS: u8 = 16;

/// Events of at most so many bytes are routed where they arrive.
const QUICKLY_ROUTED: usize = 4096;

/// Commands that are not worth carrying out a day later.
const SHORT_LIVED: [&str; 3] = ["sms.send", "email.send", "call.create"];

/// What a client of the API says.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The type.
    pub event_type: String,
    /// One JSON value as text.
    pub data: String,
    /// The client's id, `[A-Za-z0-9_-]{1,128}`.
    pub id: Option<String>,
    /// CloudEvents source; none means `api`.
    pub source: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened; none means now.
    pub time: Option<Timestamp>,
    /// Order at targets that keep it.
    pub ordering_key: Option<String>,
    /// `[A-Za-z0-9_-]{1,128}`; none makes one.
    pub correlation_id: Option<String>,
    /// Trace context of the caller.
    pub traceparent: Option<String>,
    /// Whether it takes the emergency lane.
    pub urgency: Urgency,
    /// When it is no longer worth delivering.
    pub expires_at: Option<Timestamp>,
    /// Unknown CloudEvents attributes, a JSON object.
    pub extensions: Option<String>,
    /// Instead of routing: this target alone.
    pub only_to: Option<Target>,
}

/// The answer to a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id; the first one's if it is a duplicate.
    pub id: String,
    /// Whether it was there before.
    pub duplicate: bool,
    /// The correlation id.
    pub correlation_id: String,
}

/// Why a publication was refused. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A field is malformed.
    #[error("{field}: {message}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What is wrong and the fix.
        message: String,
    },
    /// The payload breaks the schema of its type.
    #[error("data{path}: {message}")]
    Schema {
        /// JSON pointer into `data`.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The key may not set `urgency: emergency`.
    #[error("this key may not set urgency to emergency")]
    EmergencyDenied,
    /// The id was used for another event.
    #[error("the id {first_id} was used for another event")]
    IdReused {
        /// The id.
        first_id: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event with its deliveries, ready to be stored. Slots that it holds are given back when it is dropped unstored.
pub struct Prepared {
    event: Arc<Event>,
    dedupe: Option<DedupeKey>,
    persons: Vec<[u8; 32]>,
    changes: Vec<PolicyChange>,
    deliveries: Vec<PreparedDelivery>,
}

struct PreparedDelivery {
    new: NewDelivery,
    lane: Arc<Lane>,
    lane_key: LaneKey,
    slot: Option<Slot>,
    /// Of one that is dead at once: what tells of it.
    told: Option<Prepared>,
}

impl Prepared {
    /// What the store gets.
    #[must_use]
    pub fn to_new_event(&self) -> NewEvent {
        NewEvent {
            event: self.event.clone(),
            dedupe: self.dedupe.clone(),
            persons: self.persons.clone(),
            changes: self.changes.clone(),
            deliveries: self.deliveries.iter().map(|delivery| delivery.new.clone()).collect(),
        }
    }

    /// Who said it, as a metric has it.
    #[must_use]
    pub fn origin(&self) -> &'static str {
        origin_label(&self.event.source)
    }

    /// The event.
    #[must_use]
    pub const fn event(&self) -> &Arc<Event> {
        &self.event
    }

    /// Starts what holds a slot and wakes the lanes of the rest. Call it after the commit, for stored events only.
    pub fn stored(self, hub: &Arc<Hub>) {
        self.stored_without(hub, &[]);
    }

    /// The same where some deliveries were stored as queued although they hold a slot: another node owns their lanes now.
    pub fn stored_without(self, hub: &Arc<Hub>, not_started: &[Key]) {
        crate::observe::metrics::events_accepted(self.origin(), 1);
        hub.plans_changed(&self.changes);
        for delivery in self.deliveries {
            if let Some(told) = delivery.told {
                told.stored_without(hub, not_started);
            }
            let due_at = self.event.accepted_at.min(delivery.new.key.made_at());
            match (delivery.new.start, delivery.slot) {
                (Start::Claimed, slot) if not_started.contains(&delivery.new.key) => {
                    drop(slot);
                    hub.lane_has_work(&delivery.lane, delivery.lane_key, due_at);
                }
                (Start::Claimed, Some(slot)) => {
                    let claimed = Claimed {
                        delivery: delivery.new.key,
                        lane: (*delivery.lane).clone(),
                        epoch: 1,
                        tries: 1,
                        crashes: 0,
                        journalled: false,
                        replayed: false,
                        created_at: self.event.accepted_at,
                        event: self.event.clone(),
                    };
                    hub.attempt(claimed, slot);
                }
                (Start::Queued, _) => hub.lane_has_work(&delivery.lane, delivery.lane_key, due_at),
                (Start::Claimed, None) | (Start::Dead(_), _) => {}
            }
        }
    }
}

/// Dedupe hash of an event: SHA-256 over type and payload.
#[must_use]
pub fn content_hash(event_type: &EventType, data: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(event_type.as_str());
    hash.update([0]);
    hash.update(data);
    hash.finalize().into()
}

impl Hub {
    /// Routes `event` and asks the scheduler for slots. `data` is its parsed payload, and `standing` what is stored about
    /// those whom it concerns, for an early refusal.
    #[must_use]
    pub fn prepare(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        event: Event,
        data: &Value,
        dedupe: Option<DedupeKey>,
        only_to: Option<&Target>,
        standing: &Standing,
    ) -> Prepared {
        let catalogue = self.catalogue.load();
        let definition = catalogue.get(event.event_type.as_str());
        let kind = definition.map_or(EventKind::Event, |definition| definition.kind);
        let persons = definition.map_or_else(Vec::new, |definition| {
            definition
                .persons_in(data)
                .into_iter()
                .filter_map(|(kind, value)| tenant.key.person_hash(kind, value))
                .collect()
        });
        let found = match only_to {
            Some(target) => vec![Route { target: target.clone(), ordering_key: None, dead: None }],
            None => route(tenant, &event, kind, data),
        };
        let changes = self.changes_of(tenant, &event, data);
        let event = Arc::new(event);
        let prepared = |route| self.prepare_delivery(tenant, &event, kind, route, standing);
        let deliveries = found.into_iter().map(prepared).collect();
        Prepared { event, dedupe, persons, changes, deliveries }
    }

    fn prepare_delivery(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        event: &Arc<Event>,
        kind: EventKind,
        route: Route,
        standing: &Standing,
    ) -> PreparedDelivery {
        let key = self.ids.next();
        let lane =
            Arc::new(Lane { tenant: event.tenant.clone(), target: route.target.clone(), urgency: event.urgency });
        let lane_key = lane.key();
        let dead = dead_at_once(tenant, event, kind, &route, standing, event.accepted_at);
        let told = dead.as_ref().and_then(|failure| {
            self.tell_of_death(tenant, About { delivery: key, target: &route.target, event }, failure)
        });
        let (start, slot) = match dead {
            Some(failure) => (Start::Dead(failure), None),
            // With an ordering key the store decides whether another delivery stands before it.
            None if route.ordering_key.is_some() => (Start::Queued, None),
            None => match self.offer(&lane, lane_key, key) {
                Some(slot) => (Start::Claimed, Some(slot)),
                None => (Start::Queued, None),
            },
        };
        let new = NewDelivery {
            key,
            target: route.target,
            start,
            ordering_key: route.ordering_key,
            told: told.as_ref().map(|told| Box::new(told.to_new_event())),
        };
        PreparedDelivery { new, lane, lane_key, slot, told }
    }

    /// Parses a payload, and checks it against the schema of its type.
    ///
    /// # Errors
    /// The payload breaks the schema of its type.
    pub fn parse_data(&self, event_type: &EventType, data: &str) -> Result<Value, SchemaFault> {
        let catalogue = self.catalogue.load();
        let definition = catalogue.get(event_type.as_str());
        // Parsed whoever looks at it: what is no sound JSON (a lone surrogate, a number beyond all range) must be refused at
        // the door, not when the first filter meets it.
        let value = serde_json::from_str(data)
            .map_err(|error| SchemaFault { path: String::new(), message: format!("not JSON: {error}") })?;
        if definition.is_some() {
            catalogue.check(event_type.as_str(), &value)?;
        }
        Ok(value)
    }

    /// Accepts one event of a client. It goes on when the caller goes away, so that what was stored is started.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        may_emergency: bool,
        publication: Publication,
    ) -> Result<Published, PublishError> {
        if publication.urgency == Urgency::Emergency && !may_emergency {
            return Err(PublishError::EmergencyDenied);
        }
        let only_to = publication.only_to.clone();
        let (event, dedupe, data) = self.build(tenant, publication)?;
        let standing = self.standing(tenant, &event, &data).await?;
        let prepared = self.prepare(tenant, event, &data, dedupe, only_to.as_ref(), &standing);
        let hub = self.clone();
        let accepting = self.tasks.spawn(async move { hub.store_prepared(prepared).await });
        accepting.await.map_err(|_| StoreError::Unavailable("the hub is shutting down".to_owned()))?
    }

    async fn store_prepared(self: Arc<Self>, prepared: Prepared) -> Result<Published, PublishError> {
        let accept = Accept { events: vec![prepared.to_new_event()], ..Accept::default() };
        let accepted = self.store.accept(accept).await?;
        let correlation_id = prepared.event.correlation_id.to_string();
        match accepted.events.into_iter().next() {
            Some(EventOutcome::Stored) => {
                let id = prepared.event.id.to_string();
                // It is stored, so it starts, whatever else.
                failpoint::pass(Point::PublishBeforeStart).await.ok();
                prepared.stored_without(&self, &accepted.not_started);
                failpoint::pass(Point::PublishBeforeAnswer).await?;
                Ok(Published { id, duplicate: false, correlation_id })
            }
            Some(EventOutcome::Duplicate { first_id, correlation_id: first, same: true }) => {
                crate::observe::metrics::event_duplicate("api");
                let correlation_id = first.map_or(correlation_id, |first| first.to_string());
                Ok(Published { id: first_id.to_string(), duplicate: true, correlation_id })
            }
            Some(EventOutcome::Duplicate { first_id, .. }) => {
                Err(PublishError::IdReused { first_id: first_id.to_string() })
            }
            None => Err(StoreError::Inconsistent("an accept answered no outcome".to_owned()).into()),
        }
    }

    fn build(&self, tenant: &TenantView, said: Publication) -> Result<(Event, Option<DedupeKey>, Value), PublishError> {
        let event_type: EventType = said
            .event_type
            .parse()
            .map_err(|error| PublishError::Invalid { field: "type", message: format!("{error}") })?;
        if event_type.is_private() {
            let message = "a type with a leading underscore is private to a plugin".to_owned();
            return Err(PublishError::Invalid { field: "type", message });
        }
        check_token("id", said.id.as_deref())?;
        check_token("correlation_id", said.correlation_id.as_deref())?;
        check_text("subject", said.subject.as_deref())?;
        check_text("ordering_key", said.ordering_key.as_deref())?;
        check_text("source", said.source.as_deref())?;
        // Of any length, but never one that a database does not take as text.
        check_storable("traceparent", said.traceparent.as_deref())?;
        let data = self
            .parse_data(&event_type, &said.data)
            .map_err(|SchemaFault { path, message }| PublishError::Schema { path, message })?;
        let (key, now) = (self.ids.next(), self.clock.now());
        let source = said.source.unwrap_or_else(|| "api".to_owned());
        let hash = content_hash(&event_type, &said.data);
        let dedupe = said.id.clone().map(|id| DedupeKey { scope: format!("api:{source}"), key: id, hash });
        let event = Event {
            key,
            id: said.id.unwrap_or_else(|| key.with_prefix("evt")).into(),
            tenant: tenant.row.id.clone(),
            expires_at: said.expires_at.or_else(|| default_expiry(tenant, &event_type, now)),
            event_type,
            source: source.into(),
            subject: said.subject,
            time: said.time.unwrap_or(now),
            accepted_at: now,
            ordering_key: said.ordering_key,
            correlation_id: said.correlation_id.unwrap_or_else(|| key.to_string()).into(),
            traceparent: said.traceparent.unwrap_or_else(|| crate::observe::trace::new_traceparent(&self.ids)).into(),
            cause: None,
            request: None,
            hop: 0,
            urgency: said.urgency,
            private_to: None,
            extensions: said.extensions,
            data: said.data.into(),
        };
        Ok((event, dedupe, data))
    }
}

/// Why a delivery is dead before its first attempt: no handler, a loop, or a rule that forbids it.
fn dead_at_once(
    tenant: &TenantView,
    event: &Event,
    kind: EventKind,
    route: &Route,
    standing: &Standing,
    now: Timestamp,
) -> Option<Failure> {
    let looped = || {
        Failure::new(
            ReasonClass::Config,
            "loop",
            format!("the event is {MAX_HOPS} runs away from its first cause: {}", in_a_circle(event)),
        )
    };
    let refused = || match policy::judge(tenant, event, kind, &route.target, standing, now) {
        Verdict::Refuse(failure) => Some(failure),
        Verdict::Allow | Verdict::Hold(_) | Verdict::Wait(..) => None,
    };
    // That a loop was ended is told to whoever watches from outside; a plugin could go on with the loop.
    let ends_here = matches!(route.target, Target::Endpoint(_)) && tells_of_deliveries(&event.event_type);
    let too_far = event.hop > MAX_HOPS && !ends_here;
    route.dead.clone().or_else(|| too_far.then(looped)).or_else(refused)
}

/// Who answers whom, as far as the event says.
fn in_a_circle(event: &Event) -> String {
    let attributes = event.extensions.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    match attributes.as_ref().and_then(|attributes| attributes.get("rule")).and_then(Value::as_str) {
        Some(rule) if event.source.starts_with("switchyard:plugin/") => {
            format!("rules set each other off, and the rule `{rule}` emitted this `{}`", event.event_type)
        }
        _ => "two plugins or rules answer each other".to_owned(),
    }
}

/// Routes an event. The filters of many endpoints over long texts take a while, and other tenants' tasks go on meanwhile.
fn route(tenant: &TenantView, event: &Event, kind: EventKind, data: &Value) -> Vec<Route> {
    let threads = || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if event.data.len() > QUICKLY_ROUTED && threads() {
        return tokio::task::block_in_place(|| routes(tenant, event, kind, data));
    }
    routes(tenant, event, kind, data)
}

/// A day for messages and calls, none for the rest. What waits for business hours has its day from their beginning.
#[must_use]
pub fn default_expiry(tenant: &TenantView, event_type: &EventType, now: Timestamp) -> Option<Timestamp> {
    let short_lived = SHORT_LIVED.contains(&event_type.as_str());
    let begins = || tenant.policy.closed(event_type, now).map_or(now, |(opens, _)| opens);
    short_lived.then(|| begins().after(std::time::Duration::from_secs(24 * 3600)))
}

/// Who said an event, as a metric has it.
fn origin_label(source: &str) -> &'static str {
    if source.starts_with("switchyard:plugin/") {
        "plugin"
    } else if source == "switchyard:host" {
        "host"
    } else {
        "api"
    }
}

fn check_token(field: &'static str, text: Option<&str>) -> Result<(), PublishError> {
    let shaped = |text: &str| {
        matches!(text.len(), 1..=128) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match text {
        Some(text) if !shaped(text) => {
            Err(PublishError::Invalid { field, message: "must match [A-Za-z0-9_-]{1,128}".to_owned() })
        }
        _ => Ok(()),
    }
}

fn check_text(field: &'static str, text: Option<&str>) -> Result<(), PublishError> {
    match text {
        Some(text) if text.is_empty() || text.len() > 255 => {
            Err(PublishError::Invalid { field, message: "must have 1 to 255 bytes".to_owned() })
        }
        text => check_storable(field, text),
    }
}

fn check_storable(field: &'static str, text: Option<&str>) -> Result<(), PublishError> {
    match text {
        Some(text) if !is_storable(text) => Err(PublishError::Invalid { field, message: NOT_STORABLE.to_owned() }),
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("event", &self.event.id).field("deliveries", &self.deliveries.len()).finish()
    }
}
