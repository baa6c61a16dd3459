use std::path::{Path, PathBuf};

use super::report::Report;
use crate::{
    app::{plugin_cache, plugin_dir},
    clock::SharedClock,
    config::Settings,
    plugin::{
        manifest::validate,
        sandbox::{Sandbox, SandboxOptions},
    },
};

/// Looks at the plugins that the hub would register, and at the code that it compiled before.
pub(super) async fn look(settings: &Settings, cache_key: Option<[u8; 32]>, clock: &SharedClock, report: &mut Report) {
    let options = SandboxOptions { pool_size: 8, ..SandboxOptions::uncached() };
    let sandbox = match Sandbox::new(options, clock.clone()) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            return report.fail("sandbox", error.to_string(), "look at the limits of address space (`ulimit -v`)");
        }
    };
    if let Some(key) = cache_key {
        cache(&sandbox, plugin_cache(&settings.database_url), key, report);
    }
    match plugin_dir(settings) {
        Ok(folder) => bundled(&sandbox, &folder, report).await,
        Err(error) => report.warn("plugins", error.to_string(), "set SWITCHYARD_PLUGIN_DIR"),
    }
}

fn cache(sandbox: &Sandbox, dir: PathBuf, key: [u8; 32], report: &mut Report) {
    let shown = dir.display().to_string();
    match sandbox.examine_cache(dir, key) {
        Ok(found) if found.refused.is_empty() => {
            let other = if found.other == 0 { String::new() } else { format!(", {} of another version", found.other) };
            report.ok("plugin cache", format!("{} sealed files for this version's wasmtime{other}", found.sealed));
        }
        Ok(found) => {
            let said = format!("{} in {shown} is not as the hub sealed it", found.refused.join(", "));
            report.warn("plugin cache", said, "the hub compiles it anew; find out who writes there");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.ok("plugin cache", "empty: the next start compiles".to_owned());
        }
        Err(error) => {
            let fix = format!("make it a folder of the hub's user, or remove it: rm -r {shown}");
            report.fail("plugin cache", format!("{shown}: {error}"), fix);
        }
    }
}

async fn bundled(sandbox: &Sandbox, folder: &Path, report: &mut Report) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let said = format!("{}: {error}", folder.display());
            return report.warn("plugins", said, "set SWITCHYARD_PLUGIN_DIR to the folder of the bundled plugins");
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "wasm") && path.is_file());
    files.sort();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in files {
        match load(sandbox, &file).await {
            Ok(name) => good.push(name),
            Err(error) => bad.push(format!("{}: {error:#}", file.display())),
        }
    }
    if bad.is_empty() {
        let names = if good.is_empty() { "none".to_owned() } else { good.join(", ") };
        report.ok("plugins", format!("{names} in {}", folder.display()));
    } else {
        report.fail("plugins", bad.join("; "), "build them for this version (`make plugins`), or take them away");
    }
}

/// Compiles a file and asks it what it is, as the hub does at start.
async fn load(sandbox: &Sandbox, file: &Path) -> anyhow::Result<String> {
    let guest = sandbox.compile(tokio::fs::read(file).await?).await?;
    let manifest = sandbox.describe(&guest).await?;
    validate(&manifest, guest.exports()).map_err(|invalid| {
        let faults: Vec<_> = invalid.0.iter().map(|fault| format!("{}: {}", fault.field, fault.problem)).collect();
        anyhow::anyhow!("{}", faults.join("; "))
    })?;
    Ok(format!("{} {}", manifest.id, manifest.version))
}
