use serde_json::{Value, json};
use switchyard_fuzz::fuzz;
use switchyard_sdk::{
    InboundRequest, PluginError, Received,
    testing::{MockHost, NOON},
};
use twilio::Twilio;
use webhook::Webhook;

/// A request out of bytes: URL, then header fields, one a line; an empty line; the body.
fn request(bytes: &[u8]) -> InboundRequest {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let (method, url) = first.split_once(' ').unwrap_or(("POST", first));
    let mut request = InboundRequest::new(method, url).with_body(body).at(NOON);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.with_header(name, value);
    }
    request
}

/// What came of it. Without the key nothing may be believed.
fn sign(result: Result<Received, PluginError>) -> String {
    match result {
        Ok(Received::Unauthenticated(why)) => why,
        Ok(other) => panic!("a request that nobody signed was believed: {other:?}"),
        Err(error) => error.to_string().chars().filter(char::is_ascii_alphabetic).take(60).collect(),
    }
}

/// What plugins read JSON with takes what `serde_json` takes, as the same, and writes it back.
#[test]
fn fuzz_json_of_plugins() {
    let seeds: [&[u8]; 6] = [
        b"{\"a\":[1,-2.5,1e9,null,true,\"\\u00e6\\ud83d\\ude00\"],\"a\":{}}",
        b"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
        b"\"\\ud800\\udc00\"",
        b"18446744073709551616",
        b"-0.0e-0",
        b" \t\r\n[ ] ",
    ];
    fuzz(&seeds, &["null", "true", "{\"a\":", "[0,", "\\u", "1e", "]"], |bytes| {
        let theirs: Option<Value> = serde_json::from_slice(bytes).ok();
        let ours = switchyard_sdk::json::parse(bytes);
        assert_eq!(ours.as_ref().ok(), theirs.as_ref());
        match ours {
            Ok(value) => {
                assert_eq!(switchyard_sdk::json::write(&value), value.to_string());
                usize::MAX
            }
            Err(malformed) => malformed.at.min(64),
        }
    });
}

#[test]
fn fuzz_webhook_requests() {
    let scheme = |scheme: Value| json!({"scheme": scheme, "event": {"from": "body", "path": "type"}});
    let configs = [
        scheme(json!({"kind": "standard-webhooks"})),
        scheme(json!({"kind": "stripe"})),
        scheme(json!({"kind": "slack"})),
        scheme(json!({"kind": "github"})),
        scheme(
            json!({"kind": "hmac", "header": "x-sig", "encoding": "base64", "signed": "{id}|{timestamp}|{url}|{body}",
            "timestamp_header": "x-time", "id_header": "x-id"}),
        ),
    ];
    let seeds: [&[u8]; 6] = [
        b"POST https://hub.test/in/src_0\nwebhook-id: msg_1\nwebhook-timestamp: 1795176000\nwebhook-signature: v1,AAAA v1a,AAAA\n\n{\"type\":\"a.b\"}",
        b"POST https://hub.test/in/src_0\nstripe-signature: t=1795176000,v1=00ff,v1=zz,v0=00\n\n{}",
        b"POST https://hub.test/in/src_0\nx-slack-request-timestamp: 1795176000\nx-slack-signature: v0=00\n\n{\"type\":\"url_verification\",\"challenge\":\"x\"}",
        b"POST https://hub.test/in/src_0\nx-hub-signature-256: sha256=00\n\n[[[[[[[[",
        b"POST https://hub.test/in/src_0?x=%zz\nx-sig: AAAA\nx-time: 1795176000\nx-id: 1\n\na=1&a=2",
        b"GET \nwebhook-id: msg_1\nwebhook-id: msg_1\n\n",
    ];
    let words = ["webhook-signature: ", "v1,", "t=", "v1=", "sha256=", "1795176000", "\n\n", "x-sig: "];
    fuzz(&seeds, &words, |bytes| {
        let request = request(bytes);
        let host = || {
            MockHost::new().secret("inbound.secret", b"never in an input").secret("inbound-base64.secret", b"nor this")
        };
        configs.clone().map(|config| sign(host().receive::<Webhook>(config, request.clone())))
    });
}

