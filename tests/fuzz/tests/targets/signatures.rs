use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::SecretString;
use switchyard::{
    clock::Timestamp,
    connection::{
        jwt::{Expected, LEEWAY, Token},
        key_set::KeySet,
        verify::{KeyEncoding, MacAlgorithm, decode_key, verify_mac},
    },
    outbound::sign::{SigningSecret, verify},
    secret::api_key,
};
use switchyard_fuzz::{fuzz, outcome};

const NOW: Timestamp = Timestamp(1_795_176_000_000);

/// What an issuer publishes.
const ISSUER: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"ed","alg":"EdDSA","use":"sig",
    "x":"zMtecMmsFL8m5Q4FbuYWvrWDLTWZ1OQEjQnU3pwA0o0"}]}"#;

/// Header fields one a line, the body after the last of them.
fn lines(bytes: &[u8]) -> [String; 4] {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(4, '\n').map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

#[test]
fn fuzz_standard_webhooks() {
    let symmetric = SecretString::from(format!("whsec_{}", STANDARD.encode([7; 32])));
    let public = SecretString::from(format!("whpk_{}", STANDARD.encode([7; 32])));
    let seeds: [&[u8]; 5] = [
        b"msg_1\n1795176000\nv1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=\n{}",
        b"msg_1\n1795176000\nv1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==\nx",
        b"\n-1795176000\nv1,= v1,== v1 v1,,\n",
        b"msg.1\n1795176000000\nv2,AAAA v1a,AAAA\n",
        b"msg_1\n99999999999999999999\nv1,AAAA\n",
    ];
    fuzz(&seeds, &["v1,", "v1a,", "1795176000", "whsec_"], |bytes| {
        let [id, stamp, signatures, body] = lines(bytes);
        let judged = [&symmetric, &public].map(|key| verify(key, &id, &stamp, &signatures, body.as_bytes(), NOW));
        // The keys are not in the input, so that nothing may pass.
        assert!(judged.iter().all(Result::is_err), "a signature that nobody made was believed");
        judged.map(|judged| outcome(&judged))
    });
}

#[test]
fn fuzz_secrets_and_tags() {
    let seeds: [&[u8]; 5] = [b"whsec_SmVmZQ==", b"whsk_AAAA", b"4A65", b"swk_0123", b"whpk_"];
    fuzz(&seeds, &["whsec_", "whsk_", "swk_", "=="], |bytes| {
        let text = SecretString::from(String::from_utf8_lossy(bytes).into_owned());
        let keys =
            [KeyEncoding::Text, KeyEncoding::Hex, KeyEncoding::Base64].map(|encoding| decode_key(encoding, &text));
        let believed = [MacAlgorithm::HmacSha1, MacAlgorithm::HmacSha256, MacAlgorithm::HmacSha512].map(|algorithm| {
            keys.iter().flatten().any(|key| verify_mac(algorithm, std::slice::from_ref(key), b"data", bytes))
        });
        assert_eq!(believed, [false; 3], "a key is no tag of anything");
        let plausible = api_key::is_plausible(&String::from_utf8_lossy(bytes));
        (keys.map(|key| key.is_some()), outcome(&SigningSecret::parse(&text)), plausible)
    });
}

#[test]
fn fuzz_tokens() {
    let keys = KeySet::parse(ISSUER).unwrap();
    let issuers = ["https://issuer.example".to_owned()];
    let expected = Expected { issuers: &issuers, audience: "us", at: NOW, leeway: LEEWAY };
    let claims = r#"{"iss":"https://issuer.example","aud":"us","exp":1795176060}"#;
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let headers =
        [r#"{"alg":"EdDSA","kid":"ed"}"#, r#"{"alg":"none"}"#, r#"{"alg":"HS256","kid":"ed"}"#, r#"{"crit":["exp"]}"#];
    let tokens: Vec<String> =
        headers.iter().map(|header| format!("{}.{}.{}", part(header), part(claims), part(&"s".repeat(64)))).collect();
    let seeds: Vec<&[u8]> = tokens.iter().map(String::as_bytes).chain([b"..".as_slice(), b"eyJ.e30."]).collect();
    fuzz(&seeds, &["eyJ", ".", "=", "bm9uZQ", "RWREU0E"], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let judged = Token::read(&text).and_then(|token| token.claims(&keys, &expected));
        // Nobody has the private key.
        assert!(judged.is_err(), "a token that nobody signed was believed");
        judged.err()
    });
}

#[test]
fn fuzz_key_sets() {
    let seeds: [&[u8]; 5] = [
        ISSUER,
        br#"{"keys":[{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB","use":"sig","key_ops":["verify"]}]}"#,
        br#"{"keys":[{"kty":"EC","crv":"P-256","kid":"e","x":"AA","y":"AA","alg":"ES256"}]}"#,
        br#"{"keys":[{"kty":"oct","k":"AA"},null,7,"x",[],{}]}"#,
        br#"{"keys":{}}"#,
    ];
    fuzz(&seeds, &["\"kty\"", "\"kid\"", "RSA", "P-256", "Ed25519", "AQAB", "\"d\""], |bytes| {
        KeySet::parse(bytes).map(|keys| (keys.names("ed"), keys.names("r"))).map_err(|error| error.to_string())
    });
}
