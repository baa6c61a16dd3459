//! `switchyard plugin new` and `plugin build`: a folder with a plugin that works, and its component.
//!
//! The new plugin is the example `hello-plugin`, which has its own tests here, under another name.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;

use super::output::{Output, text};

const SOURCE: &str = include_str!("../../../examples/hello-plugin/src/lib.rs");
const TESTS: &str = include_str!("../../../examples/hello-plugin/tests/greets.rs");
const TARGET: &str = "wasm32-wasip2";

/// The longest name of a plugin, by the contract.
const NAME_BYTES: usize = 63;

/// Arguments of `plugin new`.
#[derive(Args, Clone, Debug)]
pub struct NewPluginArgs {
    /// The folder to make; its name is the plugin's
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The folder of the SDK; found above the new folder when not given
    #[arg(long, value_name = "FOLDER")]
    pub sdk: Option<PathBuf>,
}

/// Arguments of `plugin build`.
#[derive(Args, Clone, Debug)]
pub struct BuildPluginArgs {
    /// The folder with the plugin's Cargo.toml
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
}

/// Makes the folder of a new plugin. Nothing is overwritten.
///
/// # Errors
/// The name is no plugin's, the folder is there already, the SDK is not found, or a file cannot be written.
pub async fn new_plugin(args: &NewPluginArgs, output: Output) -> anyhow::Result<()> {
    let folder = std::path::absolute(&args.folder)?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    check_name(&name)?;
    ensure!(!folder.exists(), "{} is there already; give another folder, or remove it", folder.display());
    let sdk = find_sdk(&folder, args.sdk.as_deref())?;
    let library = name.replace('-', "_");
    let files = [
        ("Cargo.toml", cargo_toml(&name, &sdk)),
        ("src/lib.rs", SOURCE.replace("Manifest::new(\"hello\"", &format!("Manifest::new(\"{name}\""))),
        ("tests/greets.rs", TESTS.replace("hello_plugin", &library)),
        (".gitignore", "/target\n".to_owned()),
    ];
    for (file, content) in &files {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(&folder);
        tokio::fs::create_dir_all(parent).await.with_context(|| format!("cannot make {}", parent.display()))?;
        tokio::fs::write(&path, content).await.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let made =
        json!({"folder": args.folder, "name": name, "files": files.iter().map(|(file, _)| file).collect::<Vec<_>>()});
    Ok(output.result(&made, |made| {
        let folder = text(made, "folder");
        format!(
            "{folder} holds the plugin {}. Next:\n  cd {folder} && cargo test     # run its tests, without a hub\n  \
             switchyard plugin build {folder}",
            text(made, "name")
        )
    })?)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let shaped = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    ensure!(
        shaped,
        "`{name}` cannot be a plugin's name: begin with a letter of a-z, then use a-z, 0-9 and -, at most {NAME_BYTES} in all"
    );
    Ok(())
}

/// The SDK that was named, or the one of the checkout that the new folder lies in.
fn find_sdk(folder: &Path, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let is_sdk = |path: &Path| path.join("Cargo.toml").is_file() && path.join("src/plugin.rs").is_file();
    if let Some(given) = given {
        ensure!(is_sdk(given), "{} is not the folder `plugin-sdk` of a Switchyard checkout", given.display());
        return Ok(std::path::absolute(given)?);
    }
    let above = folder.ancestors().map(|above| above.join("plugin-sdk")).find(|path| is_sdk(path));
    above.context("no SDK is found above the new folder; name it with --sdk <checkout>/plugin-sdk")
}

fn cargo_toml(name: &str, sdk: &Path) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib", "rlib"]
doctest = false

[dependencies]
schemars = "1"
serde = {{ version = "1", features = ["derive"] }}
serde_json = "1"
switchyard-sdk = {{ path = '{}' }}

# Components are built for speed; names stay so that traps can be read.
[profile.plugin]
inherits = "release"
lto = "fat"
codegen-units = 1
strip = "debuginfo"
panic = "abort"

# A package of its own, wherever it lies.
[workspace]
"#,
        sdk.display()
    )
}

/// Builds the component of a plugin and says where it is.
///
/// # Errors
/// Cargo is missing or fails, or the package makes no component.
pub async fn build_plugin(args: &BuildPluginArgs, output: Output) -> anyhow::Result<()> {
    let manifest = args.folder.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} is not there; name the plugin's folder", manifest.display());
    let built = Command::new("cargo")
        .args(["build", "--profile", "plugin", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(&manifest)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("cargo cannot be started; install Rust from https://rustup.rs")?;
    if !built.status.success() {
        bail!("cargo could not build it; if the target {TARGET} is missing: rustup target add {TARGET}");
    }
    let file = component(&String::from_utf8_lossy(&built.stdout), &std::path::absolute(&manifest)?)
        .context("the package makes no component; its Cargo.toml needs crate-type = [\"cdylib\", \"rlib\"]")?;
    let bytes = tokio::fs::metadata(&file).await.with_context(|| format!("cannot read {file}"))?.len();
    Ok(output.result(&json!({"file": file, "bytes": bytes}), |built| {
        let file = text(built, "file");
        format!("{file} ({bytes} bytes). Next:\n  switchyard plugin inspect {file}\n  switchyard plugin push {file}")
    })?)
}

/// The component among what cargo says that it made for the package of this manifest.
fn component(messages: &str, manifest: &Path) -> Option<String> {
    let made = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    made.filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| same_file(Path::new(path), manifest))
    })
    .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
    .filter_map(|file| file.as_str().map(str::to_owned))
    .find(|file| file.ends_with(".wasm"))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_renamed_where_it_names_itself() {
        assert!(SOURCE.contains("Manifest::new(\"hello\""), "the example's manifest");
        assert!(TESTS.contains("use hello_plugin::"), "the example's tests");
    }

    #[test]
    fn a_name_is_the_contracts() {
        for good in ["a", "acme-crm", "x9"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "9x", "Acme", "a_b", "å", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
