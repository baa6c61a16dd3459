//! `switchyard plugin inspect`: what a component says of itself, in the real sandbox and without a hub.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    cli::{InspectArgs, Output},
    clock::SystemClock,
    plugin::{
        manifest::validate,
        sandbox::{Sandbox, SandboxOptions},
    },
};

/// Compiles the file, asks it for its manifest and checks that.
///
/// # Errors
/// The file is no plugin, or its manifest is not valid; each fault names its field.
pub async fn inspect(args: &InspectArgs, output: Output) -> anyhow::Result<()> {
    let wasm = tokio::fs::read(&args.file).await.with_context(|| format!("cannot read {}", args.file.display()))?;
    let bytes = wasm.len();
    let sandbox = Sandbox::new(SandboxOptions { pool_size: 4, ..SandboxOptions::uncached() }, SystemClock::shared())?;
    let guest = sandbox.compile(wasm).await?;
    let manifest = sandbox.describe(&guest).await?;
    validate(&manifest, guest.exports()).map_err(|invalid| {
        let faults: Vec<String> =
            invalid.0.iter().map(|fault| format!("{}: {}; {}", fault.field, fault.problem, fault.fix)).collect();
        anyhow::anyhow!("the manifest is not valid:\n  {}", faults.join("\n  "))
    })?;
    let exports = guest.exports();
    let value = json!({
        "manifest": manifest,
        "exports": {"ingest": exports.ingest, "handler": exports.handler, "poller": exports.poller, "lifecycle": exports.lifecycle},
        "imports": guest.imports(),
        "sha256": guest.sha256(),
        "bytes": bytes,
    });
    Ok(output.result(&value, describe)?)
}

fn describe(value: &Value) -> String {
    let manifest = &value["manifest"];
    let names = |list: &Value| -> String {
        let names: Vec<&str> =
            list.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str()).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    let exports: Vec<&str> = ["ingest", "handler", "poller", "lifecycle"]
        .into_iter()
        .filter(|name| value["exports"][name] == true)
        .collect();
    format!(
        "{} {}: {}\n  exports:     {}\n  emits:       {}\n  handles:     {}\n  connections: {}\n  secrets:     {}\n  schedules:   {}\n  sha256:      {} ({} bytes)",
        manifest["id"].as_str().unwrap_or_default(),
        manifest["version"].as_str().unwrap_or_default(),
        manifest["description"].as_str().unwrap_or_default(),
        exports.join(", "),
        names(&manifest["emits"]),
        names(&manifest["handles"]),
        names(&manifest["connections"]),
        names(&manifest["secrets"]),
        names(&manifest["schedules"]),
        value["sha256"].as_str().unwrap_or_default(),
        value["bytes"],
    )
}
