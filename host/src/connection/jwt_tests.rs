use jsonwebtoken::{EncodingKey, Header as Signed};
use serde_json::json;

use super::*;

const VECTORS: &str = include_str!("../../../tests/data/vectors.json");

/// Keys made for tests alone; they protect nothing.
const P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgO/YjZWkAkMpVxtiE
5m+ZuvK16C/M+Cw2L6SFA9sD1fihRANCAASb9LepTv3Xue/ZQeveQCQidJv06k2R
6EoZgHQNVbMwu/MqYcReibzwOZcHZsIXcaFmeeELKnRzwg33WYCyNQxf
-----END PRIVATE KEY-----
";
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINVVFeiA86bWCNws0v8sjFt7M8z1Nxs+B9vcnJvFpNji
-----END PRIVATE KEY-----
";

const NOW: Timestamp = Timestamp(1_795_255_260_000);
const NOW_S: i64 = 1_795_255_260;

fn vectors() -> Vec<Value> {
    serde_json::from_str(VECTORS).unwrap()
}

fn material() -> Value {
    vectors().into_iter().find(|case| case["id"] == "google-oidc-00-keys").unwrap()["expected"].clone()
}

fn rsa_pem() -> String {
    let keys = material();
    let der = keys["private_key_pkcs8_der_base64"]["test-kid-1"].as_str().unwrap().to_owned();
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

/// The vectors' RSA keys, and one of each other type.
fn published() -> KeySet {
    let mut set = material()["jwks"].clone();
    let keys = set["keys"].as_array_mut().unwrap();
    keys.push(json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "m_S3qU7917nv2UHr3kAkInSb9OpNkehKGYB0DVWzMLs",
        "y": "8yphxF6JvPA5lwdmwhdxoWZ54QsqdHPCDfdZgLI1DF8"}));
    keys.push(json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA",
        "x": "zMtecMmsFL8m5Q4FbuYWvrWDLTWZ1OQEjQnU3pwA0o0"}));
    let mut free = keys[0].clone();
    free.as_object_mut().unwrap().remove("alg");
    free["kid"] = json!("any-rsa");
    keys.push(free);
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

fn good() -> Value {
    json!({"iss": "https://issuer.example", "aud": "us", "exp": NOW_S + 60, "iat": NOW_S - 60, "sub": "1"})
}

fn signed(algorithm: jsonwebtoken::Algorithm, kid: &str, claims: &Value) -> String {
    use jsonwebtoken::Algorithm as A;
    let mut header = Signed::new(algorithm);
    header.kid = Some(kid.to_owned());
    let key = match algorithm {
        A::ES256 => EncodingKey::from_ec_pem(P256.as_bytes()),
        A::EdDSA => EncodingKey::from_ed_pem(ED25519.as_bytes()),
        _ => EncodingKey::from_rsa_pem(rsa_pem().as_bytes()),
    };
    jsonwebtoken::encode(&header, claims, &key.unwrap()).unwrap()
}

fn judged_at(token: &str, at: Timestamp) -> Result<String, TokenError> {
    let issuers = ["https://issuer.example".to_owned()];
    let expected = Expected { issuers: &issuers, audience: "us", at, leeway: LEEWAY };
    Token::read(token)?.claims(&published(), &expected)
}

fn judged(token: &str) -> Result<String, TokenError> {
    judged_at(token, NOW)
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn rs256(claims: &Value) -> Result<String, TokenError> {
    judged(&signed(jsonwebtoken::Algorithm::RS256, "test-kid-1", claims))
}

#[test]
fn every_recorded_token_is_judged_as_its_source_says() {
    let keys = KeySet::parse(material()["jwks"].to_string().as_bytes()).unwrap();
    let cases = vectors().into_iter().filter(|case| case["scheme"] == "oidc-bearer-rs256");
    let judged = cases.map(|case| {
        let (inputs, id) = (&case["inputs"], &case["id"]);
        let config = &inputs["config"];
        let issuers: Vec<String> = serde_json::from_value(config["accepted_issuers"].clone()).unwrap();
        let token = inputs["headers"]["Authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let expected = Expected {
            issuers: &issuers,
            audience: config["expected_audience"].as_str().unwrap(),
            at: Timestamp(inputs["now_unix"].as_i64().unwrap() * 1000),
            leeway: Duration::from_secs(config["clock_skew_s"].as_u64().unwrap()),
        };
        let claims = Token::read(&token).and_then(|token| token.claims(&keys, &expected));
        // Whose mail it is the plugin judges, by the claims that it gets.
        let refused = match &claims {
            Ok(claims) => {
                let claims: Value = serde_json::from_str(claims).unwrap();
                (claims["email"] != config["expected_email"] || claims["email_verified"] != true).then_some("email")
            }
            Err(TokenError::Expired) => Some("expired"),
            Err(TokenError::Audience) => Some("audience"),
            Err(TokenError::Issuer) => Some("issuer"),
            Err(TokenError::UnknownKey) => Some("unknown_kid"),
            Err(TokenError::Algorithm) => Some("alg"),
            Err(TokenError::Signature) => Some("signature"),
            Err(_) => Some("other"),
        };
        assert_eq!(refused, case["expected"]["reject_reason"].as_str(), "{id}");
        assert_eq!(refused.is_none(), case["expected"]["valid"] == true, "{id}");
    });
    assert_eq!(judged.count(), 8);
}

#[test]
fn an_assertion_that_a_service_account_signs_is_verified_with_its_public_key() {
    let case = vectors().into_iter().find(|case| case["scheme"] == "jwt-bearer-rs256").unwrap();
    let keys = KeySet::parse(material()["jwks"].to_string().as_bytes()).unwrap();
    let issuers = ["hub@hub-test.iam.gserviceaccount.com".to_owned()];
    let expected =
        Expected { issuers: &issuers, audience: "https://oauth2.googleapis.com/token", at: NOW, leeway: LEEWAY };
    let assertion = case["expected"]["assertion"].as_str().unwrap();
    let claims = Token::read(assertion).unwrap().claims(&keys, &expected).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&claims).unwrap(), case["inputs"]["claims"]);
}

