//! Asking the policy: what it needs is read from the store, and its answer ends or delays an attempt.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::{Event, Target, TenantId, Urgency},
    hub::Hub,
    plugin::model::EventKind,
    policy::{
        self, Standing, Verdict, consent,
        plan::{self, LocalDay, Room},
        reach,
    },
    queue::{
        lane::Lane,
        reason::{Failure, ReasonClass},
    },
    store::{
        StoreResult,
        ledger::{Claimed, Outcome},
        policy::{Counted, Reservation, Reserved},
    },
};

/// When a change is in force on every node.
const IN_FORCE: Duration = Duration::from_secs(1);

/// Deliveries that are made due in one transaction.
const AGAIN_AT_ONCE: u32 = 500;

/// Commands that run now decide soon whether there is room for another.
const ROOM_AGAIN: Duration = Duration::from_secs(2);

/// After a failure of the database it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

impl Hub {
    /// What is stored about those whom an event concerns. Most events concern nobody, and cost nothing.
    ///
    /// # Errors
    /// The database failed.
    pub async fn standing(&self, tenant: &TenantView, event: &Event, data: &Value) -> StoreResult<Standing> {
        let kind = self.kind_of(event);
        if event.urgency == Urgency::Emergency || !policy::is_command(kind, &event.event_type) {
            return Ok(Standing::default());
        }
        let command = event.event_type.as_str();
        let opted_out = self.opted_out(tenant, command, data).await?;
        let capped = tenant.policy.plan.as_ref().is_some_and(|plan| plan.caps(command));
        let used = if capped {
            let today = LocalDay::at(self.clock.now(), &tenant.policy.zone);
            self.store.usage(&tenant.row.id, today.month_from).await?
        } else {
            Vec::new()
        };
        Ok(Standing { opted_out, used, begun: false })
    }

    /// The first of the persons whom a command reaches who opted out.
    async fn opted_out(&self, tenant: &TenantView, command: &str, data: &Value) -> StoreResult<Option<Failure>> {
        let reached = reach::reached(command, data);
        let hashed: Vec<_> = reached
            .iter()
            .filter_map(|reached| {
                Some((tenant.key.person_hash(reached.channel.person_kind(), &reached.address)?, reached))
            })
            .collect();
        if hashed.is_empty() {
            return Ok(None);
        }
        let persons = hashed.iter().map(|(person, _)| *person).collect();
        let known = self.store.consents_of(&tenant.row.id, persons).await?;
        Ok(hashed.iter().find_map(|(person, reached)| {
            let state = |channel| {
                known.iter().find(|(known, on, _)| known == person && *on == channel).map(|(_, _, state)| *state)
            };
            consent::refusal(reached, state)
        }))
    }

    /// Whether an event is a command, by the catalogue.
    pub(crate) fn kind_of(&self, event: &Event) -> EventKind {
        let catalogue = self.catalogue.load();
        catalogue.get(event.event_type.as_str()).map_or(EventKind::Event, |definition| definition.kind)
    }

    /// Whether the policy would let a stored event go to a target now. Nothing is reserved.
    ///
    /// # Errors
    /// The database failed.
    pub async fn would_permit(&self, tenant: &TenantView, event: &Event, target: &Target) -> StoreResult<Verdict> {
        let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        let standing = self.standing(tenant, event, &data).await?;
        Ok(policy::judge(tenant, event, self.kind_of(event), target, &standing, self.clock.now()))
    }

    /// How an attempt counts if it succeeds.
    pub(super) fn counted_in(&self, claimed: &Claimed) -> Option<Counted> {
        let tenant = self.directory.tenant(&claimed.lane.tenant)?;
        let event = &claimed.event;
        let counts = matches!(claimed.lane.target, Target::Plugin(_))
            && event.private_to.is_none()
            && policy::is_command(self.kind_of(event), &event.event_type);
        counts.then(|| Counted {
            command: event.event_type.to_string(),
            day: LocalDay::at(self.clock.now(), &tenant.policy.zone).day,
        })
    }

