//! The authorization server, behind Google's paths.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use switchyard_simulators::{
    clock::ManualClock,
    google::{self, Google},
    oauth::{Client, Consent, Decision, Grants, Refusal, Rotation, Rules},
};
use tokio_util::sync::CancellationToken;

use crate::support::{Got, NOW_MS, Running, call, get, listener, post_json};

const SCOPE: &str = "https://www.googleapis.com/auth/gmail.modify";
const BACK: &str = "http://127.0.0.1:9/oauth/callback";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-and-more";
const ACCOUNT: &str = "hub@hub-test.iam.gserviceaccount.com";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

async fn google(change: impl FnOnce(&mut Rules)) -> Running<google::Handle> {
    let clock = ManualClock::starting_at(NOW_MS);
    let mut options = google::Options::new(clock.clone());
    change(&mut options.rules);
    let stop = CancellationToken::new();
    let handle = Google::start(listener().await, options, stop.clone()).unwrap();
    let client = Client { id: "c1".to_owned(), secret: "s1".to_owned(), redirect_uris: vec![BACK.to_owned()] };
    handle.grants().register(client);
    Running::new(handle, clock, stop)
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

fn consent_query(challenge: &str) -> Vec<(&str, &str)> {
    vec![
        ("client_id", "c1"),
        ("redirect_uri", BACK),
        ("response_type", "code"),
        ("scope", SCOPE),
        ("state", "s p&"),
        ("access_type", "offline"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
}

/// Where the person is sent back to, and with what.
fn sent_back(got: &Got) -> Vec<(String, String)> {
    assert_eq!(got.status, 302, "{}", String::from_utf8_lossy(&got.body));
    let location: url::Url = got.headers["location"].to_str().unwrap().parse().unwrap();
    assert!(location.as_str().starts_with(BACK), "{location}");
    location.query_pairs().into_owned().collect()
}

fn value(pairs: &[(String, String)], name: &str) -> String {
    pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn code(google: &google::Handle) -> String {
    let url = format!("{}/o/oauth2/v2/auth?{}", google.base_url(), encoded(&consent_query(&challenge())));
    let pairs = sent_back(&get(&url).await);
    assert_eq!(value(&pairs, "state"), "s p&");
    value(&pairs, "code")
}

async fn token(google: &google::Handle, form: &[(&str, &str)]) -> Got {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let with_client = [("client_id", "c1"), ("client_secret", "s1")];
    let form: Vec<_> = form.iter().chain(&with_client).copied().collect();
    call(Method::POST, &format!("{}/token", google.base_url()), &headers, encoded(&form)).await.unwrap()
}

async fn exchange(google: &google::Handle, code: &str, verifier: &str) -> Got {
    let form =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", BACK), ("code_verifier", verifier)];
    token(google, &form).await
}

async fn refresh(google: &google::Handle, refresh_token: &str) -> Got {
    token(google, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}

fn refused(got: Got, status: u16) -> String {
    text(&got.expect(status), "error")
}

#[tokio::test]
async fn a_code_is_exchanged_once_by_who_knows_its_verifier() {
    let google = google(|_| {}).await;
    let first = code(&google).await;
    assert_eq!(
        refused(exchange(&google, &first, "another-verifier-of-forty-three-characters-x").await, 400),
        "invalid_grant"
    );
    let tokens = exchange(&google, &first, VERIFIER).await.expect(200);
    assert_eq!((&tokens["expires_in"], &tokens["token_type"]), (&json!(3599), &json!("Bearer")));
    let access = text(&tokens, "access_token");
    let grant = google.grants().check(Some(&access), &[SCOPE]).unwrap();
    assert_eq!(grant.account, "owner@customer.example");
    // The second use of a code ends what the first one brought.
    assert_eq!(refused(exchange(&google, &first, VERIFIER).await, 400), "invalid_grant");
    assert_eq!(google.grants().check(Some(&access), &[]), Err(Refusal::Unknown));
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes_and_belongs_to_its_redirect() {
    let google = google(|_| {}).await;
    let late = code(&google).await;
    google.clock.advance(Duration::from_secs(600));
    assert_eq!(refused(exchange(&google, &late, VERIFIER).await, 400), "invalid_grant");
    let other = code(&google).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &other),
        ("redirect_uri", "http://127.0.0.1:9/"),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(refused(token(&google, &form).await, 400), "redirect_uri_mismatch");
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let google = google(|_| {}).await;
    let challenge = challenge();
    for (name, wrong) in [("redirect_uri", "https://evil.example/"), ("client_id", "c2")] {
        let mut query = consent_query(&challenge);
        query.iter_mut().find(|(found, _)| *found == name).unwrap().1 = wrong;
        let got = get(&format!("{}/o/oauth2/v2/auth?{}", google.base_url(), encoded(&query))).await;
        assert!(got.status == 400 && !got.headers.contains_key("location"), "{name}");
    }
}

#[tokio::test]
async fn a_person_may_decline_or_be_asked() {
    let google = google(|_| {}).await;
    let url = format!("{}/o/oauth2/v2/auth?{}", google.base_url(), encoded(&consent_query(&challenge())));
    let consent = |decision| Consent { account: "a@b.example".to_owned(), realm: None, decision };
    google.grants().set_consent(consent(Decision::Deny));
    assert_eq!(value(&sent_back(&get(&url).await), "error"), "access_denied");
    google.grants().set_consent(consent(Decision::Ask));
    let page = get(&url).await;
    assert_eq!(page.status, 200);
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let link = page.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    assert!(!value(&sent_back(&get(&format!("{}{link}", google.base_url())).await), "code").is_empty());
}

#[tokio::test]
async fn a_refresh_brings_no_other_refresh_token_at_google() {
    let google = google(|_| {}).await;
    let tokens = exchange(&google, &code(&google).await, VERIFIER).await.expect(200);
    let refresh_token = text(&tokens, "refresh_token");
    for _ in 0..2 {
        let again = refresh(&google, &refresh_token).await.expect(200);
        assert!(again["refresh_token"].is_null(), "{again}");
    }
    google.grants().revoke_grants(None);
    let dead = refresh(&google, &refresh_token).await.expect(400);
    assert_eq!(dead, json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}));
}

#[tokio::test]
async fn a_rotating_server_takes_each_refresh_token_once() {
    let google =
        google(|rules| (rules.rotation, rules.reuse_ends_grant) = (Rotation::After(Duration::ZERO), true)).await;
    let consent = Consent { account: "a@b.example".to_owned(), realm: None, decision: Decision::Allow };
    let issued = google.grants().issue("c1", &consent, &[SCOPE]);
    let next = text(&refresh(&google, &issued.refresh_token).await.expect(200), "refresh_token");
    assert_ne!(next, issued.refresh_token);
    assert_eq!(refused(refresh(&google, &issued.refresh_token).await, 400), "invalid_grant");
    assert_eq!((google.grants().counts().reuses, google.grants().live_grants()), (1, 0));
    assert_eq!(refused(refresh(&google, &next).await, 400), "invalid_grant");
}

#[tokio::test]
async fn intuit_answers_in_its_own_way_and_rotates_after_a_day() {
    let clock = ManualClock::starting_at(NOW_MS);
    let grants = Grants::new(Rules::intuit(), clock.clone());
    let consent = Consent { account: "u".to_owned(), realm: Some("42".to_owned()), decision: Decision::Allow };
    let issued = grants.issue("c1", &consent, &["com.intuit.quickbooks.accounting"]);
    let grant = grants.check(Some(&issued.access_token), &["com.intuit.quickbooks.accounting"]).unwrap();
    assert_eq!(grant.realm.as_deref(), Some("42"));
    clock.advance(Duration::from_secs(3600));
    assert_eq!(grants.check(Some(&issued.access_token), &[]), Err(Refusal::Expired));
    assert_eq!(grants.check(None, &[]), Err(Refusal::Missing));
}

#[tokio::test]
async fn a_wrong_client_is_told_so() {
    let google = google(|_| {}).await;
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{}/token", google.base_url());
    let form = encoded(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("client_id", "c1"),
        ("client_secret", "no"),
    ]);
    assert_eq!(refused(call(Method::POST, &url, &headers, form).await.unwrap(), 401), "invalid_client");
    let basic = ("authorization", "Basic YzE6czE=");
    let form = encoded(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let got = call(Method::POST, &url, &[headers[0], basic], form).await.unwrap();
    assert_eq!(refused(got, 400), "invalid_grant", "the client is right, the token is not");
}

/// An assertion signed by the account's key, with these changes to good claims.
fn assertion(key: &Value, change: impl FnOnce(&mut Value)) -> String {
    let now = NOW_MS / 1000;
    let mut claims = json!({"iss": ACCOUNT, "scope": SCOPE, "aud": google::TOKEN_URI, "iat": now, "exp": now + 3600});
    change(&mut claims);
    let header = jsonwebtoken::Header {
        kid: Some(text(key, "private_key_id")),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256)
    };
    let pem = jsonwebtoken::EncodingKey::from_rsa_pem(text(key, "private_key").as_bytes()).unwrap();
    jsonwebtoken::encode(&header, &claims, &pem).unwrap()
}

#[tokio::test]
async fn an_assertion_is_checked_in_every_part() {
    let google = google(|_| {}).await;
    let key = google.add_service_account(ACCOUNT, &[SCOPE]).unwrap();
    let other = google.add_service_account("other@hub-test.iam.gserviceaccount.com", &[]).unwrap();
    let ask = async |assertion: String| token(&google, &[("grant_type", JWT_BEARER), ("assertion", &assertion)]).await;
    let given = ask(assertion(&key, |_| {})).await.expect(200);
    assert!(given["refresh_token"].is_null());
    let grant = google.grants().check(Some(&text(&given, "access_token")), &[SCOPE]).unwrap();
    assert_eq!(grant.account, ACCOUNT);
    let person = ask(assertion(&key, |claims| claims["sub"] = json!("owner@customer.example"))).await.expect(200);
    let grant = google.grants().check(Some(&text(&person, "access_token")), &[SCOPE]).unwrap();
    assert_eq!(grant.account, "owner@customer.example");
    let now = NOW_MS / 1000;
    let wrong: [(&str, Value); 6] = [
        ("aud", json!("https://evil.example/token")),
        ("iss", json!("nobody@hub-test.iam.gserviceaccount.com")),
        ("exp", json!(now + 3601)),
        ("exp", json!(now - 1)),
        ("iat", json!(now + 1000)),
        ("sub", json!("nobody@customer.example")),
    ];
    for (name, value) in wrong {
        let got = ask(assertion(&key, |claims| claims[name] = value.clone())).await;
        assert_eq!(refused(got, 400), "invalid_grant", "{name} {value}");
    }
    let mixed = json!({"private_key_id": key["private_key_id"], "private_key": other["private_key"]});
    assert_eq!(refused(ask(assertion(&mixed, |_| {})).await, 400), "invalid_grant", "signed by another key");
    assert_eq!(refused(ask(assertion(&key, |claims| claims["scope"] = json!(""))).await, 400), "invalid_scope");
    let undelegated = |claims: &mut Value| {
        (claims["sub"], claims["scope"]) =
            (json!("owner@customer.example"), json!("https://www.googleapis.com/auth/calendar"));
    };
    assert_eq!(refused(ask(assertion(&key, undelegated)).await, 401), "unauthorized_client");
}

#[tokio::test]
async fn keys_are_published_rotated_and_forgotten() {
    let google = google(|_| {}).await;
    let url = format!("{}/oauth2/v3/certs", google.base_url());
    let published = async || {
        let got = get(&url).await;
        assert!(got.headers["cache-control"].to_str().unwrap().contains("max-age="));
        let keys = got.expect(200)["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| text(key, "kid")).collect::<BTreeSet<_>>()
    };
    let first = google.signing_keys().current_id();
    let signed = google.signing_keys().sign(&json!({"iss": "https://accounts.google.com"})).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&signed).unwrap().kid.as_ref(), Some(&first));
    let _ = post_json(&format!("{}/_sim/rotate-keys", google.base_url()), &json!({})).await.expect(200);
    assert!(published().await.contains(&first), "tokens signed before are still good");
    let _ = post_json(&format!("{}/_sim/rotate-keys", google.base_url()), &json!({"forget": true})).await.expect(200);
    assert_eq!(published().await, BTreeSet::from([google.signing_keys().current_id()]));
}

#[tokio::test]
async fn another_process_steers_tokens_by_control_requests() {
    let google = google(|_| {}).await;
    let sim = format!("{}/_sim", google.base_url());
    let issue = json!({"client_id": "c1", "account": "a@b.example", "scopes": [SCOPE]});
    let issued = post_json(&format!("{sim}/issue"), &issue).await.expect(200);
    let who = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let url = format!("{}/oauth2/v3/userinfo", google.base_url());
        call(Method::GET, &url, &[("authorization", bearer.as_str())], "").await.unwrap()
    };
    let access = text(&issued, "access_token");
    assert_eq!(who(&access).await.expect(200)["email"], "a@b.example");
    let _ = post_json(&format!("{sim}/expire-tokens"), &json!({})).await.expect(200);
    assert_eq!(who(&access).await.status, 401);
    assert_eq!(post_json(&format!("{sim}/revoke-grants"), &json!({})).await.expect(200)["revoked"], 1);
    assert_eq!(refused(refresh(&google, &text(&issued, "refresh_token")).await, 400), "invalid_grant");
}
