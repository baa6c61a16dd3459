//! Where a text names a person: phone numbers and e-mail addresses in any writing that a provider or a plugin may have
//! given them.
//!
//! What is looked for is a keyed hash, never the number or address itself, so that an erasure can be carried out again
//! years later by somebody who does not know whom it was about. So everything that could be a number or an address is
//! taken out of a text and hashed. Texts are looked at as they are, and as what they stand for: strings of JSON, percent
//! encoding, escapes, base64, each a few levels deep.
//!
//! A number written without its country is another one, since nothing here knows the country.

use std::ops::Range;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;

use crate::connection::vault::PersonKind;

/// Whether a text is one of the persons who are looked for.
pub type Names<'a> = dyn Fn(PersonKind, &str) -> bool + Send + Sync + 'a;

/// Digits of a phone number, with an international prefix.
const DIGITS: std::ops::RangeInclusive<usize> = 5..=17;

/// Groups of digits in which one number is written.
const GROUPS: usize = 7;

/// Bytes that may stand between two groups.
const BETWEEN: usize = 4;

/// Bytes of an address before and after its `@`.
const LOCAL: usize = 64;
const DOMAIN: usize = 255;

/// How many encodings may lie in one another.
const DEPTH: u8 = 4;

/// A run of base64 that is shorter says nothing.
const ENCODED: usize = 8;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Whether `bytes`, of whatever form, name one of the persons.
#[must_use]
pub fn in_bytes(bytes: &[u8], names: &Names<'_>) -> bool {
    look_at_bytes(bytes, names, 0)
}

/// Whether a text names one of the persons, by whatever it stands for.
#[must_use]
pub fn in_text(text: &str, names: &Names<'_>) -> bool {
    look_at_text(text, names, 0)
}

/// Whether a value names one of the persons, in its texts, its numbers or the names of its members.
#[must_use]
pub fn in_value(value: &Value, names: &Names<'_>) -> bool {
    look_at_value(value, names, 0)
}

/// Where the text itself names one of the persons, from left to right and without overlaps.
#[must_use]
pub fn places(text: &str, names: &Names<'_>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = addresses(text, names);
    found.extend(numbers(text, names));
    found.sort_by_key(|place| (place.start, usize::MAX - place.end));
    let mut end = 0;
    found.retain(|place| {
        let apart = place.start >= end;
        end = if apart { place.end } else { end };
        apart
    });
    found
}

fn look_at_bytes(bytes: &[u8], names: &Names<'_>, depth: u8) -> bool {
    if let Some(value) = json(bytes) {
        return look_at_value(&value, names, depth);
    }
    look_at_text(&String::from_utf8_lossy(bytes), names, depth)
}

/// What looks like a JSON document and is one.
fn json(bytes: &[u8]) -> Option<Value> {
    let begins = bytes.trim_ascii_start().first()?;
    if !matches!(begins, b'{' | b'[' | b'"') {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

fn look_at_value(value: &Value, names: &Names<'_>, depth: u8) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => look_at_plain(&number.to_string(), names),
        Value::String(text) => look_at_text(text, names, depth),
        Value::Array(items) => items.iter().any(|item| look_at_value(item, names, depth)),
        Value::Object(members) => {
            members.iter().any(|(name, member)| look_at_text(name, names, depth) || look_at_value(member, names, depth))
        }
    }
}

fn look_at_plain(text: &str, names: &Names<'_>) -> bool {
    !addresses(text, names).is_empty() || !numbers(text, names).is_empty()
}

fn look_at_text(text: &str, names: &Names<'_>, depth: u8) -> bool {
    if look_at_plain(text, names) {
        return true;
    }
    if depth >= DEPTH {
        return false;
    }
    if let Some(value) = json(text.as_bytes()) {
        return look_at_value(&value, names, depth + 1);
    }
    let unescaped = [percent_decoded(text, false), percent_decoded(text, true), without_escapes(text)];
    if unescaped.iter().flatten().any(|text| look_at_text(text, names, depth + 1)) {
        return true;
    }
    encoded(text).any(|bytes| look_at_bytes(&bytes, names, depth + 1))
}

/// The text without its percent encoding, in forms with a plus as a space; none if it has none.
fn percent_decoded(text: &str, form: bool) -> Option<String> {
    if !text.contains('%') || (form && !text.contains('+')) {
        return None;
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
                continue;
            }
            (b'+', ..) if form => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&decoded).into_owned()).filter(|decoded| decoded != text)
}

