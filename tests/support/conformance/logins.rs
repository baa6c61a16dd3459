use std::time::Duration;

use switchyard::{
    clock::Timestamp,
    id::Key,
    store::{
        StoreError,
        apps::AppRow,
        logins::{CompletedLogin, LoginState, LoginUse, NewTokens, StoredAccess},
        registry::{ConnectionRow, SealedSecret, SourceRow},
    },
};

use super::fixture::Fixture;

fn app(hub: &Fixture, name: &str) -> AppRow {
    AppRow {
        key: hub.ids.next(),
        provider: "quickbooks".into(),
        name: name.into(),
        plugin: Some("quickbooks".into()),
        client_id: Some("client".into()),
        client_secret: Some(vec![1]),
        secrets: Some(vec![2]),
        sources: vec![SourceRow { id: format!("src_{name}"), name: "default".into(), queue: None }],
        created_at: hub.now(),
        updated_at: hub.now(),
    }
}

/// A connection of an app, in need of a login.
async fn connection(hub: &Fixture, name: &str, app: Option<Key>) -> Key {
    let row = ConnectionRow {
        key: hub.ids.next(),
        tenant: hub.acme.clone(),
        provider: "quickbooks".into(),
        name: name.into(),
        kind: "oauth2".into(),
        account: None,
        base_url: None,
        secrets: vec![SealedSecret { sealed: vec![1], expires_at: None }],
        needs_login: Some(("nobody yet".into(), hub.now())),
        created_at: hub.now(),
        updated_at: hub.now(),
        app,
        token_version: 0,
    };
    hub.store.create_connection(row.clone(), hub.audit(&hub.acme, "connection.created")).await.expect("made");
    row.key
}

fn access(byte: u8, at: Timestamp) -> StoredAccess {
    StoredAccess { sealed: vec![byte], expires_at: at, refresh_at: at }
}

fn completed(hub: &Fixture, connection: Key, account: &str) -> CompletedLogin {
    CompletedLogin {
        tenant: hub.acme.clone(),
        connection,
        account: Some(account.into()),
        secret: vec![7],
        access: access(8, hub.now()),
        at: hub.now(),
    }
}

/// With its sources, and its secrets as they were sealed.
pub async fn an_app_is_made_changed_and_removed_once_nobody_logs_in_through_it(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "app.changed");
    let mut row = app(hub, "books");
    hub.store.create_app(row.clone(), audit()).await.expect("made");
    assert!(matches!(hub.store.create_app(app(hub, "books"), audit()).await, Err(StoreError::Conflict(_))));
    // A known name keeps its URL.
    row.sources[0].id = "src_other".into();
    row.client_id = Some("other".into());
    hub.store.update_app(row.clone(), audit()).await.expect("changed");
    row.sources[0].id = "src_books".into();
    assert_eq!(format!("{:?}", hub.store.apps().await.expect("a list")), format!("{:?}", [row.clone()]));
    let used = connection(hub, "main", Some(row.key)).await;
    assert!(matches!(hub.store.delete_app(row.key, audit()).await, Err(StoreError::Conflict(_))));
    hub.store.delete_connection(&hub.acme, used, audit()).await.expect("removed");
    hub.store.delete_app(row.key, audit()).await.expect("removed");
    assert!(hub.store.apps().await.expect("a list").is_empty());
}

/// Whatever became of it.
pub async fn the_state_of_a_login_is_good_once_and_for_its_time(hub: &Fixture) {
    let (now, audit) = (hub.now(), || hub.audit(&hub.acme, "connection.login_begun"));
    let state = |byte: u8, connection| LoginState {
        hash: [byte; 32],
        tenant: hub.acme.clone(),
        connection,
        api_key: Key([3; 16]),
        verifier: vec![byte],
        return_to: Some("/console".into()),
        expires_at: now.after(Duration::from_secs(600)),
    };
    let key = connection(hub, "main", None).await;
    for byte in [1, 2] {
        hub.store.begin_login(state(byte, key), audit()).await.expect("begun");
    }
    let take = async |byte: u8, at| hub.store.take_login([byte; 32], at).await.expect("answered");
    assert_eq!(take(1, now).await, LoginUse::Taken(state(1, key)));
    assert_eq!(take(1, now).await, LoginUse::Used);
    assert_eq!(take(2, now.after(Duration::from_secs(600))).await, LoginUse::Expired);
    assert_eq!(take(3, now).await, LoginUse::Unknown);
    hub.store.delete_connection(&hub.acme, key, audit()).await.expect("removed");
    assert_eq!(take(2, now).await, LoginUse::Unknown);
}

