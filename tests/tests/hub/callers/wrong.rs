use serde_json::{Value, json};
use switchyard_tests::{
    api::{Reply, Tenant, text},
    hub::Hub,
    world::{bundled, guest},
};

/// A request that is wrong in one respect: how it is sent, what it is answered, and a phrase that says what to mend.
struct Wrong {
    method: &'static str,
    path: String,
    media: &'static str,
    body: String,
    status: u16,
    code: &'static str,
    phrase: &'static str,
}

const JSON: &str = "application/json";
const NOBODY: &str = "con_00000000000000000000000000000000";

/// A request with a JSON body.
fn wrong(
    method: &'static str,
    path: impl Into<String>,
    body: &Value,
    answer: (u16, &'static str),
    phrase: &'static str,
) -> Wrong {
    let (status, code) = answer;
    Wrong { method, path: path.into(), media: JSON, body: body.to_string(), status, code, phrase }
}

const INVALID: (u16, &str) = (400, "invalid_request");
const MISSING: (u16, &str) = (404, "not_found");

fn methods_and_media(tenant: &Tenant) -> Vec<Wrong> {
    let at = |path: &str| tenant.path(path);
    let none = json!({});
    let method = (405, "method_not_allowed");
    let media = |path: String, media: &'static str, body: &str, phrase| Wrong {
        method: "POST",
        path,
        media,
        body: body.to_owned(),
        status: 415,
        code: "unsupported_media_type",
        phrase,
    };
    vec![
        wrong("DELETE", at("/events"), &none, method, "other methods"),
        wrong("PUT", at("/events"), &none, method, "other methods"),
        wrong("PATCH", "/v1/tenants", &none, method, "other methods"),
        wrong("POST", at("/deliveries"), &none, method, "other methods"),
        wrong("POST", "/v1/event-types", &none, method, "other methods"),
        wrong("POST", at("/evnts"), &none, (404, "no_such_route"), "/docs"),
        media(at("/events"), "text/plain", "{}", "application/json"),
        media(at("/events"), "application/xml", "<a/>", "application/json"),
        media(at("/events"), "", "{}", "application/json"),
        media(at("/endpoints"), "text/html", "{}", "application/json"),
        media("/v1/tenants".to_owned(), "application/x-www-form-urlencoded", "id=acme", "application/json"),
        media("/v1/plugins".to_owned(), JSON, "{}", "application/wasm"),
    ]
}

