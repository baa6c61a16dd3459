//! Mail as it is written in the world, as events tell it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use gmail::message::Mail;
use gmail::mime::{Fields, decode_text};
use serde_json::{Value, json};

mod support;
use support::fields;

fn part(kind: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Value {
    json!({ "partId": "0", "mimeType": kind, "filename": "", "headers": fields(headers),
        "body": { "size": bytes.len(), "data": URL_SAFE.encode(bytes) } })
}

fn multipart(kind: &str, parts: &[Value]) -> Value {
    json!({ "partId": "", "mimeType": kind, "filename": "", "headers": [], "body": { "size": 0 }, "parts": parts })
}

fn read(payload: Value) -> Mail {
    Mail::read(&json!({ "id": "m1", "threadId": "t1", "payload": payload })).unwrap()
}

fn header(headers: &[(&str, &str)]) -> Fields {
    Fields::read(Some(&fields(headers)))
}

#[test]
fn encoded_words_are_decoded_in_every_charset_and_encoding() {
    for (written, meant) in [
        ("=?utf-8?B?RmFrdHVyYSAxMDAxIOKAkyDDpsO4w6U=?=", "Faktura 1001 – æøå"),
        ("=?UTF-8?Q?K=C3=A6lder?=", "Kælder"),
        ("=?iso-8859-1?Q?S=F8ren_K=E6lder?=", "Søren Kælder"),
        ("=?windows-1252?Q?=80_100?=", "€ 100"),
        ("=?utf-8?B?w6bDuA==?= =?utf-8?B?w6U=?=", "æøå"),
        ("Re: =?utf-8?Q?=C3=A6?= og =?utf-8?Q?=C3=B8?=", "Re: æ og ø"),
        ("Already decoded æøå", "Already decoded æøå"),
        ("=?nonsense", "=?nonsense"),
    ] {
        assert_eq!(header(&[("subject", written)]).text("Subject").as_deref(), Some(meant), "{written}");
    }
}

#[test]
fn addresses_are_read_with_names_comments_and_groups() {
    let from = header(&[("From", "=?iso-8859-1?Q?S=F8ren?= <soren@example.test>")]).addresses("From");
    assert_eq!((from[0].email.as_str(), from[0].name.as_deref()), ("soren@example.test", Some("Søren")));
    let to = header(&[("To", "\"Hansen, Ida\" <ida@example.test>, bo@example.test, Team: a@x.test, b@x.test;")]);
    let emails: Vec<_> = to.addresses("To").into_iter().map(|entry| entry.email).collect();
    assert_eq!(emails, ["ida@example.test", "bo@example.test", "a@x.test", "b@x.test"]);
    assert_eq!(header(&[("To", "undisclosed-recipients:;")]).addresses("To"), []);
    assert_eq!(header(&[]).addresses("From"), []);
}

#[test]
fn ids_are_read_without_brackets_and_a_value_begins_no_other_field() {
    let header = header(&[
        ("Message-Id", "<a@x.test>"),
        ("References", "<1@x.test> <2@x.test>\t<3@x.test>"),
        ("X-Odd", "x\r\nSubject: forged"),
        ("Bad Name", "x"),
        ("", "x"),
    ]);
    assert_eq!(header.ids("Message-ID"), ["a@x.test"]);
    assert_eq!(header.ids("References"), ["1@x.test", "2@x.test", "3@x.test"]);
    assert_eq!(header.text("Subject"), None);
}

#[test]
fn text_is_decoded_by_its_charset() {
    for (charset, bytes, meant) in [
        (Some("utf-8"), "æøå".as_bytes(), "æøå"),
        (Some("iso-8859-1"), b"\xe6\xf8\xe5", "æøå"),
        (Some("ISO-8859-15"), b"\xa4", "€"),
        (Some("windows-1252"), b"\x93Hej\x94 \x80", "“Hej” €"),
        (Some("us-ascii"), b"plain", "plain"),
        (None, b"plain", "plain"),
        // Converted by the provider, and still labelled as before.
        (Some("iso-8859-1"), "æøå".as_bytes(), "æøå"),
        (Some("x-unheard-of"), b"a\xffb", "a\u{fffd}b"),
        (None, b"a\xffb", "a\u{fffd}b"),
    ] {
        assert_eq!(decode_text(bytes.to_vec(), charset), meant, "{charset:?}");
    }
}

#[test]
fn an_alternative_gives_both_texts_and_no_attachment() {
    let plain = part("text/plain", &[("Content-Type", "text/plain; charset=iso-8859-1")], b"K\xe6re kunde");
    let html = part("text/html", &[("Content-Type", "text/html; charset=utf-8")], "<p>Kære kunde</p>".as_bytes());
    let mail = read(multipart("multipart/alternative", &[plain, html]));
    assert_eq!(mail.body.text.as_deref(), Some("Kære kunde"));
    assert_eq!(mail.body.html.as_deref(), Some("<p>Kære kunde</p>"));
    assert!(mail.body.attachments.is_empty() && !mail.body.truncated);
}

#[test]
fn nested_parts_are_followed_and_attachments_listed_without_their_bytes() {
    let plain = part("text/plain", &[("Content-Type", "text/plain; charset=utf-8")], b"See attached.");
    let inline = json!({ "partId": "0.1", "mimeType": "image/png", "filename": "logo.png",
        "headers": fields(&[("Content-Disposition", "inline; filename=logo.png"), ("Content-ID", "<logo@x>")]),
        "body": { "attachmentId": "A1", "size": 100 } });
    let related = multipart("multipart/related", &[multipart("multipart/alternative", &[plain]), inline]);
    let encoded = "attachment; filename*0*=utf-8''k%C3%A6l; filename*1*=der%20.pdf";
    let pdf = json!({ "partId": "1", "mimeType": "application/pdf", "filename": "",
        "headers": fields(&[("Content-Disposition", encoded)]), "body": { "attachmentId": "A2", "size": 2000 } });
    let named = json!({ "partId": "2", "mimeType": "text/plain", "filename": "noter.txt",
        "headers": fields(&[("Content-Type", "text/plain; name=\"=?utf-8?B?bsO4dGVyLnR4dA==?=\"")]),
        "body": { "attachmentId": "A3", "size": 3 } });
    let forwarded = json!({ "partId": "3", "mimeType": "message/rfc822", "filename": "", "headers": [],
        "body": { "attachmentId": "A4", "size": 400 }, "parts": [part("text/plain", &[], b"not ours")] });
    let mail = read(multipart("multipart/mixed", &[related, pdf, named, forwarded]));
    assert_eq!(mail.body.text.as_deref(), Some("See attached."));
    let told: Vec<(&str, &str, u64, &str)> = mail
        .body
        .attachments
        .iter()
        .map(|a| {
            (
                a["name"].as_str().unwrap(),
                a["type"].as_str().unwrap(),
                a["size"].as_u64().unwrap(),
                a["id"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("logo.png", "image/png", 100, "A1"),
            ("kælder .pdf", "application/pdf", 2000, "A2"),
            ("nøter.txt", "text/plain", 3, "A3"),
            ("", "message/rfc822", 400, "A4"),
        ]
    );
    assert_eq!(mail.body.attachments[0]["content_id"], "logo@x");
    assert!(mail.body.attachments.iter().all(|attachment| attachment.get("data").is_none()));
}

#[test]
fn a_long_text_is_cut_at_a_letter_and_says_so() {
    let long = "æ".repeat(40_000);
    let mail = read(part("text/plain", &[("Content-Type", "text/plain; charset=utf-8")], long.as_bytes()));
    let text = mail.body.text.unwrap();
    assert!(text.len() <= 64 * 1024 && text.chars().all(|letter| letter == 'æ') && mail.body.truncated);
}

#[test]
fn a_text_that_gmail_keeps_apart_is_said_to_be_missing() {
    let apart = json!({ "mimeType": "text/plain", "headers": [], "body": { "attachmentId": "A1", "size": 9_000_000 } });
    let mail = read(apart);
    assert!(mail.body.text.is_none() && mail.body.truncated && mail.body.attachments.is_empty());
}

#[test]
fn data_is_read_with_and_without_padding() {
    for data in [URL_SAFE.encode("hej?>"), URL_SAFE_NO_PAD.encode("hej?>"), "aGVq\nPz4=".to_owned()] {
        let mail = read(json!({ "mimeType": "text/plain", "headers": [], "body": { "data": data } }));
        assert_eq!(mail.body.text.as_deref(), Some("hej?>"));
    }
}

#[test]
fn odd_messages_are_read_as_far_as_they_go() {
    let mut deep = part("text/plain", &[], b"deep");
    for _ in 0..60 {
        deep = multipart("multipart/mixed", &[deep]);
    }
    for payload in [
        deep,
        json!(null),
        json!(17),
        json!([]),
        json!({ "mimeType": 1, "headers": "x", "parts": {}, "body": [] }),
        json!({ "mimeType": "multipart/mixed", "parts": [1, null, "x", {}] }),
        json!({ "mimeType": "text/plain", "headers": [1, { "name": 2 }, { "name": "a" }], "body": { "data": "%%" } }),
        json!({ "mimeType": "image/png", "filename": 7, "body": { "size": "x", "attachmentId": {} } }),
    ] {
        let mail = read(payload);
        assert!(mail.body.attachments.len() <= 1);
    }
    assert!(Mail::read(&json!({ "threadId": "t" })).is_none());
    assert!(Mail::read(&json!([])).is_none());
}
