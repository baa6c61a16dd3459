use std::time::Duration;

use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Hub,
    place::Place,
    sink::{Act, Sink, nobody},
};

switchyard_tests::on_both_databases! {
    e46_a_sink_that_hangs_before_its_status_ends_by_the_timeout,
    e47_a_dripped_body_ends_by_the_same_timeout_and_the_connection_with_it,
    e49_resets_before_within_and_after_the_request_are_told_apart_from_no_connection,
    e50_answers_that_lie_or_are_no_http_are_failures_and_harm_nothing,
    e50_bytes_that_are_no_text_are_kept_as_far_as_they_can_be_shown,
    e51_no_redirect_is_followed_wherever_it_leads,
}

/// Long enough for an honest answer on a busy machine, short enough to wait for.
const TIMEOUT_MS: u32 = 2_000;

/// A byte every so often.
const SLOWLY: Duration = Duration::from_millis(20);

/// An endpoint that gives up after one attempt.
async fn impatient(tenant: &Tenant, url: &str) -> String {
    let wanted = json!({"url": url, "event_types": ["a.b"], "retry_schedule": [0], "timeout_ms": TIMEOUT_MS});
    text(&tenant.post("/endpoints", &wanted).await.expect(201), "id")
}

/// What a sink does, and as what its one attempt must end: a failure code, or `delivered`.
type Case = (Vec<Act>, &'static str);

/// Sends one event to all sinks at once; answers hub, tenant and the deliveries in the order of the cases.
async fn send_to_all(cases: &[Case], data: Value, place: &Place) -> (Hub, Vec<Value>) {
    let hub = place.builder().start().await;
    let tenant = hub.tenant("acme").await;
    let mut endpoints = Vec::new();
    for (acts, expected) in cases {
        let sink = Sink::start(acts.clone()).await;
        endpoints.push((impatient(&tenant, &sink.url("/hook")).await, sink, *expected));
    }
    let _ = tenant.publish(&json!({"type": "a.b", "data": data})).await;
    let mut ended = Vec::new();
    for ((endpoint, sink, expected), (acts, _)) in endpoints.into_iter().zip(cases) {
        let over = |row: &Value| row["state"] == "dead" || row["state"] == "delivered";
        let row = tenant.delivery(&endpoint, "over", over).await;
        let end = if row["state"] == "delivered" { "delivered" } else { row["code"].as_str().unwrap_or_default() };
        assert_eq!(end, expected, "{acts:?}: {row}");
        if end != "delivered" {
            assert_eq!(row["reason"], "subscriber", "{acts:?}: {row}");
        }
        assert_eq!(sink.connections(), 1, "{acts:?}: one attempt is one connection");
        ended.push(tenant.get(&format!("/deliveries/{}", text(&row, "id"))).await.expect(200));
    }
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
    (hub, ended)
}

fn ok(head: &str) -> Act {
    Act::say(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))
}

async fn e46_a_sink_that_hangs_before_its_status_ends_by_the_timeout(place: &Place) {
    let cases = [
        (vec![Act::ReadRequest, Act::Hang], "timeout"),
        (vec![Act::Hang], "timeout"),
        (vec![Act::ReadRequest, Act::say("HTTP/1.1 200"), Act::Hang], "timeout"),
        (vec![Act::ReadRequest, Act::Drip("x-slow: ".into(), SLOWLY)], "bad_answer"),
        (vec![Act::ReadRequest, Act::say("HTTP/1.1 200 OK\r\n"), Act::Drip("x-slow: y\r\n".into(), SLOWLY)], "timeout"),
    ];
    let _ = send_to_all(&cases, json!({}), place).await;
}

async fn e47_a_dripped_body_ends_by_the_same_timeout_and_the_connection_with_it(place: &Place) {
    let sink = Sink::start(vec![Act::ReadRequest, ok("content-length: 100000"), Act::Drip("x".into(), SLOWLY)]).await;
    let cases = [
        (vec![Act::ReadRequest, ok("content-length: 100000"), Act::Drip("x".into(), SLOWLY)], "body_too_slow"),
        (
            vec![Act::ReadRequest, ok("transfer-encoding: chunked"), Act::Drip("1\r\nx\r\n".into(), SLOWLY)],
            "body_too_slow",
        ),
        (vec![Act::ReadRequest, ok("connection: close"), Act::Drip("x".into(), SLOWLY)], "body_too_slow"),
    ];
    let (hub, ended) = send_to_all(&cases, json!({}), place).await;
    for delivery in &ended {
        assert!(text(delivery, "message").contains("200"), "the status that came is told: {delivery}");
    }
    // The connection is not kept: another attempt makes another one.
    let tenant = hub.tenant("other").await;
    let wanted = json!({"url": sink.url("/"), "event_types": ["a.b"], "retry_schedule": [0, 1], "timeout_ms": 300});
    let endpoint = text(&tenant.post("/endpoints", &wanted).await.expect(201), "id");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = tenant.delivery_in(&endpoint, "dead").await;
    assert_eq!(sink.connections(), 2);
}

