use serde_json::json;
use switchyard_tests::{
    api::{faulty, text},
    hub::Hub,
    world::{ACCOUNT_SID, bundled, subscriber},
};

/// URLs that are refused when they are saved, on a hub whose operator has allowed nothing.
const FORGED: [&str; 60] = [
    // Literals of every kind of network that is not the public internet.
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://100.64.0.1/",
    "https://127.0.0.1/",
    "https://127.255.255.254/",
    "https://168.63.129.16/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[100::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[5f00::1]/",
    // IPv4 inside IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo.
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b:1::10.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    // Other spellings of one address.
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.1./",
    "https://%31%32%37.0.0.1/",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://①②⑦.⓪.⓪.①/",
    // What only looks like a harmless host.
    "https://example.com@127.0.0.1/",
    "https://user:secret@example.com/",
    "https://127.0.0.1#.example.com/",
    "https://127.0.0.1\\.example.com/",
    "https://127.0.0.1:443\t/",
    "https://[::1%25eth0]/",
    // Other schemes and ports.
    "http://example.com/",
    "https://example.com:22/",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "file:///etc/passwd",
    "//example.com/",
];

#[tokio::test]
async fn ssrf_no_disguise_of_an_inner_address_can_be_saved_as_endpoint_or_connection() {
    let hub = Hub::builder().unset("SWITCHYARD_EGRESS_ALLOW").start().await;
    let tenant = hub.tenant("acme").await;
    let connection = |url: &str| json!({"provider": "p", "name": "n", "kind": "bearer", "base_url": url, "secret": {"token": "MARKER-token"}});
    let good = tenant.connection(&connection("https://api.example.com/v2")).await;
    let saved = tenant.path(&format!("/connections/{good}"));
    for url in FORGED {
        let endpoint = json!({"url": url, "event_types": ["a.b"]});
        let problem = tenant.post("/endpoints", &endpoint).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["url"], "{url}: {problem}");
        assert!(!problem.to_string().contains("secret@"), "{problem}");
        let problem = tenant.post("/connections", &connection(url)).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["base_url"], "{url}: {problem}");
        assert!(!problem.to_string().contains("MARKER"), "{problem}");
        let problem = hub.patch(&saved, &json!({"base_url": url})).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["base_url"], "{url}: {problem}");
    }
    assert!(tenant.list("/endpoints").await.is_empty(), "a forged endpoint was kept");
    assert_eq!(tenant.list("/connections").await.len(), 1, "a forged connection was kept");
    assert_eq!(hub.get(&saved).await.expect(200)["base_url"], "https://api.example.com/v2");
}

#[tokio::test]
async fn ssrf_names_are_judged_at_the_attempt_whatever_they_are_written_like() {
    let at = subscriber().await;
    let hub = Hub::builder().unset("SWITCHYARD_EGRESS_ALLOW").start().await;
    let tenant = hub.tenant("acme").await;
    for url in ["https://localhost/", "https://LOCALHOST./", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "https://localhost:8443/"]
    {
        let wanted = json!({"url": url, "event_types": ["a.b"], "retry_schedule": [0]});
        let endpoint = text(&tenant.post("/endpoints", &wanted).await.expect(201), "id");
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
        let dead = tenant.delivery_in(&endpoint, "dead").await;
        // Not every machine's resolver knows the name with its final dot.
        let refused = [(&json!("config"), &json!("blocked_address")), (&json!("subscriber"), &json!("dns"))];
        assert!(refused.contains(&(&dead["reason"], &dead["code"])), "{url}: {dead}");
        assert!(dead["code"] == "blocked_address" || url.contains("./"), "{url}: {dead}");
        assert!(!dead.to_string().contains("127.0.0.1") && !dead.to_string().contains("::1"), "{dead}");
        let _ = tenant.api.delete(&tenant.path(&format!("/endpoints/{endpoint}"))).await;
    }
    assert!(at.all_requests().is_empty());
}

/// Changes the database of a hub that is stopped.
async fn sql(hub: &Hub, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.database());
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
    sqlx::raw_sql(statement).execute(&pool).await.expect("the statement runs");
    pool.close().await;
}

#[tokio::test]
async fn h81_a_destination_that_was_changed_behind_the_hubs_back_is_vetted_at_the_attempt() {
    let at = subscriber().await;
    let mut hub = Hub::builder().set("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1/32").start().await;
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let secret = json!({"username": ACCOUNT_SID, "password": "a-token-of-the-tests"});
    let connection =
        json!({"provider": "twilio", "name": "t", "kind": "basic", "base_url": at.url(""), "secret": secret});
    let connection = tenant.connection(&connection).await;
    let wanted = json!({"config": {"account_sid": ACCOUNT_SID, "from": "+4520000000"},
        "connections": {"twilio": connection}, "retry_schedule": [0, 86_400]});
    let _ = tenant.install("twilio", &wanted).await;
    let _ = hub.stop().await;
    // The installation may have looked whether its credential works, where that was allowed.
    let before = at.all_requests().len();
    sql(
        &hub,
        "update endpoint set url = replace(url, '127.0.0.1', '127.0.0.2');
        update connection set base_url = replace(base_url, '127.0.0.1', '127.0.0.2');",
    )
    .await;
    hub.restart().await;
    let tenant = switchyard_tests::api::Tenant { api: (*hub).clone(), id: "acme".to_owned() };
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    let dead = tenant.delivery_in(&endpoint, "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("config"), &json!("blocked_address")), "{dead}");
    let _ = tenant.publish(&json!({"type": "sms.send", "data": {"to": "+4521111111", "body": "Hej"}})).await;
    let tried = |row: &serde_json::Value| {
        row["event_type"] == "sms.send" && row["state"] != "running" && row["attempt_count"] == 1
    };
    let row = tenant.delivery("plugin:twilio", "tried", tried).await;
    assert_ne!(row["state"], "delivered", "{row}");
    assert!(!text(&row, "message").contains("127.0.0"), "the message tells the address: {row}");
    let paths: Vec<String> = at.all_requests().into_iter().skip(before).map(|request| request.path).collect();
    assert!(paths.is_empty(), "what was not vetted was called: {paths:?}");
}
