//! Requests of persons: their steps, what is looked through, what is emptied.

use switchyard::{
    clock::Timestamp,
    connection::vault::PersonKind,
    event::TenantId,
    id::Key,
    policy::consent::ConsentState,
    queue::state::State,
    store::{
        StoreError,
        ledger::{
            Accept, EventOutcome, Expected, Intent, IntentOutcome, JournalChange, KvRow, KvWrite, NewEvent, Outcome,
            Settled,
        },
        privacy::{Asked, Emptied, Kept, Place, Portion, PrivacyRow, PrivacyStep, Standing},
        records::{EventRoutes, Page, Replay, Rerouted, Selection},
    },
};

use super::{
    fixture::{Fixture, failure, plugin},
    intake::{park, rejection, request},
    policy,
    records::replay_of,
};

const ALL: Page = Page { limit: 1000, after: None };

const PORTION: Portion = Portion { rows: 100, bytes: 1 << 20 };

fn asked(hub: &Fixture, tenant: &TenantId, asked: Asked) -> PrivacyRow {
    PrivacyRow {
        key: hub.ids.next(),
        tenant: tenant.clone(),
        asked,
        kind: PersonKind::Phone,
        person: [1; 32],
        standing: Standing::Running,
        progress: "{}".into(),
        turn: 0,
        due_at: hub.now(),
        created_at: hub.now(),
        updated_at: hub.now(),
        actor: "key_1".into(),
    }
}

async fn begun(hub: &Fixture, tenant: &TenantId, what: Asked) -> PrivacyRow {
    let row = asked(hub, tenant, what);
    hub.store.begin_privacy(row.clone(), hub.audit(tenant, "privacy.asked")).await.expect("it is kept");
    row
}

fn step(hub: &Fixture, row: &PrivacyRow, turn: u64) -> PrivacyStep {
    PrivacyStep {
        tenant: row.tenant.clone(),
        request: row.key,
        turn,
        progress: format!("{{\"turn\":{turn}}}"),
        standing: Standing::Running,
        due_at: hub.now(),
        now: hub.now(),
        emptied: Vec::new(),
        piece: None,
        ends_exports: None,
        audit: None,
    }
}

/// Empties one thing by a request of its own.
pub(super) async fn empty(hub: &Fixture, emptied: Emptied) -> Vec<Key> {
    let row = begun(hub, &hub.acme, Asked::Erase).await;
    let step = PrivacyStep { emptied: vec![emptied], ..step(hub, &row, 0) };
    hub.store.privacy_step(step).await.expect("committed").expect("it is the next step").deliveries
}

/// All rows of a place, portion by portion.
async fn kept(hub: &Fixture, tenant: &TenantId, place: Place, portion: Portion) -> Vec<Kept> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = hub.store.kept(tenant, place, after.as_deref(), portion).await.expect("rows");
        assert!(page.rows.len() <= portion.rows as usize);
        assert!(page.next.is_none() || !page.rows.is_empty(), "it does not come on");
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

