//! The simulator signs as the published and recomputed vectors say.

use serde_json::Value;
use switchyard_simulators::twilio::signature::{
    Algorithm, Port, base_string, body_sha256, sign, whatwg, with_body_sha256, with_port,
};

fn vectors() -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors.json"));
    serde_json::from_str(text).unwrap()
}

fn vector(id: &str) -> Value {
    vectors().into_iter().find(|vector| vector["id"] == id).unwrap()
}

fn params(vector: &Value) -> Vec<(String, String)> {
    let pairs = vector["inputs"]["params"].as_array().cloned().unwrap_or_default();
    pairs.iter().map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned())).collect()
}

#[test]
fn every_twilio_vector_that_names_a_signed_text_is_reproduced() {
    let mut reproduced = 0;
    for vector in vectors() {
        let Some(text) = vector["expected"]["signed_string"].as_str() else { continue };
        if vector["provider"] != "twilio" {
            continue;
        }
        let inputs = &vector["inputs"];
        assert_eq!(base_string(inputs["signed_url"].as_str().unwrap(), &params(&vector)), text, "{}", vector["id"]);
        let shared = &inputs["shared_keys"]["webhooks_sharedkey_00000000000000000000000001"]["secret"];
        let signature = match (inputs["auth_token"].as_str(), shared.as_str()) {
            (Some(token), _) => sign(Algorithm::HmacSha1, token, text),
            (None, Some(secret)) => sign(Algorithm::HmacSha256, secret, text),
            _ => panic!("{} has no key", vector["id"]),
        };
        assert_eq!(signature, vector["expected"]["signature"].as_str().unwrap(), "{}", vector["id"]);
        reproduced += 1;
    }
    assert!(reproduced >= 20, "only {reproduced} vectors were looked at");
}

#[test]
fn url_variants_are_the_ones_that_the_vectors_were_signed_over() {
    let urls = |id: &str| {
        let inputs = vector(id)["inputs"].clone();
        (inputs["received_url"].as_str().unwrap().to_owned(), inputs["signed_url"].as_str().unwrap().to_owned())
    };
    let (received, signed) = urls("twilio-04-https-received-with-port-signed-without");
    assert_eq!(with_port(&received, Port::Removed), signed);
    let (received, signed) = urls("twilio-06-https-signed-with-443");
    assert_eq!(with_port(&received, Port::Added), signed);
    let (received, signed) = urls("twilio-12-special-chars-whatwg-serialised");
    assert_eq!(whatwg(&received), signed);
}

#[test]
fn the_port_of_an_odd_authority_is_found() {
    assert_eq!(with_port("http://u:p@[::1]/x?y", Port::Added), "http://u:p@[::1]:80/x?y");
    assert_eq!(with_port("http://u:p@[::1]:8080/x", Port::Removed), "http://u:p@[::1]/x");
    assert_eq!(with_port("https://host?a=1:2", Port::Removed), "https://host?a=1:2");
}

#[test]
fn the_digest_of_a_json_body_is_the_one_of_the_vector_and_stays_before_the_fragment() {
    let vector = vector("twilio-08-body-sha256");
    let digest = body_sha256(vector["inputs"]["body"].as_str().unwrap().as_bytes());
    assert_eq!(digest, vector["expected"]["body_sha256_hex"].as_str().unwrap());
    assert_eq!(with_body_sha256("https://h/x#rc=2", "ab"), "https://h/x?bodySHA256=ab#rc=2");
}
