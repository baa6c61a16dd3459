//! The signature, against cases from Twilio's own libraries and our own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use serde_json::{Value, json};
use switchyard_sdk::InboundRequest;
use switchyard_sdk::testing::MockHost;
use twilio::Twilio;
use twilio::signature::{Refusal, verify};

const VECTORS: &str = include_str!("../../../tests/data/vectors.json");

fn cases() -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    all.into_iter().filter(|case| case["provider"] == "twilio").collect()
}

fn host_for(case: &Value) -> (MockHost, Value) {
    let inputs = &case["inputs"];
    let mut host = MockHost::new();
    if let Some(token) = inputs["auth_token"].as_str() {
        host = host.secret("twilio.password", token);
    }
    let mut keys = Vec::new();
    for (id, key) in inputs["shared_keys"].as_object().into_iter().flatten() {
        host = host.secret("sharedkey.secret", key["secret"].as_str().unwrap());
        keys.push(json!({ "id": id, "algorithm": key["algorithm"] }));
    }
    (host, json!({ "account_sid": "AC00000000000000000000000000000001", "shared_keys": keys }))
}

fn request_for(case: &Value) -> InboundRequest {
    let inputs = &case["inputs"];
    let method = inputs["method"].as_str().unwrap();
    let mut request = InboundRequest::new(method, inputs["received_url"].as_str().unwrap());
    for (name, value) in inputs["headers"].as_object().unwrap() {
        request = request.with_header(name, value.as_str().unwrap());
    }
    let (media_type, body) = if let Some(body) = inputs["body"].as_str().or(inputs["raw_body"].as_str()) {
        (inputs["content_type"].as_str().map(str::to_owned), body.to_owned())
    } else {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for pair in inputs["params"].as_array().into_iter().flatten() {
            form.append_pair(pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        }
        (Some("application/x-www-form-urlencoded".to_owned()), form.finish())
    };
    if let Some(media_type) = media_type {
        request = request.with_header("content-type", &media_type);
    }
    request.with_body(body)
}

fn verdict(case: &Value, request: &InboundRequest) -> Result<(), Refusal> {
    let (host, config) = host_for(case);
    host.with::<Twilio, _>(config, |ctx| verify(ctx, request)).unwrap().map(|_| ())
}

#[test]
fn every_case_is_judged_as_its_source_says() {
    let cases = cases();
    assert!(cases.len() >= 20, "{} cases", cases.len());
    for case in &cases {
        let valid = case["expected"]["valid"].as_bool().unwrap();
        assert_eq!(verdict(case, &request_for(case)).is_ok(), valid, "{}", case["id"]);
    }
}

#[test]
fn no_valid_case_survives_a_changed_body_url_or_signature() {
    for case in cases().iter().filter(|case| case["expected"]["valid"] == true) {
        let genuine = request_for(case);
        let mut body = genuine.clone();
        body.body.extend_from_slice(b"&Extra=1");
        assert!(verdict(case, &body).is_err(), "body of {}", case["id"]);
        let mut url = genuine.clone();
        url.url.push_str(if url.url.contains('?') { "&x=1" } else { "?x=1" });
        assert!(verdict(case, &url).is_err(), "url of {}", case["id"]);
        let mut twice = genuine.clone();
        twice.headers.extend(genuine.headers.clone());
        assert_eq!(verdict(case, &twice), Err(Refusal::NoSignature), "{}", case["id"]);
    }
}

fn signed(algorithm: &str, key: &str, text: &str) -> String {
    use base64::Engine;
    use hmac::{Hmac, KeyInit, Mac};
    let tag = match algorithm {
        "sha256" => {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        _ => {
            let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
    };
    base64::engine::general_purpose::STANDARD.encode(tag)
}

fn judge(config: Value, request: &InboundRequest) -> Result<(), Refusal> {
    let host = MockHost::new().secret("twilio.password", "token").secret("sharedkey.secret", "shared");
    host.with::<Twilio, _>(config, |ctx| verify(ctx, request)).unwrap().map(|_| ())
}

fn config() -> Value {
    json!({ "account_sid": "AC1", "shared_keys": [{ "id": "k1", "algorithm": "HMAC_SHA256" }] })
}

#[test]
fn a_get_is_signed_over_its_url_alone() {
    let url = "https://hub.test/in/src_0?From=%2B45&Body=hej";
    let request = InboundRequest::new("GET", url).with_header("X-Twilio-Signature", &signed("sha1", "token", url));
    assert_eq!(judge(config(), &request), Ok(()));
}

#[test]
fn a_form_with_a_body_hash_in_its_url_is_still_signed_with_its_parameters() {
    let url = "https://hub.test/in/src_0?bodySHA256=00";
    let form = |text: &str| {
        InboundRequest::new("POST", url)
            .with_header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
            .with_header("x-twilio-signature", &signed("sha1", "token", text))
            .with_body("B=&A=2&A=1&A=1")
    };
    assert_eq!(judge(config(), &form(&format!("{url}A1A2B"))), Ok(()));
    assert_eq!(judge(config(), &form(url)), Err(Refusal::Mismatch));
}

#[test]
fn blanks_and_spaces_are_signed_as_they_are() {
    let url = "https://hub.test/in/src_0";
    let request = InboundRequest::new("POST", url)
        .with_header("content-type", "application/x-www-form-urlencoded")
        .with_header("x-twilio-signature", &signed("sha1", "token", &format!("{url}Body  Hej Å \nEmpty")))
        .with_body("Empty=&Body=+%20Hej+%C3%85+%0A");
    assert_eq!(judge(config(), &request), Ok(()));
}

#[test]
fn a_shared_key_is_believed_only_with_its_own_algorithm() {
    let url = "https://hub.test/in/src_0";
    let request = |settings: &str, signature: &str| {
        InboundRequest::new("POST", url)
            .with_header("x-twilio-webhooks-signature-settings", settings)
            .with_header("x-twilio-signature", signature)
    };
    let good = signed("sha256", "shared", url);
    assert_eq!(judge(config(), &request("key=k1,algorithm=HMAC_SHA256", &good)), Ok(()));
    assert_eq!(judge(config(), &request("algorithm=HMAC_SHA256, key=k1", &good)), Ok(()));
    let weak = signed("sha1", "shared", url);
    assert_eq!(judge(config(), &request("key=k1,algorithm=HMAC_SHA1", &weak)), Err(Refusal::WrongAlgorithm));
    assert_eq!(judge(config(), &request("key=k2,algorithm=HMAC_SHA256", &good)), Err(Refusal::UnknownKey));
    assert_eq!(judge(config(), &request("k1", &good)), Err(Refusal::UnreadableSettings));
    let token = signed("sha1", "token", url);
    assert_eq!(judge(config(), &request("key=k1,algorithm=HMAC_SHA256", &token)), Err(Refusal::Mismatch));
}

#[test]
fn without_a_key_nothing_is_refused_and_the_request_is_parked() {
    let url = "https://hub.test/in/src_0";
    let request = InboundRequest::new("POST", url).with_header("x-twilio-signature", &signed("sha1", "token", url));
    let error = MockHost::new().receive::<Twilio>(config(), request).unwrap_err();
    assert!(matches!(error, switchyard_sdk::PluginError::Retry { .. }), "{error}");
}

#[test]
fn a_flood_of_parameters_is_refused_before_any_key_is_used() {
    let request = InboundRequest::new("POST", "https://hub.test/in/src_0")
        .with_header("content-type", "application/x-www-form-urlencoded")
        .with_header("x-twilio-signature", "AAAA")
        .with_body("a=1&".repeat(1_001));
    assert_eq!(judge(config(), &request), Err(Refusal::TooManyParameters));
}
