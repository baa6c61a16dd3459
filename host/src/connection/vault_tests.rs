use proptest::prelude::*;

use super::*;
use crate::clock::{ManualClock, Timestamp};

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn vault(keys: &str) -> Vault {
    let ids = Ids::seeded(ManualClock::starting_at(Timestamp(0)), [7; 32]);
    Vault::new(MasterKeys::parse(keys).unwrap(), ids)
}

fn place(tenant: &str) -> Place<'_> {
    Place { tenant, table: "connection", row: b"con_1", column: "secret" }
}

#[test]
fn what_was_sealed_opens_at_its_place_only() {
    let vault = vault(OLD);
    let wrapped = vault.new_tenant_key("acme").unwrap();
    let key = vault.open_tenant_key("acme", &wrapped).unwrap();
    let sealed = vault.seal(&key, place("acme"), b"token").unwrap();
    assert_eq!(vault.open(&key, place("acme"), &sealed).unwrap().as_slice(), b"token");
    let elsewhere = [
        place("other"),
        Place { table: "endpoint", ..place("acme") },
        Place { row: b"con_2", ..place("acme") },
        Place { column: "secrets", ..place("acme") },
    ];
    for wrong in elsewhere {
        assert!(matches!(vault.open(&key, wrong, &sealed), Err(VaultError::DoesNotOpen { .. })), "{wrong:?}");
    }
}

#[test]
fn a_value_of_another_tenant_names_the_key_it_needs() {
    let vault = vault(OLD);
    let ours = vault.open_tenant_key("acme", &vault.new_tenant_key("acme").unwrap()).unwrap();
    let theirs = vault.open_tenant_key("beta", &vault.new_tenant_key("beta").unwrap()).unwrap();
    let sealed = vault.seal(&theirs, place("beta"), b"token").unwrap();
    let error = vault.open(&ours, place("beta"), &sealed).unwrap_err();
    assert!(matches!(error, VaultError::OtherKey { needed, .. } if needed == theirs.id()));
}

#[test]
fn a_tenant_key_does_not_unwrap_for_another_tenant() {
    let vault = vault(OLD);
    let wrapped = vault.new_tenant_key("acme").unwrap();
    assert!(matches!(vault.open_tenant_key("beta", &wrapped), Err(VaultError::DoesNotOpen { .. })));
}

#[test]
fn a_missing_master_key_is_named() {
    let wrapped = vault(OLD).new_tenant_key("acme").unwrap();
    let error = vault(NEW).open_tenant_key("acme", &wrapped).unwrap_err().to_string();
    assert!(error.contains("`old`") && error.contains("(new)"), "{error}");
}

#[test]
fn another_master_key_of_the_same_name_is_an_error_that_names_it() {
    let wrapped = vault(OLD).new_tenant_key("acme").unwrap();
    let error = vault(&NEW.replace("new:", "old:")).open_tenant_key("acme", &wrapped).unwrap_err();
    assert!(matches!(&error, VaultError::DoesNotOpen { key, .. } if key == "old"), "{error}");
}

#[test]
fn rewrapping_moves_a_tenant_to_the_first_master_key_and_keeps_what_was_sealed() {
    let before = vault(OLD);
    let wrapped = before.new_tenant_key("acme").unwrap();
    let sealed = before.seal(&before.open_tenant_key("acme", &wrapped).unwrap(), place("acme"), b"x").unwrap();
    let during = vault(&format!("{NEW},{OLD}"));
    let moved = during.rewrap("acme", &wrapped).unwrap().unwrap();
    assert_eq!(Vault::wrapped_by(&moved).unwrap(), "new");
    assert!(during.rewrap("acme", &moved).unwrap().is_none());
    let after = vault(NEW);
    let key = after.open_tenant_key("acme", &moved).unwrap();
    assert_eq!(after.open(&key, place("acme"), &sealed).unwrap().as_slice(), b"x");
}

#[test]
fn equal_values_are_sealed_differently_each_time() {
    let vault = vault(OLD);
    let key = vault.open_tenant_key("acme", &vault.new_tenant_key("acme").unwrap()).unwrap();
    let once = vault.seal(&key, place("acme"), b"token").unwrap();
    assert_ne!(once, vault.seal(&key, place("acme"), b"token").unwrap());
}

#[test]
fn one_person_has_one_hash_however_written_and_another_in_each_tenant() {
    let vault = vault(OLD);
    let key = vault.open_tenant_key("acme", &vault.new_tenant_key("acme").unwrap()).unwrap();
    let phone = key.person_hash(PersonKind::Phone, "+45 12 34 56 78").unwrap();
    for same in ["004512345678", "+4512345678", "whatsapp:+45-1234-5678", "4512345678"] {
        assert_eq!(key.person_hash(PersonKind::of(same), same), Some(phone), "{same}");
    }
    let email = key.person_hash(PersonKind::Email, "Ida@Example.DK ").unwrap();
    assert_eq!(key.person_hash(PersonKind::of("ida@example.dk"), "ida@example.dk"), Some(email));
    let other = vault.open_tenant_key("beta", &vault.new_tenant_key("beta").unwrap()).unwrap();
    assert_ne!(other.person_hash(PersonKind::Phone, "+4512345678"), Some(phone));
    assert_eq!(key.person_hash(PersonKind::Phone, "anonymous"), None);
}

#[test]
fn keys_do_not_show_themselves_in_debug() {
    let vault = vault(OLD);
    let key = vault.open_tenant_key("acme", &vault.new_tenant_key("acme").unwrap()).unwrap();
    assert_eq!(format!("{key:?}"), format!("TenantKey {{ id: {:?}, .. }}", key.id()));
    assert!(!format!("{vault:?}").contains("[0, 0"));
}

proptest! {
    #[test]
    fn any_value_comes_back_and_any_flipped_bit_is_noticed(
        plain in proptest::collection::vec(any::<u8>(), 0..200),
        flip in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let vault = vault(OLD);
        let key = vault.open_tenant_key("acme", &vault.new_tenant_key("acme").unwrap()).unwrap();
        let mut sealed = vault.seal(&key, place("acme"), &plain).unwrap();
        let opened = vault.open(&key, place("acme"), &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
        let at = flip.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(vault.open(&key, place("acme"), &sealed).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let vault = vault(OLD);
        prop_assert!(vault.open_tenant_key("acme", &bytes).is_err());
    }
}
