//! What admins create.

use std::time::Duration;

use switchyard::{
    event::Target,
    queue::state::State,
    store::{
        StoreError, StoreResult,
        ledger::{Effect, Outcome},
        registry::{
            ApiKeyRow, ConnectionRow, EndpointState, InstallState, PluginVersionRow, Scope, SealedSecret, SourceRow,
            StoredAnswer,
        },
    },
};

use super::fixture::{Fixture, failure, plugin};

fn is_conflict<T>(answer: StoreResult<T>) -> bool {
    matches!(answer, Err(StoreError::Conflict(_)))
}

fn is_missing<T>(answer: StoreResult<T>) -> bool {
    matches!(answer, Err(StoreError::NotFound))
}

/// Its own fields only.
pub async fn a_tenant_is_made_changed_and_listed(hub: &Fixture) {
    let mut row = hub.tenant_row(&hub.acme);
    row.name = "Acme & Søn".into();
    row.lockdown = true;
    row.lockdown_since = Some(hub.now());
    row.command_handlers.insert("invoice.create".into(), "billy".into());
    row.data_key = vec![9];
    hub.store.update_tenant(row.clone(), hub.audit(&hub.acme, "tenant.updated")).await.expect("changed");
    let rows = hub.store.registry(None).await.expect("rows").tenants;
    assert_eq!(rows.len(), 2);
    row.data_key = vec![1, 2, 3];
    assert_eq!(format!("{:?}", rows[0]), format!("{row:?}"));
    let nobody = "nobody".parse().expect("a tenant's name");
    assert!(is_missing(hub.store.update_tenant(hub.tenant_row(&nobody), hub.audit(&nobody, "x")).await));
}

/// For tenants and connections.
pub async fn a_taken_name_is_a_conflict(hub: &Fixture) {
    assert!(is_conflict(hub.store.create_tenant(hub.tenant_row(&hub.acme), hub.audit(&hub.acme, "x")).await));
    let audit = || hub.audit(&hub.acme, "connection.created");
    hub.store.create_connection(connection(hub, "main"), audit()).await.expect("made");
    assert!(is_conflict(hub.store.create_connection(connection(hub, "main"), audit()).await));
}