#[test]
fn each_of_the_four_algorithms_proves_its_token() {
    use jsonwebtoken::Algorithm as A;
    for (algorithm, kid) in
        [(A::RS256, "test-kid-1"), (A::RS256, "any-rsa"), (A::PS256, "any-rsa"), (A::ES256, "ec"), (A::EdDSA, "ed")]
    {
        let claims = judged(&signed(algorithm, kid, &good())).unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        assert_eq!(serde_json::from_str::<Value>(&claims).unwrap(), good(), "{algorithm:?}");
    }
}

#[test]
fn a_key_proves_only_what_its_type_and_its_issuer_allow() {
    use jsonwebtoken::Algorithm as A;
    for (algorithm, kid) in [(A::PS256, "test-kid-1"), (A::ES256, "test-kid-1"), (A::EdDSA, "ec"), (A::RS256, "ed")] {
        assert_eq!(judged(&signed(algorithm, kid, &good())), Err(TokenError::WrongKey), "{algorithm:?} {kid}");
    }
    // The right type, and another key of it.
    assert_eq!(judged(&signed(A::RS256, "test-kid-2", &good())), Err(TokenError::Signature));
    for algorithm in [A::RS384, A::RS512, A::PS384, A::PS512] {
        assert_eq!(judged(&signed(algorithm, "any-rsa", &good())), Err(TokenError::Algorithm), "{algorithm:?}");
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let pem = material()["public_key_pem"]["test-kid-1"].as_str().unwrap_or_default().to_owned();
    let modulus = material()["jwks"]["keys"][0]["n"].as_str().unwrap().to_owned();
    for secret in [pem, modulus] {
        let mut header = Signed::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("test-kid-1".to_owned());
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&header, &good(), &key).unwrap();
        assert_eq!(judged(&token), Err(TokenError::Algorithm));
    }
}

/// A token with this header and these claims, signed as RS256 whatever the header says.
fn forged(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_rsa_pem(rsa_pem().as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_token_does_not_choose_how_it_is_checked() {
    let claims = good().to_string();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "rs256", "RS256 ", "ES256K", "ES384"] {
        let header = json!({"alg": algorithm, "kid": "test-kid-1"}).to_string();
        assert_eq!(judged(&forged(&header, &claims)), Err(TokenError::Algorithm), "{algorithm}");
    }
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(&claims));
    assert_eq!(judged(&unsigned), Err(TokenError::Algorithm));
    // The key that it brings along is not looked at, only the one that it names.
    let own = json!({"alg": "RS256", "kid": "test-kid-2", "jwk": material()["jwks"]["keys"][0],
        "jku": "https://evil.example/keys", "x5c": ["AAAA"]});
    assert_eq!(judged(&forged(&own.to_string(), &claims)), Err(TokenError::Signature));
    let critical = json!({"alg": "RS256", "kid": "test-kid-1", "crit": ["exp"]}).to_string();
    assert!(matches!(judged(&forged(&critical, &claims)), Err(TokenError::Malformed(_))));
}