async fn e49_resets_before_within_and_after_the_request_are_told_apart_from_no_connection(place: &Place) {
    let large = json!({"filler": "x".repeat(600_000)});
    let cases = [
        (vec![Act::Read(10), Act::Reset], "reset"),
        (vec![Act::Read(100_000), Act::Reset], "reset"),
        (vec![Act::ReadRequest, Act::Reset], "reset"),
        (vec![Act::ReadRequest, Act::say("HTTP/1.1 200 OK\r\ncontent-le"), Act::Reset], "reset"),
        (vec![Act::ReadRequest, ok("content-length: 100"), Act::say("abc"), Act::Reset], "reset"),
        (vec![Act::ReadRequest, ok("transfer-encoding: chunked"), Act::say("5\r\nab"), Act::Reset], "reset"),
    ];
    let (hub, _) = send_to_all(&cases, large, place).await;
    let tenant = hub.tenant("other").await;
    let handshake = Sink::start(vec![Act::Read(5), Act::Reset]).await;
    let cases = [(nobody().await, "connect_refused"), (handshake.url("/").replace("http:", "https:"), "tls")];
    for (url, code) in cases {
        let endpoint = impatient(&tenant, &url).await;
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
        let dead = tenant.delivery_in(&endpoint, "dead").await;
        assert_eq!((&dead["reason"], &dead["code"]), (&json!("subscriber"), &json!(code)), "{dead}");
        let _ = tenant.api.delete(&tenant.path(&format!("/endpoints/{endpoint}"))).await;
    }
    assert!(handshake.heads().iter().all(|head| !head.contains("POST")), "a request left before TLS");
}

async fn e50_answers_that_lie_or_are_no_http_are_failures_and_harm_nothing(place: &Place) {
    let answer = |text: String| vec![Act::ReadRequest, Act::say(text)];
    let said = |head: &str| answer(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok"));
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let continues = Act::Flood("HTTP/1.1 100 Continue\r\n\r\n".repeat(500).into(), u64::MAX);
    let cases = [
        (said("content-length: 50"), "reset"),
        (said("content-length: -2"), "bad_answer"),
        (said("content-length: two"), "bad_answer"),
        (said("content-length: 2\r\ncontent-length: 3"), "bad_answer"),
        (answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n".to_owned()), "bad_answer"),
        (
            answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nok".to_owned()),
            "bad_answer",
        ),
        (answer(format!("HTTP/1.1 200 OK\r\n{many}\r\n")), "bad_answer"),
        (answer(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20))), "bad_answer"),
        (answer("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()), "bad_answer"),
        (answer("HTTP/9.9 200 OK\r\n\r\n".to_owned()), "bad_answer"),
        (answer("HTTP/1.1 2OO OK\r\n\r\n".to_owned()), "bad_answer"),
        (vec![Act::ReadRequest], "reset"),
        (vec![Act::ReadRequest, continues], "timeout"),
        (said("content-length: 2\r\nx-a: b"), "delivered"),
        (answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more than was promised".to_owned()), "delivered"),
        (answer("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nbody?".to_owned()), "delivered"),
    ];
    let _ = send_to_all(&cases, json!({}), place).await;
}

async fn e50_bytes_that_are_no_text_are_kept_as_far_as_they_can_be_shown(place: &Place) {
    let bytes = |text: &[u8]| vec![Act::ReadRequest, Act::Write(bytes::Bytes::copy_from_slice(text))];
    let cases = [
        (bytes(b"HTTP/1.1 200 OK\r\nx-a: \xff\xfe\x80\r\ncontent-length: 0\r\n\r\n"), "delivered"),
        (bytes(b"HTTP/1.1 500 \xff\xfe\r\nx-a: \xff\r\ncontent-length: 6\r\n\r\nno\xff\xfe\x00!"), "http_500"),
    ];
    let (_, ended) = send_to_all(&cases, json!({}), place).await;
    let kept = &ended[1]["attempts"][0]["detail"]["response"]["body"];
    assert_eq!(kept, "no\u{fffd}\u{fffd}\u{0}!", "{:#}", ended[1]);
}

async fn e51_no_redirect_is_followed_wherever_it_leads(place: &Place) {
    let mut cases = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        for to in ["http://169.254.169.254/latest/meta-data/", "/elsewhere", "https://example.com/"] {
            let text = format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            // A second request on the same connection would be noted.
            cases.push((vec![Act::ReadRequest, Act::say(text), Act::ReadRequest], "redirect"));
        }
    }
    let (_, ended) = send_to_all(&cases, json!({}), place).await;
    for delivery in &ended {
        assert!(!text(delivery, "message").contains("169.254"), "{delivery}");
    }
}
