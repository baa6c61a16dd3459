//! Native code on disk is used while its seal verifies, and made again whenever it does not.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use switchyard::plugin::sandbox::{Sandbox, SandboxError, SandboxOptions};

use crate::support::{clock, wasm};

const KEY: [u8; 32] = [9; 32];

fn sandbox(dir: &Path, cache_key: [u8; 32]) -> Result<Sandbox, SandboxError> {
    let options = SandboxOptions { pool_size: 8, threads: 1, cache_dir: Some(dir.to_path_buf()), cache_key };
    Sandbox::new(options, clock())
}

/// Compiles with a new sandbox and calls `describe`, so that the code is known to run.
async fn compile(dir: &Path, key: [u8; 32]) {
    let sandbox = sandbox(dir, key).unwrap();
    let guest = sandbox.compile(wasm().to_vec()).await.unwrap();
    sandbox.describe(&guest).await.unwrap();
}

fn only_file(dir: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Which file it is: writing anew makes another inode.
fn identity(file: &Path) -> u64 {
    fs::symlink_metadata(file).unwrap().ino()
}

#[tokio::test]
async fn sealed_code_is_used_and_tampered_code_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("native");
    compile(&dir, KEY).await;
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let file = only_file(&dir);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = identity(&file);
    compile(&dir, KEY).await;
    assert_eq!(identity(&file), first, "the file is used as it is");

    let mut code = fs::read(&file).unwrap();
    let last = code.len() - 1;
    code[last] ^= 1;
    fs::write(&file, &code).unwrap();
    compile(&dir, KEY).await;
    assert_ne!(fs::read(&file).unwrap(), code, "a file with one bit changed is replaced");

    fs::write(&file, b"short").unwrap();
    compile(&dir, KEY).await;
    assert!(fs::metadata(&file).unwrap().len() > 1_000, "a file too short for its seal is replaced");

    let sealed = identity(&file);
    compile(&dir, [8; 32]).await;
    assert_ne!(identity(&file), sealed, "code sealed under another key is replaced");
}

#[tokio::test]
async fn a_symbolic_link_is_never_followed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("native");
    compile(&dir, KEY).await;
    let file = only_file(&dir);
    let elsewhere = root.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    compile(&dir, KEY).await;
    assert!(fs::symlink_metadata(&file).unwrap().is_file(), "the link is replaced by a file");

    let link = root.path().join("link");
    symlink(&dir, &link).unwrap();
    assert!(matches!(sandbox(&link, KEY), Err(SandboxError::Cache { .. })));
}

#[tokio::test]
async fn what_other_versions_left_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("native");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("0000000000000000-old.native"), b"old").unwrap();
    fs::write(dir.join("notes.txt"), b"not ours").unwrap();
    sandbox(&dir, KEY).unwrap();
    assert_eq!(only_file(&dir).file_name().unwrap(), "notes.txt");
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}
