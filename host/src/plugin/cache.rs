//! Native code on disk, so that a start does not compile. A file is only as good as its seal: whatever does not
//! verify is compiled again and replaced.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{Hash as _, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};
use zeroize::Zeroizing;

const SEAL_BYTES: usize = 32;

/// The largest file worth reading; the native code of a 16 MiB interpreter has 40 MiB.
const FILE_BYTES: u64 = 256 << 20;

const EXTENSION: &str = "native";

/// A directory of sealed native code for one engine. Names begin with a hash of what the code depends on: the full
/// wasmtime version and all settings that decide whether this engine can run it.
pub(super) struct Cache {
    dir: PathBuf,
    compatibility: String,
    key: Zeroizing<[u8; 32]>,
}

/// What a directory of native code holds.
#[derive(Debug, Default)]
pub struct CacheContents {
    /// Files whose seal verifies.
    pub sealed: usize,
    /// Files of this version whose seal does not: they are made again.
    pub refused: Vec<String>,
    /// Files of other versions and settings: they are removed at the next start.
    pub other: usize,
}

impl Cache {
    /// Opens or makes `dir`, for its owner only, and removes what other versions left there.
    pub(super) fn open(dir: PathBuf, key: [u8; 32], engine: &Engine) -> io::Result<Self> {
        match fs::symlink_metadata(&dir) {
            Ok(meta) if !meta.is_dir() => {
                return Err(io::Error::other(format!("{} is not a directory, or is a symbolic link", dir.display())));
            }
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            }
            Err(error) => return Err(error),
        }
        let cache = Self::at(dir, key, engine);
        cache.remove_stale();
        Ok(cache)
    }

    fn at(dir: PathBuf, key: [u8; 32], engine: &Engine) -> Self {
        Self { dir, compatibility: compatibility(engine), key: Zeroizing::new(key) }
    }

    /// Reads every file of `dir` and changes nothing.
    pub(super) fn examine(dir: PathBuf, key: [u8; 32], engine: &Engine) -> io::Result<CacheContents> {
        let cache = Self::at(dir, key, engine);
        let mut found = CacheContents::default();
        for entry in fs::read_dir(&cache.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with(&cache.compatibility) {
                found.other += 1;
            } else if cache.read(&path).is_ok_and(|code| code.is_some()) {
                found.sealed += 1;
            } else {
                found.refused.push(name);
            }
        }
        Ok(found)
    }

    /// The component whose wasm has this SHA-256, if a file for it verifies.
    pub(super) fn load(&self, engine: &Engine, sha256: &str) -> Option<Component> {
        let path = self.path(sha256);
        let code = match self.read(&path) {
            Ok(code) => code?,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "Cached native code is refused and made again.");
                return None;
            }
        };
        match deserialize(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(file = %path.display(), error, "Cached native code does not load and is made again.");
                None
            }
        }
    }

    /// Stores the component's code; a failure costs the next start a compilation and nothing else.
    pub(super) fn store(&self, sha256: &str, component: &Component) {
        let path = self.path(sha256);
        let written = component.serialize().map_err(io::Error::other).and_then(|code| self.write(&path, &code));
        if let Err(error) = written {
            tracing::warn!(file = %path.display(), %error, "Native code could not be cached.");
        }
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{}-{sha256}.{EXTENSION}", self.compatibility))
    }

    /// The verified code; none if there is no file.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !meta.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut sealed = Vec::new();
        File::open(path)?.take(FILE_BYTES).read_to_end(&mut sealed)?;
        if sealed.len() < SEAL_BYTES {
            return Err(io::Error::other("too short for its seal"));
        }
        let code = sealed.split_off(SEAL_BYTES);
        self.mac(path, &code)?.verify_slice(&sealed).map_err(|_| io::Error::other("the seal does not verify"))?;
        Ok(Some(code))
    }

    /// Writes beside the target and renames, so that a reader sees a whole file or none.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let seal = self.mac(path, code)?.finalize().into_bytes();
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        // A file left by a killed process is in the way of `create_new`, which alone never follows a link.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&seal)?;
        file.write_all(code)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// The seal covers the file's name too: code of one plugin cannot stand in for that of another.
    fn mac(&self, path: &Path, code: &[u8]) -> io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).map_err(io::Error::other)?;
        mac.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        mac.update(&[0]);
        mac.update(code);
        Ok(mac)
    }

    fn remove_stale(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let ours = name.ends_with(&format!(".{EXTENSION}")) || name.ends_with(".new");
            if ours && !(name.starts_with(&self.compatibility) && name.ends_with(&format!(".{EXTENSION}"))) {
                // Nothing depends on it: what cannot be removed is only in the way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Turns verified bytes into code.
#[expect(unsafe_code, reason = "the bytes were written by this host, for this engine, and their seal was verified")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime asks for bytes that `Component::serialize` made and nobody changed since. `Cache::read`
    // returned them after verifying an HMAC under a key that only this host has, over the very buffer given here.
    unsafe { Component::deserialize(engine, code) }
}

/// Hashes the engine's compatibility, which includes wasmtime's full version, as SHA-256.
fn compatibility(engine: &Engine) -> String {
    let mut hasher = ShaHasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    std::env::consts::ARCH.hash(&mut hasher);
    hex::encode(&hasher.0.finalize()[..8])
}

struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Asked by nobody: the digest is taken from the field.
    fn finish(&self) -> u64 {
        0
    }
}
