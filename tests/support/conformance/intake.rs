//! Parked, rejected and raw requests.

use std::sync::Arc;

use switchyard::{
    event::TenantId,
    id::Key,
    store::{
        StoreError,
        apps::AppRow,
        ledger::{Accept, ParkedRequest, RawRequest, Rejection},
        records::Page,
        registry::AuditEntry,
    },
};

use super::fixture::{Fixture, failure};

/// A request to this source with a body of so many bytes.
#[must_use]
pub fn request(hub: &Fixture, tenant: &TenantId, source: &str, bytes: usize) -> RawRequest {
    RawRequest {
        key: hub.ids.next(),
        tenant: tenant.clone(),
        source_id: source.into(),
        method: "POST".into(),
        url: format!("https://hub.example/in/{source}/sub?x=%20"),
        headers: vec![("X-Any".into(), (0..=255).collect()), ("X-Any".into(), Vec::new())],
        body: (0..bytes).map(|at| u8::try_from(at % 256).unwrap_or(0)).collect::<Vec<_>>().into(),
        received_at: hub.now(),
        remote_addr: None,
        correlation_id: Arc::from("cor-1"),
    }
}

/// Parks a request of `acme` for billy; answers its key and how many had to go.
pub async fn park(hub: &Fixture, source: &str, bytes: usize) -> (Key, u64) {
    let request = request(hub, &hub.acme, source, bytes);
    let key = request.key;
    let parked = ParkedRequest { request, plugin: "billy".into(), failure: failure(), tries: 1 };
    (key, hub.store.park(parked).await.expect("parked"))
}

async fn parked(hub: &Fixture) -> Vec<ParkedRequest> {
    hub.store.parked_due(&hub.acme, "billy", 5000).await.expect("a list")
}

/// Oldest first.
pub async fn a_parked_request_comes_back_byte_for_byte(hub: &Fixture) {
    let given = request(hub, &hub.acme, "src_1", 700);
    let one = ParkedRequest { request: given.clone(), plugin: "billy".into(), failure: failure(), tries: 1 };
    assert_eq!(hub.store.park(one).await.expect("parked"), 0);
    let (second, _) = park(hub, "src_1", 0).await;
    let back = parked(hub).await;
    assert_eq!(back.len(), 2);
    assert_eq!(format!("{:?}", back[0].request), format!("{given:?}"));
    assert_eq!((&back[0].failure, back[0].tries, back[1].request.key), (&failure(), 1, second));
    let installations = hub.store.parked_installations().await.expect("a list");
    assert_eq!((installations.len(), installations[0].count), (1, 2));
    let rows = hub.store.parked(&hub.acme, Page { limit: 10, after: None }).await.expect("a list");
    assert_eq!((rows[0].key, rows[0].bytes, rows[1].key, rows[1].bytes), (second, 0, given.key, 700));
    let rest = hub.store.parked(&hub.acme, Page { limit: 10, after: Some(second) }).await.expect("a list");
    assert_eq!(rest.len(), 1);
    hub.store.unpark(&hub.acme, second).await.expect("removed");
    assert!(matches!(hub.store.unpark(&hub.acme, second).await, Err(StoreError::NotFound)));
    assert_eq!(parked(hub).await.len(), 1);
}

/// As the same row.
pub async fn a_second_try_of_a_parked_request_is_noted(hub: &Fixture) {
    park(hub, "src_1", 10).await;
    let mut again = parked(hub).await.remove(0);
    again.tries = 2;
    again.failure.code = "trap".into();
    hub.store.park(again).await.expect("parked");
    let back = parked(hub).await;
    assert_eq!((back.len(), back[0].tries, back[0].failure.code.as_str()), (1, 2, "trap"));
}

/// The oldest goes and is counted; other sources keep theirs.
pub async fn a_source_parks_at_most_a_thousand_requests(hub: &Fixture) {
    let (other, _) = park(hub, "src_2", 1).await;
    let (oldest, _) = park(hub, "src_1", 1).await;
    for _ in 1..1000 {
        assert_eq!(park(hub, "src_1", 1).await.1, 0);
    }
    assert_eq!(park(hub, "src_1", 1).await.1, 1);
    let back = parked(hub).await;
    assert_eq!(back.len(), 1001);
    assert!(back.iter().any(|one| one.request.key == other));
    assert!(back.iter().all(|one| one.request.key != oldest));
}

/// 64 MiB; a single request is kept whatever its size.
pub async fn a_source_parks_at_most_its_share_of_bytes(hub: &Fixture) {
    let mut keys = Vec::new();
    for _ in 0..7 {
        let (key, gone) = park(hub, "src_1", 9 << 20).await;
        assert_eq!(gone, 0);
        keys.push(key);
    }
    assert_eq!(park(hub, "src_1", 9 << 20).await.1, 1);
    let back = hub.store.parked(&hub.acme, Page { limit: 10, after: None }).await.expect("a list");
    assert_eq!((back.len(), back[6].key), (7, keys[1]));
}

