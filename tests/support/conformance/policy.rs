//! Consents, plans, and commands that were carried out.

use std::{collections::BTreeMap, time::Duration};

use switchyard::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    policy::{
        address::Channel,
        consent::{ConsentSource, ConsentState},
        plan::{Cap, DayUsage, Follows, LocalDay, Plan, PlanState, Room, Telling},
    },
    queue::{
        reason::{Failure, ReasonClass},
        state::State,
    },
    store::{
        StoreError,
        ledger::{Claimed, EventOutcome, NewEvent, Outcome},
        policy::{
            ConsentFilter, ConsentSaid, Counted, KEPT_SAYINGS, Person, PlanRow, PolicyChange, Reservation, Reserved,
        },
        privacy::Emptied,
        records::{Replay, Selection},
        registry::RegistryRows,
    },
};

use super::{
    fixture::{Fixture, dedupe, plugin},
    privacy,
};

const KARL: Person = [1; 32];
const IDA: Person = [2; 32];
const TODAY: LocalDay = LocalDay { day: 20_000, month_from: 19_990 };
const SEND: &str = "sms.send";

fn said(hub: &Fixture, person: Person, state: ConsentState, at: i64) -> ConsentSaid {
    let source = match state {
        ConsentState::Granted => ConsentSource::StartKeyword,
        ConsentState::Withdrawn => ConsentSource::StopKeyword,
    };
    let now = hub.now();
    let (tenant, address) = (hub.acme.clone(), vec![person[0], 7]);
    ConsentSaid { tenant, channel: Channel::Sms, person, address, state, source, at: Timestamp(at), event: None, now }
}

/// An event that says these things.
fn saying(hub: &Fixture, all: Vec<ConsentSaid>) -> NewEvent {
    let event = hub.event(&hub.acme);
    let changes = all.into_iter().map(|said| PolicyChange::Consent(ConsentSaid { event: Some(event.key), ..said }));
    NewEvent { changes: changes.collect(), ..hub.queued(event, &hub.endpoint()) }
}

pub(super) async fn say(hub: &Fixture, person: Person, state: ConsentState, at: i64) {
    assert_eq!(hub.accept(saying(hub, vec![said(hub, person, state, at)])).await, EventOutcome::Stored);
}

async fn state(hub: &Fixture, tenant: &TenantId, person: Person) -> Option<ConsentState> {
    let known = hub.store.consents_of(tenant, vec![person]).await.expect("read");
    assert!(known.len() <= 1, "{known:?}");
    known.first().map(|(_, _, state)| *state)
}

async fn history(hub: &Fixture, person: Person) -> Vec<(i64, ConsentState)> {
    let past = hub.store.consent_history(&hub.acme, Channel::Sms, person).await.expect("read");
    past.into_iter().map(|past| (past.at.0, past.state)).collect()
}

/// The order of storing is not the order of saying.
pub async fn what_was_said_last_of_a_consent_stands_whatever_comes_late(hub: &Fixture) {
    use ConsentState::{Granted, Withdrawn};
    assert_eq!(state(hub, &hub.acme, KARL).await, None);
    say(hub, KARL, Withdrawn, 200).await;
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(Withdrawn));
    say(hub, KARL, Granted, 100).await;
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(Withdrawn), "a grant that came late");
    say(hub, KARL, Granted, 300).await;
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(Granted));
    assert_eq!(history(hub, KARL).await, [(300, Granted), (200, Withdrawn), (100, Granted)]);
    let row = &hub.store.consents(&hub.acme, ConsentFilter::default(), 10).await.expect("read")[0];
    assert_eq!(
        (row.at, row.source, row.address.as_deref()),
        (Timestamp(300), ConsentSource::StartKeyword, Some(&[1, 7][..]))
    );
    let of_others = hub.store.consents_of(&hub.globex, vec![KARL]).await.expect("read");
    assert!(of_others.is_empty(), "another tenant's");
}

