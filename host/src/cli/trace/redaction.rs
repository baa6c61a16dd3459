//! What must not leave the house: secrets always, and personal data where it is asked for. Rather too much is left out than
//! too little.

use std::collections::BTreeSet;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::observe::redact::{MASK, Redactor};

/// Members whose values are secrets, by a part of their name.
const SECRET: &str =
    r"(?i)secret|token|password|passwd|authorization|cookie|signature|api_?key|private_?key|credential";

/// Members that name a person.
const NAME: &str = r"(?i)^(.*_)?(name|firstname|lastname|customer|contact|attendee|caller|recipient|sender|city|street|address|zip.*|company|cvr|organizer|creator)$";

/// Members that hold what people wrote or said.
const WORDS: &str = r"(?i)^(text|body|html|subject|snippet|title|summary_text|transcript|speech|description|location|notes?|comment|content|say|prompt)$";

/// Members that hold numbers that are nobody's.
const NOBODYS: &str = r"(?i)(^|_)(id|ids|at|ms|us|seq|number|index|version|status|bytes|count|traceparent|fingerprint|print|reference|ref|sid)$";

/// A telephone number in a text: with its country, or so many digits as nothing else has.
const PHONE: &str = r"(?:\+|\b00)\d[\d ().\-\x{a0}]{5,18}\d|\b\d{8,15}\b";

const EMAIL: &str = r"[\p{L}\p{N}._%+'\-]+@[\p{L}\p{N}\-]+(?:\.[\p{L}\p{N}\-]+)+";

/// Names shorter than this are words of every text.
const SHORTEST_NAME: usize = 3;

/// What stands in place of personal data.
const PERSONAL: &str = "[personal]";

/// The rules.
pub(super) struct Redaction {
    secrets: Redactor,
    secret: Option<Regex>,
    personal: Option<Personal>,
}

struct Personal {
    name: Regex,
    words: Regex,
    nobodys: Regex,
    phone: Regex,
    email: Regex,
}

impl Personal {
    fn new() -> Option<Self> {
        let compiled = |pattern| Regex::new(pattern).ok();
        Some(Self {
            name: compiled(NAME)?,
            words: compiled(WORDS)?,
            nobodys: compiled(NOBODYS)?,
            phone: compiled(PHONE)?,
            email: compiled(EMAIL)?,
        })
    }
}

impl Redaction {
    pub(super) fn new(personal: bool) -> Self {
        Self {
            secrets: Redactor::default(),
            secret: Regex::new(SECRET).ok(),
            personal: if personal { Personal::new() } else { None },
        }
    }

    /// Leaves out what must not leave the house.
    pub(super) fn apply(&self, story: &mut Value) {
        let mut known = BTreeSet::new();
        if let Some(personal) = &self.personal {
            personal.collect(story, None, &mut known);
        }
        // Longer names first, so that no part of one stays.
        let mut known: Vec<String> = known.into_iter().collect();
        known.sort_by_key(|name| std::cmp::Reverse(name.len()));
        self.value(story, "", &known);
    }

    fn value(&self, value: &mut Value, member: &str, known: &[String]) {
        if !value.is_object() && !value.is_array() && !value.is_null() && !value.is_boolean() && self.is_secret(member)
        {
            *value = Value::from(MASK);
            return;
        }
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                let personal = self.personal.as_ref().filter(|rules| !rules.nobodys.is_match(member));
                if personal.is_some_and(|rules| rules.phone.is_match(&number.to_string())) {
                    *value = Value::from(PERSONAL);
                }
            }
            Value::String(text) => *text = self.text(text, member, known),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item, member, known)),
            Value::Object(members) => {
                for (name, inner) in members.iter_mut() {
                    self.value(inner, name, known);
                }
                let personal: Vec<String> =
                    members.keys().filter(|name| self.text(name, "", known) != **name).cloned().collect();
                for name in personal {
                    if let Some(inner) = members.shift_remove(&name) {
                        members.insert(self.text(&name, "", known), inner);
                    }
                }
            }
        }
    }

    fn is_secret(&self, member: &str) -> bool {
        self.secret.as_ref().is_none_or(|secret| secret.is_match(member))
    }

    fn text(&self, text: &str, member: &str, known: &[String]) -> String {
        if text.starts_with(['{', '['])
            && let Ok(mut inner) = serde_json::from_str::<Value>(text)
        {
            self.value(&mut inner, "", known);
            return inner.to_string();
        }
        let text = self.secrets.scrub(text).into_owned();
        let Some(personal) = &self.personal else { return text };
        if personal.name.is_match(member) && !text.is_empty() {
            return PERSONAL.to_owned();
        }
        if personal.words.is_match(member) && !text.is_empty() {
            return format!("[{} characters]", text.chars().count());
        }
        let mut text = personal.email.replace_all(&text, PERSONAL).into_owned();
        if !personal.nobodys.is_match(member) {
            text = personal.phone.replace_all(&text, |found: &Captures<'_>| within_an_id(&text, found)).into_owned();
        }
        for name in known {
            text = text.replace(name.as_str(), PERSONAL);
        }
        text
    }
}

