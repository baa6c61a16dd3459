//! Another process steers through `/_sim/`.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    LIMIT, NUMBER, PERSON, billy, billy_call, billy_get, call, get, post_json, send, subscriber, twilio,
};

#[tokio::test]
async fn a_fault_is_armed_listed_and_cleared_over_http() {
    let twilio = twilio().await;
    let url = format!("{}/_sim/faults", twilio.base_url());
    let fault = json!({"operation": "messages.create", "kind": "rate_limit", "retry_after_s": 3, "times": 2});
    assert_eq!(post_json(&url, &fault).await.expect(200)["armed"][0], fault);
    assert_eq!(send(&twilio, &[]).await.status, 429);
    assert_eq!(get(&url).await.expect(200)["armed"][0]["times"], 1);
    call(Method::DELETE, &url, &[], "").await.unwrap().expect(200);
    assert_eq!(get(&url).await.expect(200)["armed"], json!([]));
    let counts = get(&format!("{}/_sim/counts", twilio.base_url())).await.expect(200);
    assert_eq!(counts["messages.create"], json!({"received": 1, "executed": 0}));
}

#[tokio::test]
async fn a_bad_control_request_says_what_is_wrong() {
    let twilio = twilio().await;
    let url = |command: &str| format!("{}/_sim/{command}", twilio.base_url());
    let error = post_json(&url("faults"), &json!({"operation": "*", "kind": "earthquake"})).await.expect(400);
    assert!(error["error"].as_str().unwrap().contains("earthquake"));
    let error =
        post_json(&url("faults"), &json!({"operation": "*", "kind": "drop_after", "times": 0})).await.expect(400);
    assert!(error["error"].as_str().unwrap().contains("times"));
    post_json(&url("nothing"), &json!({})).await.expect(404);
    post_json(&url("sms"), &json!({"to": NUMBER})).await.expect(400);
    let error = post_json(&url("sms"), &json!({"to": NUMBER, "from": PERSON})).await.expect(409);
    assert_eq!(error["error"], "no SMS URL is configured for this account");
}

#[tokio::test]
async fn an_sms_is_sent_and_replayed_over_http() {
    let hub = subscriber().await;
    let twilio = twilio().await;
    let url = |command: &str| format!("{}/_sim/{command}", twilio.base_url());
    post_json(&url("config"), &json!({"sms_url": hub.url("/in")})).await.expect(200);
    let sms = json!({"to": NUMBER, "from": PERSON, "body": "Hej", "signing": {"json": true}, "forgery": "wrong_key"});
    let outcome = post_json(&url("sms"), &sms).await.expect(200);
    assert_eq!(outcome["status"], 200);
    post_json(&url("replay"), &json!({"fresh_token": true})).await.expect(200);
    hub.wait_for("/in", 2, LIMIT).await.unwrap();
    let messages = get(&url("messages")).await.expect(200);
    assert_eq!(messages["messages"][0]["body"], "Hej");
    assert_eq!(get(&url("webhooks")).await.expect(200)["webhooks"][0]["attempts"][0]["status"], 200);
}

#[tokio::test]
async fn a_held_request_is_awaited_and_released_over_http() {
    let billy = billy().await;
    let url = |command: &str| format!("{}/_sim/{command}", billy.base_url());
    post_json(&url("faults"), &json!({"operation": "organization.fetch", "kind": "hang_after"})).await.expect(200);
    let handle = billy.handle.clone();
    let request = tokio::spawn(async move { billy_get(&handle, "/organization").await.status });
    assert_eq!(get(&url("held?wait_ms=10000")).await.expect(200)["held"], 1);
    assert_eq!(post_json(&url("release"), &Value::Null).await.expect(200)["released"], 1);
    assert_eq!(request.await.unwrap(), 200);
}

#[tokio::test]
async fn an_invoice_is_paid_over_http() {
    let billy = billy().await;
    let url = |command: &str| format!("{}/_sim/{command}", billy.base_url());
    let info = get(&url("info")).await.expect(200);
    assert_eq!(info["product_id"], billy.product_id());
    let contact = json!({"contact": {"type": "company", "name": "Kunde ApS", "countryId": "DK"}});
    let contact = billy_call(&billy, Method::POST, "/contacts", &contact).await.unwrap().expect(200);
    let invoice = json!({"invoice": {"contactId": contact["contacts"][0]["id"], "state": "approved",
        "lines": [{"productId": info["product_id"], "quantity": 2, "unitPrice": 400}]}});
    billy_call(&billy, Method::POST, "/invoices", &invoice).await.unwrap().expect(200);
    let invoices = get(&url("invoices")).await.expect(200);
    let id = invoices["invoices"][0]["id"].clone();
    let paid = post_json(&url("pay"), &json!({"invoice_id": id, "amount": 250.5})).await.expect(200);
    assert_eq!((paid["amount_ore"].as_i64(), paid["balance_ore"].as_i64()), (Some(25_050), Some(74_950)));
    let paid = post_json(&url("pay"), &json!({"invoice_id": id})).await.expect(200);
    assert_eq!(paid["balance_ore"], 0);
    post_json(&url("pay"), &json!({"invoice_id": id})).await.expect(409);
    post_json(&url("pay"), &json!({"invoice_id": "none"})).await.expect(409);
}

#[tokio::test]
async fn the_subscriber_is_scripted_and_read_over_http() {
    let hub = subscriber().await;
    let url = |command: &str| format!("{}/_sim/{command}", hub.base_url());
    post_json(&url("script"), &json!({"path": "/orders", "statuses": [500, 200]})).await.expect(200);
    let script = json!({"path": "/gone", "script": {"then": {"answer": "status", "status": 410}}});
    post_json(&url("script"), &script).await.expect(200);
    post_json(&url("script"), &json!({"path": "/x"})).await.expect(400);
    post_json(&url("secrets"), &json!({"path": "/x", "secrets": ["wrong"]})).await.expect(400);
    let mut seen = Vec::new();
    for path in ["/orders", "/orders", "/orders", "/gone"] {
        seen.push(post_json(&hub.url(path), &json!({"n": 1})).await.status);
    }
    assert_eq!(seen, [500, 200, 200, 410]);
    let requests = get(&url("requests?path=/orders&count=3&wait_ms=1000")).await.expect(200);
    assert_eq!(requests["requests"][2]["body"], "{\"n\":1}");
    call(Method::DELETE, &url("requests"), &[], "").await.unwrap().expect(200);
    assert_eq!(get(&url("requests")).await.expect(200)["requests"], json!([]));
    assert_eq!(get(&url("counts")).await.expect(200), json!({"/gone": 1, "/orders": 3}));
}
