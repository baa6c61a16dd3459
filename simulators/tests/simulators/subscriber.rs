//! The subscriber's endpoint: what it believes, what it records, and how it misbehaves.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use switchyard_simulators::subscriber::{Script, Secret, SecretError, Step, Verdict, signature::verify};

use crate::support::{Got, LIMIT, NOW_MS, call, subscriber};

const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const LONG: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
const NOTE: &str = "{\"type\":\"invoice.paid\",\"data\":{\"note\":\"caf\u{e9} \u{2603} \u{1f600}\"}}";

/// id, timestamp, key, body, signature header
const VECTORS: [(&str, i64, &str, &[u8], &str); 8] = [
    (
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        FIRST,
        b"{\"test\": 2432232314}",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        b"{\"email\":\"test@example.com\",\"username\":\"test_user\"}",
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    (
        "msg_hub_000000000000000000000001",
        1_700_000_000,
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
        b"",
        "v1,W0t2s4iWGhz1oz/VnamnYKkV64iZG4IbSpKTR0L/hQc=",
    ),
    (
        "msg_hub_000000000000000000000002",
        1_700_000_000,
        LONG,
        NOTE.as_bytes(),
        "v1,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI=",
    ),
    (
        "msg_hub_000000000000000000000003",
        1_700_000_000,
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        b"\xff\xfe\x00binary",
        "v1,wwJT3sNHt3Vr/ohwtRao+BKRK5jOO/ye0JTq/UdOr5U=",
    ),
    // Signed with the current and with the old key; the receiver still has the old one.
    (
        "msg_hub_000000000000000000000002",
        1_700_000_000,
        FIRST,
        NOTE.as_bytes(),
        "v1,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI= v1,UaCXMuSnwBuhNzVvKiau6MYHQyZdie2p9cYoYBROEd0=",
    ),
    (
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        b"{\"test\": 2432232314}",
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ),
    (
        "msg_hub_000000000000000000000002",
        1_700_000_000,
        "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=",
        NOTE.as_bytes(),
        "v1a,7m0zdLPbfiiGZZoLzFT0iPcx7z7v+eNUezhiOq76kPQqred2T6tGDSF3krpn+mo8PUEK6bXfa6EbesxENvX/Bg==",
    ),
];

fn headers(id: &str, stamp: i64, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_str(id).unwrap());
    headers.insert("webhook-timestamp", HeaderValue::from(stamp));
    headers.insert("webhook-signature", HeaderValue::from_str(signature).unwrap());
    headers
}

fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

#[test]
fn every_standard_webhooks_vector_is_verified_and_one_changed_byte_is_not() {
    for (id, stamp, key, body, signature) in VECTORS {
        let keys = [secret(key)];
        let now = stamp * 1000;
        assert_eq!(verify(&keys, &headers(id, stamp, signature), body, now), Verdict::Verified, "{id} {signature}");
        let changed = [body, b" "].concat();
        let wrong = Verdict::WrongSignature;
        assert_eq!(verify(&keys, &headers(id, stamp, signature), &changed, now), wrong, "body of {id}");
        assert_eq!(verify(&keys, &headers("msg_2", stamp, signature), body, now), wrong, "id of {id}");
        assert_eq!(verify(&keys, &headers(id, stamp + 1, signature), body, now), wrong, "timestamp of {id}");
    }
}