/// A step of a number that was taken already writes nothing, nor does one after the end.
pub async fn a_request_is_kept_and_each_of_its_steps_is_written_once(hub: &Fixture) {
    let row = begun(hub, &hub.acme, Asked::Erase).await;
    let twice = hub.store.begin_privacy(row.clone(), hub.audit(&hub.acme, "privacy.asked")).await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))), "{twice:?}");
    assert_eq!(hub.store.privacy_request(&hub.acme, row.key).await.expect("it is there"), row);
    assert!(matches!(hub.store.privacy_request(&hub.globex, row.key).await, Err(StoreError::NotFound)));
    assert!(hub.store.privacy_requests(&hub.globex, ALL).await.expect("a list").is_empty());
    assert_eq!(hub.store.privacy_requests(&hub.acme, ALL).await.expect("a list"), std::slice::from_ref(&row));
    assert_eq!(hub.store.erasures().await.expect("a list"), std::slice::from_ref(&row));
    assert!(hub.store.privacy_due(Timestamp(hub.now().0 - 1), 9).await.expect("a list").is_empty());
    assert_eq!(hub.store.privacy_due(hub.now(), 9).await.expect("a list").len(), 1);

    assert!(hub.store.privacy_step(step(hub, &row, 0)).await.expect("committed").is_some());
    assert!(hub.store.privacy_step(step(hub, &row, 0)).await.expect("committed").is_none(), "the same step twice");
    let foreign = PrivacyStep { tenant: hub.globex.clone(), ..step(hub, &row, 1) };
    assert!(hub.store.privacy_step(foreign).await.expect("committed").is_none());
    let last = PrivacyStep { standing: Standing::Done, ..step(hub, &row, 1) };
    assert!(hub.store.privacy_step(last).await.expect("committed").is_some());
    assert!(hub.store.privacy_step(step(hub, &row, 2)).await.expect("committed").is_none(), "it is over");
    let done = hub.store.privacy_request(&hub.acme, row.key).await.expect("it is there");
    assert_eq!((done.standing, done.turn, &*done.progress), (Standing::Done, 2, "{\"turn\":1}"));
    assert!(hub.store.privacy_due(hub.now(), 9).await.expect("a list").is_empty());
    let unknown = asked(hub, &"nobody".parse().expect("a name"), Asked::Export);
    let audit = hub.audit(&hub.acme, "privacy.asked");
    assert!(matches!(hub.store.begin_privacy(unknown, audit).await, Err(StoreError::NotFound)));
}

/// What acme has in each place.
async fn furnish(hub: &Fixture) -> (NewEvent, Key) {
    hub.install_billy(&hub.acme).await;
    let mut event = hub.event(&hub.acme);
    event.subject = Some("customer-7".into());
    event.ordering_key = Some("customer-7".into());
    event.data = format!("{{\"text\":\"{}\"}}", "x".repeat(600)).into();
    let mut new = hub.queued(event, &plugin("billy"));
    new.persons = vec![[1; 32], [2; 32]];
    let delivery = new.deliveries[0].key;
    let came = request(hub, &hub.acme, "src_1", 20);
    let accept = Accept { events: vec![new.clone()], request: Some(came), ..Accept::default() };
    hub.store.accept(accept).await.expect("the accept is committed");
    let mut settle = hub.settle_of(&hub.claim(delivery).await, Outcome::Dead(failure()));
    settle.journal = JournalChange::Put(b"the journal".to_vec());
    settle.plugin = Some("billy".into());
    let write = |key: &str, person| KvWrite {
        key: key.into(),
        expected: Expected::Any,
        value: Some(b"the value".to_vec()),
        expires_at: None,
        person,
    };
    settle.kv = vec![write("a", Some([1; 32])), write("b", None)];
    hub.store.settle(settle).await.expect("committed");
    let _ = park(hub, "src_1", 10).await;
    hub.store.reject(vec![rejection(hub, &hub.acme, "src_1")]).await.expect("kept");
    (new, delivery)
}

