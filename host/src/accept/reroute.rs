//! Stored events, routed again as they would be routed now: a replay of an event, or of a command that had no handler.

use std::sync::Arc;

use serde_json::Value;

use super::{Prepared, dead_at_once};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::{Event, Target},
    hub::Hub,
    plugin::model::EventKind,
    policy::Standing,
    queue::{lane::Lane, tell::About},
    route::route::{Route, routes},
    store::{
        StoreError,
        ledger::{NewDelivery, Start},
        records::{EventRoutes, Rerouted},
        registry::AuditEntry,
    },
};

impl Hub {
    /// Routes stored events anew, adds deliveries for targets that have none, and ends their dead letters without a
    /// handler where there is one now. The n-th event's deliveries are due n times `spacing_ms` from now. Answers what was
    /// done for each.
    ///
    /// # Errors
    /// The database failed.
    pub async fn reroute(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        events: &[Arc<Event>],
        spacing_ms: u64,
        audit: AuditEntry,
    ) -> Result<Vec<Rerouted>, StoreError> {
        let now = self.queue_clock.now();
        let due_at = |nth: u64| Timestamp(now.0.saturating_add_unsigned(nth.saturating_mul(spacing_ms)));
        let (mut routes, mut news) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (nth, event) in (0..).zip(events) {
            let (deliveries, told) = self.routed_anew(tenant, event);
            routes.push(EventRoutes { event: event.key, deliveries, due_at: due_at(nth) });
            news.push(told);
        }
        let rerouted = self.store.add_deliveries(&tenant.row.id, routes, audit).await?;
        for (told, rerouted) in news.into_iter().zip(&rerouted) {
            for (target, told) in told {
                if rerouted.targets.contains(&target) {
                    told.stored(self);
                }
            }
        }
        for (nth, (event, rerouted)) in (0..).zip(events.iter().zip(&rerouted)) {
            let lane = |target: &Target| {
                let target = target.clone();
                (Lane { tenant: tenant.row.id.clone(), target, urgency: event.urgency }, due_at(nth))
            };
            self.wake_at(rerouted.targets.iter().map(lane));
        }
        Ok(rerouted)
    }

    /// The routes of a stored event as it would be routed now.
    #[must_use]
    pub fn routes_of(&self, tenant: &TenantView, event: &Event) -> Vec<Route> {
        let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        let catalogue = self.catalogue.load();
        let kind = catalogue.get(event.event_type.as_str()).map_or(EventKind::Event, |definition| definition.kind);
        let mut found = routes(tenant, event, kind, &data);
        for route in &mut found {
            // Who opted out is asked when the attempt starts.
            route.dead = dead_at_once(tenant, event, kind, route, &Standing::default(), self.clock.now());
        }
        found
    }

    /// The deliveries of a stored event as it would be routed now, and for those that are dead at once what tells of it.
    fn routed_anew(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        event: &Event,
    ) -> (Vec<NewDelivery>, Vec<(Target, Prepared)>) {
        let (mut deliveries, mut told) = (Vec::new(), Vec::new());
        for Route { target, ordering_key, dead } in self.routes_of(tenant, event) {
            let key = self.ids.next();
            let news = dead.as_ref().and_then(|failure| {
                self.tell_of_death(tenant, About { delivery: key, target: &target, event }, failure)
            });
            let stored_with_it = news.as_ref().map(|news| Box::new(news.to_new_event()));
            told.extend(news.map(|news| (target.clone(), news)));
            let start = dead.map_or(Start::Queued, Start::Dead);
            deliveries.push(NewDelivery { key, target, start, ordering_key, told: stored_with_it });
        }
        (deliveries, told)
    }
}
