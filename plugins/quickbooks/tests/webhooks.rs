//! Webhooks in both formats, genuine and not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use quickbooks::QuickBooks;
use serde_json::{Value, json};
use support::{REALM, config};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, InboundRequest, PluginError, Received};

const VECTORS: &str = include_str!("../../../tests/data/vectors.json");
const TOKEN: &str = "11111111-2222-4333-8444-555555555555";

fn sign(token: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn request(signature: &str, body: impl Into<Vec<u8>>) -> InboundRequest {
    InboundRequest::new("POST", "https://hub.test/in/src_0").with_header("Intuit-Signature", signature).with_body(body)
}

fn receive(host: &MockHost, config: Value, body: &str) -> Result<Received, PluginError> {
    host.receive::<QuickBooks>(config, request(&sign(TOKEN, body.as_bytes()), body))
}

fn own() -> MockHost {
    MockHost::new().secret("webhook.secret", TOKEN)
}

fn app() -> MockHost {
    MockHost::new().secret("app.verifier_token", TOKEN).call(|call| {
        call.tenant_id.clear();
        call.installation_id.clear();
    })
}

#[track_caller]
fn events(received: Result<Received, PluginError>) -> Vec<Emit> {
    match received.unwrap() {
        Received::Accepted { events, .. } => events,
        other => panic!("not accepted: {other:?}"),
    }
}

fn cloud_event(id: &str, kind: &str, realm: &str, entity_id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "intuit.x", "type": kind, "time": "2026-11-20T21:31:25.179851517Z",
        "intuitentityid": entity_id, "intuitaccountid": realm, "data": {} })
}

#[test]
fn every_case_is_judged_as_its_source_says() {
    let all: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let cases: Vec<&Value> = all.iter().filter(|case| case["provider"] == "quickbooks").collect();
    assert!(cases.len() >= 4, "{} cases", cases.len());
    for case in cases {
        let inputs = &case["inputs"];
        let host = MockHost::new().secret("webhook.secret", inputs["verifier_token"].as_str().unwrap());
        let signature = inputs["headers"]["intuit-signature"].as_str().unwrap();
        let body = inputs["raw_body"].as_str().unwrap();
        let received = host.receive::<QuickBooks>(config(), request(signature, body)).unwrap();
        let accepted = matches!(received, Received::Accepted { .. });
        assert_eq!(Some(accepted), case["expected"]["valid"].as_bool(), "{}", case["id"]);
        if accepted {
            let mut altered = body.as_bytes().to_vec();
            altered.push(b' ');
            let received = host.receive::<QuickBooks>(config(), request(signature, altered)).unwrap();
            assert!(matches!(received, Received::Unauthenticated(_)), "{}", case["id"]);
        }
    }
}

#[test]
fn forged_and_ambiguous_signatures_are_refused_and_a_missing_key_refuses_nobody() {
    let body = "[]";
    let good = sign(TOKEN, body.as_bytes());
    let bad = [
        String::new(),
        good.trim_end_matches('=').to_owned(),
        hex::encode(STANDARD.decode(&good).unwrap()),
        sign("another token", body.as_bytes()),
        STANDARD.encode(&STANDARD.decode(&good).unwrap()[..31]),
        format!("{good},{good}"),
    ];
    for signature in bad {
        let received = own().receive::<QuickBooks>(config(), request(&signature, body)).unwrap();
        assert!(matches!(received, Received::Unauthenticated(_)), "{signature:?}");
    }
    let twice = request(&good, body).with_header("intuit-signature", &good);
    assert!(matches!(own().receive::<QuickBooks>(config(), twice), Ok(Received::Unauthenticated(_))));
    let none = InboundRequest::new("POST", "https://hub.test/in/src_0").with_body(body);
    assert!(matches!(own().receive::<QuickBooks>(config(), none), Ok(Received::Unauthenticated(_))));
    let unbound = MockHost::new().receive::<QuickBooks>(config(), request(&good, body));
    assert!(matches!(unbound, Err(PluginError::Retry { .. })), "{unbound:?}");
}

#[test]
fn both_formats_become_the_same_private_event() {
    let new = json!([cloud_event("e-1", "qbo.invoice.emailed.v1", REALM, "7")]).to_string();
    let old = json!({ "eventNotifications": [{ "realmId": REALM, "dataChangeEvent": { "entities": [
        { "name": "Invoice", "id": "7", "operation": "Emailed", "lastUpdated": "2015-10-05T14:42:19-0700" }] } }] });
    for body in [new, old.to_string()] {
        let found = events(receive(&own(), config(), &body));
        assert_eq!(found.len(), 1);
        let data = &found[0].data;
        assert_eq!(
            (&data["entity"], &data["id"], &data["operation"]),
            (&json!("invoice"), &json!("7"), &json!("emailed"))
        );
        assert_eq!(found[0].ordering_key.as_deref(), Some("quickbooks:1185883450:invoice:7"));
        assert_eq!(found[0].account, None);
        assert_eq!(keys_of(&own(), &body), keys_of(&own(), &body));
    }
}

fn keys_of(host: &MockHost, body: &str) -> Vec<Option<String>> {
    events(receive(host, config(), body)).into_iter().map(|event| event.dedupe_key).collect()
}

#[test]
fn what_is_not_known_does_not_take_its_neighbours_with_it() {
    let body = json!([
        cloud_event("e-1", "qbo.account.created.v1", REALM, "1"),
        { "id": 7 },
        "nonsense",
        cloud_event("e-2", "qbo.invoice.painted.v1", REALM, "2"),
        cloud_event("e-3", "qbo.customer.updated.v1", "999", "3"),
        cloud_event("e-4", "qbo.payment.created.v1", REALM, "../4"),
        cloud_event("e-5", "qbo.salesreceipt.created.v1", REALM, "5"),
    ]);
    let found = events(receive(&own(), config(), &body.to_string()));
    assert_eq!(found.iter().map(|event| event.data["key"].as_str().unwrap()).collect::<Vec<_>>(), ["salesreceipt:5"]);
    assert!(events(receive(&own(), config(), "[]")).is_empty());
}

#[test]
fn an_unknown_format_is_a_call_to_look_or_is_kept() {
    for body in ["{\"news\":[]}", "7", "not json", "{\"eventNotifications\":7}"] {
        match receive(&own(), config(), body).unwrap() {
            Received::Accepted { events, poll_now, .. } => {
                assert_eq!((events.len(), poll_now), (0, vec!["changes".to_owned()]), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
        assert!(matches!(receive(&app(), json!({}), body), Err(PluginError::Retry { .. })), "{body}");
    }
}

#[test]
fn an_apps_request_names_the_account_of_each_event() {
    let body = json!([
        cloud_event("e-1", "qbo.invoice.created.v1", REALM, "7"),
        cloud_event("e-1", "qbo.invoice.created.v1", "310687", "7"),
    ]);
    let found = events(receive(&app(), json!({}), &body.to_string()));
    let accounts: Vec<_> = found.iter().map(|event| event.account.as_deref().unwrap()).collect();
    assert_eq!(accounts, [REALM, "310687"]);
    assert_ne!(found[0].dedupe_key, found[1].dedupe_key);
}

#[test]
fn a_flood_of_changes_is_followed_by_a_look() {
    let many: Vec<Value> =
        (0..1_500).map(|n| cloud_event(&format!("e-{n}"), "qbo.invoice.updated.v1", REALM, &n.to_string())).collect();
    match receive(&own(), config(), &json!(many).to_string()).unwrap() {
        Received::Accepted { events, poll_now, .. } => {
            assert_eq!((events.len(), poll_now), (1_000, vec!["changes".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
}
