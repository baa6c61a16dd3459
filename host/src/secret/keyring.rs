//! The operator's master keys: `id:base64(32 bytes),...`. The first one seals; all of them open, so that a key can be
//! replaced while data sealed under the old one is still there.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::id::Ids;

/// One master key.
pub struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    /// The name under which sealed data refers to this key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// 16 hex digits that tell whether two keys of one name are equal, and nothing else about them. For the database's
    /// meta row, so that a wrong key is noticed at start and not at the first secret.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut mac = keyed(self.bytes());
        mac.update(b"switchyard master key fingerprint v1");
        hex::encode(&mac.finalize().into_bytes()[..8])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// HMAC-SHA256 under a key of 32 bytes.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // A key of at most one block is padded with zeros to the block, so this is the HMAC of the 32 bytes.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    <Hmac<Sha256> as KeyInit>::new((&*block).into())
}

/// Why there is no usable keyring, or why it does not fit the data.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The text or file has no key.
    #[error("no master key is given; the form is id:base64(32 bytes), several separated by commas")]
    Empty,
    /// One entry is not `id:base64(32 bytes)`. Its text is not shown, since part of it may be a key.
    #[error("master key {position} of the list is not of the form id:base64(32 bytes): {problem}")]
    Malformed {
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two entries share a name.
    #[error("master key `{id}` is given twice")]
    Duplicate {
        /// The name.
        id: String,
    },
    /// Sealed data names a key that is not in the ring.
    #[error(
        "the data is sealed with master key `{id}`, which is not among the given ones ({known}); add it to SWITCHYARD_MASTER_KEYS"
    )]
    Missing {
        /// The key that is needed.
        id: String,
        /// The keys that are there.
        known: String,
    },
    /// A key of the right name is there, but it is another key.
    #[error(
        "master key `{id}` is not the key with which this database was made: its fingerprint is {given}, that of the database's {stored}; give the same key on every node, and the old key back under this name"
    )]
    Different {
        /// The name both keys have.
        id: String,
        /// The fingerprint of the key that was given.
        given: String,
        /// The fingerprint of the key that the database knows.
        stored: String,
    },
    /// Others than the owner could read the key file.
    #[error("the key file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file could not be read or made.
    #[error("the key file {path} could not be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The master keys of a process, newest first.
#[derive(Debug)]
pub struct MasterKeys {
    first: MasterKey,
    older: Vec<MasterKey>,
}

/// A keyring from a file, and whether the file was made by this call.
#[derive(Debug)]
pub struct LoadedKeys {
    /// The keys.
    pub keys: MasterKeys,
    /// True once in the life of a file: the caller then warns that the file must be backed up.
    pub created: bool,
}

impl MasterKeys {
    /// Reads `id:base64(32 bytes),...`. Ids are 1 to 32 of `[A-Za-z0-9_-]`. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, entry) in text.trim().split(',').filter(|entry| !entry.trim().is_empty()).enumerate() {
            let malformed = |problem| KeyringError::Malformed { position: index + 1, problem };
            let (id, encoded) = entry.trim().split_once(':').ok_or_else(|| malformed("the colon is missing"))?;
            if !is_key_id(id) {
                return Err(malformed("the id must be 1 to 32 letters, digits, - or _"));
            }
            let decoded = STANDARD.decode(encoded.trim()).map(Zeroizing::new);
            let decoded = decoded.map_err(|_| malformed("the key is not base64"))?;
            let bytes =
                <[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| malformed("the key is not 32 bytes long"))?;
            if keys.iter().any(|key| key.id == id) {
                return Err(KeyringError::Duplicate { id: id.to_owned() });
            }
            keys.push(MasterKey { id: id.to_owned(), bytes: Zeroizing::new(bytes) });
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyringError::Empty)?;
        Ok(Self { first, older: keys.collect() })
    }

    /// Reads the key file.
    ///
    /// # Errors
    /// It is not there, others may read it, or it holds no keys.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        Self::parse(&read_private(path)?)
    }

    /// Reads the key file, or makes it (mode 0600) with one new key. A file that others may read is refused. Two processes
    /// that start at once end with the same key: the file appears whole or not at all.
    pub fn load_or_create(path: &Path, ids: &Ids) -> Result<LoadedKeys, KeyringError> {
        let failed = |source| KeyringError::File { path: path.to_owned(), source };
        match read_private(path) {
            Ok(text) => return Ok(LoadedKeys { keys: Self::parse(&text)?, created: false }),
            Err(KeyringError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(other),
        }
        let created = create_whole(path, ids).map_err(failed)?;
        let text = read_private(path)?;
        Ok(LoadedKeys { keys: Self::parse(&text)?, created })
    }

    /// The key that seals.
    #[must_use]
    pub fn primary(&self) -> &MasterKey {
        &self.first
    }

    /// The key that sealed data names.
    pub fn get(&self, id: &str) -> Result<&MasterKey, KeyringError> {
        self.iter().find(|key| key.id == id).ok_or_else(|| {
            let known = self.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
            KeyringError::Missing { id: id.to_owned(), known }
        })
    }

    /// Checks a key name and fingerprint from the database's meta row against this ring.
    pub fn check(&self, id: &str, fingerprint: &str) -> Result<(), KeyringError> {
        let ours = self.get(id)?.fingerprint();
        let equal: bool = ours.as_bytes().ct_eq(fingerprint.as_bytes()).into();
        if equal {
            return Ok(());
        }
        Err(KeyringError::Different { id: id.to_owned(), given: ours, stored: fingerprint.to_owned() })
    }

    /// All keys, the sealing one first.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.first).chain(&self.older)
    }
}

