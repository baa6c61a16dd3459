use serde_json::{Value, json};
use switchyard_simulators::oauth::{Consent, Decision, Rules};
use switchyard_tests::api::{Api, Reply, text};
use url::Url;

use super::{World, google, hub_beside};

async fn not_logged_in() -> (World, String) {
    let google = google(|_| {}).await;
    let builder = hub_beside(&google);
    let world = World::start(google, builder).await;
    let connection = world.connection(json!({})).await;
    world.install(&connection).await;
    (world, connection)
}

async fn begin(world: &World, connection: &str, body: Value) -> Url {
    let begun = world.tenant.post(&format!("/connections/{connection}/authorize"), &body).await.expect(200);
    text(&begun, "url").parse().expect("a URL")
}

/// Opens a URL as a browser does that follows no redirect.
async fn opened(url: &str) -> Reply {
    Api::new("", None).raw("GET", url, &[], "").await
}

/// Consents, and answers the address to which the provider sends the person back.
async fn consented(url: &Url) -> String {
    let reply = opened(url.as_str()).await;
    assert_eq!(reply.status, 302, "{}", reply.text);
    reply.header("location").to_owned()
}

fn asked(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_person_logs_in_with_pkce_and_what_waited_runs() {
    let (world, connection) = not_logged_in().await;
    assert_eq!(world.shown(&connection).await["state"], "needs_login");
    world.call("c-1").await;
    let _ = world.delivery("c-1", "held").await;
    let url = begin(&world, &connection, json!({})).await;
    assert_eq!(asked(&url, "code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(asked(&url, "access_type").as_deref(), Some("offline"));
    assert!(asked(&url, "state").is_some_and(|state| state.len() >= 43));
    assert!(!url.as_str().contains("MARKER"), "{url}");
    let page = opened(&consented(&url).await).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("The login is complete"), "{}", page.text);
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), ("no-store", "no-referrer"));
    let shown = world.state(&connection, "ok").await;
    assert!(!shown.to_string().contains("1//0"), "{shown}");
    let _ = world.answered(1).await;
    // The access token of the login is good for the call: nobody had to refresh.
    assert_eq!((world.refreshes(), world.grants().counts().exchanges), (0, 1));
    let audit = json!(world.tenant.all("/audit").await).to_string();
    assert!(audit.contains("connection.login_begun") && audit.contains("connection.logged_in"), "{audit}");
}

#[tokio::test]
async fn a_state_is_good_once() {
    let (world, connection) = not_logged_in().await;
    let back = consented(&begin(&world, &connection, json!({})).await).await;
    assert_eq!(opened(&back).await.status, 200);
    let again = opened(&back).await;
    assert_eq!(again.status, 400);
    assert!(again.text.contains("used before"), "{}", again.text);
    // The code was never sent a second time, which would have ended the grant.
    assert_eq!(world.grants().live_grants(), 1);
    assert_eq!(world.grants().counts().refusals, 0);
}