/// Also when one group or one event brings both.
pub async fn of_two_sayings_at_once_the_one_that_withdraws_stands(hub: &Fixture) {
    use ConsentState::{Granted, Withdrawn};
    say(hub, KARL, Withdrawn, 100).await;
    say(hub, KARL, Granted, 100).await;
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(Withdrawn));
    for both in [[Granted, Withdrawn], [Withdrawn, Granted]] {
        let both = both.map(|state| said(hub, IDA, state, 100));
        assert_eq!(hub.accept(saying(hub, both.to_vec())).await, EventOutcome::Stored);
        assert_eq!(state(hub, &hub.acme, IDA).await, Some(Withdrawn));
    }
}

/// A provider sends its webhook again after the person changed their mind.
pub async fn a_duplicate_event_says_nothing(hub: &Fixture) {
    let stop = || NewEvent {
        dedupe: Some(dedupe("sms-1", 1)),
        ..saying(hub, vec![said(hub, KARL, ConsentState::Withdrawn, 900)])
    };
    assert_eq!(hub.accept(stop()).await, EventOutcome::Stored);
    say(hub, KARL, ConsentState::Granted, 1_000).await;
    assert!(matches!(hub.accept(stop()).await, EventOutcome::Duplicate { .. }));
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(ConsentState::Granted));
    assert_eq!(history(hub, KARL).await.len(), 2);
}

/// Even if an event was stamped by a clock that is ahead.
pub async fn an_admins_word_stands_against_all_that_was_said_before(hub: &Fixture) {
    let ahead = hub.now().0 + 60_000;
    say(hub, KARL, ConsentState::Withdrawn, ahead).await;
    let word = ConsentSaid { source: ConsentSource::Api, ..said(hub, KARL, ConsentState::Granted, hub.now().0) };
    hub.store.put_consent(word, hub.audit(&hub.acme, "consent.put")).await.expect("stored");
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(ConsentState::Granted));
    let audit = hub.store.audit_rows(Some(&hub.acme), 1, None).await.expect("rows");
    assert_eq!(audit[0].entry.action, "consent.put");
    let stranger =
        ConsentSaid { tenant: "nobody".parse().expect("a name"), ..said(hub, KARL, ConsentState::Granted, 1) };
    let refused = hub.store.put_consent(stranger, hub.audit(&hub.acme, "consent.put")).await;
    assert!(matches!(refused, Err(StoreError::NotFound)));
}