/// And what a lapsed or older claim brings is not stored.
pub async fn of_two_refreshes_one_is_claimed_and_stored(hub: &Fixture) {
    let (now, acme) = (hub.now(), &hub.acme);
    let key = connection(hub, "main", None).await;
    let late = now.after(Duration::from_secs(31));
    let claim = async |version, at: Timestamp| {
        let until = at.after(Duration::from_secs(30));
        hub.store.claim_refresh(acme, key, version, until, at).await.expect("answered")
    };
    let first = claim(0, now).await.expect("nobody has it");
    assert_eq!(claim(0, now).await, None, "the second one comes too late");
    assert_eq!(claim(1, now).await, None, "there is no such version yet");
    let second = claim(0, late).await.expect("the first one lapsed");
    hub.store.release_refresh(acme, key, 0, first).await.expect("answered");
    assert_eq!(claim(0, late).await, None, "a lapsed claim ends nobody else's");
    hub.store.release_refresh(acme, key, 0, second).await.expect("answered");
    assert!(claim(0, late).await.is_some(), "it was given back");
    let tokens = |byte| NewTokens { secret: Some(vec![byte]), access: access(byte, late) };
    assert!(hub.store.store_tokens(acme, key, 0, tokens(4)).await.expect("answered"));
    assert!(!hub.store.store_tokens(acme, key, 0, tokens(5)).await.expect("answered"), "another answer was first");
    let stored = hub.store.tokens(acme, key).await.expect("there");
    assert_eq!((stored.version, stored.refreshing_until, stored.secret), (1, None, Some(vec![4])));
    assert_eq!(stored.access, Some(access(4, late)));
    assert!(matches!(hub.store.tokens(&hub.globex, key).await, Err(StoreError::NotFound)));
    assert_eq!(hub.store.claim_refresh(&hub.globex, key, 1, late, late).await.expect("answered"), None);
}

/// And its account belongs to no other one.
pub async fn a_login_takes_a_connection_out_of_its_need_and_wins_over_a_refresh(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "connection.logged_in");
    let (first, second) = (connection(hub, "a", None).await, connection(hub, "b", None).await);
    let until = hub.now().after(Duration::from_secs(30));
    let claimed = hub.store.claim_refresh(&hub.acme, first, 0, until, hub.now()).await.expect("answered");
    assert!(claimed.is_some());
    hub.store.complete_login(completed(hub, first, "42"), audit()).await.expect("stored");
    let tokens = NewTokens { secret: Some(vec![9]), access: access(9, hub.now()) };
    assert!(!hub.store.store_tokens(&hub.acme, first, 0, tokens).await.expect("answered"), "it is too late");
    let stored = hub.store.tokens(&hub.acme, first).await.expect("there");
    assert_eq!((stored.version, stored.needs_login, stored.secret), (1, None, Some(vec![7])));
    let taken = hub.store.complete_login(completed(hub, second, "42"), audit()).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    let stored = hub.store.tokens(&hub.acme, second).await.expect("there");
    assert!(stored.needs_login.is_some() && stored.secret == Some(vec![1]), "nothing of it was stored");
}

/// Since a refresh may have stored others meanwhile.
pub async fn a_change_without_secrets_leaves_tokens_and_login_as_they_are(hub: &Fixture) {
    let audit = || hub.audit(&hub.acme, "connection.changed");
    let key = connection(hub, "main", None).await;
    let seen = hub.store.registry(Some(&hub.acme)).await.expect("rows").connections.remove(0);
    let tokens = NewTokens { secret: Some(vec![5]), access: access(5, hub.now()) };
    assert!(hub.store.store_tokens(&hub.acme, key, 0, tokens).await.expect("answered"));
    let renamed = ConnectionRow { name: "renamed".into(), secrets: Vec::new(), ..seen };
    hub.store.update_connection(renamed, audit()).await.expect("changed");
    let stored = hub.store.tokens(&hub.acme, key).await.expect("there");
    assert_eq!((stored.version, stored.secret, stored.access), (1, Some(vec![5]), Some(access(5, hub.now()))));
    assert!(stored.needs_login.is_some());
}

/// Which answers whether a claim outlives the start of another process on its database. A file has one process, so what
/// claims it holds are of one that is gone; several nodes share a server, and one that starts ends nobody's claim.
pub async fn a_claim_lasts_beyond_the_start_of_a_process(hub: &Fixture) -> bool {
    let key = connection(hub, "main", None).await;
    let until = hub.now().after(Duration::from_secs(30));
    let claim = async || hub.store.claim_refresh(&hub.acme, key, 0, until, hub.now()).await.expect("answered");
    assert!(claim().await.is_some());
    hub.store.forget_refresh_claims().await.expect("answered");
    claim().await.is_none()
}
