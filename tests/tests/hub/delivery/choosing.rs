use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, faulty, text},
    hub::Hub,
    world::subscriber,
};

/// The types that were routed to an endpoint.
async fn routed(tenant: &Tenant, endpoint: &str) -> Vec<String> {
    let mut types: Vec<_> = tenant
        .list(&format!("/deliveries?target={endpoint}"))
        .await
        .iter()
        .map(|row| text(row, "event_type"))
        .collect();
    types.sort();
    types
}

#[tokio::test]
async fn patterns_choose_by_type_and_commands_only_by_their_exact_name() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let _ = hub.push(switchyard_tests::world::bundled("twilio")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let all = tenant.endpoint(&at, "/all", &["*"], json!({})).await;
    let orders = tenant.endpoint(&at, "/orders", &["order.*"], json!({})).await;
    let exact = tenant.endpoint(&at, "/exact", &["order.placed", "sms.send"], json!({})).await;
    for event_type in ["order.placed", "order.line.added", "orders.counted", "parcel.sent"] {
        let _ = tenant.publish(&json!({"type": event_type, "data": {}})).await;
    }
    let command = json!({"type": "sms.send", "data": {"to": "+4520123456", "body": "Hi"}});
    let _ = tenant.publish(&command).await;
    // Nobody handles the command, which the host says to whoever listens to everything.
    let heard = ["delivery.died", "order.line.added", "order.placed", "orders.counted", "parcel.sent"];
    assert_eq!(routed(&tenant, &all).await, heard);
    assert_eq!(routed(&tenant, &orders).await, ["order.line.added", "order.placed"]);
    assert_eq!(routed(&tenant, &exact).await, ["order.placed", "sms.send"]);
    // Nobody carries the command out, and that is seen.
    let dead = tenant.delivery_in("unrouted", "dead").await;
    assert_eq!((&dead["reason"], &dead["event_type"]), (&json!("config"), &json!("sms.send")), "{dead}");
}

#[tokio::test]
async fn a_filter_chooses_by_what_the_event_says() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let filtered = async |path: &str, filter: &str| tenant.endpoint(&at, path, &["*"], json!({"filter": filter})).await;
    let danish = filtered("/danish", "data.total.currency == 'DKK' && double(data.total.amount) > 100.0").await;
    let by_type = filtered("/by-type", "event.type.startsWith('order.') && event.subject == 'o-1'").await;
    let broken = filtered("/broken", "data.nothing.here == 1").await;
    let total = |amount: &str, currency: &str| json!({"total": {"amount": amount, "currency": currency}});
    for (event_type, subject, data) in [
        ("order.placed", "o-1", total("125.00", "DKK")),
        ("order.changed", "o-2", total("99.00", "DKK")),
        ("parcel.sent", "o-1", total("500.00", "EUR")),
    ] {
        let _ = tenant.publish(&json!({"type": event_type, "subject": subject, "data": data})).await;
    }
    assert_eq!(routed(&tenant, &danish).await, ["order.placed"]);
    assert_eq!(routed(&tenant, &by_type).await, ["order.placed"]);
    assert_eq!(routed(&tenant, &broken).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_filter_that_cannot_work_or_could_run_long_is_refused_with_the_reason() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let long = format!("data.a == '{}'", "x".repeat(5_000));
    for filter in ["data.a ==", "", "data.list.all(x, x > 1)", "data.list.exists(x, x == 1)", "1 + 1 +", &long] {
        let wanted: Value = json!({"url": "https://example.com/", "event_types": ["*"], "filter": filter});
        let problem = tenant.post("/endpoints", &wanted).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["filter"], "{filter}: {problem}");
    }
    for types in [json!([]), json!(["Order.placed"]), json!(["order*"]), json!(["_poll.due"]), json!(["a.b", ""])] {
        let wanted = json!({"url": "https://example.com/", "event_types": types});
        let problem = tenant.post("/endpoints", &wanted).await.problem(400, "invalid_request");
        assert!(faulty(&problem)[0].starts_with("event_types"), "{problem}");
    }
}
