//! Texts and values without the persons whom they name. What stays keeps its form, so that whoever reads it goes on.

use serde_json::{Map, Value};

use super::search::{Names, in_bytes, in_text, places};

/// What stands where a person stood.
pub const ERASED: &str = "erased";

/// The text without the persons; none if it names nobody. A text that names somebody in an encoding goes as a whole.
#[must_use]
pub fn text(text: &str, names: &Names<'_>) -> Option<String> {
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for place in places(text, names) {
        kept.push_str(&text[end..place.start]);
        kept.push_str(ERASED);
        end = place.end;
    }
    kept.push_str(&text[end..]);
    if in_text(&kept, names) {
        return Some(ERASED.to_owned());
    }
    (end > 0).then_some(kept)
}

/// Takes the persons out of a value; answers whether it named one.
pub fn value(value: &mut Value, names: &Names<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => {
            let named = in_text(&number.to_string(), names);
            if named {
                *value = Value::from(0);
            }
            named
        }
        Value::String(string) => match document(string, names).or_else(|| text(string, names)) {
            Some(kept) => {
                *string = kept;
                true
            }
            None => false,
        },
        Value::Array(items) => each(items.iter_mut(), names),
        Value::Object(members) => object(members, names),
    }
}

/// JSON within a string keeps its form too.
fn document(string: &str, names: &Names<'_>) -> Option<String> {
    if !string.starts_with(['{', '[']) {
        return None;
    }
    let mut inner: Value = serde_json::from_str(string).ok()?;
    value(&mut inner, names).then(|| inner.to_string())
}

/// Takes the person out of all of them; answers whether one of them named the person.
fn each<'v>(values: impl Iterator<Item = &'v mut Value>, names: &Names<'_>) -> bool {
    let mut named = false;
    for one in values {
        named |= value(one, names);
    }
    named
}

fn object(members: &mut Map<String, Value>, names: &Names<'_>) -> bool {
    let mut named = each(members.values_mut(), names);
    let personal: Vec<String> = members.keys().filter(|name| in_text(name, names)).cloned().collect();
    for name in personal {
        named = true;
        // Two such members become one: what is kept under a person's name is about that person.
        if let Some(member) = members.remove(&name) {
            members.insert(ERASED.to_owned(), member);
        }
    }
    named
}

/// Bytes of JSON or text without the persons; none if they name nobody. What is neither goes as a whole.
#[must_use]
pub fn bytes(bytes: &[u8], names: &Names<'_>) -> Option<Vec<u8>> {
    if !in_bytes(bytes, names) {
        return None;
    }
    if let Ok(mut document) = serde_json::from_slice::<Value>(bytes) {
        value(&mut document, names);
        return Some(document.to_string().into_bytes());
    }
    let kept = std::str::from_utf8(bytes).ok().and_then(|string| text(string, names));
    Some(kept.unwrap_or_else(|| ERASED.to_owned()).into_bytes())
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;
    use crate::connection::vault::PersonKind;

    fn ida(kind: PersonKind, text: &str) -> bool {
        match kind {
            PersonKind::Phone => text.chars().filter(char::is_ascii_digit).eq("4520123456".chars()),
            PersonKind::Email => text.eq_ignore_ascii_case("ida@kunde.test"),
        }
    }

    #[test]
    fn a_person_is_taken_out_of_a_text_and_the_rest_stays() {
        assert_eq!(text("call +45 20 12 34 56 or Bo", &ida).as_deref(), Some("call erased or Bo"));
        assert_eq!(text("call Bo at +4511111111", &ida), None);
        let encoded = format!("data {}", STANDARD.encode("mail to ida@kunde.test"));
        assert_eq!(text(&encoded, &ida).as_deref(), Some("erased"), "what is encoded goes as a whole");
    }

    #[test]
    fn a_value_keeps_its_form_without_the_person() {
        let mut stored = json!({
            "by": {"+4520123456": {"open": true}}, "list": ["Bo", "IDA@kunde.test", 4_520_123_456_u64, 7],
            "raw": "{\"to\":\"ida@kunde.test\",\"n\":1}", "note": null,
        });
        assert!(value(&mut stored, &ida));
        let expected = json!({
            "by": {"erased": {"open": true}}, "list": ["Bo", "erased", 0, 7],
            "raw": "{\"to\":\"erased\",\"n\":1}", "note": null,
        });
        assert_eq!(stored, expected);
        assert!(!value(&mut stored, &ida), "nothing is left to find");
    }

    #[test]
    fn bytes_are_left_alone_unless_they_name_the_person() {
        assert_eq!(bytes(br#"{"a":1}"#, &ida), None);
        assert_eq!(bytes(br#"{"a":"ida@kunde.test"}"#, &ida).unwrap(), br#"{"a":"erased"}"#);
        assert_eq!(bytes(b"to=ida@kunde.test", &ida).unwrap(), b"to=erased");
        assert_eq!(bytes(b"\xff ida@kunde.test", &ida).unwrap(), b"erased");
    }
}
