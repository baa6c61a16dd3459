use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use switchyard_tests::{database::Database, hub::Hub};
use url::Url;

use super::run;

/// The database's URL with this user and password, and what else is changed.
fn url_as(database: &Database, user: &str, password: &str, change: impl FnOnce(&mut Url)) -> String {
    let mut url: Url = database.url().parse().expect("its URL");
    url.set_username(user).expect("a user");
    url.set_password(Some(password)).expect("a password");
    change(&mut url);
    url.into()
}

#[tokio::test]
async fn a_wrong_address_is_refused_with_the_setting_to_correct_and_without_the_password() {
    let database = Database::fresh().await;
    let wrong = |change: &dyn Fn(&mut Url)| url_as(&database, "postgres", "MARKER%2Bsecret", change);
    let cases = [
        (wrong(&|url| url.set_port(Some(1)).expect("a port")), "cannot be reached"),
        (wrong(&|url| url.set_path("/no_such_database_here")), "no such database"),
        (url_as(&database, "no_such_user_here", "MARKER%2Bsecret", |_| ()), "does not let the user"),
        ("postgres://postgres:MARKER%2Bsecret@127.0.0.1:port/x".to_owned(), "database"),
    ];
    for (url, words) in cases {
        let hub = Hub::builder().on(&database).set("SWITCHYARD_DATABASE_URL", &url);
        let mut hub = hub.prepare();
        let mut said = hub.refuses(&[]).await;
        for args in [&["doctor"][..], &["migrate", "status"], &["backup", "copy"]] {
            let ended = hub.run(args, &[]).await;
            assert!(!ended.success, "{args:?} went well: {}", ended.out);
            said.push_str(&ended.out);
            said.push_str(&ended.err);
        }
        assert!(said.contains(words), "`{words}` is missing: {said}");
        assert!(!said.contains("MARKER"), "a password is told: {said}");
    }
}

#[tokio::test]
async fn without_master_keys_nothing_is_touched() {
    let database = Database::fresh().await;
    let mut hub = Hub::builder().on(&database).unset("SWITCHYARD_MASTER_KEYS").prepare();
    let said = hub.refuses(&[]).await;
    assert!(said.contains("SWITCHYARD_MASTER_KEYS") && said.contains("openssl rand"), "{said}");
    assert_eq!(super::number(&database, "select count(*) from pg_tables where schemaname = 'public'").await, 0);
    let doctor = hub.run(&["doctor"], &[]).await;
    assert!(!doctor.success && doctor.out.contains("SWITCHYARD_MASTER_KEYS is not set"), "{}", doctor.out);
}

#[tokio::test]
async fn a_second_node_with_other_master_keys_is_refused_by_their_fingerprints() {
    let database = Database::fresh().await;
    let first = Hub::builder().on(&database).start().await;
    let _ = first.tenant("acme").await;
    let other = |name: &str| format!("{name}:{}", STANDARD.encode([9; 32]));
    let mut second = Hub::builder().on(&database).set("SWITCHYARD_MASTER_KEYS", &other("tests")).prepare();
    let said = second.refuses(&[]).await;
    assert!(said.contains("`tests`") && said.contains("fingerprint is") && said.contains("on every node"), "{said}");
    assert!(!said.contains(&STANDARD.encode([9; 32])), "the key is told: {said}");
    let said = second.refuses(&[("SWITCHYARD_MASTER_KEYS", &other("another"))]).await;
    assert!(said.contains("`tests` wraps") && said.contains("SWITCHYARD_MASTER_KEYS"), "{said}");
    let doctor = second.run(&["doctor"], &[]).await;
    assert!(!doctor.success && doctor.out.contains("fingerprint is"), "{}", doctor.out);
    let _ = first.get("/v1/tenants/acme").await.expect(200);
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_its_administrator_has_to_run_and_then_works() {
    let database = Database::fresh().await;
    let user = format!("switchyard_test_poor_{}", std::process::id());
    run(&database, &format!("drop role if exists {user}; create role {user} login password 'MARKER-of-the-poor'"))
        .await;
    let url = url_as(&database, &user, "MARKER-of-the-poor", |_| ());
    let mut hub = Hub::builder().on(&database).set("SWITCHYARD_DATABASE_URL", &url).prepare();
    // Every test has used the roles, or the administrator makes them as the words say.
    let said = hub.refuses(&[]).await;
    assert!(said.contains("grant switchyard_hub, switchyard_tenant to"), "{said}");
    let make = |role: &str| {
        format!(
            "if not exists (select 1 from pg_roles where rolname = '{role}') then create role {role} nologin; end if;"
        )
    };
    run(
        &database,
        &format!(
            "do $$ begin {} {} end $$; grant switchyard_hub, switchyard_tenant to {user}",
            make("switchyard_hub"),
            make("switchyard_tenant")
        ),
    )
    .await;
    let said = hub.refuses(&[]).await;
    assert!(said.contains("may not make tables") && said.contains("grant usage, create on schema public"), "{said}");
    run(&database, &format!("grant usage, create on schema public to {user}")).await;
    hub.restart().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert_eq!(tenant.list("/events").await.len(), 1);
    let _ = hub.delete("/v1/tenants/acme").await;
    assert!(hub.stop().await.success());
    assert!(!hub.log().contains("MARKER"), "the password is in the log");
    run(&database, &format!("reassign owned by {user} to current_user; drop owned by {user}; drop role {user}")).await;
}

#[tokio::test]
async fn copies_of_a_server_are_its_own_tools_business() {
    let database = Database::fresh().await;
    let hub = Hub::builder().on(&database).prepare();
    let said = hub.run(&["backup", "copy.dump"], &[]).await;
    assert!(said.refusal().contains("pg_dump --format=custom --file=copy.dump"), "{}", said.err);
    let said = hub.run(&["restore", "copy.dump"], &[]).await;
    assert!(said.refusal().contains("pg_restore"), "{}", said.err);
}
