//! What the host itself says: events about deliveries, their targets and connections. They take the path of any other
//! event, and are stored in the transaction that makes them true.
//!
//! | type | when | once per |
//! |---|---|---|
//! | `delivery.died` | a delivery is dead: at accept, by an attempt, too late, after a lost worker | delivery and death |
//! | `delivery.held` | an attempt ran into what holds its target from now on | block |
//! | `endpoint.failing`, `endpoint.recovered` | the fourth try of a delivery failed; a success after that | streak |
//! | `endpoint.disabled` | it answered 410, or nothing but failures for five days | block |
//! | `plugin.broken` | a version keeps trapping | block |
//! | `connection.login_needed` | a provider refused the credential | credential |
//! | `schedule.missed` | a schedule could not run at its time | the time that was missed first |
//!
//! A `delivery.*` event never causes another one, and what happens to a private event is not told.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    dispatch::hold,
    reason::{Failure, ReasonClass},
};
use crate::{
    accept::{Prepared, content_hash},
    clock::Timestamp,
    directory::view::{EndpointView, TenantView},
    event::{Event, EventType, Target, Urgency},
    hub::Hub,
    id::Key,
    policy::Standing,
    schedule::timetable::Missed,
    store::ledger::{Claimed, Death, DedupeKey, Effect, LiveDelivery, Outcome, ScheduleName},
};

/// The namespace of the host's dedupe keys; no plugin and no caller can use it.
const SCOPE: &str = "host";

/// Deliveries of these say what happened to other deliveries.
const ABOUT_DELIVERIES: &str = "delivery.";

/// The delivery that an event of the host is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// Its key.
    pub delivery: Key,
    /// Where it goes.
    pub target: &'a Target,
    /// What it carries.
    pub event: &'a Event,
}

impl<'a> From<&'a Claimed> for About<'a> {
    fn from(claimed: &'a Claimed) -> Self {
        Self { delivery: claimed.delivery, target: &claimed.lane.target, event: &claimed.event }
    }
}

impl<'a> From<&'a LiveDelivery> for About<'a> {
    fn from(live: &'a LiveDelivery) -> Self {
        Self { delivery: live.delivery, target: &live.lane.target, event: &live.event }
    }
}

impl About<'_> {
    /// Whether its fate is told.
    fn is_told(&self) -> bool {
        !self.event.event_type.is_private() && !tells_of_deliveries(&self.event.event_type)
    }

    fn data(&self, failure: &Failure) -> Value {
        json!({
            "delivery_id": self.delivery.with_prefix("dlv"),
            "event_id": self.event.id,
            "event_type": self.event.event_type,
            "target": self.target.to_string(),
            "reason": failure.reason,
            "code": failure.code,
            "message": failure.message,
        })
    }
}

/// Whether an event of this type says what happened to a delivery.
#[must_use]
pub fn tells_of_deliveries(event_type: &EventType) -> bool {
    event_type.as_str().starts_with(ABOUT_DELIVERIES)
}

/// One thing that the host says.
struct Saying<'a> {
    event_type: &'static str,
    subject: String,
    data: Value,
    /// What it may be said about once; none says it each time.
    once: Option<String>,
    /// The delivery at which it came out; none for what an inbound request brought out.
    cause: Option<About<'a>>,
}

impl Hub {
    /// The event that tells of a dead delivery.
    #[must_use]
    pub fn tell_of_death(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        about: About<'_>,
        failure: &Failure,
    ) -> Option<Prepared> {
        about.is_told().then_some(())?;
        let (subject, data) = (about.delivery.with_prefix("dlv"), about.data(failure));
        self.say(tenant, Saying { event_type: "delivery.died", subject, data, once: None, cause: Some(about) })
    }

    /// What the end of an attempt makes the host say about the delivery, its target and its connections.
    #[must_use]
    pub fn tell_of_end(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        claimed: &Claimed,
        outcome: &Outcome,
        effects: &[Effect],
    ) -> Vec<Prepared> {
        let mut told: Vec<_> =
            effects.iter().filter_map(|effect| self.tell_of_effect(tenant, claimed, effect)).collect();
        told.extend(match outcome {
            Outcome::Dead(failure) => self.tell_of_death(tenant, claimed.into(), failure),
            Outcome::Waiting { .. } | Outcome::Released { .. } => self.tell_of_hold(tenant, claimed, outcome, effects),
            Outcome::Delivered => None,
        });
        told
    }

