use serde_json::json;
use switchyard_tests::{api::Reply, hub::Hub, world::sender_signature};

use super::{
    senders::{Sender, push_plugins},
    wire,
};

/// Documents that have broken readers, with what they are.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let utf16 = |big: bool| -> Vec<u8> {
        let units = "{\"a\":1}".encode_utf16();
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let members = |count: usize| (0..count).map(|n| format!("\"{n:x}\":0")).collect::<Vec<_>>().join(",");
    vec![
        ("a million arrays", text(&"[".repeat(1_000_000))),
        ("two hundred thousand objects", text(&"{\"a\":".repeat(200_000))),
        ("65 closed levels", text(&format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64)))),
        ("100 closed levels", text(&format!("{}{}", "[".repeat(100), "]".repeat(100)))),
        ("members beyond the bound", text(&format!("{{{}}}", members(100_000)))),
        ("values beyond the bound", text(&format!("[{}0]", "0,".repeat(20_000)))),
        ("a name twice", text(r#"{"a":1,"b":{"c":1,"c":2}}"#)),
        ("a name twice, once escaped", text(r#"{"amount":1,"\u0061mount":2}"#)),
        (
            "a long name and half a million colons",
            text(&format!("{{\"{}\"{}", "x".repeat(400_000), ":".repeat(400_000))),
        ),
        ("a number beyond all range", text(r#"{"a":1e999}"#)),
        ("a number with 100,000 digits and an exponent", text(&format!("{{\"a\":{}e400}}", "9".repeat(100_000)))),
        ("a leading zero", text(r#"{"a":01}"#)),
        ("a plus", text(r#"{"a":+1}"#)),
        ("not a number", text(r#"{"a":NaN}"#)),
        ("infinity", text(r#"{"a":-Infinity}"#)),
        ("a lone high surrogate", text(r#"{"a":"\ud800"}"#)),
        ("a lone low surrogate", text(r#"{"a":"\udc00x"}"#)),
        ("a lone surrogate as a name", text(r#"{"\ud800":1}"#)),
        ("a surrogate in UTF-8", b"{\"a\":\"\xed\xa0\x80\"}".to_vec()),
        ("bytes that are no UTF-8", b"{\"a\":\"\xff\xfe\"}".to_vec()),
        ("an overlong slash", b"{\"a\":\"\xc0\xaf\"}".to_vec()),
        ("a control character in a text", b"{\"a\":\"\x01\"}".to_vec()),
        ("a NUL", b"{\"a\":1}\0".to_vec()),
        ("bytes after it", text(r#"{"a":1} {"a":2}"#)),
        ("a brace after it", text(r#"{"a":1}}"#)),
        ("a comma too many", text(r#"{"a":1,}"#)),
        ("comments", text("{\"a\":1 /* one */}")),
        ("single quotes", text("{'a':1}")),
        ("half of it", text(r#"{"a":"#)),
        ("an open text", text(r#"{"a":"b"#)),
        ("an open escape", text(r#"{"a":"\u00"#)),
        ("nothing but space", text(" \r\n\t")),
        ("UTF-16", utf16(true)),
        ("UTF-16 of the other order", utf16(false)),
        ("UTF-16 with its mark", [&b"\xff\xfe"[..], &utf16(false)].concat()),
        ("a byte order mark", [&b"\xef\xbb\xbf"[..], br#"{"a":1}"#].concat()),
        ("a form", text("a=1&b=2")),
        ("XML", text("<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>")),
    ]
}

/// As no JSON, or as JSON that is no data; of a batch, the one event that it has.
fn is_refused(reply: &Reply) -> bool {
    match reply.status {
        400 | 413 | 422 => true,
        207 => {
            reply.json()["data"].as_array().is_some_and(|all| all.iter().all(|one| one["status"].as_u64() >= Some(400)))
        }
        _ => false,
    }
}

#[tokio::test]
async fn g70_json_that_breaks_readers_is_refused_by_the_interface_in_every_form_of_an_event() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let path = tenant.path("/events");
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "s"),
        ("ce-type", "a.b"),
        ("content-type", "application/json"),
    ];
    for (what, document) in corpus() {
        let plain = [br#"{"type":"a.b","data":"#, &document[..], b"}"].concat();
        let structured =
            [br#"{"specversion":"1.0","id":"1","source":"s","type":"a.b","data":"#, &document[..], b"}"].concat();
        let batch = [b"[", &structured[..], b"]"].concat();
        for (media, body) in [
            ("application/json", plain),
            ("application/cloudevents+json", structured),
            ("application/cloudevents-batch+json", batch),
        ] {
            let reply = hub.raw("POST", &path, &[("content-type", media)], body).await;
            assert!(is_refused(&reply), "{what} as {media} was answered {}: {}", reply.status, reply.text);
        }
        let reply = hub.raw("POST", &path, &binary, document.clone()).await;
        assert!(is_refused(&reply), "{what} as binary was answered {}: {}", reply.status, reply.text);
        let reply = hub.raw("POST", "/v1/tenants", &[("content-type", "application/json")], document).await;
        assert!((400..500).contains(&reply.status), "{what} as a tenant was answered {}: {}", reply.status, reply.text);
    }
    assert!(tenant.list("/events").await.is_empty(), "a refused document made an event");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"deep": [[[[1]]]]}})).await;
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

#[tokio::test]
async fn g70_json_that_breaks_readers_under_a_good_signature_is_rejected_and_under_a_bad_one_refused() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::plain(&hub, "sender").await;
    let corpus = corpus();
    for (what, document) in &corpus {
        let signature = sender_signature(document);
        let said = wire::exchange(&hub, "POST", &sender.path, &[("x-signature", &signature)], document).await;
        assert_eq!(wire::status(&said), 400, "{what} was answered: {said}");
        assert!(said.ends_with("the request was refused\n"), "{what}: {said}");
        let said = wire::exchange(&hub, "POST", &sender.path, &[("x-signature", &"00".repeat(32))], document).await;
        assert_eq!(wire::status(&said), 401, "{what}, unsigned, was answered: {said}");
    }
    let signature = sender_signature(b"");
    let empty = hub.without_key().raw("POST", &sender.path, &[("x-signature", &signature)], "").await;
    assert_eq!(empty.status, 400, "{}", empty.text);
    assert_eq!(sender.counts().await, (0, 0, 2 * corpus.len() + 1));
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

#[tokio::test]
async fn g70_what_is_unusual_and_sound_is_taken_as_it_is() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for (id, data) in [
        ("exact", r#"{ "n": 1.500, "big": 123456789012345678901234567890, "z":0,"a":0 }"#),
        ("deep", &format!("{{\"a\":{}{}}}", "[".repeat(61), "]".repeat(61))),
        ("names", r#"{"a":{"a":{"a":1}},"A":2,"":3,"\u0000":4}"#),
        ("pairs", r#"{"emoji":"\ud83d\ude00","text":"😀"}"#),
        ("list", "[1,2,3]"),
        ("null", "null"),
    ] {
        let body = format!("{{\"type\":\"a.b\",\"id\":\"{id}\",\"data\":{data}}}");
        let reply = hub.raw("POST", &tenant.path("/events"), &[("content-type", "application/json")], body).await;
        assert_eq!(reply.status, 202, "{id}: {}", reply.text);
    }
    assert_eq!(tenant.list("/events").await.len(), 6);
}
