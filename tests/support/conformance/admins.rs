//! What admins do through two nodes at once, on one database.

use std::sync::Arc;

use futures_util::future::join_all;
use switchyard::{
    clock::Timestamp,
    store::{
        SharedStore, StoreError, StoreResult,
        registry::{ConnectionRow, PluginVersionRow, SourceRow, UpgradeChange},
    },
};

use super::fixture::Fixture;

/// How often something that depends on who is first is tried.
const ROUNDS: u32 = 20;

fn is_conflict<T>(answer: &StoreResult<T>) -> bool {
    matches!(answer, Err(StoreError::Conflict(_)))
}

fn version(hub: &Fixture, version: &str) -> PluginVersionRow {
    PluginVersionRow {
        name: "billy".into(),
        version: version.into(),
        sha256: [1; 32],
        manifest: "{}".into(),
        size: 3,
        created_at: hub.now(),
    }
}

fn connection(hub: &Fixture, name: &str) -> ConnectionRow {
    ConnectionRow {
        key: hub.ids.next(),
        tenant: hub.acme.clone(),
        provider: "billy".into(),
        name: name.into(),
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

/// Both stores in turn, `count` times.
fn alternating(hub: &Fixture, other: &SharedStore, count: usize) -> Vec<SharedStore> {
    [hub.store.clone(), other.clone()].into_iter().cycle().take(count).collect()
}

/// As they do when they start with the same bundled plugins.
pub async fn the_same_plugin_added_by_all_nodes_at_once_is_added_once(hub: &Fixture, other: &SharedStore) {
    for round in 0..ROUNDS {
        let row = version(hub, &format!("1.0.{round}"));
        let audit = || hub.audit(&hub.acme, "plugin.version_added");
        let stores = alternating(hub, other, 8);
        let added = join_all(stores.iter().map(|store| store.add_plugin(row.clone(), vec![1, 2, 3], audit()))).await;
        let added: Vec<bool> = added.into_iter().map(|answer| answer.expect("all succeed")).collect();
        assert_eq!(added.iter().filter(|new| **new).count(), 1, "{added:?}");
        let stores = alternating(hub, other, 8);
        let values = join_all(stores.iter().enumerate().map(|(n, store)| {
            let name = format!("fact-{round}");
            async move { store.first_meta(&name, vec![u8::try_from(n).expect("few")]).await.expect("answered") }
        }))
        .await;
        assert!(values.iter().all(|value| *value == values[0]), "they do not agree: {values:?}");
    }
    let rows = other.audit_rows(Some(&hub.acme), 1000, None).await.expect("rows");
    assert_eq!(rows.iter().filter(|row| row.entry.action == "plugin.version_added").count(), ROUNDS as usize);
}

/// All succeed, and known names keep their URL.
pub async fn an_installation_put_by_all_nodes_at_once_has_one_url(hub: &Fixture, other: &SharedStore) {
    for _ in 0..ROUNDS {
        let stores = alternating(hub, other, 8);
        let put = join_all(stores.iter().map(|store| {
            let mut row = hub.installation(&hub.acme, "billy");
            row.sources =
                vec![SourceRow { id: hub.ids.next().with_prefix("src"), name: "default".into(), queue: None }];
            store.put_installation(row, hub.audit(&hub.acme, "plugin.changed"))
        }))
        .await;
        let urls: std::collections::BTreeSet<_> =
            put.into_iter().map(|answer| answer.expect("all succeed").sources[0].id.clone()).collect();
        assert_eq!(urls.len(), 1, "{urls:?}");
    }
    let stores = alternating(hub, other, 8);
    let upgraded = join_all(
        stores.iter().map(|store| store.set_upgrade(&hub.acme, "billy", None, UpgradeChange::InForce("1.0.0".into()))),
    )
    .await;
    let upgraded: Vec<bool> = upgraded.into_iter().map(|answer| answer.expect("all succeed")).collect();
    assert_eq!(upgraded.iter().filter(|won| **won).count(), 1, "{upgraded:?}");
    let broken =
        join_all(stores.iter().map(|store| store.break_version(&hub.acme, "billy", "1.0.0", None, hub.now()))).await;
    let broken: Vec<bool> = broken.into_iter().map(|answer| answer.expect("all succeed")).collect();
    assert_eq!(broken.iter().filter(|told| **told).count(), 1, "{broken:?}");
}

/// Whoever is second is told so; what was checked still holds when it is written.
pub async fn what_is_removed_is_not_used_and_what_is_used_is_not_removed(hub: &Fixture, other: &SharedStore) {
    let audit = || hub.audit(&hub.acme, "changed");
    for round in 0..ROUNDS {
        let row = connection(hub, &format!("c-{round}"));
        let key = row.key;
        hub.store.create_connection(row, audit()).await.expect("made");
        let mut billy = hub.installation(&hub.acme, "billy");
        billy.connections.insert("inbound".into(), key);
        hub.store.add_plugin(version(hub, &format!("2.0.{round}")), vec![1], audit()).await.expect("added");
        billy.version = Some(format!("2.0.{round}"));
        let version = format!("2.0.{round}");
        let (put, removed, unpublished) = tokio::join!(
            hub.store.put_installation(billy, audit()),
            other.delete_connection(&hub.acme, key, audit()),
            other.delete_plugin("billy", &version, audit()),
        );
        put.expect("it was put");
        // Who came first may have removed it; who came second was refused.
        assert!(removed.is_ok() || is_conflict(&removed), "{removed:?}");
        assert!(unpublished.is_ok() || is_conflict(&unpublished), "{unpublished:?}");
        let there = other.registry(Some(&hub.acme)).await.expect("rows").connections.iter().any(|row| row.key == key);
        assert_eq!(there, is_conflict(&removed));
        let published = other.plugins().await.expect("rows").iter().any(|row| row.version == version);
        assert_eq!(published, is_conflict(&unpublished));
    }
}

/// And it is neither half there nor twice.
pub async fn a_name_is_given_to_one_tenant(hub: &Fixture, other: &SharedStore) {
    for round in 0..ROUNDS {
        let name: switchyard::event::TenantId = format!("t-{round}").parse().expect("a name");
        let stores = alternating(hub, other, 6);
        let make = |store: Arc<dyn switchyard::store::Store>| {
            let (row, audit) = (hub.tenant_row(&name), hub.audit(&name, "tenant.created"));
            async move { store.create_tenant(row, audit).await }
        };
        let made = join_all(stores.iter().cloned().map(make)).await;
        assert_eq!(made.iter().filter(|answer| answer.is_ok()).count(), 1, "{made:?}");
        assert_eq!(made.iter().filter(|answer| is_conflict(answer)).count(), 5, "{made:?}");
        // The name is taken until the last row of the old tenant is gone, also for whoever waited for its removal.
        let (gone, again) =
            tokio::join!(hub.store.delete_tenant(&name, hub.audit(&name, "tenant.deleted")), make(other.clone()),);
        gone.expect("deleted");
        assert!(is_conflict(&again), "{again:?}");
        let rows = hub.store.registry(Some(&name)).await.expect("rows").tenants;
        assert!(rows.is_empty(), "{rows:?}");
    }
}

/// `other` has a clock that is an hour ahead.
pub async fn a_claim_is_judged_by_the_clock_that_all_share(hub: &Fixture, other: &SharedStore, ahead: Timestamp) {
    let row = connection(hub, "main");
    let key = row.key;
    hub.store.create_connection(row, hub.audit(&hub.acme, "connection.created")).await.expect("made");
    let lasting = std::time::Duration::from_secs(30);
    let claim = async |store: &SharedStore, now: Timestamp| {
        store.claim_refresh(&hub.acme, key, 0, now.after(lasting), now).await.expect("answered")
    };
    let stores = alternating(hub, other, 6);
    let claims =
        join_all(stores.iter().enumerate().map(|(n, store)| claim(store, if n % 2 == 0 { hub.now() } else { ahead })))
            .await;
    let won: Vec<Timestamp> = claims.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(claim(other, ahead).await, None, "it lapsed by another node's clock");
    other.forget_refresh_claims().await.expect("answered");
    assert_eq!(claim(other, ahead).await, None, "a node that starts ended another's claim");
    let until = other.tokens(&hub.acme, key).await.expect("there").refreshing_until.expect("claimed");
    assert!(until > ahead && until <= ahead.after(lasting), "it ends at {until} by a clock that shows {ahead}");
    other.release_refresh(&hub.acme, key, 0, won[0]).await.expect("answered");
    assert!(claim(other, ahead).await.is_some());
}
