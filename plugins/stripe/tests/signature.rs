//! The signature, against cases from Stripe's own libraries and our own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use serde_json::{Value, json};
use stripe::Stripe;
use stripe::signature::{Refusal, verify};
use support::{NOW, SECRET, host, notice, request, signed, subscription, tag};
use switchyard_sdk::testing::{MockHost, NOON};
use switchyard_sdk::{InboundRequest, PluginError, Received};

const VECTORS: &str = include_str!("../../../tests/data/vectors.json");

fn cases() -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    all.into_iter().filter(|case| case["provider"] == "stripe").collect()
}

fn request_for(case: &Value) -> InboundRequest {
    let inputs = &case["inputs"];
    let mut request = InboundRequest::new("POST", "https://hub.test/in/src_0")
        .with_body(inputs["raw_body"].as_str().unwrap())
        .at(inputs["now_unix"].as_u64().unwrap() * 1000);
    for (name, value) in inputs["headers"].as_object().unwrap() {
        request = request.with_header(name, value.as_str().unwrap());
    }
    request
}

fn verdict(case: &Value, request: &InboundRequest) -> Result<(), Refusal> {
    let inputs = &case["inputs"];
    let host = MockHost::new().secret("signing.secret", inputs["secret"].as_str().unwrap());
    let config = json!({ "tolerance_s": inputs["tolerance_s"] });
    host.with::<Stripe, _>(config, |ctx| verify(ctx, request)).unwrap()
}

#[test]
fn every_case_is_judged_as_its_source_says() {
    let cases = cases();
    assert!(cases.len() >= 6, "{} cases", cases.len());
    for case in &cases {
        let valid = case["expected"]["valid"].as_bool().unwrap();
        assert_eq!(verdict(case, &request_for(case)).is_ok(), valid, "{}", case["id"]);
    }
}

#[test]
fn no_valid_case_survives_a_changed_body_stamp_or_a_second_header() {
    for case in cases().iter().filter(|case| case["expected"]["valid"] == true) {
        let genuine = request_for(case);
        let mut body = genuine.clone();
        body.body.push(b' ');
        assert_eq!(verdict(case, &body), Err(Refusal::Mismatch), "{}", case["id"]);
        let header = genuine.header("stripe-signature").unwrap().replacen("t=17000", "t=17001", 1);
        let moved = InboundRequest { headers: Vec::new(), ..genuine.clone() }.with_header("stripe-signature", &header);
        assert_eq!(verdict(case, &moved), Err(Refusal::Mismatch), "{}", case["id"]);
        let twice = genuine.clone().with_header("stripe-signature", genuine.header("stripe-signature").unwrap());
        assert_eq!(verdict(case, &twice), Err(Refusal::NoHeader), "{}", case["id"]);
    }
}

fn judge(request: &InboundRequest) -> Result<(), Refusal> {
    host().with::<Stripe, _>(json!({}), |ctx| verify(ctx, request)).unwrap()
}

#[test]
fn the_age_is_that_on_arrival_to_the_second() {
    let body = b"{}".to_vec();
    let at = |stamp: u64| request(&format!("t={stamp},v1={}", tag(SECRET, &stamp.to_string(), &body)), body.clone());
    assert_eq!(judge(&at(NOW - 300)), Ok(()));
    assert_eq!(judge(&at(NOW - 301)), Err(Refusal::TooOld));
    assert_eq!(judge(&at(NOW + 86_400)), Ok(()));
    let host = host();
    host.advance(3_600_000);
    assert_eq!(host.with::<Stripe, _>(json!({}), |ctx| verify(ctx, &at(NOW - 300))).unwrap(), Ok(()), "parked for 1 h");
}

#[test]
fn any_of_several_signatures_may_match_and_any_of_several_secrets() {
    let body = b"{}".to_vec();
    let stamp = NOW.to_string();
    let (old, new) = (tag("whsec_old", &stamp, &body), tag(SECRET, &stamp, &body));
    for header in [
        format!("t={NOW},v1={old},v1={new}"),
        format!("v1={new},t={NOW}"),
        format!("t={NOW}, v1=zz, v0={old}, v1={new}"),
    ] {
        assert_eq!(judge(&request(&header, body.clone())), Ok(()), "{header}");
    }
    let rotating = MockHost::new().secret("signing.secret", "whsec_old").secret("signing.secret", SECRET);
    for tag in [&old, &new] {
        let request = request(&format!("t={NOW},v1={tag}"), body.clone());
        assert_eq!(rotating.with::<Stripe, _>(json!({}), |ctx| verify(ctx, &request)).unwrap(), Ok(()));
    }
}

#[test]
fn malformed_headers_are_refused_each_for_its_reason() {
    let body = b"{}".to_vec();
    let good = tag(SECRET, &NOW.to_string(), &body);
    for (header, refusal) in [
        (format!("v1={good}"), Refusal::NoTimestamp),
        (format!("t=,v1={good}"), Refusal::NoTimestamp),
        (format!("t=-1,v1={good}"), Refusal::NoTimestamp),
        (format!("t=1e9,v1={good}"), Refusal::NoTimestamp),
        (format!("t=99999999999999999999999,v1={good}"), Refusal::NoTimestamp),
        (format!("t={NOW},t={NOW},v1={good}"), Refusal::NoTimestamp),
        (format!("t={NOW}"), Refusal::NoSignature),
        (format!("t={NOW},v0={good}"), Refusal::NoSignature),
        (format!("t={NOW},v1="), Refusal::Mismatch),
        (format!("t={NOW},v1={}", &good[..62]), Refusal::Mismatch),
        (format!("t={NOW},v1={}", "00".repeat(32)), Refusal::Mismatch),
        (String::new(), Refusal::NoTimestamp),
    ] {
        assert_eq!(judge(&request(&header, body.clone())), Err(refusal), "{header}");
    }
    let bare = InboundRequest::new("POST", "https://hub.test/in/src_0").with_body(body).at(NOON);
    assert_eq!(judge(&bare), Err(Refusal::NoHeader));
}

#[test]
fn a_flood_of_signatures_costs_no_more_than_sixteen() {
    let body = b"{}".to_vec();
    let good = tag(SECRET, &NOW.to_string(), &body);
    let wrong = format!(",v1={}", "00".repeat(32));
    let header = |wrongs: usize| format!("t={NOW}{},v1={good}", wrong.repeat(wrongs));
    assert_eq!(judge(&request(&header(15), body.clone())), Ok(()));
    assert_eq!(judge(&request(&header(16), body)), Err(Refusal::Mismatch));
}

#[test]
fn without_a_secret_nothing_is_refused_and_the_request_is_parked() {
    let error = MockHost::new().receive::<Stripe>(json!({}), signed("{}")).unwrap_err();
    assert!(matches!(error, PluginError::Retry { .. }), "{error}");
}

#[test]
fn a_refusal_is_one_answer_whatever_the_body_holds() {
    let body = notice("evt_1", "customer.subscription.created", NOW, subscription("active")).to_string();
    let forged = request(&format!("t={NOW},v1={}", tag("whsec_other", &NOW.to_string(), body.as_bytes())), body);
    let received = host().receive::<Stripe>(json!({}), forged).unwrap();
    assert!(matches!(received, Received::Unauthenticated(_)), "{received:?}");
}