#[test]
fn a_timestamp_may_be_five_minutes_off_and_no_more() {
    let (id, stamp, key, body, signature) = VECTORS[0];
    let keys = [secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"), secret(key)];
    for (seconds, verdict) in
        [(300, Verdict::Verified), (-300, Verdict::Verified), (301, Verdict::Stale), (-301, Verdict::Stale)]
    {
        let now = (stamp + seconds) * 1000;
        assert_eq!(verify(&keys, &headers(id, stamp, signature), body, now), verdict, "{seconds} s");
    }
}

#[test]
fn signatures_of_another_kind_or_without_a_kind_count_for_nothing() {
    let (id, stamp, key, body, signature) = VECTORS[0];
    let (_, bare) = signature.split_once(',').unwrap();
    for other in [bare.to_owned(), format!("v2,{bare}"), format!("v1a,{bare}"), "v1,".to_owned(), String::new()] {
        let verdict = verify(&[secret(key)], &headers(id, stamp, &other), body, stamp * 1000);
        assert_eq!(verdict, Verdict::WrongSignature, "{other:?}");
    }
    let mut headers = headers(id, stamp, signature);
    headers.remove("webhook-id");
    assert_eq!(verify(&[secret(key)], &headers, body, stamp * 1000), Verdict::MissingHeader);
    assert_eq!(verify(&[], &headers, body, stamp * 1000), Verdict::Unchecked);
}

#[test]
fn what_is_no_key_is_refused() {
    let error = |text: &str| text.parse::<Secret>().err();
    assert_eq!(error("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Some(SecretError::Prefix));
    assert_eq!(error("whsec_AAAA"), Some(SecretError::Malformed));
    assert_eq!(error("whsec_not base64"), Some(SecretError::Malformed));
    assert_eq!(error("whpk_AAAA"), Some(SecretError::Malformed));
}

async fn post(url: &str, body: &'static str) -> Result<Got, String> {
    call(Method::POST, url, &[], body).await
}

#[tokio::test]
async fn a_request_that_does_not_verify_is_answered_401_and_does_not_use_up_the_script() {
    let hub = subscriber().await;
    hub.set_secrets("/hook", &[FIRST]).unwrap();
    hub.set_script("/hook", Script::statuses(&[204]));
    assert_eq!(post(&hub.url("/hook"), "{}").await.unwrap().status, 401);
    let requests = hub.wait_for("/hook", 1, LIMIT).await.unwrap();
    assert_eq!((requests[0].verdict, requests[0].status), (Verdict::MissingHeader, Some(401)));
    assert_eq!(requests[0].at_ms, NOW_MS);
}

#[tokio::test]
async fn a_request_is_recorded_with_its_headers_body_and_answer() {
    let hub = subscriber().await;
    let headers = [("webhook-id", "evt_1"), ("x-custom", "a")];
    call(Method::POST, &hub.url("/hook?x=1"), &headers, "{\"type\":\"invoice.paid\"}").await.unwrap();
    let request = hub.wait_for("/hook", 1, LIMIT).await.unwrap().remove(0);
    assert_eq!(
        (request.webhook_id(), request.header("x-custom"), request.status),
        (Some("evt_1"), Some("a"), Some(200))
    );
    assert_eq!(request.json()["type"], "invoice.paid");
}

#[tokio::test]
async fn a_script_is_followed_step_by_step_and_then_stays_at_its_last_answer() {
    let hub = subscriber().await;
    hub.set_script("/hook", Script::statuses(&[500, 500, 200]));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(post(&hub.url("/hook"), "{}").await.unwrap().status);
    }
    assert_eq!(seen, [500, 500, 200, 200]);
    let later = Step::Status { status: 429, retry_after: Some("120".to_owned()), body: "slow down".to_owned() };
    hub.set_script("/hook", Script::always(later));
    let got = post(&hub.url("/hook"), "{}").await.unwrap();
    assert_eq!(
        (got.status, got.headers["retry-after"].to_str().unwrap(), &got.body[..]),
        (429, "120", &b"slow down"[..])
    );
}

#[tokio::test]
async fn connections_are_closed_or_reset_and_bodies_are_trickled_or_huge() {
    let hub = subscriber().await;
    let url = hub.url("/hook");
    hub.set_script("/hook", Script::always(Step::Close));
    assert!(post(&url, "{}").await.is_err());
    hub.set_script("/hook", Script::always(Step::Reset));
    let reset = post(&url, "{}").await.unwrap_err();
    assert!(reset.contains("ConnectionReset"), "{reset}");
    hub.set_script("/hook", Script::always(Step::Drip { bytes: 5, every_ms: 1 }));
    assert_eq!(&post(&url, "{}").await.unwrap().body[..], b".....");
    hub.set_script("/hook", Script::always(Step::Huge { bytes: 3_000_001 }));
    assert_eq!(post(&url, "{}").await.unwrap().body.len(), 3_000_001);
    hub.set_script("/hook", Script::always(Step::Delay { ms: 1 }));
    assert_eq!(post(&url, "{}").await.unwrap().status, 200);
    hub.set_script("/hook", Script::always(Step::Redirect { to: "http://127.0.0.1:1/".to_owned() }));
    let redirect = post(&url, "{}").await.unwrap();
    assert_eq!((redirect.status, redirect.headers["location"].to_str().unwrap()), (302, "http://127.0.0.1:1/"));
}

#[tokio::test]
async fn waiting_ends_with_what_came_or_with_the_limit() {
    let hub = subscriber().await;
    let waiting = tokio::spawn({
        let hub = hub.handle.clone();
        async move { hub.wait_for("/late", 2, LIMIT).await.map(|requests| requests.len()) }
    });
    post(&hub.url("/late"), "1").await.unwrap();
    post(&hub.url("/other"), "x").await.unwrap();
    post(&hub.url("/late"), "2").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    let missing = hub.wait_for("/late", 3, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(missing.to_string(), "expected 3 requests at /late, saw 2");
    let wanted = hub.wait_for_where(1, LIMIT, |request| request.body == "x").await.unwrap();
    assert_eq!(wanted[0].path, "/other");
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused() {
    let hub = subscriber().await;
    let got = call(Method::POST, &hub.url("/hook"), &[], vec![b'x'; (1 << 20) + 1]).await.unwrap();
    assert_eq!((got.status, hub.totals().len()), (413, 0));
}