/// With what was there before and after, newest first.
pub async fn every_change_leaves_its_audit_row(hub: &Fixture) {
    let mut entry = hub.audit(&hub.acme, "tenant.updated");
    entry.before = Some(r#"{"name":"a"}"#.into());
    hub.store.update_tenant(hub.tenant_row(&hub.acme), entry.clone()).await.expect("changed");
    hub.store.audit(hub.audit(&hub.acme, "signed.in")).await.expect("written");
    hub.store
        .audit(switchyard::store::registry::AuditEntry { tenant: None, ..hub.audit(&hub.acme, "hub.started") })
        .await
        .expect("written");
    let rows = hub.store.audit_rows(Some(&hub.acme), 10, None).await.expect("rows");
    let actions: Vec<&str> = rows.iter().map(|row| row.entry.action.as_str()).collect();
    assert_eq!(actions, ["signed.in", "tenant.updated", "tenant.created"]);
    assert_eq!(format!("{:?}", rows[1].entry), format!("{entry:?}"));
    let older = hub.store.audit_rows(Some(&hub.acme), 10, Some(rows[1].number)).await.expect("rows");
    assert_eq!(older.len(), 1);
    assert_eq!(hub.store.audit_rows(None, 10, None).await.expect("rows").len(), 1);
}

/// Both are one transaction.
pub async fn a_refused_change_leaves_no_audit_row(hub: &Fixture) {
    let before = hub.store.audit_rows(Some(&hub.acme), 100, None).await.expect("rows").len();
    assert!(is_conflict(hub.store.create_tenant(hub.tenant_row(&hub.acme), hub.audit(&hub.acme, "x")).await));
    let gone = hub.endpoint_row(&hub.acme);
    assert!(is_missing(hub.store.update_endpoint(gone.clone(), hub.audit(&hub.acme, "x")).await));
    assert!(is_missing(hub.store.delete_endpoint(&hub.acme, gone.key, hub.audit(&hub.acme, "x")).await));
    assert!(is_missing(hub.store.delete_installation(&hub.acme, "billy", hub.audit(&hub.acme, "x")).await));
    let row = hub.deliver(&hub.endpoint()).await;
    assert!(is_conflict(
        hub.store.retry_now(&hub.acme, hub.claim(row).await.delivery, hub.audit(&hub.acme, "x")).await
    ));
    assert_eq!(hub.store.audit_rows(Some(&hub.acme), 100, None).await.expect("rows").len(), before);
}

fn version(hub: &Fixture, version: &str, byte: u8) -> PluginVersionRow {
    PluginVersionRow {
        name: "billy".into(),
        version: version.into(),
        sha256: [byte; 32],
        manifest: "{}".into(),
        size: 3,
        created_at: hub.now(),
    }
}

/// The same bytes again are fine, others are not.
pub async fn a_published_version_never_changes(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "plugin.version_added");
    let add = async |row, wasm| hub.store.add_plugin(row, wasm, audit()).await;
    assert!(add(version(hub, "1.0.0", 1), vec![1, 2, 3]).await.expect("added"));
    assert!(!add(version(hub, "1.0.0", 1), vec![1, 2, 3]).await.expect("known"));
    assert!(is_conflict(add(version(hub, "1.0.0", 2), vec![4]).await));
    assert!(add(version(hub, "1.1.0", 2), vec![4]).await.expect("added"));
    assert_eq!(hub.store.plugin_wasm("billy", "1.0.0").await.expect("bytes"), [1, 2, 3]);
    assert!(is_missing(hub.store.plugin_wasm("billy", "2.0.0").await));
    let plugins = hub.store.plugins().await.expect("a list");
    assert_eq!(
        plugins.iter().map(|row| (row.version.as_str(), row.sha256[0])).collect::<Vec<_>>(),
        [("1.0.0", 1), ("1.1.0", 2)]
    );
}

/// By a pin, a live or a dead delivery.
pub async fn a_needed_version_cannot_be_removed(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "plugin.version_removed");
    let remove = async || hub.store.delete_plugin("billy", "1.0.0", audit()).await;
    hub.store.add_plugin(version(hub, "1.0.0", 1), vec![1], audit()).await.expect("added");
    let mut pinned = hub.installation(&hub.acme, "billy");
    pinned.version = Some("1.0.0".into());
    hub.store.put_installation(pinned.clone(), audit()).await.expect("installed");
    assert!(is_conflict(remove().await));
    pinned.version = None;
    hub.store.put_installation(pinned, audit()).await.expect("installed");
    let key = hub.deliver(&plugin("billy")).await;
    let mut settle = hub.settle_of(&hub.claim(key).await, Outcome::Dead(failure()));
    settle.attempt.as_mut().expect("an attempt").plugin_version = Some("1.0.0".into());
    hub.store.settle(settle).await.expect("committed");
    assert!(is_conflict(remove().await));
    hub.store.cancel(&hub.acme, key, audit()).await.expect_err("a dead one is discarded instead");
    let selection = switchyard::store::records::Selection::AllDead;
    hub.store.discard(&hub.acme, selection, 10, audit()).await.expect("discarded");
    remove().await.expect("nothing needs it");
    assert!(is_missing(remove().await));
    assert!(is_missing(hub.store.plugin_wasm("billy", "1.0.0").await));
}