#[test]
fn the_name_of_a_key_is_only_ever_a_name() {
    let claims = good().to_string();
    for name in ["../keys", "' or 1=1 --", "https://evil.example/jwks", "test-kid-1\u{0}", "TEST-KID-1", "test-kid-1 "]
    {
        let header = json!({"alg": "RS256", "kid": name}).to_string();
        assert_eq!(judged(&forged(&header, &claims)), Err(TokenError::UnknownKey), "{name}");
    }
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"RS256","kid":""}"#, r#"{"alg":"RS256","kid":null}"#] {
        assert_eq!(judged(&forged(header, &claims)), Err(TokenError::NoKey), "{header}");
    }
    for header in [r#"{"alg":"RS256","kid":7}"#, r#"{"alg":"RS256","kid":["test-kid-1"]}"#, r#"["RS256"]"#, "{}", ""] {
        assert!(matches!(judged(&forged(header, &claims)), Err(TokenError::Malformed(_))), "{header}");
    }
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let header = r#"{"alg":"RS256","kid":"test-kid-1"}"#;
    let claims = format!(r#"{{"aud":"them",{}"#, &good().to_string()[1..]);
    assert!(matches!(judged(&forged(header, &claims)), Err(TokenError::Malformed(_))));
    let header = r#"{"alg":"none","alg":"RS256","kid":"test-kid-1"}"#;
    assert!(matches!(judged(&forged(header, &good().to_string())), Err(TokenError::Malformed(_))));
}

#[test]
fn what_is_no_token_is_refused() {
    let good = signed(jsonwebtoken::Algorithm::RS256, "test-kid-1", &good());
    let (message, signature) = good.rsplit_once('.').unwrap();
    assert!(judged(&good).is_ok());
    let wrong = [
        String::new(),
        "..".to_owned(),
        message.to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{message}.{signature}=="),
        format!("{message}.{}", &signature[1..]),
        format!("{message}."),
        format!(" {good}"),
        format!("Bearer {good}"),
        good.replacen('.', "..", 1),
        format!("{message}.{}", signature.replace(['-', '_'], "+")),
    ];
    for token in wrong {
        assert!(judged(&token).is_err(), "{token}");
    }
    assert_eq!(judged(&"a".repeat(MAX_TOKEN + 1)), Err(TokenError::TooLong));
    assert_eq!(judged(&format!("{good}{}", "a".repeat(MAX_TOKEN))), Err(TokenError::TooLong));
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    assert!(matches!(judged(&forged(r#"{"alg":"RS256","kid":"test-kid-1"}"#, &deep)), Err(TokenError::Malformed(_))));
}

#[test]
fn a_change_of_any_character_ends_the_proof() {
    let good = signed(jsonwebtoken::Algorithm::ES256, "ec", &good());
    for place in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(judged(&changed).is_err(), "{place}");
    }
}

#[test]
fn issuer_and_audience_are_compared_exactly() {
    for issuer in [json!("https://issuer.example/"), json!("HTTPS://issuer.example"), json!(null), json!(["x"])] {
        assert_eq!(rs256(&with("iss", issuer.clone())), Err(TokenError::Issuer), "{issuer}");
    }
    assert_eq!(rs256(&without("iss")), Err(TokenError::Issuer));
    for audience in [json!("US"), json!("us "), json!(""), json!(["them"]), json!([]), json!({"us": 1}), json!(null)] {
        assert_eq!(rs256(&with("aud", audience.clone())), Err(TokenError::Audience), "{audience}");
    }
    assert_eq!(rs256(&without("aud")), Err(TokenError::Audience));
    assert!(rs256(&with("aud", json!(["them", "us"]))).is_ok());
}

#[test]
fn times_are_judged_at_the_given_moment_with_a_minute_of_leeway() {
    let token = signed(jsonwebtoken::Algorithm::RS256, "test-kid-1", &good());
    let at = |seconds: i64| judged_at(&token, Timestamp((NOW_S + seconds) * 1000)).map(|_| ());
    assert_eq!(at(119), Ok(()), "59 s after `exp`");
    assert_eq!(at(120), Err(TokenError::Expired));
    assert_eq!(at(-120), Ok(()), "60 s before `iat`");
    assert_eq!(at(-121), Err(TokenError::NotYet));
    assert_eq!(rs256(&with("nbf", json!(NOW_S + 61))), Err(TokenError::NotYet));
    assert!(rs256(&with("nbf", json!(NOW_S + 59))).is_ok());
    assert!(rs256(&with("exp", json!(1_795_255_261.5))).is_ok(), "a time may have a fraction");
    for end in [json!("1795258800"), json!(null), json!(-1), json!(0), json!([NOW_S + 60]), json!(true)] {
        assert_eq!(rs256(&with("exp", end.clone())), Err(TokenError::Expired), "{end}");
    }
    assert_eq!(rs256(&without("exp")), Err(TokenError::Expired));
    assert!(rs256(&without("iat")).is_ok());
    assert!(matches!(rs256(&with("iat", json!("soon"))), Err(TokenError::Malformed(_))));
}
