use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;

const SHORTEST: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const LONGEST: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
const PUBLISHED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PUBLISHED_PAIR: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const SEED_PAIR: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
const INVOICE: &[u8] = "{\"type\":\"invoice.paid\",\"data\":{\"note\":\"café ☃ 😀\"}}".as_bytes();
const INVOICE_ID: &str = "msg_hub_000000000000000000000002";

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn active(texts: &[&str]) -> ActiveSecrets {
    let secrets = texts.iter().map(|text| SigningSecret::parse(&secret(text)).unwrap()).collect();
    ActiveSecrets::new(secrets).unwrap()
}

fn seconds(stamp: i64) -> Timestamp {
    Timestamp(stamp * 1000)
}

fn ids() -> Ids {
    Ids::seeded(ManualClock::starting_at(Timestamp(0)), [3; 32])
}

/// Signs with `secrets`, expects exactly `expected`, and verifies it with the key a receiver has.
#[track_caller]
fn check(id: &str, stamp: i64, secrets: &[&str], receiver: &str, body: &[u8], expected: &str) {
    // A moment within the second: the stamp is cut, not rounded.
    let headers = active(secrets).sign(id, Timestamp(stamp * 1000 + 999), body).unwrap();
    assert_eq!(headers.signature, expected);
    assert_eq!(headers.id, id);
    assert_eq!(headers.timestamp, stamp.to_string());
    assert_eq!(verify(&secret(receiver), id, &stamp.to_string(), expected, body, seconds(stamp)), Ok(()));
}

