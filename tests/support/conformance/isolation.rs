//! What one tenant can see of another: nothing.

use switchyard::{
    clock::Timestamp,
    event::Target,
    id::Key,
    queue::{partition::PartitionSet, state::State},
    store::{
        StoreError, StoreResult,
        ledger::{
            EventOutcome, Expected, Intent, IntentOutcome, JournalChange, KvRow, KvWrite, Outcome, ParkedRequest,
            Settled,
        },
        records::{DeliveryFilter, EventFilter, EventRoutes, Page, Recent, Replay, Selection},
        registry::ConnectionRow,
    },
};

use super::{
    fixture::{Fixture, dedupe, failure, plugin},
    intake::{park, rejection},
    records::replay_of,
};

const ALL: Page = Page { limit: 1000, after: None };

/// What `acme` has.
struct Acme {
    event: Key,
    event_id: std::sync::Arc<str>,
    dead: Key,
    waiting: Key,
    endpoint: Key,
    connection: Key,
    parked: Key,
}

fn connection(hub: &Fixture) -> ConnectionRow {
    ConnectionRow {
        key: hub.ids.next(),
        tenant: hub.acme.clone(),
        provider: "billy".into(),
        name: "main".into(),
        kind: "header".into(),
        account: None,
        base_url: None,
        secrets: Vec::new(),
        needs_login: None,
        created_at: hub.now(),
        updated_at: hub.now(),
        app: None,
        token_version: 0,
    }
}

/// One of everything.
async fn furnish(hub: &Fixture) -> Acme {
    let audit = || hub.audit(&hub.acme, "made");
    let (endpoint, connection) = (hub.endpoint_row(&hub.acme), connection(hub));
    let (endpoint_key, connection_key) = (endpoint.key, connection.key);
    hub.store.create_endpoint(endpoint, audit()).await.expect("made");
    hub.store.create_connection(connection, audit()).await.expect("made");
    hub.install_billy(&hub.acme).await;
    let dead = hub.deliver(&plugin("billy")).await;
    let mut settle = hub.settle_of(&hub.claim(dead).await, Outcome::Dead(failure()));
    settle.journal = JournalChange::Put(vec![1]);
    settle.plugin = Some("billy".into());
    let value = Some(b"v".to_vec());
    settle.kv =
        vec![KvWrite { key: "k".into(), expected: Expected::Any, value, expires_at: None, person: Some([1; 32]) }];
    hub.store.settle(settle).await.expect("committed");
    let mut new = hub.queued(hub.event(&hub.acme), &Target::Endpoint(endpoint_key));
    new.dedupe = Some(dedupe("1", 1));
    new.persons = vec![[1; 32], [2; 32]];
    let (event, event_id, waiting) = (new.event.key, new.event.id.clone(), new.deliveries[0].key);
    assert_eq!(hub.accept(new).await, EventOutcome::Stored);
    let (parked, _) = park(hub, "src_1", 10).await;
    hub.store.reject(vec![rejection(hub, &hub.acme, "src_1")]).await.expect("kept");
    Acme { event, event_id, dead, waiting, endpoint: endpoint_key, connection: connection_key, parked }
}

fn is_missing<T>(answer: StoreResult<T>) -> bool {
    matches!(answer, Err(StoreError::NotFound))
}

/// A key that one knows opens nothing either.
pub async fn no_read_shows_another_tenants_rows(hub: &Fixture) {
    let acme = furnish(hub).await;
    let (store, globex) = (&hub.store, &hub.globex);
    let rows = store.registry(Some(globex)).await.expect("rows");
    assert_eq!((rows.tenants.len(), rows.installations.len()), (1, 0));
    assert_eq!((rows.connections.len(), rows.endpoints.len()), (0, 0));
    assert!(is_missing(store.event(globex, &acme.event_id).await));
    assert!(is_missing(store.delivery(globex, acme.dead).await));
    assert!(is_missing(store.attempts(globex, acme.dead).await));
    assert!(is_missing(store.journal(globex, acme.dead).await));
    assert!(store.events(globex, EventFilter::default(), ALL).await.expect("a list").is_empty());
    let of_event = DeliveryFilter { event: Some(acme.event), ..DeliveryFilter::default() };
    assert!(store.deliveries(globex, of_event, ALL).await.expect("a list").is_empty());
    let dead = DeliveryFilter { states: vec![State::Dead], ..DeliveryFilter::default() };
    assert!(store.deliveries(globex, dead, ALL).await.expect("a list").is_empty());
    assert!(store.dead_groups(globex, 10).await.expect("groups").is_empty());
    assert!(store.rejections(globex, ALL).await.expect("a list").is_empty());
    assert_eq!(store.recent(globex, Timestamp(0)).await.expect("counts"), Recent::default());
    assert!(store.parked(globex, ALL).await.expect("a list").is_empty());
    assert!(store.parked_due(globex, "billy", 10).await.expect("a list").is_empty());
    assert!(store.requests(globex, "cor-1").await.expect("a list").is_empty());
    assert_eq!(store.kv_get(globex, "billy", "k", hub.now()).await.expect("a row"), KvRow::default());
    assert!(store.kv_keys(globex, "billy", "", None, 10, hub.now()).await.expect("keys").is_empty());
    assert_eq!(store.kv_bytes(globex, "billy").await.expect("bytes"), 0);
    assert!(store.counts(Some(globex)).await.expect("counts").by_state.is_empty());
    let audit = store.audit_rows(Some(globex), 100, None).await.expect("rows");
    assert!(audit.iter().all(|row| row.entry.tenant.as_ref() == Some(globex)));
}

