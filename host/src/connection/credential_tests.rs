use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::{ManualClock, Timestamp};

fn ids() -> Ids {
    Ids::seeded(ManualClock::starting_at(Timestamp(0)), [5; 32])
}

fn made(kind: &str, secret: Value) -> Result<Credential, CredentialError> {
    Credential::from_api(kind.parse()?, &secret, &ids())
}

#[track_caller]
fn on_request(kind: &str, secret: Value, name: &str) -> String {
    let mut headers = HeaderMap::new();
    made(kind, secret).unwrap().apply(&mut headers, b"what do ya want for nothing?").unwrap();
    assert_eq!(headers.len(), 1);
    assert!(headers[name].is_sensitive());
    headers[name].to_str().unwrap().to_owned()
}

#[test]
fn each_kind_is_put_on_a_request_in_its_way() {
    assert_eq!(on_request("header", json!({"name": "X-Access-Token", "value": "t0k"}), "x-access-token"), "t0k");
    let basic = json!({"username": "Aladdin", "password": "open sesame"});
    assert_eq!(on_request("basic", basic, "authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(on_request("bearer", json!({"token": "abc"}), "authorization"), "Bearer abc");
    assert_eq!(
        on_request("hmac", json!({"secret": "Jefe"}), "x-hub-signature-256"),
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn a_generated_secret_is_made_by_the_host_and_put_on_no_request() {
    for secret in [json!({}), Value::Null] {
        let credential = made("generated", secret).unwrap();
        assert_eq!(credential.field("secret").unwrap().expose_secret().len(), 43);
        let mut headers = HeaderMap::new();
        credential.apply(&mut headers, b"").unwrap();
        assert!(headers.is_empty());
    }
    let error = made("generated", json!({"secret": "mine"})).unwrap_err();
    assert_eq!(error.field, "secret.secret");
}

#[test]
fn mistakes_are_named_by_field_without_the_value() {
    for (kind, secret, field, problem) in [
        ("bearer", json!({}), "secret.token", "missing"),
        ("bearer", json!({"token": 7}), "secret.token", "must be text"),
        ("bearer", json!({"token": ""}), "secret.token", "empty"),
        ("bearer", json!({"token": "marker\n"}), "secret.token", "white space"),
        ("bearer", json!({"token": "mar\rker"}), "secret.token", "control"),
        ("bearer", json!({"token": "m".repeat(8193)}), "secret.token", "8192"),
        ("bearer", json!({"token": "t", "scope": "marker"}), "secret.scope", "not a field"),
        ("bearer", json!("marker"), "secret", "object"),
        ("basic", json!({"username": "a:marker", "password": "p"}), "secret.username", "colon"),
        ("basic", json!({"username": "a"}), "secret.password", "missing"),
        ("header", json!({"name": "a b", "value": "marker"}), "secret.name", "not the name"),
        ("header", json!({"name": "Host", "value": "marker"}), "secret.name", "the host or the protocol"),
        ("header", json!({"name": "Content-Length", "value": "9"}), "secret.name", "the host or the protocol"),
        ("oauth2", json!({"refresh_token": "marker"}), "secret.app", "missing"),
        ("oauth2", json!({"app": "app_1", "refresh_token": ""}), "secret.refresh_token", "empty"),
        ("oauth2", json!({"app": "app_1", "token": "marker"}), "secret.token", "not a field"),
        ("google_service_account", json!({"subject": "a@b.example"}), "secret.key", "missing"),
        ("google_service_account", json!({"key": "marker"}), "secret.key", "JSON key file"),
        ("google_service_account", json!({"key": {"private_key": "marker"}}), "secret.key", "JSON key file"),
        ("password", json!({}), "kind", "none of"),
    ] {
        let error = made(kind, secret).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.to_string().contains(problem), "{error}");
        assert!(!error.to_string().contains("marker"), "{error}");
    }
}

#[test]
fn what_is_stored_reads_back_equal() {
    for (kind, secret) in [
        ("header", json!({"name": "x-key", "value": "v"})),
        ("basic", json!({"username": "u", "password": "p\"æ"})),
        ("bearer", json!({"token": "t"})),
        ("hmac", json!({"secret": "s"})),
        ("generated", json!({})),
    ] {
        let before = made(kind, secret).unwrap();
        let after = Credential::from_stored(before.kind(), &before.to_stored()).unwrap();
        let shown = |credential: &Credential| {
            credential.fields().map(|(name, value)| (name, value.expose_secret().to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&before), shown(&after));
    }
    assert!(Credential::from_stored(ConnectionKind::Bearer, b"[]").is_err());
}

#[test]
fn the_encoded_pair_is_masked_too() {
    let credential = made("basic", json!({"username": "AC1", "password": "secret"})).unwrap();
    let masked: Vec<_> = credential.masked_values().iter().map(|value| value.expose_secret().to_owned()).collect();
    assert_eq!(masked, ["secret".to_owned(), STANDARD.encode("AC1:secret")]);
}

#[test]
fn credentials_do_not_show_themselves_in_debug() {
    assert_eq!(format!("{:?}", made("bearer", json!({"token": "marker"})).unwrap()), "Credential(bearer)");
}

#[test]
fn kinds_have_the_names_of_the_api() {
    for kind in ConnectionKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.to_string()));
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
}

proptest! {
    #[test]
    fn whatever_is_accepted_can_be_put_on_a_request(token in "\\PC{1,60}") {
        if let Ok(credential) = made("bearer", json!({"token": token})) {
            let mut headers = HeaderMap::new();
            prop_assert!(credential.apply(&mut headers, b"").is_ok());
        }
    }
}
