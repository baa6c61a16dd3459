//! Settles.

use std::time::Duration;

use switchyard::{
    queue::{
        partition::PartitionSet,
        reason::{Failure, ReasonClass},
        state::State,
    },
    store::{
        StoreError,
        ledger::{Accept, Effect, EventOutcome, JournalChange, Outcome, Settled},
        registry::{EndpointState, InstallState},
    },
};

use super::fixture::{Fixture, dedupe, failure, plugin};

/// And it is in no lane.
pub async fn a_delivered_settle_ends_the_delivery_and_records_the_attempt(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(key).await;
    assert!(!hub.settle(&claimed, Outcome::Delivered).await);
    let row = hub.row(key).await;
    assert_eq!((row.state, row.failure), (State::Delivered, None));
    let attempts = hub.store.attempts(&hub.acme, key).await.expect("attempts");
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].number, attempts[0].outcome.as_str(), attempts[0].status), (1, "succeeded", Some(200)));
    assert_eq!(attempts[0].duration_us, 1500);
    assert!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").is_empty());
}

async fn lost(hub: &Fixture, settle: switchyard::store::ledger::Settle) -> bool {
    matches!(hub.store.settle(settle).await.expect("the settle is committed"), Settled::LostLease)
}

/// Neither attempt nor event.
pub async fn a_late_settle_lost_its_lease_and_writes_nothing(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(key).await;
    hub.settle(&claimed, Outcome::Delivered).await;
    let mut late = hub.settle_of(&claimed, Outcome::Dead(failure()));
    let emitted = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    let id = emitted.event.id.clone();
    late.emitted = Accept { events: vec![emitted], ..Accept::default() };
    assert!(lost(hub, late).await);
    assert_eq!(hub.row(key).await.state, State::Delivered);
    assert_eq!(hub.store.attempts(&hub.acme, key).await.expect("attempts").len(), 1);
    assert!(matches!(hub.store.event(&hub.acme, &id).await, Err(StoreError::NotFound)));
}

/// A zombie's settle after its delivery runs elsewhere.
pub async fn a_settle_under_a_newer_epoch_does_not_pass(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let zombie = hub.claim(key).await;
    hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    let successor = hub.claim(key).await;
    assert!(lost(hub, hub.settle_of(&zombie, Outcome::Delivered)).await);
    assert_eq!((hub.row(key).await.state, hub.row(key).await.epoch), (State::Running, successor.epoch));
    hub.settle(&successor, Outcome::Delivered).await;
}

/// Also in one group.
pub async fn of_two_settles_one_wins(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(key).await;
    let (first, second) = tokio::join!(
        hub.store.settle(hub.settle_of(&claimed, Outcome::Delivered)),
        hub.store.settle(hub.settle_of(&claimed, Outcome::Dead(failure())))
    );
    let won = [first, second].into_iter().filter(|end| matches!(end, Ok(Settled::Done { .. }))).count();
    assert_eq!(won, 1);
    assert_eq!(hub.store.attempts(&hub.acme, key).await.expect("attempts").len(), 1);
}

/// The retry time is visible.
pub async fn a_burnt_try_counts_and_a_given_back_one_does_not(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let run_at = hub.now().after(Duration::from_secs(300));
    for (burnt, tries) in [(true, 1), (false, 1), (true, 2)] {
        let claimed = hub.claim(key).await;
        hub.settle(&claimed, Outcome::Waiting { run_at, failure: failure(), burnt }).await;
        let row = hub.row(key).await;
        assert_eq!((row.state, row.tries, row.due_at), (State::Waiting, tries, run_at));
        assert_eq!(row.failure, Some(failure()));
    }
    assert_eq!(hub.row(key).await.epoch, 3);
}

/// With the reason that a held delivery shows.
pub async fn a_released_delivery_is_queued_without_a_burnt_try(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(key).await;
    let mut settle = hub.settle_of(&claimed, Outcome::Released { failure: Some(failure()) });
    settle.attempt = None;
    hub.store.settle(settle).await.expect("committed");
    let row = hub.row(key).await;
    assert_eq!((row.state, row.tries, row.epoch, row.failure), (State::Queued, 0, 1, Some(failure())));
    assert!(hub.store.attempts(&hub.acme, key).await.expect("attempts").is_empty());
}