/// Nor is anything changed on the way.
pub async fn no_change_reaches_another_tenants_rows(hub: &Fixture) {
    let acme = furnish(hub).await;
    let (store, globex) = (&hub.store, &hub.globex);
    let audit = || hub.audit(globex, "tried");
    assert!(is_missing(store.delete_endpoint(globex, acme.endpoint, audit()).await));
    let mut endpoint = hub.endpoint_row(globex);
    endpoint.key = acme.endpoint;
    assert!(is_missing(store.update_endpoint(endpoint, audit()).await));
    assert!(is_missing(store.delete_connection(globex, acme.connection, audit()).await));
    let stolen = ConnectionRow { key: acme.connection, tenant: globex.clone(), ..connection(hub) };
    assert!(is_missing(store.update_connection(stolen, audit()).await));
    assert!(is_missing(store.delete_installation(globex, "billy", audit()).await));
    assert!(is_missing(store.unpark(globex, acme.parked).await));
    assert!(is_missing(store.retry_now(globex, acme.waiting, audit()).await));
    assert!(is_missing(store.cancel(globex, acme.waiting, audit()).await));
    let replay = Replay { tenant: globex.clone(), ..replay_of(hub, vec![acme.dead]) };
    assert!(is_missing(store.replay(replay.clone(), audit()).await));
    let all = Replay { selection: Selection::AllDead, ..replay };
    assert!(store.replay(all, audit()).await.expect("nothing").deliveries.is_empty());
    assert!(is_missing(store.discard(globex, Selection::Deliveries(vec![acme.dead]), 9, audit()).await));
    assert!(store.discard(globex, Selection::AllDead, 9, audit()).await.expect("nothing").deliveries.is_empty());
    let routes = vec![EventRoutes { event: acme.event, deliveries: Vec::new(), due_at: hub.now() }];
    assert!(is_missing(store.add_deliveries(globex, routes, audit()).await));
    assert_eq!((hub.row(acme.dead).await.state, hub.row(acme.waiting).await.state), (State::Dead, State::Queued));
    let rows = store.registry(Some(&hub.acme)).await.expect("rows");
    assert_eq!((rows.installations.len(), rows.connections.len(), rows.endpoints.len()), (1, 1, 1));
    assert_eq!(rows.endpoints[0].tenant, hub.acme);
    assert_eq!(store.parked(&hub.acme, ALL).await.expect("a list").len(), 1);
}

/// So does an intent.
pub async fn a_settle_in_another_tenants_name_lost_its_lease(hub: &Fixture) {
    let claimed = hub.claim(hub.deliver(&plugin("billy")).await).await;
    let mut settle = hub.settle_of(&claimed, Outcome::Delivered);
    settle.tenant = hub.globex.clone();
    assert!(matches!(hub.store.settle(settle).await.expect("committed"), Settled::LostLease));
    let intent = Intent {
        tenant: hub.globex.clone(),
        delivery: claimed.delivery,
        epoch: claimed.epoch,
        journal: vec![1],
        kv: Vec::new(),
        plugin: "billy".into(),
    };
    assert_eq!(hub.store.intend(intent).await.expect("committed"), IntentOutcome::LostLease);
    assert_eq!(hub.row(claimed.delivery).await.state, State::Running);
}

