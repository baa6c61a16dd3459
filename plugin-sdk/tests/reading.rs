//! Reading says the same as `serde_path_to_error` over `serde_json`, in far less code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_sdk::read::{from_slice, read};

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    name: String,
    #[serde(default)]
    days: Option<u16>,
    #[serde(default)]
    lines: Vec<Line>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    parts: BTreeMap<u8, bool>,
    #[serde(default)]
    pair: (u8, i64),
    #[serde(default)]
    scheme: Option<Scheme>,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Line {
    price: f64,
    #[serde(flatten)]
    more: More,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct More {
    unit: String,
    any: Value,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Plain,
    Named(String),
    Sized {
        size: i8,
    },
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Scheme {
    Hmac { header: String },
    Token,
}

/// Both read the same, or refuse it with the same words at the same place.
#[track_caller]
fn assert_same<T: DeserializeOwned + PartialEq + std::fmt::Debug>(value: &Value) {
    let ours = read::<T>(value).map_err(|misfit| (misfit.path(), misfit.message().to_owned()));
    let theirs = serde_path_to_error::deserialize::<_, T>(value);
    assert_eq!(ours, theirs.map_err(|error| (error.path().to_string(), error.inner().to_string())), "{value}");
}

#[test]
fn what_fits_is_read_and_what_does_not_is_named_by_its_path() {
    let line = || json!({ "price": 1, "unit": "h", "any": [null, { "a": 1.5 }] });
    let values = [
        json!({ "name": "a" }),
        json!({ "name": "a", "days": null, "lines": [line(), line()], "kind": "plain", "pair": [1, -2] }),
        json!({ "name": "a", "kind": { "named": "b" }, "parts": { "1": true, "255": false } }),
        json!({ "name": "a", "kind": { "sized": { "size": -128 } }, "scheme": { "kind": "token" } }),
        json!({ "name": "a", "scheme": { "kind": "hmac", "header": "x" } }),
        json!({}),
        json!(null),
        json!("text"),
        json!({ "name": 1 }),
        json!({ "name": null }),
        json!({ "nam": "a" }),
        json!({ "name": "a", "days": 65_536 }),
        json!({ "name": "a", "days": -1 }),
        json!({ "name": "a", "days": 1.5 }),
        json!({ "name": "a", "days": "1" }),
        json!({ "name": "a", "lines": {} }),
        json!({ "name": "a", "lines": [line(), { "price": 1, "any": 1 }] }),
        json!({ "name": "a", "lines": [line(), { "price": "1", "unit": "h", "any": 1 }] }),
        json!({ "name": "a", "lines": [line(), 7] }),
        json!({ "name": "a", "kind": "other" }),
        json!({ "name": "a", "kind": {} }),
        json!({ "name": "a", "kind": 5 }),
        json!({ "name": "a", "kind": { "plain": 1 } }),
        json!({ "name": "a", "kind": { "named": 1 } }),
        json!({ "name": "a", "kind": { "sized": { "size": 128 } } }),
        json!({ "name": "a", "kind": { "sized": 1 } }),
        json!({ "name": "a", "parts": { "1": 1 } }),
        json!({ "name": "a", "pair": [1, 2, 3] }),
        json!({ "name": "a", "pair": [1] }),
        json!({ "name": "a", "scheme": { "kind": "other" } }),
        json!({ "name": "a", "scheme": { "kind": "hmac" } }),
        json!({ "name": "a", "scheme": { "kind": "hmac", "header": "x", "more": 1 } }),
    ];
    for value in &values {
        assert_same::<Strict>(value);
    }
}

#[test]
fn what_was_written_is_read_back() {
    let written = Strict {
        name: "a".to_owned(),
        days: Some(8),
        lines: vec![Line { price: 0.5, more: More { unit: "h".to_owned(), any: json!({ "b": [] }) } }],
        kind: Kind::Sized { size: 3 },
        parts: BTreeMap::from([(7, true)]),
        pair: (1, -1),
        scheme: Some(Scheme::Token),
    };
    let text = serde_json::to_vec(&written).unwrap();
    assert_eq!(from_slice::<Strict>(&text).unwrap(), written);
    assert!(from_slice::<Strict>(b"{").is_err());
}

#[test]
fn a_list_is_no_struct() {
    let misfit = read::<More>(&json!(["h", 1])).unwrap_err();
    assert_eq!((misfit.path().as_str(), misfit.message()), (".", "invalid type: sequence, expected struct More"));
}