/// Equal failures at one target have equal fingerprints.
pub async fn a_dead_delivery_has_reason_and_fingerprint(hub: &Fixture) {
    let target = hub.endpoint();
    let keys = [hub.deliver(&target).await, hub.deliver(&target).await];
    for key in keys {
        hub.kill(key).await;
    }
    let (first, second) = (hub.row(keys[0]).await, hub.row(keys[1]).await);
    assert_eq!((first.state, first.failure), (State::Dead, Some(failure())));
    assert_eq!(first.fingerprint, Some(failure().fingerprint(&target.to_string())));
    assert_eq!(first.fingerprint, second.fingerprint);
    let attempts = hub.store.attempts(&hub.acme, keys[0]).await.expect("attempts");
    assert_eq!((attempts[0].outcome.as_str(), &attempts[0].failure), ("failed", &Some(failure())));
}

/// In one transaction, by the accept's own rules.
pub async fn emitted_events_come_with_the_settle_or_not_at_all(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    let claimed = hub.claim(key).await;
    let mut settle = hub.settle_of(&claimed, Outcome::Delivered);
    let emitted = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    let (id, delivery) = (emitted.event.id.clone(), emitted.deliveries[0].key);
    settle.emitted = Accept { events: vec![emitted], ..Accept::default() };
    match hub.store.settle(settle).await.expect("committed") {
        Settled::Done { accepted, .. } => assert_eq!(accepted.events, [EventOutcome::Stored]),
        other => panic!("expected to win: {other:?}"),
    }
    hub.store.event(&hub.acme, &id).await.expect("the emitted event is there");
    assert_eq!(hub.row(delivery).await.state, State::Queued);

    let claimed = hub.claim(delivery).await;
    let mut broken = hub.settle_of(&claimed, Outcome::Delivered);
    let nobody = "nobody".parse().expect("a tenant's name");
    let emitted = hub.queued(hub.event(&nobody), &hub.endpoint());
    broken.emitted = Accept { events: vec![emitted], ..Accept::default() };
    assert!(hub.store.settle(broken).await.is_err());
    assert_eq!(hub.row(delivery).await.state, State::Running);
    assert!(hub.store.attempts(&hub.acme, delivery).await.expect("attempts").is_empty());
}

/// It is only told.
pub async fn an_emitted_duplicate_does_not_undo_the_settle(hub: &Fixture) {
    let keyed = || {
        let mut new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
        new.dedupe = Some(dedupe("1", 1));
        new
    };
    assert_eq!(hub.accept(keyed()).await, EventOutcome::Stored);
    let key = hub.deliver(&plugin("billy")).await;
    let mut settle = hub.settle_of(&hub.claim(key).await, Outcome::Delivered);
    settle.emitted = Accept { events: vec![keyed()], ..Accept::default() };
    match hub.store.settle(settle).await.expect("committed") {
        Settled::Done { accepted, .. } => assert!(matches!(accepted.events[0], EventOutcome::Duplicate { .. })),
        other => panic!("expected to win: {other:?}"),
    }
    assert_eq!(hub.row(key).await.state, State::Delivered);
}

/// The claim says whether there is one.
pub async fn the_journal_is_put_kept_and_cleared(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    let waiting = || Outcome::Waiting { run_at: hub.now(), failure: failure(), burnt: true };
    let changes = [
        (JournalChange::Put(vec![1]), Some(vec![1])),
        (JournalChange::Keep, Some(vec![1])),
        (JournalChange::Put(vec![2, 0]), Some(vec![2, 0])),
        (JournalChange::Clear, None),
    ];
    for (journal, expected) in changes {
        let mut settle = hub.settle_of(&hub.claim(key).await, waiting());
        settle.journal = journal;
        hub.store.settle(settle).await.expect("committed");
        assert_eq!(hub.store.journal(&hub.acme, key).await.expect("a delivery"), expected);
        let claimed = hub.claim(key).await;
        assert_eq!(claimed.journalled, expected.is_some());
        hub.settle(&claimed, waiting()).await;
    }
}

