//! Checks against secrets that a plugin can name and never read. Every key of a rotation is tried, and a check takes the
//! same time whichever key fits, or none.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::secret::{ExposeSecret, SecretBytes, SecretString};

/// A MAC algorithm of the plugin contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacAlgorithm {
    /// HMAC-SHA1.
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-SHA512.
    HmacSha512,
}

/// How a secret's text becomes the bytes of a MAC key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The UTF-8 bytes of the whole text, a prefix included.
    Text,
    /// Hex digits of either case.
    Hex,
    /// Standard base64, padded or not, after `whsec_` if that is there.
    Base64,
}

/// The key bytes, or none if the text is not of that encoding or the key is empty: an empty key would make every signature
/// forgeable.
#[must_use]
pub fn decode_key(encoding: KeyEncoding, text: &SecretString) -> Option<SecretBytes> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = text.expose_secret();
    let bytes = match encoding {
        KeyEncoding::Text => text.as_bytes().to_vec(),
        KeyEncoding::Hex => hex::decode(text).ok()?,
        KeyEncoding::Base64 => LENIENT.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?,
    };
    (!bytes.is_empty()).then(|| SecretBytes::from(bytes))
}

/// Whether `tag` is the MAC of `data` under one of `keys`. A tag of another length is false, and so is no key at all; the
/// caller tells "no usable key" apart before it asks.
#[must_use]
pub fn verify_mac(algorithm: MacAlgorithm, keys: &[SecretBytes], data: &[u8], tag: &[u8]) -> bool {
    match algorithm {
        MacAlgorithm::HmacSha1 => any_fits::<sha1::Sha1>(keys, data, tag),
        MacAlgorithm::HmacSha256 => any_fits::<sha2::Sha256>(keys, data, tag),
        MacAlgorithm::HmacSha512 => any_fits::<sha2::Sha512>(keys, data, tag),
    }
}

fn any_fits<D: EagerHash>(keys: &[SecretBytes], data: &[u8], tag: &[u8]) -> bool {
    let mut fits = Choice::from(0);
    for key in keys {
        // HMAC takes keys of every length, so the error cannot come; a key that could not be used would simply not fit.
        let Ok(mac) = <Hmac<D> as KeyInit>::new_from_slice(key.expose_secret()) else { continue };
        let verified = mac.chain_update(data).verify_slice(tag).is_ok();
        fits |= Choice::from(u8::from(verified));
    }
    fits.into()
}

/// Whether `token` equals one of `secrets`. Hashes are compared, so the time tells neither the place of the first
/// difference nor the length.
#[must_use]
pub fn verify_token(secrets: &[SecretString], token: &str) -> bool {
    let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let mut equal = Choice::from(0);
    for secret in secrets {
        let expected: [u8; 32] = Sha256::digest(secret.expose_secret().as_bytes()).into();
        equal |= expected.ct_eq(&given);
    }
    equal.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> SecretBytes {
        SecretBytes::from(text.as_bytes().to_vec())
    }

    /// RFC 4231 and RFC 2202, test case 2.
    const QUESTION: &[u8] = b"what do ya want for nothing?";

    #[test]
    fn the_published_vectors_verify() {
        let vectors = [
            (MacAlgorithm::HmacSha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (MacAlgorithm::HmacSha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                MacAlgorithm::HmacSha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (algorithm, tag) in vectors {
            let tag = hex::decode(tag).unwrap();
            assert!(verify_mac(algorithm, &[key("Jefe")], QUESTION, &tag), "{algorithm:?}");
            assert!(verify_mac(algorithm, &[key("new"), key("Jefe")], QUESTION, &tag), "{algorithm:?} after rotation");
            assert!(!verify_mac(algorithm, &[key("jefe")], QUESTION, &tag));
            assert!(!verify_mac(algorithm, &[], QUESTION, &tag));
        }
    }

    #[test]
    fn a_tag_of_another_length_is_false() {
        let tag = hex::decode("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843").unwrap();
        let longer = [tag.as_slice(), &[0]].concat();
        for wrong in [&tag[..31], &tag[..1], &[], &longer] {
            assert!(!verify_mac(MacAlgorithm::HmacSha256, &[key("Jefe")], QUESTION, wrong));
        }
    }

    #[test]
    fn a_tag_of_another_algorithm_is_false() {
        let tag = hex::decode("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79").unwrap();
        assert!(!verify_mac(MacAlgorithm::HmacSha256, &[key("Jefe")], QUESTION, &tag));
    }

    #[test]
    fn keys_are_read_in_each_encoding() {
        let read = |encoding, text: &str| {
            decode_key(encoding, &SecretString::from(text)).map(|key| key.expose_secret().to_vec())
        };
        assert_eq!(read(KeyEncoding::Text, "whsec_abc"), Some(b"whsec_abc".to_vec()));
        assert_eq!(read(KeyEncoding::Hex, "4A65"), Some(b"Je".to_vec()));
        assert_eq!(read(KeyEncoding::Base64, "whsec_SmVmZQ=="), Some(b"Jefe".to_vec()));
        assert_eq!(read(KeyEncoding::Base64, "SmVmZQ"), Some(b"Jefe".to_vec()));
        for (encoding, text) in [
            (KeyEncoding::Hex, "4A6"),
            (KeyEncoding::Base64, "Sm-_"),
            (KeyEncoding::Base64, "whsec_"),
            (KeyEncoding::Text, ""),
        ] {
            assert_eq!(read(encoding, text), None, "{encoding:?} {text}");
        }
    }

    #[test]
    fn a_token_equals_any_active_secret_and_nothing_else() {
        let secrets = [SecretString::from("new"), SecretString::from("old")];
        assert!(verify_token(&secrets, "new") && verify_token(&secrets, "old"));
        for wrong in ["", "ne", "newer", "NEW", "new "] {
            assert!(!verify_token(&secrets, wrong), "{wrong}");
        }
        assert!(!verify_token(&[], ""));
    }

    #[test]
    fn every_recorded_token_is_judged_as_its_source_says() {
        const VECTORS: &str = include_str!("../../../tests/data/vectors.json");
        let all: Vec<serde_json::Value> = serde_json::from_str(VECTORS).unwrap();
        let cases = all.iter().filter(|case| case["scheme"] == "channel-token-equality");
        let judged = cases.map(|case| {
            let inputs = &case["inputs"];
            let stored = SecretString::from(inputs["stored_channel"]["token"].as_str().unwrap());
            let given = inputs["headers"]["X-Goog-Channel-Token"].as_str().unwrap_or_default();
            assert_eq!(verify_token(&[stored], given), case["expected"]["valid"] == true, "{}", case["id"]);
        });
        assert_eq!(judged.count(), 5);
    }

    proptest! {
        #[test]
        fn only_the_mac_itself_verifies(secret in ".{1,80}", data in proptest::collection::vec(any::<u8>(), 0..100),
                                        flip in 0_usize..256) {
            let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
            let mut tag = mac.chain_update(&data).finalize().into_bytes().to_vec();
            prop_assert!(verify_mac(MacAlgorithm::HmacSha256, &[key(&secret)], &data, &tag));
            tag[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(!verify_mac(MacAlgorithm::HmacSha256, &[key(&secret)], &data, &tag));
        }
    }
}