fn events(tenant: &Tenant) -> Vec<Wrong> {
    let event = |body: Value, answer, phrase| wrong("POST", tenant.path("/events"), &body, answer, phrase);
    let schema = (422, "schema_violation");
    let sms = |data: Value, phrase| event(json!({"type": "sms.send", "data": data}), schema, phrase);
    let cloud = |body: &str, phrase| Wrong {
        method: "POST",
        path: tenant.path("/events"),
        media: "application/cloudevents+json",
        body: body.to_owned(),
        status: 400,
        code: "invalid_request",
        phrase,
    };
    let batch = |body: &str, phrase| Wrong { media: "application/cloudevents-batch+json", ..cloud(body, phrase) };
    vec![
        event(json!({"data": {}}), INVALID, "type"),
        event(json!({"type": "", "data": {}}), INVALID, "type"),
        event(json!({"type": "x".repeat(200), "data": {}}), INVALID, "128"),
        event(json!({"type": "Invoice.Paid", "data": {}}), INVALID, "type"),
        event(json!({"type": "a.b", "data": {}, "subject": "x".repeat(300)}), INVALID, "255"),
        event(json!({"type": "a.b", "data": {}, "ordering_key": ""}), INVALID, "ordering_key"),
        event(json!({"type": "a.b", "data": {}, "expires_at": "tomorrow"}), INVALID, "expires_at"),
        event(json!({"type": "a.b", "data": {}, "id": "x".repeat(129)}), INVALID, "id"),
        event(json!({"type": "a.b", "data": {}, "tenant": "other"}), INVALID, "tenant"),
        event(json!([]), INVALID, "JSON object"),
        sms(json!({}), "data/to: it is required"),
        sms(json!({"to": "+4520123456", "body": ["hi"]}), "data/body"),
        sms(json!({"to": null, "body": "hi"}), "data/to"),
        cloud(r#"{"specversion":"1.0","id":"1","source":"s"}"#, "type"),
        cloud(r#"{"specversion":"2.0","id":"1","source":"s","type":"a.b"}"#, "specversion"),
        cloud(r#"{"specversion":"1.0","id":"1","source":"s","type":"a.b","data_base64":"AA=="}"#, "data_base64"),
        cloud(r#"{"specversion":"1.0","id":"1","source":"s","type":"a.b","bad-name":"x"}"#, "bad-name"),
        batch("[]", "1 to 100"),
        batch(&format!("[{}]", vec![r#"{"specversion":"1.0"}"#; 101].join(",")), "1 to 100"),
        batch("{}", "body"),
    ]
}

fn things(tenant: &Tenant) -> Vec<Wrong> {
    let at = |path: &str| tenant.path(path);
    let endpoint = |more: Value, phrase| {
        let mut body = json!({"url": "https://example.com/", "event_types": ["a.b"]});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        wrong("POST", at("/endpoints"), &body, INVALID, phrase)
    };
    let none = json!({});
    vec![
        wrong("GET", "/v1/tenants/nobody", &none, MISSING, "tenant"),
        wrong("POST", "/v1/tenants/nobody/events", &json!({"type": "a.b", "data": {}}), MISSING, "tenant"),
        wrong("PUT", at("/plugins/nothing"), &none, MISSING, "plugin"),
        wrong("GET", "/v1/plugins/nothing", &none, MISSING, "plugin"),
        wrong("GET", at(&format!("/connections/{NOBODY}")), &none, MISSING, "connection"),
        wrong("POST", at(&format!("/connections/{NOBODY}/rotate")), &none, MISSING, "connection"),
        wrong("PUT", at("/plugins/webhook"), &json!({"connections": {"inbound": NOBODY}}), INVALID, "config"),
        wrong("GET", at("/events/evt_nothing"), &none, MISSING, "no such"),
        wrong("GET", at("/deliveries/dlv_nothing"), &none, MISSING, "no such"),
        wrong("POST", "/v1/tenants", &json!({"id": "Ac me"}), INVALID, "id"),
        wrong("POST", "/v1/tenants", &json!({"id": "ok", "time_zone": "Mars/Base"}), INVALID, "time_zone"),
        wrong("POST", "/v1/tenants", &json!({"id": "acme"}), (409, "conflict"), "a tenant of this name"),
        endpoint(json!({"event_types": []}), "event_types"),
        endpoint(json!({"event_types": ["invoice.*.paid"]}), "event_types[0]"),
        endpoint(json!({"event_types": ["_poll.due"]}), "private"),
        endpoint(json!({"filter": "data.a ="}), "column"),
        endpoint(json!({"format": "xml"}), "cloudevents"),
        endpoint(json!({"timeout_ms": 0}), "timeout_ms"),
        endpoint(json!({"rate_per_s": "fast"}), "rate_per_s"),
        endpoint(json!({"headers": {"Host": "evil.test"}}), "Host"),
        endpoint(json!({"secret": "short"}), "secret"),
        wrong("GET", format!("{}?limit=0", at("/events")), &none, INVALID, "limit"),
        wrong("GET", format!("{}?after=nonsense", at("/events")), &none, INVALID, "after"),
        wrong("GET", format!("{}?stat=dead", at("/deliveries")), &none, INVALID, "stat"),
        wrong("POST", "/v1/keys", &json!({"scope": "king"}), INVALID, "scope"),
        wrong("POST", "/v1/keys", &json!({"scope": "reader", "tenant": "nobody"}), INVALID, "tenant"),
    ]
}

#[tokio::test]
async fn every_request_that_is_wrong_in_one_respect_is_told_which_and_how_to_mend_it() {
    let hub = Hub::start().await;
    for plugin in [bundled("webhook"), bundled("twilio"), guest("hello_plugin")] {
        let _ = hub.push(plugin).await.expect(201);
    }
    let tenant = hub.tenant("acme").await;
    let mut faults = Vec::new();
    for wrong in methods_and_media(&tenant).into_iter().chain(events(&tenant)).chain(things(&tenant)) {
        let fields: Vec<_> = (!wrong.media.is_empty()).then_some(("content-type", wrong.media)).into_iter().collect();
        let body = if wrong.method == "GET" { String::new() } else { wrong.body.clone() };
        let reply: Reply = hub.raw(wrong.method, &wrong.path, &fields, body).await;
        let problem = reply.json();
        let detail = problem["detail"].as_str().unwrap_or_default();
        let fits = reply.status == wrong.status && problem["code"] == wrong.code && detail.contains(wrong.phrase);
        if !fits {
            let wanted = (wrong.status, wrong.code, wrong.phrase);
            faults.push(format!(
                "{} {} {}\n  wanted {wanted:?}\n  got {} {}",
                wrong.method, wrong.path, wrong.body, reply.status, reply.text
            ));
        }
    }
    assert!(faults.is_empty(), "{} answers are wrong:\n{}", faults.len(), faults.join("\n"));
    assert!(tenant.list("/events").await.is_empty() && tenant.list("/endpoints").await.is_empty());
    assert!(tenant.list("/connections").await.is_empty() && tenant.list("/plugins").await.is_empty());
    assert_eq!(text(&hub.get("/v1/tenants/acme").await.expect(200), "name"), "acme");
}

#[tokio::test]
async fn what_goes_to_a_source_is_answered_by_its_status_alone() {
    let hub = Hub::start().await;
    let _ = hub.push(bundled("webhook")).await.expect(201);
    let sender = super::senders::Sender::plain(&hub, "acme").await;
    let without = hub.without_key();
    let signature = switchyard_tests::world::sender_signature(b"{}");
    for (method, path, fields, body, status) in [
        ("GET", sender.path.as_str(), &[][..], "", 401),
        ("DELETE", &sender.path, &[], "", 401),
        ("POST", &sender.path, &[("content-type", "application/xml")], "<a/>", 401),
        ("POST", &sender.path, &[("x-signature", "zz")], "{}", 401),
        ("POST", "/in/src_nothing", &[], "{}", 404),
        ("POST", "/in/", &[], "{}", 404),
        ("POST", "/in", &[], "{}", 404),
        ("POST", &sender.path, &[("content-encoding", "gzip")], "{}", 415),
        ("PUT", &sender.path, &[("x-signature", signature.as_str())], "{}", 200),
    ] {
        let reply = without.raw(method, path, fields, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        assert!(!reply.text.contains("webhook"), "a stranger learns of the plugin: {}", reply.text);
    }
    // Nobody judges while the plugin is off: what comes is kept, and the sender is told to come again.
    let config = switchyard_tests::world::sender_config("order.placed");
    let off = json!({"config": config, "connections": {"inbound": sender.connection}, "mode": "off"});
    let _ = sender.tenant.install("webhook", &off).await;
    let reply = without.raw("POST", &sender.path, &[("x-signature", &signature)], "{}").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"), "{}", reply.text);
    assert_eq!(sender.counts().await.1, 1, "it is parked");
}