/// A portion is bounded in rows and bytes, and still always one row.
pub async fn every_place_shows_its_rows_in_portions_and_none_of_another_tenant(hub: &Fixture) {
    let (new, delivery) = furnish(hub).await;
    for person in [[7; 32], [8; 32]] {
        policy::say(hub, person, ConsentState::Withdrawn, 100).await;
    }
    for _ in 0..5 {
        let _ = hub.deliver(&plugin("billy")).await;
        let _ = hub.deliver_event(hub.event(&hub.globex), &plugin("billy")).await;
    }
    for portion in [PORTION, Portion { rows: 2, bytes: 1 << 20 }, Portion { rows: 100, bytes: 1 }] {
        let counts: Vec<usize> = {
            let mut counts = Vec::new();
            for place in Place::ALL {
                counts.push(kept(hub, &hub.acme, place, portion).await.len());
            }
            counts
        };
        assert_eq!(counts, [8, 8, 1, 0, 1, 1, 2, 2], "{portion:?}");
    }
    let events = kept(hub, &hub.acme, Place::Events, PORTION).await;
    let Some(Kept::Event(first)) = events.first() else { panic!("no event: {events:?}") };
    assert_eq!((first.event.key, &*first.event.data), (new.event.key, &*new.event.data));
    assert_eq!((first.persons.len(), first.erased), (64, false));
    let deliveries = kept(hub, &hub.acme, Place::Deliveries, PORTION).await;
    let Some(Kept::Delivery(first)) = deliveries.first() else { panic!("no delivery: {deliveries:?}") };
    assert_eq!((first.key, first.state, first.attempts.len()), (delivery, State::Dead, 1));
    assert_eq!((first.journal.as_deref(), first.event.event.key), (Some(&b"the journal"[..]), new.event.key));
    let requests = kept(hub, &hub.acme, Place::Requests, PORTION).await;
    assert!(matches!(&requests[..], [Kept::Request(one)] if one.body.len() == 20 && one.url.contains('?')));
    let values = kept(hub, &hub.acme, Place::Kv, PORTION).await;
    assert!(matches!(&values[..], [Kept::Value(a), Kept::Value(b)] if a.person == Some([1; 32]) && b.person.is_none()));
}

/// Ids, types and times stay; what is not over is cancelled, and the next of its order goes on.
pub async fn an_emptied_event_keeps_its_ids_and_cancels_what_is_not_over(hub: &Fixture) {
    let (new, dead) = furnish(hub).await;
    let ordered = |key: &str| {
        let mut event = hub.event(&hub.acme);
        event.ordering_key = Some(key.into());
        event
    };
    let (target, first) = (hub.endpoint(), ordered("k"));
    let about = hub.queued(first, &target);
    let (event, waiting) = (about.event.key, about.deliveries[0].key);
    assert_eq!(hub.accept(about).await, EventOutcome::Stored);
    let behind = hub.deliver_event(ordered("k"), &target).await;
    assert!(hub.row(behind).await.behind);
    let data = "{\"erased\":true}".to_owned();
    let ended = empty(hub, Emptied::Event { key: event, data: data.clone(), subject: None }).await;
    assert_eq!(ended, [waiting]);
    assert_eq!((hub.row(waiting).await.state, hub.row(behind).await.behind), (State::Cancelled, false));
    let ended = empty(hub, Emptied::Event { key: new.event.key, data, subject: Some("customer".into()) }).await;
    assert_eq!((ended, hub.row(dead).await.state), (vec![dead], State::Cancelled));
    let emptied = hub.store.event(&hub.acme, &new.event.id).await.expect("it is there");
    assert_eq!((&*emptied.data, emptied.subject.as_deref()), ("{\"erased\":true}", Some("customer")));
    assert_eq!(
        (emptied.time, &emptied.event_type, &emptied.ordering_key),
        (new.event.time, &new.event.event_type, &None)
    );
    let kept = kept(hub, &hub.acme, Place::Events, PORTION).await;
    assert!(matches!(&kept[0], Kept::Event(one) if one.erased && one.persons.is_empty()));
    // It goes like any other one, with what hangs on it.
    hub.pass(std::time::Duration::from_secs(1));
    assert!(hub.store.prune(hub.now(), Timestamp(0), 100).await.expect("pruned") >= 2);
}

