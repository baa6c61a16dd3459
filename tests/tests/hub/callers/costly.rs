use std::time::Duration;

use serde_json::{Value, json};
use switchyard_tests::{
    api::{SOON, Tenant, faulty, text},
    hub::Hub,
    world::subscriber,
};
use tokio::time::timeout;

/// Filters that would take long, or take the reader's stack.
fn explosive() -> Vec<(&'static str, String)> {
    vec![
        ("longer than a filter may be", format!("event.id == '{}'", "x".repeat(4096))),
        ("a walk", "data.all(x, data.all(y, data.all(z, z > y)))".to_owned()),
        ("a map of maps", "data.map(x, data.map(y, data)).size() > 0".to_owned()),
        ("a walk behind a name", "data.items.exists(i, i.matches('a'))".to_owned()),
        ("a sum of texts", format!("data.a{} == ''", " + data.a".repeat(40))),
        ("a list of data", "[data, data, data] == data".to_owned()),
        ("a map that is built", "{'a': data}.a == data".to_owned()),
        ("parentheses", format!("{}true{}", "(".repeat(1_000), ")".repeat(1_000))),
        ("negations", format!("{}true", "!".repeat(4_000))),
        ("conditionals", format!("true{}", "?true:true".repeat(300))),
        ("members", format!("data{} == 1", ".a".repeat(1_500))),
        ("indexes", format!("data{} == 1", "[0]".repeat(1_000))),
        ("a pattern that repeats repetitions", "data.a.matches('((a{100}){100}){100}')".to_owned()),
        ("a pattern of many letters", r"data.a.matches('\\pL{1000}{1000}')".to_owned()),
        ("a pattern that looks back", r"data.a.matches('(a+)\\1')".to_owned()),
        ("a pattern that looks ahead", "data.a.matches('(?=a+b)a+')".to_owned()),
        ("a pattern out of data", "data.a.matches(data.b)".to_owned()),
        ("more patterns than may be", ["data.a.matches('a')"; 9].join(" || ")),
        ("a function that is not there", "data.a.replace('a', 'aa') == ''".to_owned()),
        ("another variable", "env.HOME == ''".to_owned()),
    ]
}

async fn refused(tenant: &Tenant, filter: &str) -> Value {
    let wanted = json!({"url": "https://example.com/", "event_types": ["*"], "filter": filter});
    tenant.post("/endpoints", &wanted).await.problem(400, "invalid_request")
}

#[tokio::test]
async fn a_filter_that_would_take_long_is_refused_when_it_is_saved_with_its_place_and_the_reason() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for (what, filter) in explosive() {
        let problem = refused(&tenant, &filter).await;
        assert_eq!(faulty(&problem), ["filter"], "{what}: {problem}");
        assert!(text(&problem, "detail").contains("column"), "{what}: {problem}");
    }
    assert!(tenant.list("/endpoints").await.is_empty());
    // Nor by a change of one that is there.
    let made = json!({"url": "https://example.com/", "event_types": ["*"], "filter": "data.a == 1"});
    let made = tenant.post("/endpoints", &made).await.expect(201);
    let path = tenant.path(&format!("/endpoints/{}", text(&made, "id")));
    for (what, filter) in explosive() {
        let problem = hub.patch(&path, &json!({"filter": filter})).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["filter"], "{what}: {problem}");
    }
    assert_eq!(hub.get(&path).await.expect(200)["filter"], "data.a == 1");
}

/// The slowest filter that is taken: as many patterns as may be, of a kind whose states double with each letter.
fn slowest() -> String {
    let pattern = |n: usize| format!("data.a.matches('[xy]*x[xy]{{100}}z{n}')");
    (0..8).map(pattern).collect::<Vec<_>>().join(" || ")
}

#[tokio::test]
async fn the_slowest_filters_of_one_tenant_do_not_keep_another_waiting() {
    let hub = Hub::start().await;
    let (slow, quick, at) = (hub.tenant("slow").await, hub.tenant("quick").await, subscriber().await);
    let _ = quick.endpoint(&at, "/quick", &["a.b"], json!({"filter": "data.n >= 0"})).await;
    for _ in 0..20 {
        let wanted = json!({"url": at.url("/slow"), "event_types": ["*"], "filter": slowest()});
        let _ = slow.post("/endpoints", &wanted).await.expect(201);
    }
    let publishing = tokio::spawn(async move {
        for pairs in [3_500, 4_000, 500_000] {
            let _ = slow.publish(&json!({"type": "a.b", "data": {"a": "xy".repeat(pairs)}})).await;
        }
        slow.list("/deliveries").await
    });
    for n in 0..20 {
        let _ = quick.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
    }
    assert_eq!(at.wait_for("/quick", 20, SOON).await.expect("all arrive").len(), 20);
    let passed = timeout(Duration::from_secs(60), publishing).await.expect("filters end").expect("they end well");
    assert!(passed.is_empty(), "none of the filters fits: {passed:?}");
    let metrics = hub.get("/metrics").await.text;
    assert!(metrics.contains("switchyard_filter_errors_total"), "a text too long for patterns is counted");
}