pub(crate) fn is_key_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyringError> {
    let failed = |source| KeyringError::File { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    // The permission is read from the open file, so the file cannot be exchanged in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyringError::ReadableByOthers { path: path.to_owned(), mode });
    }
    io::read_to_string(file).map(Zeroizing::new).map_err(failed)
}

/// Writes a new key beside `path` and links it into place, which fails if somebody else was first.
fn create_whole(path: &Path, ids: &Ids) -> io::Result<bool> {
    let key = Zeroizing::new(ids.random::<32>());
    let id = format!("k{}", hex::encode(ids.random::<4>()));
    let text = Zeroizing::new(format!("{id}:{}\n", *Zeroizing::new(STANDARD.encode(*key))));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = folder.join(format!(".{id}.new"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let linked =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    let created = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    fs::File::open(folder)?.sync_all()?;
    Ok(created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn ids(seed: u8) -> Ids {
        Ids::seeded(ManualClock::starting_at(Timestamp(0)), [seed; 32])
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let ring = MasterKeys::parse(&format!("{NEW},{OLD}")).unwrap();
        assert_eq!(ring.primary().id(), "new");
        assert_eq!(ring.get("old").unwrap().bytes(), &[0; 32]);
    }

    #[test]
    fn a_missing_key_is_named_with_the_ones_that_are_there() {
        let error = MasterKeys::parse(&format!("{NEW},{OLD}")).unwrap().get("lost").unwrap_err().to_string();
        assert!(error.contains("`lost`") && error.contains("new, old"), "{error}");
    }

    #[test]
    fn malformed_lists_are_refused_without_repeating_the_key() {
        for (text, problem) in [
            ("", "no master key"),
            ("abc", "colon"),
            ("a b:AAAA", "the id"),
            ("a:secret!", "not base64"),
            ("a:c2VjcmV0", "not 32 bytes"),
            (&format!("{OLD},{OLD}"), "twice"),
        ] {
            let error = MasterKeys::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains("c2VjcmV0") && !error.contains("secret!"), "{error}");
        }
    }

    #[test]
    fn a_key_of_the_same_name_but_other_bytes_is_noticed() {
        let made_with = MasterKeys::parse(OLD).unwrap().primary().fingerprint();
        assert!(MasterKeys::parse(OLD).unwrap().check("old", &made_with).is_ok());
        let other = MasterKeys::parse(&NEW.replace("new:", "old:")).unwrap();
        assert!(matches!(other.check("old", &made_with), Err(KeyringError::Different { .. })));
        assert!(matches!(other.check("gone", &made_with), Err(KeyringError::Missing { .. })));
    }

    #[test]
    fn keys_do_not_show_themselves_in_debug() {
        let shown = format!("{:?}", MasterKeys::parse(NEW).unwrap());
        assert!(shown.contains("new") && !shown.contains("1, 1"), "{shown}");
    }

    #[test]
    fn a_key_file_is_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let first = MasterKeys::load_or_create(&path, &ids(1)).unwrap();
        let again = MasterKeys::load_or_create(&path, &ids(2)).unwrap();
        assert!(first.created && !again.created);
        assert_eq!(first.keys.primary().fingerprint(), again.keys.primary().fingerprint());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_another_process_made_first_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(create_whole(&path, &ids(1)).unwrap());
        let before = fs::read_to_string(&path).unwrap();
        assert!(!create_whole(&path, &ids(2)).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKeys::load_or_create(&path, &ids(1)).unwrap();
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = MasterKeys::load_or_create(&path, &ids(1)).unwrap_err();
            assert!(matches!(error, KeyringError::ReadableByOthers { .. }));
            assert!(error.to_string().contains("chmod 600"));
        }
    }

    #[test]
    fn a_folder_that_does_not_exist_is_an_error_that_names_the_file() {
        let error = MasterKeys::load_or_create(Path::new("/nowhere/at/all/master.key"), &ids(1)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all/master.key"));
    }
}