#[test]
fn the_symmetric_vectors_come_out() {
    let first = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
    let body = br#"{"test": 2432232314}"#;
    check(first.0, first.1, &[PUBLISHED], PUBLISHED, body, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let second = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let expected = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    check("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, &[second], second, body, expected);
    let body = br#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}"#;
    let expected = "v1,ARw42xaAApl/nxRo+iPGYwSaMQaOwMo2eyH5JBRA+bQ=";
    check("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", 1_674_087_231, &[PUBLISHED], PUBLISHED, body, expected);
}

#[test]
fn the_vectors_at_the_edges_of_secret_and_body_come_out() {
    let expected = "v1,W0t2s4iWGhz1oz/VnamnYKkV64iZG4IbSpKTR0L/hQc=";
    check("msg_hub_000000000000000000000001", 1_700_000_000, &[SHORTEST], SHORTEST, b"", expected);
    let expected = "v1,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI=";
    check(INVOICE_ID, 1_700_000_000, &[LONGEST], LONGEST, INVOICE, expected);
    let middle = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let binary = [0xff, 0xfe, 0x00, 0x62, 0x69, 0x6e, 0x61, 0x72, 0x79];
    let expected = "v1,wwJT3sNHt3Vr/ohwtRao+BKRK5jOO/ye0JTq/UdOr5U=";
    check("msg_hub_000000000000000000000003", 1_700_000_000, &[middle], middle, &binary, expected);
}

#[test]
fn during_rotation_both_secrets_sign_and_either_receiver_verifies() {
    let expected = "v1,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI= v1,UaCXMuSnwBuhNzVvKiau6MYHQyZdie2p9cYoYBROEd0=";
    for receiver in [LONGEST, PUBLISHED] {
        check(INVOICE_ID, 1_700_000_000, &[LONGEST, PUBLISHED], receiver, INVOICE, expected);
    }
}

#[test]
fn the_ed25519_vectors_come_out_and_verify_with_the_public_key() {
    let first = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let body = br#"{"test": 2432232314}"#;
    check("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, &[PUBLISHED_PAIR], public, body, first);
    let second = "v1a,7m0zdLPbfiiGZZoLzFT0iPcx7z7v+eNUezhiOq76kPQqred2T6tGDSF3krpn+mo8PUEK6bXfa6EbesxENvX/Bg==";
    let public = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    check(INVOICE_ID, 1_700_000_000, &[SEED_PAIR], public, INVOICE, second);
    let pair = SigningSecret::parse(&secret(SEED_PAIR)).unwrap();
    assert_eq!(pair.public_text().as_deref(), Some(public));
    assert_eq!(SigningSecret::parse(&secret(LONGEST)).unwrap().public_text(), None);
}

#[test]
fn a_symmetric_and_an_asymmetric_secret_sign_side_by_side() {
    let headers = active(&[SEED_PAIR, LONGEST]).sign(INVOICE_ID, seconds(1_700_000_000), INVOICE).unwrap();
    let value = headers.signature.to_str().unwrap();
    assert!(value.starts_with("v1a,") && value.contains(" v1,"));
    for receiver in [LONGEST, SEED_PAIR] {
        assert_eq!(verify(&secret(receiver), INVOICE_ID, "1700000000", value, INVOICE, seconds(1_700_000_000)), Ok(()));
    }
}

#[test]
fn unusable_secrets_are_refused_with_the_reason() {
    let too_short = format!("whsec_{}", STANDARD.encode([0; 23]));
    let too_long = format!("whsec_{}", STANDARD.encode([0; 65]));
    let halves = format!("whsk_{}", STANDARD.encode([7; 64]));
    let seed_only = format!("whsk_{}", STANDARD.encode([7; 32]));
    for (text, expected) in [
        ("", SignError::UnknownPrefix),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SignError::UnknownPrefix),
        ("whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", SignError::UnknownPrefix),
        ("whsec_not base64", SignError::NotBase64),
        (&format!("{PUBLISHED} "), SignError::NotBase64),
        (&too_short, SignError::Length(23)),
        (&too_long, SignError::Length(65)),
        (&halves, SignError::KeyPair),
        (&seed_only, SignError::KeyPair),
    ] {
        assert_eq!(SigningSecret::parse(&secret(text)).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn an_endpoint_has_one_to_eleven_active_secrets() {
    let one = SigningSecret::parse(&secret(PUBLISHED)).unwrap();
    assert_eq!(ActiveSecrets::new(Vec::new()).unwrap_err(), SignError::Count(0));
    assert_eq!(ActiveSecrets::new(vec![one.clone(); 12]).unwrap_err(), SignError::Count(12));
    let eleven = ActiveSecrets::new(vec![one; 11]).unwrap();
    let headers = eleven.sign(INVOICE_ID, seconds(1), INVOICE).unwrap();
    assert_eq!(headers.signature.to_str().unwrap().split(' ').count(), 11);
}

#[test]
fn an_id_that_makes_the_signed_bytes_ambiguous_is_refused() {
    for id in ["", "a.b", "a\nb"] {
        assert_eq!(active(&[PUBLISHED]).sign(id, seconds(1), b"").unwrap_err(), SignError::Id, "{id:?}");
    }
}

#[test]
fn generated_secrets_can_sign_and_differ() {
    let ids = ids();
    for generated in [generate_symmetric(&ids), generate_ed25519(&ids)] {
        let signing = ActiveSecrets::new(vec![SigningSecret::parse(&generated).unwrap()]).unwrap();
        let headers = signing.sign("evt_1", seconds(5), b"{}").unwrap();
        assert_eq!(verify(&generated, "evt_1", "5", headers.signature.to_str().unwrap(), b"{}", seconds(5)), Ok(()));
    }
    assert_ne!(generate_symmetric(&ids).expose_secret(), generate_symmetric(&ids).expose_secret());
}

#[test]
fn a_receiver_refuses_what_is_stale_forged_or_garbled() {
    let header = "v1,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI=";
    let at = |key: &str, stamp: &str, signatures: &str, body: &[u8], now: i64| {
        verify(&secret(key), INVOICE_ID, stamp, signatures, body, seconds(now))
    };
    let now = 1_700_000_000;
    assert_eq!(at(LONGEST, "1700000000", header, INVOICE, now + 300), Ok(()));
    assert_eq!(at(LONGEST, "1700000000", header, INVOICE, now + 301), Err(Refusal::OutsideTolerance));
    assert_eq!(at(LONGEST, "1700000000", header, INVOICE, now - 301), Err(Refusal::OutsideTolerance));
    for stamp in ["", "now", "+1700000000", " 1700000000", "1700000000.0", "-", "99999999999999999999"] {
        assert_eq!(at(LONGEST, stamp, header, INVOICE, now), Err(Refusal::Timestamp), "{stamp}");
    }
    assert_eq!(at(PUBLISHED, "1700000000", header, INVOICE, now), Err(Refusal::NoMatch));
    assert_eq!(at(LONGEST, "1700000001", header, INVOICE, now), Err(Refusal::NoMatch));
    assert_eq!(at(LONGEST, "1700000000", header, b"{}", now), Err(Refusal::NoMatch));
    for garbled in ["", "v1", "v1,", "v2,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI=", "v1a,p4dpo8O6Bhu0", "v1,\u{e6}"]
    {
        assert_eq!(at(LONGEST, "1700000000", garbled, INVOICE, now), Err(Refusal::NoMatch), "{garbled}");
    }
    assert_eq!(at("secret", "1700000000", header, INVOICE, now), Err(Refusal::Key));
}

#[test]
fn a_good_entry_counts_only_among_the_first_sixteen() {
    let good = "v1,p4dpo8O6Bhu0+F311e3RY/OixdQON2Er5ytSuw7i8MI=";
    let within = format!("{}{good}", "v1,AAAA ".repeat(15));
    let beyond = format!("{}{good}", "v1,AAAA ".repeat(16));
    let try_with =
        |list: &str| verify(&secret(LONGEST), INVOICE_ID, "1700000000", list, INVOICE, seconds(1_700_000_000));
    assert_eq!(try_with(&within), Ok(()));
    assert_eq!(try_with(&beyond), Err(Refusal::NoMatch));
}

#[test]
fn secrets_do_not_show_themselves_in_debug_or_errors() {
    let shown = format!("{:?} {:?}", active(&[LONGEST]), SigningSecret::parse(&secret("whsec_marker!")).unwrap_err());
    assert!(!shown.contains("marker") && !shown.contains("AAEC"), "{shown}");
}

proptest! {
    #[test]
    fn every_signed_message_verifies_and_no_changed_one_does(
        id in "[A-Za-z0-9_-]{1,128}",
        stamp in 0_i64..4_000_000_000,
        body in proptest::collection::vec(any::<u8>(), 0..300),
        seed in any::<[u8; 32]>(),
        asymmetric in any::<bool>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let ids = Ids::seeded(ManualClock::starting_at(Timestamp(0)), seed);
        let key = if asymmetric { generate_ed25519(&ids) } else { generate_symmetric(&ids) };
        let signing = ActiveSecrets::new(vec![SigningSecret::parse(&key).unwrap()]).unwrap();
        let headers = signing.sign(&id, seconds(stamp), &body).unwrap();
        let value = headers.signature.to_str().unwrap();
        let text = stamp.to_string();
        prop_assert_eq!(verify(&key, &id, &text, value, &body, seconds(stamp)), Ok(()));
        let mut changed = body.clone();
        changed.push(b' ');
        let at = flip.index(changed.len());
        changed[at] ^= 1;
        prop_assert_eq!(verify(&key, &id, &text, value, &changed, seconds(stamp)), Err(Refusal::NoMatch));
    }

    #[test]
    fn no_header_makes_the_verifier_fail_over(stamp in ".{0,24}", signatures in ".{0,200}") {
        let _ = verify(&secret(LONGEST), "evt_1", &stamp, &signatures, b"{}", seconds(1));
    }
}
