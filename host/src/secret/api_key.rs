//! API keys: `swk_`, 30 random base62 digits, 6 check digits. Only the SHA-256 of the whole text is stored; 178 random
//! bits need no slow hash.

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::id::Ids;

/// What every generated key begins with, so that scanners for leaked secrets recognise one.
pub const PREFIX: &str = "swk_";

const BODY_DIGITS: usize = 30;
const CHECK_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key just made. The text is shown once; the hash is stored.
#[derive(Debug)]
pub struct NewApiKey {
    /// The whole key, for its owner.
    pub text: SecretString,
    /// What the database keeps.
    pub hash: [u8; 32],
}

/// Makes a key with 178 random bits.
#[must_use]
pub fn generate(ids: &Ids) -> NewApiKey {
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + BODY_DIGITS + CHECK_DIGITS));
    text.push_str(PREFIX);
    let mut missing = BODY_DIGITS;
    while missing > 0 {
        // 248 is the largest multiple of 62 in a byte: what lies above it would favour the first digits.
        let fair = ids.random::<48>().into_iter().filter(|byte| *byte < 248).take(missing);
        for byte in fair {
            text.push(char::from(DIGITS[usize::from(byte % 62)]));
            missing -= 1;
        }
    }
    let check = check_digits(&text);
    text.push_str(&check);
    NewApiKey { hash: hash(&text), text: SecretString::from(text.as_str()) }
}

/// The stored form of a key. Any text can be hashed: an operator's bootstrap key need not have our form.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// False for text that claims to be a generated key and cannot be one: wrong length, foreign characters, or check digits
/// that do not fit. Text without our prefix is true, since a bootstrap key may be anything. Spares a look-up; proves nothing.
#[must_use]
pub fn is_plausible(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(PREFIX) else { return true };
    if digits.len() != BODY_DIGITS + CHECK_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let (signed, check) = text.split_at(PREFIX.len() + BODY_DIGITS);
    check_digits(signed) == check
}

fn check_digits(signed: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(signed.as_bytes()).into();
    let mut rest = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let mut digits = [b'0'; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn ids(seed: u8) -> Ids {
        Ids::seeded(ManualClock::starting_at(Timestamp(1_700_000_000_000)), [seed; 32])
    }

    #[test]
    fn a_generated_key_is_plausible_and_its_hash_is_found_again() {
        let key = generate(&ids(1));
        let text = key.text.expose_secret();
        assert_eq!(text.len(), 40);
        assert!(is_plausible(text));
        assert_eq!(hash(text), key.hash);
    }

    #[test]
    fn two_keys_differ() {
        let ids = ids(2);
        assert_ne!(generate(&ids).hash, generate(&ids).hash);
    }

    #[test]
    fn a_key_does_not_show_itself_in_debug() {
        let key = generate(&ids(3));
        assert!(!format!("{key:?}").contains(key.text.expose_secret()));
    }

    #[test]
    fn a_bootstrap_key_of_any_form_is_plausible() {
        assert!(is_plausible("correct horse battery staple"));
    }

    #[test]
    fn a_truncated_key_is_not_plausible() {
        let key = generate(&ids(4));
        assert!(!is_plausible(&key.text.expose_secret()[..39]));
        assert!(!is_plausible("swk_"));
    }

    proptest! {
        #[test]
        fn a_key_with_one_changed_digit_is_not_plausible(seed in any::<u8>(), at in 4_usize..40, digit in 0_usize..62) {
            let key = generate(&ids(seed));
            let mut text = key.text.expose_secret().as_bytes().to_vec();
            prop_assume!(text[at] != DIGITS[digit]);
            text[at] = DIGITS[digit];
            prop_assert!(!is_plausible(std::str::from_utf8(&text).unwrap()));
        }

        #[test]
        fn no_text_makes_the_check_fail_over(text in "(swk_)?\\PC{0,60}") {
            let _ = is_plausible(&text);
        }
    }
}
