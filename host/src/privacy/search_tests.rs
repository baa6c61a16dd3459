use base64::engine::general_purpose::{STANDARD as PADDED, URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;

/// Ida's number and address, in normal form as the vault has them.
fn ida(kind: PersonKind, text: &str) -> bool {
    match kind {
        PersonKind::Phone => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            digits.strip_prefix("00").unwrap_or(&digits) == "4520123456"
        }
        PersonKind::Email => text.trim().to_lowercase() == "ida@kunde.test",
    }
}

#[test]
fn a_number_is_found_in_every_usual_writing() {
    for text in [
        "+4520123456",
        "004520123456",
        "+45 20 12 34 56",
        "(+45) 2012-3456",
        "tel:+45.20.12.34.56;ext",
        "call 4520123456, please",
        "From=%2B4520123456&To=%2B4570000001",
        "+45\u{a0}2012\u{a0}3456",
        r#"{"from":"\u002b4520123456"}"#,
        r#"{"from":4520123456}"#,
        r#"{"4520123456":{}}"#,
        r#"log line: {\"from\":\"+4520123456\"}"#,
    ] {
        assert!(in_bytes(text.as_bytes(), &ida), "{text}");
    }
}

#[test]
fn what_only_resembles_a_number_is_left_alone() {
    for text in ["+45201234567", "14520123456", "45201234", "452012 at 3456", "+46 20 12 34 56", "4520-ab-123456", ""] {
        assert!(!in_bytes(text.as_bytes(), &ida), "{text}");
    }
}

#[test]
fn an_address_is_found_in_every_usual_writing() {
    for text in [
        "ida@kunde.test",
        "Ida <IDA@Kunde.Test>",
        "mailto:ida@kunde.test?subject=x",
        "email=ida%40kunde.test&x=1",
        "to=ida@kunde.test&x=1",
        "Write to ida@kunde.test.",
        r#"{"text":"Hej\nida@kunde.test"}"#,
        r#"cut off: {"text":"Hej\nida@kunde.test","#,
        "'ida@kunde.test'",
    ] {
        assert!(in_bytes(text.as_bytes(), &ida), "{text}");
    }
    for text in ["frida@kunde.test", "ida@kunde.test.example", "ida@kunde", "@kunde.test", "ida@"] {
        assert!(!in_bytes(text.as_bytes(), &ida), "{text}");
    }
}

#[test]
fn encodings_in_one_another_are_opened() {
    let mail = "Subject: x\r\n\r\nIda, +45 20 12 34 56";
    let inner = json!({"raw": URL_SAFE_NO_PAD.encode(mail)}).to_string();
    let push = json!({"message": {"data": PADDED.encode(&inner)}}).to_string();
    assert!(in_bytes(push.as_bytes(), &ida), "base64 of JSON with base64");
    let quoted = json!({"body": json!({"from": "ida@kunde.test"}).to_string()});
    assert!(in_value(&quoted, &ida), "JSON in JSON");
    // What lies deeper than anybody writes is not looked for, and nothing goes on for ever.
    let mut deep = "ida@kunde.test".to_owned();
    for _ in 0..12 {
        deep = PADDED.encode(&deep);
    }
    assert!(!in_text(&deep, &ida));
}

#[test]
fn places_are_told_from_left_to_right_without_overlaps() {
    let text = "a +45 20123456, ida@kunde.test and 20123456";
    let found: Vec<&str> = places(text, &ida).into_iter().map(|place| &text[place]).collect();
    assert_eq!(found, ["+45 20123456", "ida@kunde.test"]);
    assert!(places("ø@ø æ 12 34", &ida).is_empty());
}

#[test]
fn bytes_that_are_no_text_are_looked_through_all_the_same() {
    let mut bytes = vec![0xff, 0xfe, 0x00];
    bytes.extend(b"ida@kunde.test");
    bytes.push(0x80);
    assert!(in_bytes(&bytes, &ida));
}

proptest::proptest! {
    #[test]
    fn whatever_surrounds_a_number_or_an_address_it_is_found_and_nothing_panics(
        before in "[ ,;<\"\\n]{0,3}", text in ".{0,40}", after in "[ ,;>\"\\n][^0-9]{0,5}"
    ) {
        let _ = places(&text, &ida);
        let _ = in_bytes(text.as_bytes(), &ida);
        let sentence = format!("{before}+45 2012 3456{after}");
        proptest::prop_assert!(in_text(&sentence, &ida), "{}", sentence);
        let sentence = format!("{before} ida@kunde.test{after}");
        proptest::prop_assert!(in_text(&sentence, &ida), "{}", sentence);
    }
}
