use secrecy::ExposeSecret as _;

use super::report::Report;
use crate::{
    app::key_file,
    clock::SharedClock,
    config::{Database, Settings},
    connection::{master_keys, vault::Vault},
    id::Ids,
    secret::keyring::{KeyringError, MasterKeys},
    store::examine::Kept,
};

/// Looks at the master keys, and whether they open what the database holds, if it could be read.
pub(super) fn look(settings: &Settings, found: Option<&Kept>, clock: &SharedClock, report: &mut Report) {
    let Some(keys) = keyring(settings, found, report) else { return };
    for (id, fingerprint) in found.map(|found| found.fingerprints.as_slice()).unwrap_or_default() {
        if let Err(error @ KeyringError::Different { .. }) = keys.check(id, fingerprint) {
            return report.fail("master keys", error.to_string(), format!("give `{id}` its own key, or another name"));
        }
    }
    let ids = keys.iter().map(|key| format!("{} ({})", key.id(), key.fingerprint())).collect::<Vec<_>>().join(", ");
    report.ok("master keys", format!("{ids}; the first seals"));
    if let Some(found) = found {
        opened(keys, found, clock, report);
    }
}

/// The keys that the settings name, read as the hub reads them; nothing is made.
fn keyring(settings: &Settings, found: Option<&Kept>, report: &mut Report) -> Option<MasterKeys> {
    let (read, path) = match (&settings.master_keys, &settings.database_url) {
        (Some(text), _) => (MasterKeys::parse(text.expose_secret()), std::path::PathBuf::new()),
        (None, Database::Sqlite(file)) => (MasterKeys::load(&key_file(file)), key_file(file)),
        (None, Database::Postgres(_)) => {
            let said = "SWITCHYARD_MASTER_KEYS is not set; with PostgreSQL no key is made";
            report.fail("master keys", said.to_owned(), "give every node the same: k1:`openssl rand -base64 32`");
            return None;
        }
    };
    match read {
        Ok(keys) => return Some(keys),
        Err(KeyringError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            if found.is_none_or(|found| found.keys.is_empty()) {
                report.ok("master keys", format!("none yet; the first start makes {}", path.display()));
            } else {
                let said = format!("{} is not there, and SWITCHYARD_MASTER_KEYS is not set", path.display());
                report.fail("master keys", said, "put the key back: without it no secret in the database opens");
            }
        }
        Err(error @ KeyringError::ReadableByOthers { .. }) => {
            report.fail("master keys", error.to_string(), format!("chmod 600 {}", path.display()));
        }
        Err(error) => report.fail("master keys", error.to_string(), "a key is made by `openssl rand -base64 32`"),
    }
    None
}

fn opened(keys: MasterKeys, found: &Kept, clock: &SharedClock, report: &mut Report) {
    let checked = master_keys::require(&keys, &found.keys).and_then(|()| master_keys::uses(&keys, &found.keys));
    let uses = match checked {
        Ok(uses) => uses,
        Err(error) => {
            return report.fail("data keys", error.to_string(), "give the missing key back behind the others");
        }
    };
    let vault = Vault::new(keys, Ids::from_os(clock.clone()));
    if let Err(error) = master_keys::open_all(&vault, &found.keys) {
        return report.fail("data keys", error.to_string(), "restore the latest backup: its tenant's secrets are lost");
    }
    let old: Vec<_> = uses.iter().filter(|key| !key.sealing && !key.is_free()).map(|key| key.id.clone()).collect();
    let said = format!("every one of {} opens", found.keys.len());
    if old.is_empty() {
        report.ok("data keys", said);
    } else {
        let said = format!("{said}; some are still under {}", old.join(", "));
        report.warn("data keys", said, "`switchyard keys rotate` moves them to the first master key");
    }
}