/// Pages follow one another without gap or overlap.
pub async fn consents_are_listed_page_by_page_and_filtered(hub: &Fixture) {
    for number in 0..7_u8 {
        let state = if number % 2 == 0 { ConsentState::Withdrawn } else { ConsentState::Granted };
        let sms = said(hub, [number; 32], state, 100);
        let email = ConsentSaid { channel: Channel::Email, ..sms.clone() };
        assert_eq!(hub.accept(saying(hub, vec![sms, email])).await, EventOutcome::Stored);
    }
    let mut seen = Vec::new();
    let mut filter = ConsentFilter::default();
    loop {
        let rows = hub.store.consents(&hub.acme, filter.clone(), 3).await.expect("a page");
        seen.extend(rows.iter().map(|row| (row.person, row.channel)));
        match rows.last() {
            Some(last) => filter.after = Some((last.person, last.channel)),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by_key(|(person, channel)| (*person, channel.as_str()));
    sorted.dedup();
    assert_eq!((seen.len(), &sorted), (14, &seen));
    let count = async |filter: ConsentFilter| hub.store.consents(&hub.acme, filter, 100).await.expect("a page").len();
    let all = ConsentFilter::default;
    assert_eq!(count(ConsentFilter { channel: Some(Channel::Email), ..all() }).await, 7);
    assert_eq!(count(ConsentFilter { state: Some(ConsentState::Withdrawn), ..all() }).await, 8);
    assert_eq!(count(ConsentFilter { person: Some([3; 32]), ..all() }).await, 2);
    assert_eq!(hub.store.consents(&hub.globex, all(), 100).await.expect("a page").len(), 0);
}

/// Somebody who writes STOP and START all day fills nothing.
pub async fn of_each_person_the_newest_sayings_are_kept(hub: &Fixture) {
    let many = i64::from(KEPT_SAYINGS) + 20;
    for at in 1..=many {
        say(hub, KARL, ConsentState::Withdrawn, at).await;
    }
    let kept = history(hub, KARL).await;
    assert_eq!(kept.len(), KEPT_SAYINGS as usize);
    assert_eq!((kept[0].0, kept[kept.len() - 1].0), (many, 21));
}

/// What is left names nobody.
pub async fn an_erased_person_stays_opted_out(hub: &Fixture) {
    say(hub, KARL, ConsentState::Withdrawn, 100).await;
    say(hub, IDA, ConsentState::Withdrawn, 100).await;
    let _ = privacy::empty(hub, Emptied::Consents(KARL)).await;
    assert_eq!(state(hub, &hub.acme, KARL).await, Some(ConsentState::Withdrawn));
    let rows = hub.store.consents(&hub.acme, ConsentFilter::default(), 10).await.expect("rows");
    let addresses: Vec<_> = rows.iter().map(|row| row.address.is_some()).collect();
    assert_eq!(addresses, [false, true]);
    let past = hub.store.consent_history(&hub.acme, Channel::Sms, KARL).await.expect("read");
    assert!(past.iter().all(|past| past.event.is_none()) && past.len() == 1);
}

fn plan(caps: &[(&str, u64)]) -> Plan {
    let caps = caps.iter().map(|(name, day)| ((*name).to_owned(), Cap { day: Some(*day), month: None }));
    Plan { state: PlanState::Active, since: Timestamp(5), grace_days: 7, caps: caps.collect(), follows: None }
}

async fn put(hub: &Fixture, tenant: &TenantId, plan: Plan) {
    let row = PlanRow { tenant: tenant.clone(), plan, updated_at: hub.now() };
    hub.store.put_plan(row, hub.audit(tenant, "plan.put")).await.expect("stored");
}

async fn plan_of(hub: &Fixture, tenant: &TenantId) -> Option<Plan> {
    let RegistryRows { plans, .. } = hub.store.registry(Some(tenant)).await.expect("rows");
    plans.into_iter().next().map(|row| row.plan)
}

async fn used(hub: &Fixture) -> Vec<DayUsage> {
    hub.store.usage(&hub.acme, TODAY.month_from).await.expect("counts")
}

async fn total(hub: &Fixture) -> u64 {
    used(hub).await.iter().map(|used| used.total).sum()
}

async fn end(hub: &Fixture, claimed: &Claimed, outcome: Outcome) {
    let mut settle = hub.settle_of(claimed, outcome);
    settle.counted = Some(Counted { command: SEND.to_owned(), day: TODAY.day });
    let _ = hub.store.settle(settle).await.expect("settled");
}

fn asked(hub: &Fixture, delivery: Key, cap: u64) -> Reservation {
    let (tenant, command) = (hub.acme.clone(), SEND.to_owned());
    Reservation { tenant, delivery, command, plan: plan(&[(SEND, cap)]), today: TODAY }
}

async fn started(hub: &Fixture) -> Claimed {
    hub.claim(hub.deliver(&plugin("twilio")).await).await
}

/// A plan comes back as it was given, for its tenant alone.
pub async fn a_plan_is_given_replaced_and_taken_away(hub: &Fixture) {
    assert_eq!(plan_of(hub, &hub.acme).await, None);
    let follows = Some(Follows { tenant: hub.globex.clone(), customer_id: "cus_1".into() });
    let first = Plan { follows, ..plan(&[(SEND, 3), ("*", 9)]) };
    put(hub, &hub.acme, first.clone()).await;
    assert_eq!(plan_of(hub, &hub.acme).await, Some(first));
    let second = Plan { state: PlanState::Canceled, caps: BTreeMap::new(), ..plan(&[]) };
    put(hub, &hub.acme, second.clone()).await;
    assert_eq!((plan_of(hub, &hub.acme).await, plan_of(hub, &hub.globex).await), (Some(second), None));
    let delete = async || hub.store.delete_plan(&hub.acme, hub.audit(&hub.acme, "plan.deleted")).await;
    delete().await.expect("it was there");
    assert!(matches!(delete().await, Err(StoreError::NotFound)));
    assert_eq!(plan_of(hub, &hub.acme).await, None);
}

/// Tellings come in the order of their customer; what was told before is not followed any more.
pub async fn a_plan_follows_what_is_told_of_its_customer(hub: &Fixture) {
    let follows = Some(Follows { tenant: hub.globex.clone(), customer_id: "cus_1".into() });
    put(hub, &hub.acme, Plan { follows, ..plan(&[]) }).await;
    let tell = async |customer: &str, state: PlanState, at: i64| {
        let event = hub.event(&hub.globex);
        let customer_id = customer.to_owned();
        let telling = Telling { tenant: hub.globex.clone(), customer_id, state, at: Timestamp(at) };
        let new = NewEvent { changes: vec![PolicyChange::Plan(telling)], ..hub.queued(event, &hub.endpoint()) };
        assert_eq!(hub.accept(new).await, EventOutcome::Stored);
        plan_of(hub, &hub.acme).await.map(|plan| (plan.state, plan.since.0))
    };
    assert_eq!(tell("cus_2", PlanState::Canceled, 100).await, Some((PlanState::Active, 5)), "another customer");
    assert_eq!(tell("cus_1", PlanState::PastDue, 100).await, Some((PlanState::PastDue, 100)));
    assert_eq!(tell("cus_1", PlanState::PastDue, 200).await, Some((PlanState::PastDue, 100)), "since when it is so");
    assert_eq!(tell("cus_1", PlanState::Active, 150).await, Some((PlanState::PastDue, 100)), "it came late");
    assert_eq!(tell("cus_1", PlanState::Canceled, 300).await, Some((PlanState::Canceled, 300)));
}

/// Retries, deaths and replays of what was delivered count nothing.
pub async fn a_command_counts_once_when_it_is_delivered_first(hub: &Fixture) {
    let failed = || super::fixture::failure();
    let claimed = started(hub).await;
    end(hub, &claimed, Outcome::Waiting { run_at: hub.now(), failure: failed(), burnt: true }).await;
    assert_eq!(total(hub).await, 0);
    let claimed = hub.claim(claimed.delivery).await;
    end(hub, &claimed, Outcome::Delivered).await;
    let counted = DayUsage { day: TODAY.day, command: SEND.into(), total: 1 };
    assert_eq!(used(hub).await, [counted]);
    let replay = Replay {
        tenant: hub.acme.clone(),
        selection: Selection::Deliveries(vec![claimed.delivery]),
        include_delivered: true,
        discard_journal: false,
        spacing_ms: 0,
        limit: 10,
        now: hub.now(),
    };
    hub.store.replay(replay, hub.audit(&hub.acme, "delivery.replayed")).await.expect("replayed");
    let again = hub.claim(claimed.delivery).await;
    let reserved = hub.store.reserve(asked(hub, claimed.delivery, 1)).await.expect("asked");
    assert_eq!(reserved, Reserved::Yes, "it counts already");
    end(hub, &again, Outcome::Delivered).await;
    assert_eq!((total(hub).await, hub.row(claimed.delivery).await.state), (1, State::Delivered));
    let dead = started(hub).await;
    end(hub, &dead, Outcome::Dead(failed())).await;
    let late = hub.settle_of(&claimed, Outcome::Delivered);
    let counted = Some(Counted { command: SEND.into(), day: TODAY.day });
    let _ = hub.store.settle(switchyard::store::ledger::Settle { counted, ..late }).await.expect("answered");
    assert_eq!(total(hub).await, 1, "neither a dead one nor a late settle");
    let other = started(hub).await;
    end(hub, &other, Outcome::Delivered).await;
    assert_eq!(total(hub).await, 2);
    assert!(hub.store.usage(&hub.globex, 0).await.expect("counts").is_empty());
    assert!(hub.store.usage(&hub.acme, TODAY.day + 1).await.expect("counts").is_empty());
}

/// However many start at once.
pub async fn parallel_reservations_never_pass_a_cap(hub: &Fixture) {
    put(hub, &hub.acme, plan(&[(SEND, 3)])).await;
    let mut claimed = Vec::new();
    for _ in 0..10 {
        claimed.push(started(hub).await);
    }
    let tries = claimed.iter().map(|claimed| hub.store.reserve(asked(hub, claimed.delivery, 3)));
    let answers: Vec<_> =
        futures_util::future::join_all(tries).await.into_iter().map(|end| end.expect("asked")).collect();
    let won: Vec<_> = claimed.iter().zip(&answers).filter(|(_, answer)| **answer == Reserved::Yes).collect();
    assert_eq!(won.len(), 3, "{answers:?}");
    let lost = claimed.iter().zip(&answers).find(|(_, answer)| **answer != Reserved::Yes).expect("one lost").0;
    assert!(answers.contains(&Reserved::No(Room::Taken)));
    // Who asks again keeps the place.
    assert_eq!(hub.store.reserve(asked(hub, won[0].0.delivery, 3)).await.expect("asked"), Reserved::Yes);
    // A failure gives its place to another; two that succeed leave none.
    let failed = Outcome::Waiting { run_at: hub.now(), failure: super::fixture::failure(), burnt: true };
    end(hub, won[0].0, failed).await;
    assert_eq!(hub.store.reserve(asked(hub, lost.delivery, 3)).await.expect("asked"), Reserved::Yes);
    for claimed in [won[1].0, won[2].0, lost] {
        end(hub, claimed, Outcome::Delivered).await;
    }
    let last = started(hub).await;
    let full = Reserved::No(Room::Full { all: false, month: false, cap: 3 });
    assert_eq!(hub.store.reserve(asked(hub, last.delivery, 3)).await.expect("asked"), full);
    assert_eq!(total(hub).await, 3);
}

/// A person who cancels a running command leaves no place taken for ever, and neither does a lost worker.
pub async fn a_place_of_what_runs_no_more_is_free(hub: &Fixture) {
    put(hub, &hub.acme, plan(&[(SEND, 1)])).await;
    let cancelled = started(hub).await;
    assert_eq!(hub.store.reserve(asked(hub, cancelled.delivery, 1)).await.expect("asked"), Reserved::Yes);
    let next = started(hub).await;
    let taken = hub.store.reserve(asked(hub, next.delivery, 1)).await.expect("asked");
    assert_eq!(taken, Reserved::No(Room::Taken));
    hub.store
        .cancel(&hub.acme, cancelled.delivery, hub.audit(&hub.acme, "delivery.cancelled"))
        .await
        .expect("cancelled");
    assert_eq!(hub.store.reserve(asked(hub, next.delivery, 1)).await.expect("asked"), Reserved::Yes);
    let gone = hub.store.reserve(asked(hub, cancelled.delivery, 1)).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "it does not run: {gone:?}");
    hub.pass(Duration::from_secs(1));
    end(hub, &next, Outcome::Delivered).await;
    assert_eq!(total(hub).await, 1);
}

/// What waits for another reason, or another tenant's, stays as it is.
pub async fn what_waits_by_the_policys_word_can_be_made_due(hub: &Fixture) {
    let later = Timestamp(hub.now().0 + 3_600_000);
    let wait = async |reason: ReasonClass| {
        let claimed = started(hub).await;
        let failure = Failure::new(reason, "for_the_test", "it waits");
        end(hub, &claimed, Outcome::Waiting { run_at: later, failure, burnt: false }).await;
        claimed
    };
    let (first, other, second) =
        (wait(ReasonClass::Policy).await, wait(ReasonClass::ProviderDown).await, wait(ReasonClass::Policy).await);
    hub.pass(Duration::from_secs(1));
    let soon = Timestamp(hub.now().0 + 1_000);
    assert!(hub.store.ask_again(&hub.globex, hub.now(), soon, 10).await.expect("asked").is_empty());
    for more in [1, 1, 0] {
        let lanes = hub.store.ask_again(&hub.acme, hub.now(), soon, 1).await.expect("asked");
        assert!(lanes.len() == more && lanes.iter().all(|lane| *lane == first.lane), "{lanes:?}");
    }
    for (claimed, due) in [(&first, soon), (&second, soon), (&other, later)] {
        assert_eq!(hub.row(claimed.delivery).await.due_at, due);
    }
}
