//! Reading and writing JSON text come to the same as in `serde_json`, in far less code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use serde_json::{Value, json};
use switchyard_sdk::json::{Malformed, ObjectText, parse, value, write, written};

/// Both read the same, and write back the same, or both refuse it.
#[track_caller]
fn assert_same(text: &[u8]) {
    let theirs: Option<Value> = serde_json::from_slice(text).ok();
    let ours = parse(text).ok();
    assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(text));
    if let Some(value) = ours {
        assert_eq!(write(&value), value.to_string());
    }
}

#[test]
fn what_is_json_is_read_and_written_back_as_it_was() {
    let texts = [
        "null",
        " true ",
        "\t[false,\r\n null]\n",
        r#""""#,
        r#""æøå € 😀 \" \\ \/ \b \f \n \r \t \u00e6 \ud83d\ude00 \u0000 \u001f""#,
        "\"\u{7f}\u{2028}\"",
        "[]",
        "{}",
        r#"{"b":1,"a":{"c":[{},[],""]},"b":2}"#,
        "0",
        "-0",
        "7",
        "-7",
        "999999999999999999",
        "1000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "1.5",
        "-0.05",
        "1e3",
        "1E-9",
        "1e+22",
        "123456789.123456789",
        "1e400",
        "0.1e-400",
    ];
    for text in texts {
        assert_same(text.as_bytes());
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let texts: [&[u8]; 42] = [
        b"",
        b" ",
        b"nul",
        b"nulll",
        b"tru",
        b"True",
        b"'a'",
        b"a",
        b"[",
        b"]",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{",
        b"{a:1}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{,}",
        b"{1:1}",
        b"{\"a\" 1}",
        b"\"",
        b"\"a",
        b"\"\\\"",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\\u+123\"",
        b"\"\\ud800\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\udc00\"",
        b"\"\n\"",
        b"\"\xff\"",
        b"\xff",
        b"01",
        b"1.",
        b".5",
        b"-",
        b"+1",
        b"1 1",
    ];
    for text in texts {
        assert_same(text);
        assert!(parse(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(parse(b"[1, x]"), Err(Malformed { at: 4 }));
}

#[test]
fn depth_has_a_limit_on_the_way_in() {
    for depth in [126, 127, 128, 129, 100_000] {
        assert_same(&[b"[".repeat(depth), b"]".repeat(depth)].concat());
        assert_same(&[b"{\"a\":".repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat());
    }
}

#[test]
fn types_are_written_by_way_of_their_values() {
    assert_eq!(written(&("a", 1, Some(false), ())).unwrap(), r#"["a",1,false,null]"#);
    assert_eq!(value(&json!({ "a": [1] })), json!({ "a": [1] }));
    let no_text = std::collections::BTreeMap::from([([1], 1)]);
    assert!(written(&no_text).is_err());
    assert_eq!(value(&no_text), Value::Null);
}

#[test]
fn an_object_is_written_member_by_member_with_digits_as_they_are_given() {
    let mut object = ObjectText::new();
    assert_eq!(object.clone().finish(), "{}");
    object.verbatim("amount", "400.00");
    object.member("of \"us\"", &json!(["a", null]));
    assert_eq!(object.finish(), r#"{"amount":400.00,"of \"us\"":["a",null]}"#);
}

#[test]
fn blanks_between_tokens_are_left_out_at_compile_time() {
    const TEXT: &str = switchyard_sdk::compact_json!(
        r#" { "a b" : [ 1 , "\" \\" ,
            "c\\" ] , "d" : "ø \n" } "#
    );
    assert_eq!(TEXT, r#"{"a b":[1,"\" \\","c\\"],"d":"ø \n"}"#);
}