/// In its transaction.
pub async fn an_accept_takes_its_parked_request_along(hub: &Fixture) {
    let (key, _) = park(hub, "src_1", 10).await;
    let event = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    let accept = Accept { events: vec![event], parked: Some((hub.acme.clone(), key)), ..Accept::default() };
    hub.store.accept(accept.clone()).await.expect("committed");
    assert!(parked(hub).await.is_empty());
    // Another who judged it too is late.
    let late = Accept { events: vec![hub.queued(hub.event(&hub.acme), &hub.endpoint())], ..accept };
    let id = late.events[0].event.id.to_string();
    assert!(matches!(hub.store.accept(late).await, Err(StoreError::NotFound)));
    assert!(matches!(hub.store.event(&hub.acme, &id).await, Err(StoreError::NotFound)));
    assert!(hub.store.parked_installations().await.expect("a list").is_empty());
}

/// A rejection of a request to this source.
#[must_use]
pub fn rejection(hub: &Fixture, tenant: &TenantId, source: &str) -> Rejection {
    Rejection {
        key: hub.ids.next(),
        tenant: tenant.clone(),
        source_id: source.into(),
        at: hub.now(),
        status: 401,
        code: "unauthenticated".into(),
        reason: "The signature does not match.".into(),
        bytes: 12,
        remote_addr: Some("203.0.113.9".into()),
        correlation_id: "cor-1".into(),
    }
}

/// Newest first.
pub async fn a_source_keeps_its_newest_thousand_rejections_and_counts_all(hub: &Fixture) {
    let other = rejection(hub, &hub.acme, "src_2");
    let given: Vec<Rejection> = (0..1005).map(|_| rejection(hub, &hub.acme, "src_1")).collect();
    let keys: Vec<Key> = given.iter().map(|one| one.key).collect();
    hub.store.reject(vec![other.clone()]).await.expect("kept");
    for some in given.chunks(300) {
        hub.store.reject(some.to_vec()).await.expect("kept");
    }
    let kept = hub.store.rejections(&hub.acme, Page { limit: 5000, after: None }).await.expect("a list");
    assert_eq!(kept.len(), 1001);
    assert_eq!((kept[0].key, kept[999].key, kept[1000].key), (keys[1004], keys[5], other.key));
    assert_eq!(format!("{:?}", kept[1000]), format!("{other:?}"));
    let page = hub.store.rejections(&hub.acme, Page { limit: 2, after: Some(keys[10]) }).await.expect("a list");
    assert_eq!(page.iter().map(|one| one.key).collect::<Vec<_>>(), [keys[9], keys[8]]);
    assert_eq!(hub.store.counts(Some(&hub.acme)).await.expect("counts").rejected, 1006);
}

/// Under the app's own name, which no tenant can have. Nothing of it is a tenant's, and all of it goes with the app.
pub async fn what_came_to_an_app_is_kept_apart_and_goes_with_it(hub: &Fixture) {
    let key = hub.ids.next();
    let owner = TenantId::of_app(key);
    let now = hub.now();
    let app = AppRow {
        key,
        provider: "books".into(),
        name: "our books".into(),
        plugin: Some("billy".into()),
        client_id: None,
        client_secret: None,
        secrets: None,
        sources: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    let of_app = |source: &str| ParkedRequest {
        request: request(hub, &owner, source, 10),
        plugin: "billy".into(),
        failure: failure(),
        tries: 1,
    };
    assert!(matches!(hub.store.park(of_app("src_0")).await, Err(StoreError::NotFound)), "there is no such app yet");
    let audit = || AuditEntry { tenant: None, ..hub.audit(&hub.acme, "app.changed") };
    hub.store.create_app(app, audit()).await.expect("made");
    park(hub, "src_1", 10).await;
    hub.store.park(of_app("src_2")).await.expect("parked");
    hub.store.reject(vec![rejection(hub, &owner, "src_2")]).await.expect("kept");
    let due = hub.store.parked_due(&owner, "billy", 10).await.expect("a list");
    assert_eq!((due.len(), &due[0].request.tenant), (1, &owner));
    assert_eq!(parked(hub).await.len(), 1, "the tenant sees its own");
    let page = Page { limit: 10, after: None };
    assert_eq!(hub.store.rejections(&owner, page).await.expect("a list").len(), 1);
    assert!(hub.store.rejections(&hub.acme, page).await.expect("a list").is_empty());
    assert_eq!(hub.store.parked_installations().await.expect("a list").len(), 2);
    hub.store.delete_app(key, audit()).await.expect("removed");
    while hub.store.remove_leaving().await.expect("a step") {}
    assert!(hub.store.parked(&owner, page).await.expect("a list").is_empty());
    assert!(hub.store.rejections(&owner, page).await.expect("a list").is_empty());
    assert_eq!(parked(hub).await.len(), 1);
}