/// Names that are gone lose theirs.
pub async fn sources_keep_their_url_and_schedules_their_cursor(hub: &Fixture) {
    let first = hub.install_billy(&hub.acme).await;
    let mut changed = first.clone();
    changed.sources = ["default", "second"]
        .map(|name| SourceRow { id: hub.ids.next().with_prefix("src"), name: name.into(), queue: None })
        .to_vec();
    let audit = || hub.audit(&hub.acme, "plugin.changed");
    let stored = hub.store.put_installation(changed, audit()).await.expect("changed");
    assert_eq!(stored.sources.len(), 2);
    assert_eq!(stored.sources[0].id, first.sources[0].id);
    let mut without = stored.clone();
    without.sources.remove(0);
    without.schedules.clear();
    let last = hub.store.put_installation(without, audit()).await.expect("changed");
    assert_eq!((last.sources.len(), last.sources[0].id == stored.sources[1].id), (1, true));
    assert!(last.schedules.is_empty());
    assert_eq!(hub.store.next_poll().await.expect("a time"), None);
}

/// The newest hundred are kept, and go with the installation.
pub async fn every_other_config_is_a_version_of_its_installation(hub: &Fixture) {
    let mut billy = hub.install_billy(&hub.acme).await;
    let audit = || hub.audit(&hub.acme, "plugin.changed");
    let versions = async |before, limit| {
        let found = hub.store.config_versions(&hub.acme, "billy", before, limit).await.expect("a list");
        found.into_iter().map(|version| (version.number, version.config)).collect::<Vec<_>>()
    };
    let first = billy.config.clone();
    for config in ["{\"a\":1}", "{\"a\":1}", first.as_str()] {
        billy.config = config.to_owned();
        hub.store.put_installation(billy.clone(), audit()).await.expect("changed");
    }
    let (one, two) = ((1, first.clone()), (2, "{\"a\":1}".to_owned()));
    assert_eq!(versions(None, 10).await, [(3, first), two.clone(), one.clone()]);
    assert_eq!(versions(Some(3), 1).await, [two]);
    assert_eq!(versions(Some(2), 10).await, [one]);
    let newest = hub.store.config_versions(&hub.acme, "billy", None, 1).await.expect("a list").remove(0);
    assert_eq!((newest.made_by, newest.made_at), (audit().actor, hub.now()));
    assert!(hub.store.config_versions(&hub.globex, "billy", None, 10).await.expect("a list").is_empty());
    for n in 0..100 {
        billy.config = format!("{{\"n\":{n}}}");
        hub.store.put_installation(billy.clone(), audit()).await.expect("changed");
    }
    let kept = versions(None, 200).await;
    assert_eq!((kept.len(), kept[0].0, kept[99].0), (100, 103, 4));
    hub.store.delete_installation(&hub.acme, "billy", audit()).await.expect("removed");
    assert!(versions(None, 10).await.is_empty());
}

/// And out of `broken`.
pub async fn putting_an_installation_takes_it_out_of_its_block(hub: &Fixture) {
    let billy = hub.install_billy(&hub.acme).await;
    let mut settle = hub.settle_of(&hub.claim(hub.deliver(&plugin("billy")).await).await, Outcome::Delivered);
    settle.effects = vec![
        Effect::InstallationBlocked("billy".into(), failure()),
        Effect::VersionBroken("billy".into(), "1.0.0".into()),
    ];
    hub.store.settle(settle).await.expect("committed");
    let stored = hub.store.put_installation(billy, hub.audit(&hub.acme, "plugin.changed")).await.expect("changed");
    assert_eq!((stored.blocked, stored.broken, stored.state), (None, None, InstallState::Ready));
}