/// Not by a replay of its deliveries, nor by one of itself; a run that is under way settles nothing.
pub async fn an_emptied_event_is_never_delivered_again(hub: &Fixture) {
    let delivered = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(delivered).await;
    hub.settle(&claimed, Outcome::Delivered).await;
    let event = hub.row(delivered).await.event;
    let running = hub.deliver(&plugin("billy")).await;
    let run = hub.claim(running).await;
    let other = hub.row(running).await.event;
    for key in [event, other] {
        let _ = empty(hub, Emptied::Event { key, data: "{}".into(), subject: None }).await;
    }
    assert!(matches!(
        hub.store.settle(hub.settle_of(&run, Outcome::Delivered)).await.expect("committed"),
        Settled::LostLease
    ));
    let intent = Intent {
        tenant: hub.acme.clone(),
        delivery: running,
        epoch: run.epoch,
        journal: vec![1],
        kv: Vec::new(),
        plugin: "billy".into(),
    };
    assert_eq!(hub.store.intend(intent).await.expect("committed"), IntentOutcome::LostLease);
    hub.pass(std::time::Duration::from_secs(1));
    let named = Replay { include_delivered: true, now: hub.now(), ..replay_of(hub, vec![delivered]) };
    let target = hub.row(delivered).await.target;
    let all = Replay { selection: Selection::Target(target, None), ..named.clone() };
    for replay in [named, all] {
        let touched = hub.store.replay(replay, hub.audit(&hub.acme, "replayed")).await.expect("nothing");
        assert!(touched.deliveries.is_empty(), "{touched:?}");
    }
    let fresh =
        hub.queued((*hub.store.event(&hub.acme, &format!("evt_{event}")).await.expect("it")).clone(), &hub.endpoint());
    let routes = vec![EventRoutes { event, deliveries: fresh.deliveries, due_at: hub.now() }];
    let added = hub.store.add_deliveries(&hub.acme, routes, hub.audit(&hub.acme, "replayed")).await.expect("nothing");
    assert_eq!(added, [Rerouted::default()]);
    assert_eq!(hub.row(delivered).await.state, State::Delivered);
}

/// What is written over stays with its key, its times and its source.
pub async fn deliveries_requests_and_values_are_emptied_in_their_places(hub: &Fixture) {
    let (_, dead) = furnish(hub).await;
    let emptied = Emptied::Delivery {
        key: dead,
        message: Some("erased".into()),
        without_order: true,
        attempts: vec![(1, Some("erased".into()), Some("{\"erased\":true}".into()))],
        journal: Some(b"sealed anew".to_vec()),
    };
    let _ = empty(hub, emptied).await;
    let row = hub.row(dead).await;
    assert_eq!((row.state, row.failure.expect("a failure").message.as_str()), (State::Dead, "erased"));
    let attempt = hub.store.attempts(&hub.acme, dead).await.expect("attempts").remove(0);
    assert_eq!((attempt.detail.as_deref(), attempt.number), (Some("{\"erased\":true}"), 1));
    assert_eq!(hub.store.journal(&hub.acme, dead).await.expect("a journal"), Some(b"sealed anew".to_vec()));

    let requests = kept(hub, &hub.acme, Place::Requests, PORTION).await;
    let Some(Kept::Request(came)) = requests.first() else { panic!("no request") };
    let emptied = Emptied::Request {
        owner: came.owner.clone(),
        key: came.key,
        correlation_id: came.correlation_id.clone(),
        url: "https://hub/in/src_1".into(),
        body: b"gone".to_vec(),
    };
    let _ = empty(hub, emptied).await;
    let requests = kept(hub, &hub.acme, Place::Requests, PORTION).await;
    assert!(
        matches!(&requests[..], [Kept::Request(one)] if one.body == b"gone" && one.headers == "[]" && one.key == came.key)
    );

    let parked = hub.store.parked(&hub.acme, ALL).await.expect("a list")[0].key;
    let _ = empty(hub, Emptied::Parked(parked)).await;
    assert!(hub.store.parked(&hub.acme, ALL).await.expect("a list").is_empty());
    let rejections = hub.store.rejections(&hub.acme, ALL).await.expect("a list");
    assert!(
        rejections.iter().any(|one| one.key == parked && one.code == "erased" && one.bytes == 10),
        "{rejections:?}"
    );
    let other = rejections.iter().find(|one| one.key != parked).expect("the other one").key;
    let _ = empty(hub, Emptied::Rejection(other)).await;
    let rejections = hub.store.rejections(&hub.acme, ALL).await.expect("a list");
    assert!(rejections.iter().all(|one| one.reason == "erased"), "{rejections:?}");

    let value = |version, value: Option<&[u8]>| Emptied::Value {
        plugin: "billy".into(),
        key: "a".into(),
        version,
        value: value.map(<[u8]>::to_vec),
    };
    let get = async || hub.store.kv_get(&hub.acme, "billy", "a", hub.now()).await.expect("a row");
    let _ = empty(hub, value(7, None)).await;
    assert_eq!(get().await.version, 1, "a value that was written since stays");
    let _ = empty(hub, value(1, Some(b"rest"))).await;
    assert_eq!(get().await, KvRow { value: Some(b"rest".to_vec()), version: 2 });
    let _ = empty(hub, value(2, None)).await;
    assert_eq!(get().await, KvRow::default());
    assert_eq!(kept(hub, &hub.acme, Place::Kv, PORTION).await.len(), 1);
}