/// Not even under a key that one still knows.
pub async fn a_removed_tenant_leaves_nothing_and_others_stay(hub: &Fixture) {
    let acme = furnish(hub).await;
    let mut event = hub.event(&hub.globex);
    event.id = "stays".into();
    assert_eq!(hub.accept(hub.queued(event, &hub.endpoint())).await, EventOutcome::Stored);
    hub.store.delete_tenant(&hub.acme, hub.audit(&hub.acme, "tenant.removed")).await.expect("removed");
    while hub.store.remove_leaving().await.expect("a step") {}
    let (store, gone) = (&hub.store, &hub.acme);
    assert!(is_missing(store.delete_tenant(gone, hub.audit(gone, "tenant.removed")).await));
    let rows = store.registry(None).await.expect("rows");
    assert_eq!((rows.tenants.len(), rows.installations.len()), (1, 0));
    assert_eq!((rows.connections.len(), rows.endpoints.len()), (0, 0));
    assert!(is_missing(store.event(gone, &acme.event_id).await));
    assert!(is_missing(store.delivery(gone, acme.dead).await));
    assert!(store.rejections(gone, ALL).await.expect("a list").is_empty());
    assert!(store.parked_installations().await.expect("a list").is_empty());
    assert_eq!(store.kv_bytes(gone, "billy").await.expect("bytes"), 0);
    assert!(
        store
            .claim(vec![switchyard::store::ledger::ClaimRequest { delivery: acme.waiting, epoch: 0 }], hub.now())
            .await
            .expect("committed")
            .is_empty()
    );
    assert_eq!(store.lanes(PartitionSet::all()).await.expect("lanes").len(), 1);
    store.event(&hub.globex, "stays").await.expect("the other tenant's event stays");
    let orphan = hub.queued(hub.event(gone), &hub.endpoint());
    let accept = switchyard::store::ledger::Accept { events: vec![orphan], ..Default::default() };
    assert!(is_missing(store.accept(accept).await));
}

/// Attempts and requests that were under way when it went leave nothing behind that nobody would ever remove.
pub async fn what_was_under_way_in_a_removed_tenant_writes_nothing(hub: &Fixture) {
    let claimed = hub.claim(hub.deliver(&hub.endpoint()).await).await;
    let waiting = hub.deliver(&hub.endpoint()).await;
    let request = super::intake::request(hub, &hub.acme, "src_1", 10);
    let parked = ParkedRequest { request, plugin: "billy".into(), failure: failure(), tries: 1 };
    hub.store.delete_tenant(&hub.acme, hub.audit(&hub.acme, "tenant.removed")).await.expect("removed");
    // What runs has ended already, what waits ends with the first step, and both can be told from other deaths.
    let ended = hub.row(claimed.delivery).await;
    assert_eq!((ended.state, ended.failure.expect("a failure").code.as_str()), (State::Dead, "tenant_deleted"));
    let late = hub.store.settle(hub.settle_of(&claimed, Outcome::Delivered)).await.expect("committed");
    assert!(matches!(late, Settled::LostLease));
    assert!(hub.store.remove_leaving().await.expect("a step"));
    assert_eq!(hub.row(waiting).await.state, State::Dead);
    while hub.store.remove_leaving().await.expect("a step") {}
    assert!(is_missing(hub.store.park(parked).await));
    hub.store.reject(vec![rejection(hub, &hub.acme, "src_1")]).await.expect("nothing to keep");
    hub.make_tenant(&hub.acme).await;
    assert!(hub.store.parked_installations().await.expect("a list").is_empty());
    assert!(hub.store.rejections(&hub.acme, ALL).await.expect("a list").is_empty());
    assert_eq!(hub.store.counts(Some(&hub.acme)).await.expect("counts").rejected, 0);
}

/// And its new owner starts with nothing.
pub async fn a_removed_tenants_name_is_free_again(hub: &Fixture) {
    furnish(hub).await;
    hub.store.delete_tenant(&hub.acme, hub.audit(&hub.acme, "tenant.removed")).await.expect("removed");
    while hub.store.remove_leaving().await.expect("a step") {}
    hub.make_tenant(&hub.acme).await;
    assert!(hub.store.events(&hub.acme, EventFilter::default(), ALL).await.expect("a list").is_empty());
    let mut new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    new.dedupe = Some(dedupe("1", 1));
    assert_eq!(hub.accept(new).await, EventOutcome::Stored);
    assert_eq!(hub.store.counts(Some(&hub.acme)).await.expect("counts").rejected, 0);
}
