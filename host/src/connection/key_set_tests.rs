use serde_json::json;

use super::*;

fn rsa_key() -> Value {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/vectors.json")).unwrap();
    let keys = vectors.into_iter().find(|case| case["id"] == "google-oidc-00-keys").unwrap();
    keys["expected"]["jwks"]["keys"][0].clone()
}

fn parsed(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

fn changed(name: &str, value: Value) -> Value {
    let mut key = rsa_key();
    key[name] = value;
    key
}

#[test]
fn what_other_readers_need_is_passed_over() {
    let strange = [
        json!({"kty": "oct", "kid": "o", "k": "c2VjcmV0"}),
        json!({"kty": "EC", "crv": "P-521", "kid": "p", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "short", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": "zMtecMmsFL8m5Q4FbuYWvrWDLTWZ1OQEjQnU3pwA0o0"}),
        json!({"kty": "AKP", "kid": "later"}),
        json!({"kid": 7}),
        changed("use", json!("enc")),
        changed("key_ops", json!(["encrypt"])),
        changed("alg", json!("HS256")),
        changed("alg", json!("RS512")),
        changed("alg", json!("ES256")),
        changed("kid", json!("")),
        changed("kid", json!("a".repeat(257))),
        changed("n", json!("AQAB")),
        changed("n", json!("not base64!")),
        changed("e", json!("AQ")),
        changed("e", json!("AQAA")),
    ];
    for key in &strange {
        assert_eq!(parsed(std::slice::from_ref(key)).err(), Some(KeySetError::Empty), "{key}");
    }
    let all: Vec<Value> = strange.into_iter().chain([json!("text"), json!(null), rsa_key()]).collect();
    let set = parsed(&all).unwrap();
    assert!(set.names("test-kid-1") && !set.names("o") && !set.names("later"));
}

#[test]
fn a_key_with_its_private_part_is_never_used() {
    for member in PRIVATE {
        assert_eq!(parsed(&[changed(member, json!("AQAB"))]).err(), Some(KeySetError::Empty), "{member}");
    }
}

#[test]
fn an_rsa_key_has_2048_to_8192_bits() {
    let of_bits = |bits: usize| {
        let mut bytes = vec![0xff; bits / 8];
        bytes[0] = 0x80;
        changed("n", json!(URL_SAFE_NO_PAD.encode([vec![0, 0], bytes].concat())))
    };
    for (bits, taken) in [(1024, false), (2040, false), (2048, true), (8192, true), (8200, false), (16384, false)] {
        assert_eq!(parsed(&[of_bits(bits)]).is_ok(), taken, "{bits}");
    }
}

#[test]
fn of_two_keys_of_one_name_and_type_the_first_counts() {
    let (first, second) = (changed("alg", json!("RS256")), changed("alg", json!("PS256")));
    let set = parsed(&[first, second]).unwrap();
    assert!(set.key("test-kid-1", Algorithm::Rs256).is_some() && set.key("test-kid-1", Algorithm::Ps256).is_none());
}

#[test]
fn what_is_no_set_is_refused_whatever_it_is() {
    let huge = format!(r#"{{"keys":[],"padding":"{}"}}"#, "a".repeat(10 << 20));
    assert_eq!(KeySet::parse(huge.as_bytes()).err(), Some(KeySetError::TooLarge));
    let many: Vec<Value> = (0..=MAX_KEYS).map(|n| changed("kid", json!(n.to_string()))).collect();
    assert_eq!(parsed(&many).err(), Some(KeySetError::TooMany));
    assert_eq!(parsed(&[]).err(), Some(KeySetError::Empty));
    let deep = "[".repeat(10_000);
    let twice = r#"{"keys":[],"keys":[]}"#;
    for text in ["", "{}", "null", "[]", "<html>", r#"{"keys":{}}"#, r#"{"keys":7}"#, "\u{0}", twice, &deep] {
        assert_eq!(KeySet::parse(text.as_bytes()).err(), Some(KeySetError::Malformed), "{text:.40}");
    }
}