/// A run that may still need its journal keeps it.
pub async fn a_journal_that_is_in_use_is_not_emptied(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let delivery = hub.deliver(&plugin("billy")).await;
    let claimed = hub.claim(delivery).await;
    let waiting = Outcome::Waiting { run_at: hub.now(), failure: failure(), burnt: true };
    let mut settle = hub.settle_of(&claimed, waiting);
    settle.journal = JournalChange::Put(b"the journal".to_vec());
    hub.store.settle(settle).await.expect("committed");
    let emptied = Emptied::Delivery {
        key: delivery,
        message: None,
        without_order: false,
        attempts: Vec::new(),
        journal: Some(b"emptied".to_vec()),
    };
    let _ = empty(hub, emptied).await;
    assert_eq!(hub.store.journal(&hub.acme, delivery).await.expect("a journal"), Some(b"the journal".to_vec()));
}

/// Those of the tenant go with an erasure, and one under way begins anew.
pub async fn parts_of_an_export_come_back_and_go(hub: &Fixture) {
    let row = begun(hub, &hub.acme, Asked::Export).await;
    let with_piece = PrivacyStep { piece: Some((0, vec![7; 9])), ..step(hub, &row, 0) };
    assert!(hub.store.privacy_step(with_piece).await.expect("committed").is_some());
    let piece =
        async |tenant: &TenantId, number| hub.store.privacy_piece(tenant, row.key, number).await.expect("a read");
    assert_eq!(piece(&hub.acme, 0).await, Some(vec![7; 9]));
    assert_eq!((piece(&hub.acme, 1).await, piece(&hub.globex, 0).await), (None, None));
    let erasure = begun(hub, &hub.acme, Asked::Erase).await;
    let ending = PrivacyStep { ends_exports: Some("{\"anew\":1}".into()), ..step(hub, &erasure, 0) };
    assert!(hub.store.privacy_step(ending).await.expect("committed").is_some());
    assert_eq!(piece(&hub.acme, 0).await, None);
    let begun_anew = hub.store.privacy_request(&hub.acme, row.key).await.expect("it is there");
    assert_eq!((&*begun_anew.progress, begun_anew.turn, begun_anew.standing), ("{\"anew\":1}", 2, Standing::Running));
    let done = PrivacyStep { piece: Some((0, vec![8])), standing: Standing::Done, ..step(hub, &row, 2) };
    assert!(hub.store.privacy_step(done).await.expect("committed").is_some());
    assert_eq!(hub.store.forget_pieces(hub.now(), 9).await.expect("nothing"), 0, "it is young");
    hub.pass(std::time::Duration::from_secs(1));
    assert_eq!(hub.store.forget_pieces(hub.now(), 9).await.expect("one"), 1);
    assert_eq!(piece(&hub.acme, 0).await, None);
}