/// Digits that belong to a longer word, such as an id, stay.
fn within_an_id(text: &str, found: &Captures<'_>) -> String {
    let Some(place) = found.get(0) else { return PERSONAL.to_owned() };
    let joins = |char: Option<char>| char.is_some_and(|char| char.is_alphanumeric() || char == '_');
    let joined = joins(text[..place.start()].chars().next_back()) || joins(text[place.end()..].chars().next());
    if joined { place.as_str().to_owned() } else { PERSONAL.to_owned() }
}

impl Personal {
    /// The names that stand where names stand, to leave them out everywhere else too.
    fn collect(&self, value: &Value, member: Option<&str>, known: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                if member.is_some_and(|member| self.name.is_match(member)) && text.chars().count() >= SHORTEST_NAME {
                    known.insert(text.clone());
                }
                if text.starts_with(['{', '['])
                    && let Ok(inner) = serde_json::from_str::<Value>(text)
                {
                    self.collect(&inner, None, known);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, member, known)),
            Value::Object(members) => {
                members.iter().for_each(|(name, inner)| self.collect(inner, Some(name), known));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redacted(mut story: Value, personal: bool) -> Value {
        Redaction::new(personal).apply(&mut story);
        story
    }

    #[test]
    fn secrets_are_left_out_by_name_and_by_form_wherever_they_stand() {
        let story = json!({
            "detail": {"access_token": "ya29.x", "Authorization": "Basic abcdefgh", "count": 3, "tokens": [1, "two"]},
            "said": "{\"client_secret\":\"s3cr3t\",\"ok\":true}", "log": ["Bearer abcdefghijkl", "whsec_MfKQ9r8GKYqrTwjU"],
        });
        let kept = redacted(story, false);
        let text = kept.to_string();
        for secret in ["ya29", "abcdefgh", "s3cr3t", "MfKQ9", "two"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(
            (&kept["detail"]["count"], kept["said"].as_str()),
            (&json!(3), Some("{\"client_secret\":\"***\",\"ok\":true}"))
        );
    }

    #[test]
    fn personal_data_is_left_out_when_it_is_asked_for() {
        let story = json!({
            "data": {"from": "+4520123456", "from_name": "Ida Holm", "text": "Call me", "amount": "125.00",
                "invoice_id": "20123456789", "phone": 4_520_123_456_u64, "to": ["kunde@example.test"]},
            "log": ["sent to +45 20 12 34 56 for Ida Holm (kunde@example.test)", "evt_0190a6b2c4d47f3a8b5e9c1d2f3a4b5c"],
            "by": {"ida@example.test": 1}, "at": "2026-11-21T09:00:00.000Z", "started_at": 1_800_000_000_000_u64,
        });
        let open = redacted(story.clone(), false).to_string();
        assert!(open.contains("Ida Holm") && open.contains("+4520123456"), "only on request: {open}");
        let kept = redacted(story, true);
        let text = kept.to_string();
        for personal in ["20123456\"", "4520123456", "20 12 34", "Ida", "Holm", "example.test", "Call me"] {
            let id = text.replace("\"20123456789\"", "");
            assert!(!id.contains(personal), "{personal} in {text}");
        }
        assert_eq!(kept["data"]["amount"], "125.00");
        assert_eq!(kept["data"]["invoice_id"], "20123456789");
        assert_eq!(kept["log"][1], "evt_0190a6b2c4d47f3a8b5e9c1d2f3a4b5c");
        assert_eq!(
            (kept["at"].as_str(), kept["started_at"].as_u64()),
            (Some("2026-11-21T09:00:00.000Z"), Some(1_800_000_000_000))
        );
    }
}