/// And what it kept goes.
pub async fn a_removed_installation_cancels_its_deliveries(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (queued, other) = (hub.deliver(&plugin("billy")).await, hub.deliver(&plugin("gmail")).await);
    super::intake::park(hub, "src_1", 1).await;
    hub.store.delete_installation(&hub.acme, "billy", hub.audit(&hub.acme, "plugin.removed")).await.expect("removed");
    assert_eq!((hub.row(queued).await.state, hub.row(other).await.state), (State::Cancelled, State::Queued));
    assert!(hub.store.registry(None).await.expect("rows").installations.is_empty());
    assert!(hub.store.parked_installations().await.expect("a list").is_empty());
    assert_eq!(hub.store.next_poll().await.expect("a time"), None);
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
        secrets: vec![
            SealedSecret { sealed: vec![2], expires_at: None },
            SealedSecret { sealed: vec![1], expires_at: Some(hub.now()) },
        ],
        needs_login: None,
        created_at: hub.now(),
        updated_at: hub.now(),
        app: None,
        token_version: 0,
    }
}

/// Until no slot names it.
pub async fn a_used_connection_cannot_be_removed(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "connection.removed");
    let row = connection(hub, "main");
    let key = row.key;
    hub.store.create_connection(row.clone(), audit()).await.expect("made");
    let stored = hub.store.registry(Some(&hub.acme)).await.expect("rows").connections;
    assert_eq!(format!("{stored:?}"), format!("{:?}", [row]));
    let mut billy = hub.installation(&hub.acme, "billy");
    billy.connections.insert("inbound@default".into(), key);
    let put = hub.store.put_installation(billy.clone(), audit()).await.expect("installed");
    assert_eq!(put.connections, billy.connections);
    assert!(is_conflict(hub.store.delete_connection(&hub.acme, key, audit()).await));
    billy.connections.clear();
    hub.store.put_installation(billy, audit()).await.expect("changed");
    hub.store.delete_connection(&hub.acme, key, audit()).await.expect("removed");
    assert!(hub.store.registry(Some(&hub.acme)).await.expect("rows").connections.is_empty());
}

/// In the whole hub, since a provider's request names only the account.
pub async fn an_account_belongs_to_one_connection(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "connection.created");
    let with = |name: &str, account: &str| ConnectionRow { account: Some(account.into()), ..connection(hub, name) };
    hub.store.create_connection(with("a", "1"), audit()).await.expect("made");
    let elsewhere = ConnectionRow { tenant: hub.globex.clone(), ..with("a", "1") };
    assert!(is_conflict(hub.store.create_connection(elsewhere, audit()).await));
    let other = with("b", "2");
    hub.store.create_connection(other.clone(), audit()).await.expect("made");
    let moved = ConnectionRow { account: Some("1".into()), ..other };
    assert!(is_conflict(hub.store.update_connection(moved, audit()).await));
}

/// Its secrets are replaced.
pub async fn an_updated_connection_is_no_longer_in_need_of_a_login(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "connection.changed");
    let mut row = connection(hub, "main");
    hub.store.create_connection(row.clone(), audit()).await.expect("made");
    let mut settle = hub.settle_of(&hub.claim(hub.deliver(&plugin("billy")).await).await, Outcome::Delivered);
    settle.effects = vec![Effect::ConnectionNeedsLogin(row.key, "401".into(), None)];
    hub.store.settle(settle).await.expect("committed");
    let stored = async || hub.store.registry(Some(&hub.acme)).await.expect("rows").connections.remove(0);
    assert_eq!(stored().await.needs_login, Some(("401".into(), hub.now())));
    row.name = "renamed".into();
    row.secrets = vec![SealedSecret { sealed: vec![3], expires_at: None }];
    row.token_version = 1;
    hub.store.update_connection(row.clone(), audit()).await.expect("changed");
    assert_eq!(format!("{:?}", stored().await), format!("{row:?}"));
}

