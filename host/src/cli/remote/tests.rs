use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    cli::{Cli, Command, PluginCommand},
    config::Settings,
    ingress::listen::serve,
};

/// What the stand-in saw: path, authorization, body.
type Seen = Arc<Mutex<Vec<(String, String, Value)>>>;

fn note(seen: &Seen, path: &str, headers: &HeaderMap, body: Value) {
    let key = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    seen.lock().unwrap().push((path.to_owned(), key.to_owned(), body));
}

async fn events(
    State(seen): State<Seen>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> impl IntoResponse {
    note(&seen, &tenant, &headers, body);
    if tenant == "nobody" {
        let problem = json!({"status": 404, "code": "not_found", "detail": "there is no such tenant"});
        return (StatusCode::NOT_FOUND, Json(problem));
    }
    (StatusCode::ACCEPTED, Json(json!({"id": "evt_1", "duplicate": false, "correlation_id": "c1"})))
}

async fn control(
    State(seen): State<Seen>,
    Path(action): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    note(&seen, &action, &headers, body);
    Json(json!({"ok": true}))
}

async fn plugins(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> Json<Value> {
    note(&seen, headers["content-type"].to_str().unwrap(), &headers, body.len().into());
    Json(json!({"name": "billy", "version": "0.1.0", "sha256": "00"}))
}

async fn key_pages(Query(page): Query<std::collections::HashMap<String, String>>) -> Json<Value> {
    Json(match page.get("after").map(String::as_str) {
        None => json!({"data": [{"id": "key_1"}], "next": "key_1"}),
        Some(_) => json!({"data": [{"id": "key_2"}], "next": null}),
    })
}

struct StandIn {
    url: String,
    seen: Seen,
    _stop: tokio_util::sync::DropGuard,
}

async fn stand_in() -> StandIn {
    let seen = Seen::default();
    let router = Router::new()
        .route("/v1/tenants/{tenant}/events", post(events))
        .route("/v1/plugins", post(plugins))
        .route("/v1/keys", get(key_pages))
        .route("/_sim/{action}", post(control))
        .with_state(Arc::clone(&seen));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, router, Settings::defaults().unwrap().limits, stop.clone()));
    StandIn { url, seen, _stop: stop.drop_guard() }
}

async fn execute(url: &str, key: Option<&str>, words: &[&str]) -> Result<(), CliError> {
    let mut line = vec!["switchyard", "--json", "--url", url];
    line.extend(key.map(|key| ["--key", key]).into_iter().flatten());
    line.extend(words);
    let cli = Cli::try_parse_from(line).unwrap();
    match cli.command {
        Command::Remote(command) => run(command, &cli.global).await,
        Command::Plugin(PluginCommand::Push(args)) => push(&args, &cli.global).await,
        _ => unreachable!("the tests give remote commands"),
    }
}

const SEND: [&str; 6] = ["events", "send", "--type", "invoice.create", "--data", r#"{"amount":{"amount":"1.00"}}"#];

#[tokio::test]
async fn an_event_is_sent_with_its_key() {
    let hub = stand_in().await;
    execute(&hub.url, Some("swk_test"), &[&SEND[..], &["--tenant", "acme", "--id", "o-1", "--emergency"]].concat())
        .await
        .unwrap();
    let expected =
        json!({"type": "invoice.create", "data": {"amount": {"amount": "1.00"}}, "id": "o-1", "urgency": "emergency"});
    assert_eq!(hub.seen.lock().unwrap()[0], ("acme".to_owned(), "Bearer swk_test".to_owned(), expected));
}

#[tokio::test]
async fn a_refusal_says_why_and_the_missing_hub_says_how() {
    let hub = stand_in().await;
    let refused = execute(&hub.url, Some("k"), &[&SEND[..], &["--tenant", "nobody"]].concat()).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no such tenant (not_found, 404)");
    let no_key = execute(&hub.url, None, &["keys", "list"]).await;
    // The environment of a developer may hold a key; without one the fix is named.
    if std::env::var_os("SWITCHYARD_KEY").is_none() {
        assert!(no_key.unwrap_err().to_string().contains("set SWITCHYARD_KEY or --key"));
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let missing = execute(&nowhere, Some("k"), &["keys", "list"]).await.unwrap_err().to_string();
    assert!(missing.contains("Is the hub running?") && missing.contains("--url"), "{missing}");
    let simulator = ["simulate", "billy", "pay", "--sim-url", &nowhere, "--invoice", "inv1"];
    let missing = execute(&nowhere, None, &simulator).await.unwrap_err().to_string();
    assert!(missing.contains("switchyard dev") && missing.contains("--sim-url"), "{missing}");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let hub = stand_in().await;
    let client = HubClient::new(hub.url.parse().unwrap(), None).unwrap();
    let keys = client.list(&["v1", "keys"]).await.unwrap();
    assert_eq!(keys, [json!({"id": "key_1"}), json!({"id": "key_2"})]);
    assert_eq!(key_table(&keys.into()).lines().count(), 3);
}

#[tokio::test]
async fn a_plugin_is_uploaded_whole() {
    let hub = stand_in().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("billy.wasm");
    std::fs::write(&file, vec![0; 200_000]).unwrap();
    execute(&hub.url, Some("k"), &["plugin", "push", file.to_str().unwrap()]).await.unwrap();
    assert_eq!(hub.seen.lock().unwrap()[0], ("application/wasm".to_owned(), "Bearer k".to_owned(), json!(200_000)));
}

#[tokio::test]
async fn simulators_are_told_what_to_do() {
    let sim = stand_in().await;
    let at = ["--sim-url", &sim.url];
    let sms = [&["simulate", "twilio", "sms", "--from", "+4511", "--to", "+4522", "--body", "hej"], &at[..]].concat();
    let pay = [&["simulate", "billy", "pay", "--invoice", "inv1", "--amount", "125.00"], &at[..]].concat();
    let fault = [&["simulate", "billy", "control", "faults", "--data", r#"{"status":500}"#], &at[..]].concat();
    for words in [sms, pay, fault] {
        execute("http://127.0.0.1:1", None, &words).await.unwrap();
    }
    let seen: Vec<(String, Value)> =
        sim.seen.lock().unwrap().iter().map(|(path, _, body)| (path.clone(), body.clone())).collect();
    assert_eq!(seen[0], ("sms".to_owned(), json!({"from": "+4511", "to": "+4522", "body": "hej"})));
    assert_eq!(seen[1], ("pay".to_owned(), json!({"invoice_id": "inv1", "amount": 125.0})));
    assert_eq!(seen[2], ("faults".to_owned(), json!({"status": 500})));
}