#[tokio::test]
async fn an_expired_an_unknown_and_a_missing_state_are_refused_without_being_shown() {
    let (mut world, connection) = not_logged_in().await;
    let back: Url = consented(&begin(&world, &connection, json!({})).await).await.parse().expect("a URL");
    world.hub.kill().await;
    let _ = crate::operations::query(&world.hub, "update oauth_state set expires_at = 1 returning x''").await;
    world.hub.restart().await;
    let late = format!("{}{}?{}", world.hub.url(), back.path(), back.query().unwrap_or_default());
    let late = opened(&late).await;
    assert!(late.status == 400 && late.text.contains("took too long"), "{}", late.text);
    let callback = format!("{}/oauth/callback", world.hub.url());
    for query in ["", "state=%3Cscript%3Ealert(1)%3C/script%3E&code=x", "code=x", "state=&code=x", "state=a&state=b"] {
        let reply = opened(&format!("{callback}?{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text);
        assert!(!reply.text.contains("alert"), "{}", reply.text);
    }
    assert_eq!(world.grants().counts().exchanges, 0);
    assert_eq!(world.shown(&connection).await["state"], "needs_login");
}

#[tokio::test]
async fn a_person_who_declines_is_told_and_nothing_changes() {
    let (world, connection) = not_logged_in().await;
    let account = "owner@customer.example".to_owned();
    world.grants().set_consent(Consent { account, realm: None, decision: Decision::Deny });
    let page = opened(&consented(&begin(&world, &connection, json!({})).await).await).await;
    assert!(page.status == 400 && page.text.contains("was refused"), "{}", page.text);
    assert_eq!(world.shown(&connection).await["state"], "needs_login");
}

#[tokio::test]
async fn a_person_goes_back_to_a_path_of_this_hub_alone() {
    let (world, connection) = not_logged_in().await;
    for bad in ["https://evil.example/", "//evil.example", "/\\evil.example", "console"] {
        let reply =
            world.tenant.post(&format!("/connections/{connection}/authorize"), &json!({"return_to": bad})).await;
        let _ = reply.problem(400, "invalid_request");
    }
    let url = begin(&world, &connection, json!({"return_to": "/console?tab=connections"})).await;
    let reply = opened(&consented(&url).await).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/console?tab=connections&login=ok"), "{}", reply.text);
}

#[tokio::test]
async fn a_login_ends_with_the_key_that_began_it_and_belongs_to_its_tenant() {
    let (world, connection) = not_logged_in().await;
    let other = world.hub.tenant("other").await;
    let path = format!("/connections/{connection}/authorize");
    let _ = other.post(&path, &json!({})).await.problem(404, "not_found");
    let key = json!({"tenant": "acme", "scope": "admin"});
    let made = world.hub.post("/v1/keys", &key).await.expect(201);
    let admin = world.tenant.with_key(&text(&made, "key"));
    let begun = admin.post(&path, &json!({})).await.expect(200);
    let back = consented(&text(&begun, "url").parse().expect("a URL")).await;
    let _ = world.hub.delete(&format!("/v1/keys/{}", text(&made, "id"))).await;
    let page = opened(&back).await;
    assert!(page.status == 403 && page.text.contains("API key"), "{}", page.text);
    let reader = json!({"tenant": "acme", "scope": "reader"});
    let reader = world.hub.post("/v1/keys", &reader).await.expect(201);
    let reader = world.tenant.with_key(&text(&reader, "key"));
    let _ = reader.post(&path, &json!({})).await.problem(403, "forbidden");
    assert_eq!(world.shown(&connection).await["state"], "needs_login");
}

#[tokio::test]
async fn a_company_named_by_the_provider_becomes_the_account_of_one_connection() {
    let google = google(|rules| *rules = Rules::intuit()).await;
    let builder = hub_beside(&google);
    let world = World::start(google, builder).await;
    let first = world.connection(json!({})).await;
    let second = json!({"provider": "google", "name": "second", "kind": "oauth2", "secret": {"app": world.app}});
    let second = world.tenant.connection(&second).await;
    let page = opened(&consented(&begin(&world, &first, json!({})).await).await).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(world.shown(&first).await["account"], "1185883450");
    let page = opened(&consented(&begin(&world, &second, json!({})).await).await).await;
    assert!(page.status == 409 && page.text.contains("another connection"), "{}", page.text);
    assert_eq!(world.shown(&second).await["state"], "needs_login");
}

#[tokio::test]
async fn what_is_missing_for_a_login_is_named() {
    let world = {
        let google = google(|_| {}).await;
        let builder = hub_beside(&google);
        World::start(google, builder).await
    };
    let bare = world.hub.post("/v1/apps", &json!({"provider": "google", "name": "bare"})).await.expect(201);
    let of_bare = json!({"provider": "google", "name": "m", "kind": "oauth2", "secret": {"app": text(&bare, "id")}});
    let refused = world.tenant.post("/connections", &of_bare).await.problem(400, "invalid_request");
    assert!(refused.to_string().contains("client_id"), "{refused}");
    let elsewhere = json!({"provider": "quickbooks", "name": "m", "kind": "oauth2", "secret": {"app": world.app}});
    let refused = world.tenant.post("/connections", &elsewhere).await.problem(400, "invalid_request");
    assert!(refused.to_string().contains("secret.app"), "{refused}");
    let fixed = json!({"provider": "google", "name": "fixed", "kind": "bearer", "secret": {"token": "t"}});
    let fixed = world.tenant.connection(&fixed).await;
    let refused = world.tenant.post(&format!("/connections/{fixed}/authorize"), &json!({})).await;
    let _ = refused.problem(400, "invalid_request");
}

#[tokio::test]
async fn an_app_in_use_cannot_be_removed_and_shows_no_secret() {
    let (world, connection) = not_logged_in().await;
    let path = format!("/v1/apps/{}", world.app);
    let shown = world.hub.get(&path).await.expect(200);
    assert_eq!((&shown["connections"], &shown["has_client_secret"]), (&json!(1), &json!(true)));
    assert!(!shown.to_string().contains("MARKER") && text(&shown["sources"][0], "url").contains("/in/src_"), "{shown}");
    let _ = world.hub.delete(&path).await.problem(409, "conflict");
    let _ = world.tenant.api.delete(&world.tenant.path("/plugins/caller")).await;
    let _ = world.tenant.api.delete(&world.tenant.path(&format!("/connections/{connection}"))).await;
    assert_eq!(world.hub.delete(&path).await.status, 204);
}