/// And is replaced as a whole.
pub async fn an_endpoint_comes_back_as_it_was_given(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "endpoint.changed");
    let mut row = hub.endpoint_row(&hub.acme);
    row.secrets = vec![SealedSecret { sealed: vec![1], expires_at: None }];
    row.headers = Some(vec![7]);
    row.retry_schedule = Some(vec![0, 5]);
    row.rate_per_s = Some(10);
    row.filter = Some("data.amount > 1".into());
    let stored = async || hub.store.registry(Some(&hub.acme)).await.expect("rows").endpoints;
    hub.store.create_endpoint(row.clone(), audit()).await.expect("made");
    assert_eq!(format!("{:?}", stored().await), format!("{:?}", [&row]));
    row.state = EndpointState::Paused;
    row.state_reason = Some(("maintenance".into(), hub.now()));
    row.ordered = true;
    row.secrets.insert(0, SealedSecret { sealed: vec![2], expires_at: None });
    hub.store.update_endpoint(row.clone(), audit()).await.expect("changed");
    assert_eq!(format!("{:?}", stored().await), format!("{:?}", [&row]));
    let waiting = hub.deliver(&Target::Endpoint(row.key)).await;
    hub.store.delete_endpoint(&hub.acme, row.key, audit()).await.expect("removed");
    assert!(stored().await.is_empty());
    assert_eq!(hub.row(waiting).await.state, State::Cancelled);
}

/// Hashes are unique.
pub async fn api_keys_are_made_rotated_touched_and_removed(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "key.changed");
    let mut row = ApiKeyRow {
        key: hub.ids.next(),
        hash: [1; 32],
        hint: "sk_1".into(),
        name: "ci".into(),
        tenant: Some(hub.acme.clone()),
        scope: Scope::Publisher,
        emergency: true,
        created_at: hub.now(),
        expires_at: None,
        last_used_at: None,
    };
    hub.store.create_api_key(row.clone(), audit()).await.expect("made");
    let twin = ApiKeyRow { key: hub.ids.next(), ..row.clone() };
    assert!(is_conflict(hub.store.create_api_key(twin, audit()).await));
    row.hash = [2; 32];
    row.expires_at = Some(hub.now().after(Duration::from_secs(60)));
    hub.store.update_api_key(row.clone(), audit()).await.expect("rotated");
    row.last_used_at = Some(hub.now());
    let used = vec![(row.key, hub.now()), (row.key, switchyard::clock::Timestamp(1)), (hub.ids.next(), hub.now())];
    hub.store.touch_api_keys(used).await.expect("noted");
    assert_eq!(format!("{:?}", hub.store.api_keys().await.expect("keys")), format!("{:?}", [&row]));
    hub.store.delete_api_key(row.key, audit()).await.expect("removed");
    assert!(is_missing(hub.store.delete_api_key(row.key, audit()).await));
    assert!(hub.store.api_keys().await.expect("keys").is_empty());
}

/// For its caller alone.
pub async fn the_first_answer_to_an_idempotency_key_stands_for_a_day(hub: &Fixture) {
    let (caller, other) = (hub.ids.next(), hub.ids.next());
    let answer = |byte| StoredAnswer { request: [byte; 32], status: 201, body: vec![byte] };
    let stored = async |caller| hub.store.stored_answer(caller, "k", hub.now()).await.expect("an answer");
    assert_eq!(stored(caller).await, None);
    hub.store.store_answer(caller, "k", answer(1), hub.now()).await.expect("stored");
    hub.store.store_answer(caller, "k", answer(2), hub.now()).await.expect("ignored");
    assert_eq!((stored(caller).await, stored(other).await), (Some(answer(1)), None));
    hub.pass(Duration::from_secs(86_400));
    assert_eq!(stored(caller).await, None);
    hub.store.store_answer(caller, "k", answer(2), hub.now()).await.expect("stored");
    assert_eq!(stored(caller).await, Some(answer(2)));
}

/// Fingerprints of keys and the like.
pub async fn facts_of_the_database_are_kept(hub: &Fixture) {
    assert_eq!(hub.store.meta("master").await.expect("a fact"), None);
    for value in [vec![1], Vec::new()] {
        hub.store.set_meta("master", value.clone()).await.expect("set");
        assert_eq!(hub.store.meta("master").await.expect("a fact"), Some(value));
    }
}