    fn tell_of_hold(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        claimed: &Claimed,
        outcome: &Outcome,
        effects: &[Effect],
    ) -> Option<Prepared> {
        let about = About::from(claimed);
        about.is_told().then_some(())?;
        if hold(tenant, &claimed.lane.target, claimed.lane.urgency).is_some() {
            return None;
        }
        let (failure, since) = effects.iter().find_map(|effect| block(tenant, outcome, effect))?;
        let once = format!("held:{}:{}", claimed.lane.target, since.0);
        let (subject, data) = (claimed.delivery.with_prefix("dlv"), about.data(&failure));
        self.say(tenant, Saying { event_type: "delivery.held", subject, data, once: Some(once), cause: Some(about) })
    }

    fn tell_of_effect(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        claimed: &Claimed,
        effect: &Effect,
    ) -> Option<Prepared> {
        match effect {
            Effect::EndpointDisabled(key, why) => {
                let endpoint = tenant.endpoints.get(key)?;
                let since = endpoint.row.failing_since.unwrap_or_else(|| self.clock.now());
                let once = format!("endpoint.disabled:{key}:{}", endpoint.row.updated_at.0);
                self.say_of_endpoint(tenant, endpoint, claimed, "endpoint.disabled", why, since, once)
            }
            Effect::VersionBroken(plugin, version) => {
                let row = &tenant.installations.get(&**plugin)?.row;
                if row.broken.as_ref().is_some_and(|(broken, _)| broken == version) {
                    return None;
                }
                let once = Some(format!("plugin.broken:{plugin}:{version}:{}", row.updated_at.0));
                self.say_broken(tenant, plugin, version, once, Some(claimed.into()))
            }
            Effect::ConnectionNeedsLogin(key, why, _) => {
                let row = &tenant.connections.get(key)?.row;
                let subject = key.with_prefix("con");
                let data = json!({
                    "connection_id": subject, "provider": row.provider, "name": row.name, "message": why,
                });
                let once = Some(format!("connection.login_needed:{key}:{}", row.updated_at.0));
                let cause = Some(claimed.into());
                self.say(tenant, Saying { event_type: "connection.login_needed", subject, data, once, cause })
            }
            Effect::EndpointSucceeded(_)
            | Effect::EndpointFailed(..)
            | Effect::InstallationBlocked(..)
            | Effect::InstallationState(..)
            | Effect::InstallationUpgraded(..)
            | Effect::InstallationRemoved(_) => None,
        }
    }