/// Each on its own row.
pub async fn effects_change_the_rows_of_their_targets(hub: &Fixture) {
    let endpoint = hub.endpoint_row(&hub.acme);
    let key = endpoint.key;
    hub.store.create_endpoint(endpoint, hub.audit(&hub.acme, "endpoint.created")).await.expect("made");
    let mut billy = hub.install_billy(&hub.acme).await;
    billy.state = InstallState::Installing;
    hub.store.put_installation(billy, hub.audit(&hub.acme, "plugin.installed")).await.expect("being installed");
    let claimed = hub.claim(hub.deliver(&plugin("billy")).await).await;
    let mut settle = hub.settle_of(&claimed, Outcome::Delivered);
    let bug = Failure::new(ReasonClass::PluginBug, "trap", "It traps.");
    settle.effects = vec![
        Effect::EndpointDisabled(key, "410 Gone".into()),
        Effect::InstallationBlocked("billy".into(), bug.clone()),
        Effect::VersionBroken("billy".into(), "1.0.0".into()),
        Effect::InstallationState("billy".into(), Err("no such account".into())),
    ];
    hub.store.settle(settle).await.expect("committed");
    let rows = hub.store.registry(Some(&hub.acme)).await.expect("rows");
    assert_eq!(rows.endpoints[0].state, EndpointState::Disabled);
    assert_eq!(rows.endpoints[0].state_reason, Some(("410 Gone".into(), hub.now())));
    let billy = &rows.installations[0];
    assert_eq!(billy.blocked, Some((bug, hub.now())));
    assert_eq!(billy.broken, Some(("1.0.0".into(), hub.now())));
    assert_eq!((billy.state, billy.state_reason.as_deref()), (InstallState::Failed, Some("no such account")));

    let claimed = hub.claim(hub.deliver(&plugin("billy")).await).await;
    let mut settle = hub.settle_of(&claimed, Outcome::Delivered);
    settle.effects = vec![Effect::InstallationRemoved("billy".into())];
    hub.store.settle(settle).await.expect("committed");
    assert!(hub.store.registry(Some(&hub.acme)).await.expect("rows").installations.is_empty());
}

/// The first failure's time stays.
pub async fn a_failing_streak_begins_once_and_ends_with_a_success(hub: &Fixture) {
    let endpoint = hub.endpoint_row(&hub.acme);
    let key = endpoint.key;
    let target = switchyard::event::Target::Endpoint(key);
    hub.store.create_endpoint(endpoint, hub.audit(&hub.acme, "endpoint.created")).await.expect("made");
    let began = hub.now();
    for effect in [
        Effect::EndpointFailed(key, began),
        Effect::EndpointFailed(key, began.after(Duration::from_secs(9))),
        Effect::EndpointSucceeded(key),
    ] {
        let succeeded = matches!(effect, Effect::EndpointSucceeded(_));
        let mut settle = hub.settle_of(&hub.claim(hub.deliver(&target).await).await, Outcome::Delivered);
        settle.effects = vec![effect];
        hub.store.settle(settle).await.expect("committed");
        let row = hub.store.registry(Some(&hub.acme)).await.expect("rows").endpoints.remove(0);
        assert_eq!(row.failing_since, (!succeeded).then_some(began));
        assert_eq!(row.last_success, succeeded.then_some(hub.now()));
    }
}

/// Over waits, releases, rescues, deaths and replays.
pub async fn the_epoch_never_decreases(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let mut last = 0;
    for round in 0..6 {
        let claimed = hub.claim(key).await;
        assert_eq!(claimed.epoch, last + 1);
        last = claimed.epoch;
        match round % 3 {
            0 => assert!(!hub.settle(&claimed, Outcome::Released { failure: None }).await),
            1 => assert_eq!(hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued").len(), 1),
            _ => {
                hub.settle(&claimed, Outcome::Dead(failure())).await;
                let replay = super::records::replay_of(hub, vec![key]);
                hub.store.replay(replay, hub.audit(&hub.acme, "delivery.replayed")).await.expect("replayed");
                assert_eq!((hub.row(key).await.tries, hub.row(key).await.epoch), (0, last));
            }
        }
    }
}
