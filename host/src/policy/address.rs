//! The ways on which a person is reached, and addresses in the one form in which they are compared.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::connection::vault::PersonKind;

/// The longest e-mail address.
const MAX_EMAIL: usize = 254;

/// A way on which a person is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Text messages.
    Sms,
    /// Telephone calls. Who wants no text messages gets no calls either, unless calls were granted.
    Call,
    /// E-mail, invitations included.
    Email,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sms, Self::Call, Self::Email];

    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Call => "call",
            Self::Email => "email",
        }
    }

    /// How it names a person.
    #[must_use]
    pub const fn person_kind(self) -> PersonKind {
        match self {
            Self::Sms | Self::Call => PersonKind::Phone,
            Self::Email => PersonKind::Email,
        }
    }

    /// An address as somebody wrote it, in the form in which it is shown and compared: `+4520123456` however a number is
    /// spaced and whether it begins with `+` or `00`; a short code's digits as they are; an e-mail address in lower case,
    /// without the name before it. None if nothing is left.
    #[must_use]
    pub fn normalised(self, text: &str) -> Option<String> {
        match self.person_kind() {
            PersonKind::Phone => phone(text),
            PersonKind::Email => email(text),
        }
    }

    /// The same of an address that an admin gives, which must be whole.
    ///
    /// # Errors
    /// What is wrong and the fix.
    pub fn checked(self, text: &str) -> Result<String, String> {
        let normal = self.normalised(text).unwrap_or_default();
        let sound = match self.person_kind() {
            PersonKind::Phone => {
                let digits = normal.strip_prefix('+').unwrap_or_default();
                let spaced = |letter: char| letter.is_ascii_digit() || " +-.()/".contains(letter);
                matches!(digits.len(), 5..=15) && !digits.starts_with('0') && text.trim().chars().all(spaced)
            }
            PersonKind::Email => {
                let parts = normal.split_once('@');
                let clean = !normal.chars().any(|letter| letter.is_whitespace() || ",;<>\"".contains(letter));
                normal.len() <= MAX_EMAIL
                    && clean
                    && parts
                        .is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty() && !domain.contains('@'))
            }
        };
        match (sound, self.person_kind()) {
            (true, _) => Ok(normal),
            (false, PersonKind::Phone) => {
                Err("must be a phone number with its country, such as +4520123456".to_owned())
            }
            (false, PersonKind::Email) => Err("must be one e-mail address, such as name@example.com".to_owned()),
        }
    }
}

fn phone(text: &str) -> Option<String> {
    // Twilio writes `whatsapp:+45..` for the same person.
    let text = text.rsplit(':').next().unwrap_or_default().trim();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if digits.is_empty() {
        return None;
    }
    Some(match digits.strip_prefix("00") {
        Some(rest) if !rest.is_empty() => format!("+{rest}"),
        _ if text.starts_with('+') => format!("+{digits}"),
        _ => digits,
    })
}

fn email(text: &str) -> Option<String> {
    let bare = match (text.rfind('<'), text.rfind('>')) {
        (Some(from), Some(to)) if from < to => &text[from + 1..to],
        _ => text,
    };
    let normal = bare.trim().to_lowercase();
    (!normal.is_empty()).then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_address_however_it_is_written() {
        for text in ["+4520123456", " +45 20 12 34 56 ", "004520123456", "+45 (20) 12-34-56", "whatsapp:+4520123456"] {
            assert_eq!(Channel::Sms.normalised(text).as_deref(), Some("+4520123456"), "{text}");
        }
        for text in ["kunde@example.com", " Kunde@Example.COM ", "\"Kunde, S\" <kunde@example.com>"] {
            assert_eq!(Channel::Email.normalised(text).as_deref(), Some("kunde@example.com"), "{text}");
        }
        assert_eq!(Channel::Sms.normalised("1272").as_deref(), Some("1272"), "a short code has no country");
        assert_eq!(Channel::Sms.normalised("ACME"), None);
        assert_eq!(Channel::Email.normalised("  "), None);
    }

    #[test]
    fn what_an_admin_gives_must_be_whole() {
        assert_eq!(Channel::Sms.checked("+45 20 12 34 56").as_deref(), Ok("+4520123456"));
        assert_eq!(Channel::Email.checked("Kunde@example.com").as_deref(), Ok("kunde@example.com"));
        for text in ["20123456", "", "+0123456", "+45", "+4520123456789012", "+45 20 12 34 5x"] {
            assert!(Channel::Call.checked(text).is_err(), "{text}");
        }
        for text in ["", "kunde", "@example.com", "kunde@", "a@b@c", "a b@c.dk", "a@b.dk, c@d.dk"] {
            assert!(Channel::Email.checked(text).is_err(), "{text}");
        }
    }
}