    /// Asks whether an attempt may go on, and takes its place in the plan if it may. The error is how it ends instead:
    /// dead, waiting, or given back; none of these burns a try.
    pub(super) async fn ask_policy(&self, tenant: &Arc<TenantView>, claimed: &Claimed) -> Result<(), Outcome> {
        let event = &claimed.event;
        let is_command = policy::is_command(self.kind_of(event), &event.event_type);
        if !is_command || event.private_to.is_some() || !matches!(claimed.lane.target, Target::Plugin(_)) {
            return Ok(());
        }
        let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        let asked = match self.standing(tenant, event, &data).await {
            Ok(standing) => Standing { begun: claimed.journalled, ..standing },
            Err(error) => return Err(self.unanswered(claimed, &error)),
        };
        let kind = self.kind_of(event);
        match policy::judge(tenant, event, kind, &claimed.lane.target, &asked, self.clock.now()) {
            Verdict::Allow => self.take_room(tenant, claimed).await,
            Verdict::Refuse(failure) => Err(Outcome::Dead(failure)),
            Verdict::Hold(_) => Err(Outcome::Released { failure: None }),
            Verdict::Wait(until, failure) => Err(self.until(until, failure)),
        }
    }

    /// Reserves room in the plan, of several at once for no more than there is.
    async fn take_room(&self, tenant: &Arc<TenantView>, claimed: &Claimed) -> Result<(), Outcome> {
        let event = &claimed.event;
        let command = event.event_type.as_str();
        let Some(plan) = tenant.policy.plan.as_ref().filter(|plan| plan.caps(command)) else { return Ok(()) };
        if event.urgency == Urgency::Emergency || claimed.journalled {
            return Ok(());
        }
        let reservation = Reservation {
            tenant: tenant.row.id.clone(),
            delivery: claimed.delivery,
            command: command.to_owned(),
            plan: plan.clone(),
            today: LocalDay::at(self.clock.now(), &tenant.policy.zone),
        };
        match self.store.reserve(reservation).await {
            Ok(Reserved::Yes | Reserved::No(Room::Free)) => Ok(()),
            Ok(Reserved::No(Room::Full { all, month, cap })) => {
                Err(Outcome::Dead(plan::full(command, all, month, cap)))
            }
            Ok(Reserved::No(Room::Taken)) => {
                let text = "the plan's last room is taken by commands that run now; it is asked again";
                let failure = Failure::new(ReasonClass::Policy, "plan_room", text);
                Err(self.until(self.clock.now().after(ROOM_AGAIN), failure))
            }
            Err(error) => Err(self.unanswered(claimed, &error)),
        }
    }

    /// Asks again for what waits by the policy's word, after a change of what it follows.
    pub fn ask_policy_again(self: &Arc<Self>, tenant: &TenantId) {
        let (hub, tenant) = (self.clone(), tenant.clone());
        // Of this millisecond too; what begins to wait after it knows of the change, or its node will in a second.
        let now = self.queue_clock.now().after(Duration::from_millis(1));
        let due = now.after(IN_FORCE);
        self.tasks.spawn(async move {
            loop {
                match hub.store.ask_again(&tenant, now, due, AGAIN_AT_ONCE).await {
                    Ok(lanes) => {
                        let more = lanes.len() >= AGAIN_AT_ONCE as usize;
                        let lanes: HashSet<Lane> = lanes.into_iter().collect();
                        hub.wake_at(lanes.into_iter().map(|lane| (lane, due)));
                        if !more {
                            return;
                        }
                    }
                    // It is asked at the time that was said before.
                    Err(error) => return tracing::warn!(%error, tenant = %tenant, "what waits could not be made due"),
                }
            }
        });
    }

    /// Nothing is sent without an answer: what is not known may be an opt-out.
    fn unanswered(&self, claimed: &Claimed, error: &crate::store::StoreError) -> Outcome {
        tracing::warn!(%error, delivery.id = %claimed.delivery, "the policy could not be asked; the attempt waits");
        let failure = Failure::new(ReasonClass::ProviderDown, "database", "the policy could not be asked");
        Outcome::Waiting { run_at: self.queue_clock.now().after(ASK_AGAIN), failure, burnt: false }
    }

    /// Waits until a moment of the wall clock, which the queue's clock may be ahead of.
    fn until(&self, until: Timestamp, failure: Failure) -> Outcome {
        let wait = until.since(self.clock.now());
        let run_at = self.queue_clock.now().after(wait);
        Outcome::Waiting { run_at, failure, burnt: false }
    }
}
