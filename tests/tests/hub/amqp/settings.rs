use serde_json::json;
use switchyard_tests::{
    api::{faulty, text},
    hub::Hub,
};

#[tokio::test]
async fn a_fault_in_an_endpoints_broker_names_its_field_and_repeats_no_password() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let good = "amqp://u:MARKER-password@127.0.0.1:5672/v";
    for (wanted, field) in [
        (json!({"kind": "mqtt", "url": good, "exchange": "x"}), "kind"),
        (json!({"kind": "amqp", "url": good}), "exchange"),
        (json!({"kind": "amqp", "url": good, "exchange": ""}), "routing_key"),
        (json!({"kind": "amqp", "url": good, "exchange": "x".repeat(256)}), "exchange"),
        (json!({"kind": "amqp", "url": "https://u:MARKER-password@example.com", "exchange": "x"}), "url"),
        (json!({"kind": "amqp", "url": format!("{good}/more"), "exchange": "x"}), "url"),
        (json!({"kind": "amqp", "url": format!("{good}?x=1"), "exchange": "x"}), "url"),
        (json!({"kind": "amqp", "url": "amqps://u:MARKER-password@10.0.0.1/v", "exchange": "x"}), "url"),
        (json!({"kind": "amqp", "url": "amqp://u:MARKER-password@8.8.8.8/v", "exchange": "x"}), "url"),
        (json!({"url": "https://example.com/hook", "exchange": "x"}), "exchange"),
        (json!({"kind": "http", "url": "https://example.com/hook", "routing_key": "x"}), "routing_key"),
    ] {
        let mut wanted = wanted;
        wanted["event_types"] = json!(["a.b"]);
        let reply = tenant.post("/endpoints", &wanted).await;
        assert!(!reply.text.contains("MARKER"), "{}", reply.text);
        assert_eq!(reply.status, 400, "{wanted}: {}", reply.text);
        assert_eq!(faulty(&reply.json()), [field], "{wanted}: {}", reply.text);
    }
    let http = tenant.post("/endpoints", &json!({"url": "https://example.com/hook", "event_types": ["a.b"]})).await;
    let path = tenant.path(&format!("/endpoints/{}", text(&http.expect(201), "id")));
    let reply = tenant.api.patch(&path, &json!({"exchange": "x"})).await;
    assert_eq!((reply.status, faulty(&reply.json())), (400, vec!["exchange"]), "{}", reply.text);
}
