use serde_json::{Value, json};
use switchyard_sdk::http::Response;
use switchyard_sdk::prelude::*;

use crate::CONNECTION;

/// At most so many characters of Twilio's own words are kept.
const LONGEST: usize = 200;

/// What a refused write comes to: an account that is not there is a mistake in the config, a code of Twilio's is final,
/// and the rest is as its status says.
pub fn refusal(what: &str, answer: &Response) -> PluginError {
    let said = answer.value();
    let code = said.get("code").and_then(Value::as_u64);
    match (answer.status, code) {
        (404, _) => PluginError::bad_config("account_sid", "Twilio does not know this account."),
        (400..=499, Some(code)) if !matches!(answer.status, 401 | 403 | 408 | 425 | 429) => {
            let message = format!("Twilio refused the {what} with code {code}.");
            let words = said.get("message").and_then(Value::as_str).map(masked);
            PluginError::reject(Reason::BadData, &format!("twilio_{code}"), message)
                .with_details(json!({ "status": answer.status, "code": code, "said": words }))
        }
        (status, _) => PluginError::from_status(CONNECTION, status),
    }
}

/// Twilio quotes telephone numbers in its messages; they are nobody's business here.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(LONGEST);
    let mut digits = String::new();
    let flush = |digits: &mut String, into: &mut String| {
        into.push_str(if digits.len() >= 5 { "..." } else { digits });
        digits.clear();
    };
    for character in text.chars().take(LONGEST) {
        if character.is_ascii_digit() {
            digits.push(character);
        } else {
            flush(&mut digits, &mut masked);
            masked.push(character);
        }
    }
    flush(&mut digits, &mut masked);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_people_are_masked_and_short_ones_stay() {
        let said = "The 'To' number +4520123456 is not a valid phone number (400).";
        assert_eq!(masked(said), "The 'To' number +... is not a valid phone number (400).");
    }
}
