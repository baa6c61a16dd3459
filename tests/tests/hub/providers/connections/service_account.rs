use serde_json::{Value, json};
use switchyard_tests::api::text;

use super::{SCOPE, World, google, hub_beside};

const ACCOUNT: &str = "hub@hub-test.iam.gserviceaccount.com";

async fn with_account(delegated: &[&str], more: Value) -> (World, String) {
    let google = google(|_| {}).await;
    let builder = hub_beside(&google);
    let key = google.add_service_account(ACCOUNT, delegated).expect("a key file");
    let world = World::start(google, builder).await;
    let mut secret = json!({"key": key});
    secret.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    let wanted = json!({"provider": "google", "name": "robot", "kind": "google_service_account", "secret": secret});
    let connection = world.tenant.connection(&wanted).await;
    world.install(&connection).await;
    (world, connection)
}

fn assertions(world: &World) -> u64 {
    world.google.counts().get("token.assertion").map_or(0, |count| count.received)
}

#[tokio::test]
async fn a_service_account_calls_as_itself_and_asks_once() {
    let (world, connection) = with_account(&[], json!({})).await;
    for id in ["c-1", "c-2"] {
        world.call(id).await;
        let _ = world.delivery(id, "delivered").await;
    }
    let answers = world.answered(2).await;
    assert!(text(&answers[0]["data"], "body").contains(ACCOUNT), "{answers:?}");
    assert_eq!(assertions(&world), 1);
    let shown = world.shown(&connection).await;
    assert!(!shown.to_string().contains("PRIVATE KEY"), "{shown}");
}

#[tokio::test]
async fn a_service_account_calls_in_the_name_of_a_person() {
    let (world, _) = with_account(&[SCOPE], json!({"subject": "owner@customer.example"})).await;
    world.call("c-1").await;
    let answers = world.answered(1).await;
    assert!(text(&answers[0]["data"], "body").contains("owner@customer.example"), "{answers:?}");
}

#[tokio::test]
async fn a_delegation_for_other_scopes_holds_calls_until_it_is_set_right() {
    let other = "https://www.googleapis.com/auth/calendar";
    let (world, connection) = with_account(&[other], json!({"subject": "owner@customer.example"})).await;
    world.call("c-1").await;
    let shown = world.state(&connection, "needs_login").await;
    assert!(text(&shown, "reason").contains("unauthorized_client"), "{shown}");
    let _ = world.delivery("c-1", "held").await;
    let key = world.google.add_service_account(ACCOUNT, &[SCOPE]).expect("a key file");
    let rotation = json!({"secret": {"key": key.to_string(), "subject": "owner@customer.example"}});
    let _ = world.tenant.post(&format!("/connections/{connection}/rotate"), &rotation).await.expect(200);
    let _ = world.answered(1).await;
}

#[tokio::test]
async fn a_key_file_that_is_none_is_refused_without_being_repeated() {
    let google = google(|_| {}).await;
    let builder = hub_beside(&google);
    let good = google.add_service_account(ACCOUNT, &[]).expect("a key file");
    let world = World::start(google, builder).await;
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    for key in [
        json!("MARKER"),
        json!({"MARKER": 1}),
        with("type", json!("authorized_user")),
        with("token_uri", json!("http://oauth2.googleapis.com/token")),
        with("private_key", json!("MARKER")),
        with("client_email", json!("MARKER")),
    ] {
        let wanted =
            json!({"provider": "google", "name": "robot", "kind": "google_service_account", "secret": {"key": key}});
        let refused = world.tenant.post("/connections", &wanted).await.problem(400, "invalid_request");
        let text = refused.to_string();
        assert!(text.contains("secret.key") && !text.contains("MARKER") && !text.contains("PRIVATE KEY"), "{text}");
    }
}
