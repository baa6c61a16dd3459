//! Shadow runs, and which version an installation is set up for.

use switchyard::{
    clock::Timestamp,
    id::Key,
    store::{
        ledger::{Effect, Outcome},
        records::Page,
        registry::{Upgrade, UpgradeChange},
        shadow::{ShadowOutcome, ShadowRun},
    },
};

use super::fixture::{Fixture, plugin};

const ALL: Page = Page { limit: 2000, after: None };

fn run(hub: &Fixture, delivery: Key, outcome: ShadowOutcome) -> ShadowRun {
    ShadowRun {
        delivery,
        tenant: hub.acme.clone(),
        plugin: "billy".into(),
        version: "1.0.0".into(),
        shadow_version: "2.0.0".into(),
        outcome,
        detail: "{}".into(),
        duration_us: 7,
        at: hub.now(),
    }
}

async fn ran(hub: &Fixture, outcome: ShadowOutcome) -> Key {
    let key = hub.deliver(&plugin("billy")).await;
    hub.settle(&hub.claim(key).await, Outcome::Delivered).await;
    hub.store.shadow_ran(run(hub, key, outcome)).await.expect("kept");
    key
}

async fn totals(hub: &Fixture) -> Vec<(ShadowOutcome, u64)> {
    let totals = hub.store.shadow_totals(&hub.acme, "billy").await.expect("totals");
    totals.into_iter().map(|total| (total.outcome, total.total)).collect()
}

async fn kept(hub: &Fixture) -> Vec<Key> {
    let runs = hub.store.shadow_runs(&hub.acme, "billy", ALL).await.expect("a list");
    runs.into_iter().map(|run| run.delivery).collect()
}

/// The last run of a delivery stands; every one counts.
pub async fn a_shadow_run_is_kept_counted_and_replaced(hub: &Fixture) {
    let (first, second) = (ran(hub, ShadowOutcome::Same).await, ran(hub, ShadowOutcome::Diverged).await);
    assert_eq!(kept(hub).await, [second, first]);
    let again = run(hub, first, ShadowOutcome::Differs);
    hub.store.shadow_ran(again.clone()).await.expect("kept");
    assert_eq!(hub.store.shadow_run(&hub.acme, first).await.expect("read"), Some(again));
    assert_eq!(hub.store.shadow_run(&hub.globex, first).await.expect("read"), None);
    let counted = [(ShadowOutcome::Differs, 1), (ShadowOutcome::Diverged, 1), (ShadowOutcome::Same, 1)];
    assert_eq!(totals(hub).await, counted);
    let page = Page { limit: 1, after: Some(second) };
    assert_eq!(hub.store.shadow_runs(&hub.acme, "billy", page).await.expect("a list")[0].delivery, first);
    assert!(hub.store.shadow_runs(&hub.globex, "billy", ALL).await.expect("a list").is_empty());
}

/// Pruned, or another tenant's.
pub async fn a_shadow_run_of_a_delivery_that_is_gone_is_not_kept(hub: &Fixture) {
    let key = ran(hub, ShadowOutcome::Same).await;
    hub.store.prune(Timestamp(hub.now().0 + 1), Timestamp(0), 10).await.expect("pruned");
    assert!(kept(hub).await.is_empty(), "it goes with its event");
    hub.store.shadow_ran(run(hub, key, ShadowOutcome::Same)).await.expect("nothing to keep");
    let foreign = ShadowRun { tenant: hub.globex.clone(), ..run(hub, key, ShadowOutcome::Same) };
    hub.store.shadow_ran(foreign).await.expect("nothing to keep");
    assert!(kept(hub).await.is_empty());
    assert_eq!(totals(hub).await, [(ShadowOutcome::Same, 1)]);
}

/// The oldest go.
pub async fn an_installation_keeps_its_newest_thousand_shadow_runs_and_counts_all(hub: &Fixture) {
    let oldest = ran(hub, ShadowOutcome::Same).await;
    for _ in 0..1_000 {
        let key = hub.deliver(&plugin("billy")).await;
        hub.store.shadow_ran(run(hub, key, ShadowOutcome::Same)).await.expect("kept");
    }
    let kept = kept(hub).await;
    assert!(kept.len() == 1_000 && !kept.contains(&oldest));
    assert_eq!(totals(hub).await, [(ShadowOutcome::Same, 1_001)]);
}

/// Runs and totals.
pub async fn a_removed_installation_takes_its_shadow_runs_along(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    ran(hub, ShadowOutcome::Failed).await;
    let audit = hub.audit(&hub.acme, "installation.deleted");
    hub.store.delete_installation(&hub.acme, "billy", audit).await.expect("removed");
    assert!(kept(hub).await.is_empty() && totals(hub).await.is_empty());
}

/// A refused one stays noted, and a late one changes nothing.
pub async fn a_version_is_in_force_once_its_upgrade_succeeded(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let row = async || hub.store.registry(Some(&hub.acme)).await.expect("rows").installations.remove(0);
    let set = async |from: Option<&str>, change| {
        hub.store.set_upgrade(&hub.acme, "billy", from.map(str::to_owned), change).await.expect("written")
    };
    let ended = async |to: &str, end: Result<(), String>| {
        let claimed = hub.claim(hub.deliver(&plugin("billy")).await).await;
        let mut settle = hub.settle_of(&claimed, Outcome::Delivered);
        settle.effects = vec![Effect::InstallationUpgraded("billy".into(), to.into(), end)];
        hub.store.settle(settle).await.expect("committed");
    };
    assert!(set(None, UpgradeChange::InForce("1.0.0".into())).await);
    assert!(!set(None, UpgradeChange::Called("2.0.0".into())).await, "another version is in force");
    assert!(set(Some("1.0.0"), UpgradeChange::Called("2.0.0".into())).await);
    ended("2.0.0", Err("not today".into())).await;
    let refused = Upgrade { to: "2.0.0".into(), refused: Some("not today".into()) };
    assert_eq!((row().await.in_force.as_deref(), row().await.upgrade), (Some("1.0.0"), Some(refused)));
    assert!(set(Some("1.0.0"), UpgradeChange::Called("3.0.0".into())).await);
    ended("2.0.0", Ok(())).await;
    assert_eq!(row().await.in_force.as_deref(), Some("1.0.0"), "that call is not the last one");
    ended("3.0.0", Ok(())).await;
    assert_eq!((row().await.in_force.as_deref(), row().await.upgrade), (Some("3.0.0"), None));
}
