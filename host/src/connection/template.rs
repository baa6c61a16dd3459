//! `{{secret:<slot>.<field>}}` in the headers and body of a plugin's request, filled by the host; and the way back, where those
//! values are masked, so that a provider that repeats the request cannot hand a secret to the plugin.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::secret::{ExposeSecret, SecretString};

const OPEN: &[u8] = b"{{secret:";
const CLOSE: &[u8] = b"}}";

/// Longest text between the braces.
const MAX_NAME: usize = 200;

/// Most places in one body or header that are filled.
const MAX_FILLED: usize = 64;

/// What stands in an answer where a secret stood.
pub const MASK: &[u8] = b"***";

/// Why a template cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No closing braces, or not `<slot>.<field>` between them.
    #[error("a placeholder must read {{{{secret:<slot>.<field>}}}}")]
    Malformed,
    /// More places than [`MAX_FILLED`].
    #[error("a request may have at most {MAX_FILLED} placeholders in one header or body")]
    TooMany,
    /// Not granted, not bound, or no such field.
    #[error("`{0}` names no secret that this plugin may use")]
    Unknown(String),
}

/// The values that were filled into one request, to be masked in its answer.
#[derive(Clone, Debug, Default)]
pub struct UsedSecrets(Vec<SecretString>);

impl UsedSecrets {
    /// Adds values that are to be masked as well, such as the connection's own credential.
    pub fn also(&mut self, values: impl IntoIterator<Item = SecretString>) {
        self.0.extend(values);
    }

    /// Replaces every occurrence of a used value, longer values first. Text without one is returned as it is.
    #[must_use]
    pub fn mask<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut values: Vec<&[u8]> = self.0.iter().map(|value| value.expose_secret().as_bytes()).collect();
        values.retain(|value| !value.is_empty());
        values.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        let mut masked = Cow::Borrowed(text);
        for value in values {
            if let Some(replaced) = replace(&masked, value) {
                masked = Cow::Owned(replaced);
            }
        }
        masked
    }
}

/// Fills every placeholder of `text`; `secret` is asked with slot and field and answers only what the plugin was granted.
/// What is filled in is not read again, so a secret cannot contain a placeholder. Values go in as they are: where they are put
/// into JSON or a form, the plugin chooses a place in which they need no escape.
pub fn fill<'a, 's>(
    text: &'a [u8],
    used: &mut UsedSecrets,
    mut secret: impl FnMut(&str, &str) -> Option<&'s SecretString>,
) -> Result<Cow<'a, [u8]>, TemplateError> {
    let Some(mut at) = find(text, OPEN) else { return Ok(Cow::Borrowed(text)) };
    let mut filled = Zeroizing::new(Vec::with_capacity(text.len() + 128));
    let mut rest = text;
    for _ in 0..MAX_FILLED {
        filled.extend_from_slice(&rest[..at]);
        let (name, after) = read_name(&rest[at + OPEN.len()..])?;
        let unknown = || TemplateError::Unknown(name.to_owned());
        let (slot, field) = name.rsplit_once('.').ok_or(TemplateError::Malformed)?;
        let value = secret(slot, field).ok_or_else(unknown)?;
        filled.extend_from_slice(value.expose_secret().as_bytes());
        used.also([value.clone()]);
        rest = after;
        match find(rest, OPEN) {
            Some(next) => at = next,
            None => {
                filled.extend_from_slice(rest);
                return Ok(Cow::Owned(std::mem::take(&mut *filled)));
            }
        }
    }
    Err(TemplateError::TooMany)
}