    /// `endpoint.failing` or `endpoint.recovered`, once for the streak of failures that began at `since`.
    #[must_use]
    pub fn tell_of_streak(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        endpoint: &EndpointView,
        claimed: &Claimed,
        event_type: &'static str,
        message: &str,
        since: Timestamp,
    ) -> Option<Prepared> {
        let once = format!("{event_type}:{}:{}", endpoint.row.key, since.0);
        self.say_of_endpoint(tenant, endpoint, claimed, event_type, message, since, once)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of the event")]
    fn say_of_endpoint(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        endpoint: &EndpointView,
        claimed: &Claimed,
        event_type: &'static str,
        message: &str,
        since: Timestamp,
        once: String,
    ) -> Option<Prepared> {
        let subject = endpoint.row.key.with_prefix("ep");
        // A URL may hold a token in its query.
        let url = endpoint.row.url.split('?').next();
        let data = json!({"endpoint_id": subject, "url": url, "message": message, "since": since});
        self.say(tenant, Saying { event_type, subject, data, once: Some(once), cause: Some(claimed.into()) })
    }

    /// Ends of deliveries that are not attempted any more, with what tells of them. What is answered beside them is to be
    /// started once they are stored.
    #[must_use]
    pub fn deaths(self: &Arc<Self>, ends: Vec<LiveDelivery>, failure: &Failure) -> Vec<(Death, Option<Prepared>)> {
        let view = self.directory.view();
        let end = |live: LiveDelivery| {
            let tenant = view.tenants.get(&live.lane.tenant);
            let told = tenant.and_then(|tenant| self.tell_of_death(tenant, (&live).into(), failure));
            let death = Death {
                delivery: live.delivery,
                epoch: live.epoch,
                failure: failure.clone(),
                told: told.as_ref().map(Prepared::to_new_event),
            };
            (death, told)
        };
        ends.into_iter().map(end).collect()
    }

    /// That runs of a schedule were missed, the first of them due at `due_at`.
    #[must_use]
    pub fn tell_of_missed(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        name: &ScheduleName,
        due_at: Timestamp,
        missed: u32,
        policy: Missed,
    ) -> Option<Prepared> {
        let subject = format!("{}:{}", name.plugin, name.schedule);
        let data = json!({
            "plugin": name.plugin, "schedule": name.schedule, "due_at": due_at, "missed": missed,
            "policy": policy.as_str(),
        });
        let once = Some(format!("schedule.missed:{subject}:{}", due_at.0));
        self.say(tenant, Saying { event_type: "schedule.missed", subject, data, once, cause: None })
    }

    /// That a version which kept trapping is broken for a tenant.
    pub fn say_broken(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        plugin: &str,
        version: &str,
        once: Option<String>,
        cause: Option<About<'_>>,
    ) -> Option<Prepared> {
        let message = format!("{plugin} {version} kept trapping; its deliveries are held and its requests parked");
        let data = json!({"plugin": plugin, "version": version, "message": message});
        let subject = format!("plugin:{plugin}");
        self.say(tenant, Saying { event_type: "plugin.broken", subject, data, once, cause })
    }

    fn say(self: &Arc<Self>, tenant: &Arc<TenantView>, saying: Saying<'_>) -> Option<Prepared> {
        let Saying { event_type, subject, data, once, cause } = saying;
        let (key, now) = (self.ids.next(), self.clock.now());
        let text: Arc<str> = data.to_string().into();
        let event_type: EventType = event_type.parse().ok()?;
        let dedupe = once.map(|key| DedupeKey { scope: SCOPE.to_owned(), key, hash: content_hash(&event_type, &text) });
        let event = Event {
            key,
            id: key.with_prefix("evt").into(),
            tenant: tenant.row.id.clone(),
            event_type,
            source: "switchyard:host".into(),
            subject: Some(subject),
            time: now,
            accepted_at: now,
            ordering_key: None,
            correlation_id: cause
                .as_ref()
                .map_or_else(|| key.to_string().into(), |cause| cause.event.correlation_id.clone()),
            traceparent: cause.as_ref().map_or_else(
                || crate::observe::trace::new_traceparent(&self.ids).into(),
                |cause| cause.event.traceparent.clone(),
            ),
            cause: cause.as_ref().map(|cause| cause.delivery),
            request: None,
            hop: cause.map_or(0, |cause| cause.event.hop.saturating_add(1)),
            urgency: Urgency::Normal,
            expires_at: None,
            private_to: None,
            extensions: None,
            data: text,
        };
        Some(self.prepare(tenant, event, &data, dedupe, None, &Standing::default()))
    }
}

/// What an effect holds the delivery by from now on, and what identifies the block: the last change by a person before it.
fn block(tenant: &TenantView, outcome: &Outcome, effect: &Effect) -> Option<(Failure, Timestamp)> {
    let changed = |plugin: &String| Some(tenant.installations.get(&**plugin)?.row.updated_at);
    match effect {
        Effect::EndpointDisabled(key, why) => {
            let failure = Failure::new(ReasonClass::Config, "endpoint_disabled", why.clone());
            Some((failure, tenant.endpoints.get(key)?.row.updated_at))
        }
        Effect::InstallationBlocked(plugin, failure) => Some((failure.clone(), changed(plugin)?)),
        Effect::VersionBroken(plugin, version) => {
            let text = format!("{plugin} {version} keeps trapping");
            Some((Failure::new(ReasonClass::PluginBug, "version_broken", text), changed(plugin)?))
        }
        // Only a connection that the plugin requires gives the delivery back to wait for it.
        Effect::ConnectionNeedsLogin(key, ..) => match outcome {
            Outcome::Released { failure: Some(failure) } => {
                Some((failure.clone(), tenant.connections.get(key)?.row.updated_at))
            }
            _ => None,
        },
        Effect::EndpointSucceeded(_)
        | Effect::EndpointFailed(..)
        | Effect::InstallationState(..)
        | Effect::InstallationUpgraded(..)
        | Effect::InstallationRemoved(_) => None,
    }
}
