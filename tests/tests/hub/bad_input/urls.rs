use serde_json::json;
use switchyard_tests::{
    api::{faulty, text},
    hub::Hub,
    world::subscriber,
};

#[tokio::test]
async fn private_and_malformed_urls_are_refused_before_they_are_kept() {
    let hub = Hub::builder().unset("SWITCHYARD_EGRESS_ALLOW").start().await;
    let tenant = hub.tenant("acme").await;
    for url in [
        "",
        "example.com/hook",
        "not a url",
        "ftp://example.com/hook",
        "file:///etc/passwd",
        "http://example.com/hook",
        "https://example.com:22/hook",
        "https://user:password@example.com/hook",
        "https://user@example.com/hook",
        "https://example.com/hook#part",
        "https://127.0.0.1/hook",
        "https://127.1/hook",
        "https://2130706433/hook",
        "https://0x7f.1/hook",
        "https://0177.0.0.1/hook",
        "https://0.0.0.0/hook",
        "https://10.1.2.3/hook",
        "https://172.16.0.1/hook",
        "https://192.168.1.1/hook",
        "https://100.64.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[::]/hook",
        "https://[::ffff:127.0.0.1]/hook",
        "https://[::ffff:a9fe:a9fe]/hook",
        "https://[64:ff9b::7f00:1]/hook",
        "https://[fd00::1]/hook",
        "https://[fe80::1]/hook",
    ] {
        let wanted = json!({"url": url, "event_types": ["a.b"]});
        let problem = tenant.post("/endpoints", &wanted).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["url"], "{url}: {problem}");
        assert!(!problem.to_string().contains("password@"), "{problem}");
    }
    assert!(tenant.list("/endpoints").await.is_empty(), "a refused endpoint was kept");
    let good = tenant
        .post("/endpoints", &json!({"url": "https://example.com/hook", "event_types": ["a.b"]}))
        .await
        .expect(201);
    let path = tenant.path(&format!("/endpoints/{}", text(&good, "id")));
    let _ = hub.patch(&path, &json!({"url": "https://169.254.169.254/"})).await.problem(400, "invalid_request");
    assert_eq!(hub.get(&path).await.expect(200)["url"], "https://example.com/hook");
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused_at_the_attempt_and_says_so() {
    let at = subscriber().await;
    let hub = Hub::builder().unset("SWITCHYARD_EGRESS_ALLOW").start().await;
    let tenant = hub.tenant("acme").await;
    let wanted = json!({"url": "https://localhost/hook", "event_types": ["a.b"], "retry_schedule": [0]});
    let made = tenant.post("/endpoints", &wanted).await.expect(201);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let dead = tenant.delivery_in(&text(&made, "id"), "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("config"), &json!("blocked_address")), "{dead}");
    assert!(!text(&dead, "message").contains("127.0.0.1"), "the message tells the address: {dead}");
    assert!(at.all_requests().is_empty());
}

#[tokio::test]
async fn what_the_operator_allows_is_called_and_nothing_beside_it() {
    let at = subscriber().await;
    let hub = Hub::builder().set("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1/32").start().await;
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    for url in ["http://127.0.0.2/hook", "http://169.254.169.254/", "http://10.0.0.1/hook", "http://[::1]/hook"] {
        let wanted = json!({"url": url, "event_types": ["a.b"]});
        let problem = tenant.post("/endpoints", &wanted).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["url"], "{url}: {problem}");
    }
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!(at.requests("/hook").len(), 1);
}