/// The text up to the closing braces, and what follows them.
fn read_name(text: &[u8]) -> Result<(&str, &[u8]), TemplateError> {
    let end = find(&text[..text.len().min(MAX_NAME + CLOSE.len())], CLOSE).ok_or(TemplateError::Malformed)?;
    let name = std::str::from_utf8(&text[..end]).map_err(|_| TemplateError::Malformed)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(allowed) {
        return Err(TemplateError::Malformed);
    }
    Ok((name, &text[end + CLOSE.len()..]))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn replace(text: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut at = find(text, value)?;
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(MASK);
        rest = &rest[at + value.len()..];
        match find(rest, value) {
            Some(next) => at = next,
            None => {
                replaced.extend_from_slice(rest);
                return Some(replaced);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Result<String, TemplateError> {
        let token = SecretString::from("t0ken");
        let tricky = SecretString::from("{{secret:push.token}}");
        let mut used = UsedSecrets::default();
        let bytes = fill(text.as_bytes(), &mut used, |slot, field| match (slot, field) {
            ("push", "token") => Some(&token),
            ("push", "tricky") => Some(&tricky),
            _ => None,
        })?;
        Ok(String::from_utf8(bytes.into_owned()).unwrap())
    }

    #[test]
    fn placeholders_are_filled_wherever_they_stand() {
        assert_eq!(filled("{{secret:push.token}}").unwrap(), "t0ken");
        assert_eq!(
            filled(r#"{"a":"{{secret:push.token}}","b":"Æ{{secret:push.token}}"}"#).unwrap(),
            r#"{"a":"t0ken","b":"Æt0ken"}"#
        );
        assert_eq!(filled("no placeholder {{x}} }}").unwrap(), "no placeholder {{x}} }}");
    }

    #[test]
    fn text_without_a_placeholder_is_not_copied() {
        let mut used = UsedSecrets::default();
        assert!(matches!(fill(b"plain", &mut used, |_, _| None), Ok(Cow::Borrowed(b"plain"))));
    }

    #[test]
    fn a_filled_value_is_not_read_again() {
        assert_eq!(filled("{{secret:push.tricky}}").unwrap(), "{{secret:push.token}}");
    }

    #[test]
    fn placeholders_that_cannot_be_filled_are_refused() {
        assert_eq!(filled("{{secret:other.token}}"), Err(TemplateError::Unknown("other.token".to_owned())));
        for malformed in
            ["{{secret:push.token", "{{secret:}}", "{{secret:push}}", "{{secret:push token}}", "{{secret: push.token}}"]
        {
            assert_eq!(filled(malformed), Err(TemplateError::Malformed), "{malformed}");
        }
        assert_eq!(filled(&format!("{{{{secret:{}.x}}}}", "a".repeat(300))), Err(TemplateError::Malformed));
        assert!(filled(&"{{secret:push.token}}".repeat(64)).is_ok());
        assert_eq!(filled(&"{{secret:push.token}}".repeat(65)), Err(TemplateError::TooMany));
    }

    #[test]
    fn used_values_and_those_added_are_masked_longest_first() {
        let mut used = UsedSecrets::default();
        let value = SecretString::from("abc");
        fill(b"{{secret:s.f}}", &mut used, |_, _| Some(&value)).unwrap();
        used.also([SecretString::from("abcdef"), SecretString::from("")]);
        assert_eq!(used.mask(b"x abcdef abc abab").as_ref(), b"x *** *** abab");
        assert!(matches!(used.mask(b"nothing here"), Cow::Borrowed(_)));
    }

    #[test]
    fn used_values_do_not_show_themselves_in_debug() {
        let mut used = UsedSecrets::default();
        used.also([SecretString::from("marker")]);
        assert!(!format!("{used:?}").contains("marker"));
    }

    proptest! {
        #[test]
        fn no_used_value_is_left_after_masking(text in "[abc*]{0,60}", values in proptest::collection::vec("[abc]{1,4}", 1..4)) {
            let mut used = UsedSecrets::default();
            used.also(values.iter().map(|value| SecretString::from(value.as_str())));
            let masked = used.mask(text.as_bytes()).into_owned();
            for value in &values {
                prop_assert!(find(&masked, value.as_bytes()).is_none(), "{value} in {}", String::from_utf8_lossy(&masked));
            }
        }

        #[test]
        fn arbitrary_bytes_never_make_filling_fail_over(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut with_open = OPEN.to_vec();
            with_open.extend(&text);
            let mut used = UsedSecrets::default();
            let _ = fill(&with_open, &mut used, |_, _| None);
        }
    }
}