/// With the genuine key: whatever is signed, the body is looked into without harm.
#[test]
fn fuzz_webhook_bodies_that_are_signed() {
    let seeds: [&[u8]; 8] = [
        b"{\"type\":\"a.b\",\"data\":{\"id\":1}}",
        b"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
        b"{\"a\":1,\"\\u0061\":2}",
        b"{\"type\":\"_poll.due\"}",
        b"{\"type\":\"\\ud800\"}",
        b"1e999",
        b"a=1&a=2&b=%00%zz",
        b"\xef\xbb\xbf{}",
    ];
    fuzz(&seeds, &["\"type\":", "null", "true", "{\"a\":", "[0,", "&a="], |bytes| {
        let signature = format!("v1={}", hex::encode(mac(bytes)));
        ["json", "form", "text"].map(|body| {
            let config = json!({
                "scheme": {"kind": "hmac", "header": "x-sig", "prefix": "v1="}, "body": body,
                "event": {"from": "body", "path": "type", "prefix": "x."}, "subject_path": "data.id"
            });
            let request = InboundRequest::new("POST", "https://hub.test/in/src_0").with_body(bytes).at(NOON);
            let received = MockHost::new()
                .secret("inbound.secret", KEY)
                .receive::<Webhook>(config, request.with_header("x-sig", &signature));
            match received {
                Ok(Received::Accepted { events, .. }) => {
                    let event = &events[0];
                    assert!(event.event_type.parse::<switchyard::event::EventType>().is_ok(), "{}", event.event_type);
                    let data = event.data.to_string();
                    let taken = switchyard::event::json_limits::check_json_limits(data.as_bytes());
                    assert_eq!(taken, Ok(()), "the hub would not take {data}");
                    "accepted".to_owned()
                }
                Ok(Received::Unauthenticated(why)) => panic!("the signature was good: {why}"),
                Ok(_) => "handled".to_owned(),
                Err(error) => error.to_string().chars().filter(char::is_ascii_alphabetic).take(40).collect(),
            }
        })
    });
}

const KEY: &[u8] = b"a key of the fuzzer";

fn mac(bytes: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).expect("any length is a key");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn fuzz_twilio_requests() {
    let seeds: [&[u8]; 5] = [
        b"POST https://hub.test/in/src_0\ncontent-type: application/x-www-form-urlencoded\nx-twilio-signature: AAAA\n\nBody=Hej&From=%2B45&MessageSid=SM1",
        b"GET https://hub.test:443/in/src_0?Body=Hej&From=%2B45\nx-twilio-signature: AAAA\n\n",
        b"POST https://user@[::1]:8080/in/../src_0?bodySHA256=00#x\ncontent-type: application/json\nx-twilio-signature: AAAA\n\n{\"MessageSid\":1}",
        b"POST http://hub.test\\in\ncontent-type: application/json\nx-twilio-signature: AAAA\nx-twilio-webhooks-signature-settings: key=k1,algorithm=HMAC_SHA256\n\n",
        b"POST https://hub.test/in/src_0\nx-twilio-signature: \ncontent-type: application/x-www-form-urlencoded; charset=x\n\n%&=&&a=%ff",
    ];
    let words = ["https://", "x-twilio-signature: ", "?bodySHA256=", "%2e%2e/", "key=", "&a=", ":443"];
    let config = json!({"account_sid": "AC1", "shared_keys": [{"id": "k1", "algorithm": "HMAC_SHA256"}]});
    fuzz(&seeds, &words, |bytes| {
        let host =
            MockHost::new().secret("twilio.password", b"never in an input").secret("sharedkey.secret", b"nor this");
        sign(host.receive::<Twilio>(config.clone(), request(bytes)))
    });
}

#[test]
fn fuzz_twilio_urls() {
    let seeds: [&[u8]; 4] = [
        b"https://hub.test/a?b=c",
        b"http://u:p@[::1]:80/../%2e%2e?x=%zz&&=",
        b"https://:443",
        b"HTTPS://HUB.test\\a#b",
    ];
    fuzz(&seeds, &["https://", "%2e", "?", "&", "\u{e6}"], |bytes| {
        let candidates = twilio::url::candidates(&String::from_utf8_lossy(bytes));
        assert!(candidates.len() <= 6, "each candidate costs a MAC: {}", candidates.len());
        candidates.len()
    });
}