/// The text with the escapes of JSON and of programs in place of what they stand for; none if it has none.
fn without_escapes(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match rest.next() {
            Some('u') => {
                let code: String = rest.by_ref().take(4).collect();
                plain.push(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).unwrap_or(' '));
            }
            Some(other @ ('"' | '\\' | '/' | '\'')) => plain.push(other),
            _ => plain.push(' '),
        }
    }
    Some(plain)
}

/// What runs of base64 in the text stand for, as far as that is a text.
fn encoded(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let runs = text.as_bytes().split(move |byte| !is_digit(byte)).filter(|run| run.len() >= ENCODED);
    runs.filter_map(|run| {
        let standard: Vec<u8> = run
            .iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        let decoded = BASE64.decode(standard).ok()?;
        let is_text = |byte: &u8| *byte >= 0x20 || matches!(byte, b'\t' | b'\r' | b'\n');
        decoded.iter().all(is_text).then_some(decoded)
    })
}

/// Where e-mail addresses of the persons stand.
fn addresses(text: &str, names: &Names<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let domain: usize = text[at + 1..]
            .chars()
            .take_while(|char| is_of_domain(*char))
            .map(char::len_utf8)
            .sum::<usize>()
            .min(DOMAIN);
        let Some(domain) = text.get(at + 1..at + 1 + domain) else { continue };
        let domain = domain.trim_end_matches(['.', '-']);
        if domain.is_empty() {
            continue;
        }
        let end = at + 1 + domain.len();
        // Some characters may belong to an address, or stand before one: each place after such a one is a beginning.
        let mut starts = Vec::new();
        let mut start = at;
        for char in text[..at].chars().rev().take(LOCAL) {
            match char {
                _ if is_plain_in_local(char) => {}
                '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '/' | '=' | '?' | '^' | '`' | '{' | '|' | '}' | '~' => {
                    starts.push(start);
                }
                _ => break,
            }
            start -= char.len_utf8();
        }
        starts.push(start);
        starts.sort_unstable();
        let is_named = |start: &usize| names(PersonKind::Email, text[*start..end].trim_start_matches('.'));
        found.extend(starts.into_iter().filter(|start| *start < at).find(is_named).map(|start| start..end));
    }
    found
}

fn is_plain_in_local(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '.' | '_' | '+' | '-')
}

fn is_of_domain(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '.' | '-')
}

/// Where phone numbers of the persons stand.
fn numbers(text: &str, names: &Names<'_>) -> Vec<Range<usize>> {
    let groups = groups(text);
    let mut found: Vec<Range<usize>> = Vec::new();
    for (nth, first) in groups.iter().enumerate() {
        if found.last().is_some_and(|last| first.start < last.end) {
            continue;
        }
        let (mut digits, mut end, mut longest) = (0, first.start, None);
        for group in groups[nth..].iter().take(GROUPS) {
            if digits > 0 && !may_stand_between(&text[end..group.start]) {
                break;
            }
            (digits, end) = (digits + group.len(), group.end);
            if digits > *DIGITS.end() {
                break;
            }
            if digits >= *DIGITS.start() && names(PersonKind::Phone, &text[first.start..end]) {
                longest = Some(end);
            }
        }
        let plus = usize::from(text[..first.start].ends_with('+'));
        found.extend(longest.map(|end| first.start - plus..end));
    }
    found
}

/// The runs of digits in a text.
fn groups(text: &str) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match groups.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

fn may_stand_between(text: &str) -> bool {
    let may = |char| matches!(char, ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}' | '\u{2011}' | '\u{2013}');
    text.len() <= BETWEEN && text.chars().all(may)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
