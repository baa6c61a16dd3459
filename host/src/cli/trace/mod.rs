//! `switchyard trace`: the whole story of a correlation id, on the screen or as one page for somebody else.

use std::{os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{
    GlobalArgs,
    client::{CliError, HubClient},
    output::{Output, table, text},
};

/// What must not leave the house.
mod redaction;

/// One page that needs nothing else.
mod page;

use redaction::Redaction;

/// Arguments of `trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// The correlation id
    #[arg(value_name = "CORRELATION-ID")]
    pub id: String,
    /// The tenant
    #[arg(long)]
    pub tenant: String,
    /// Write everything into one page, which opens without a network; nothing is replaced
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Leave out phone numbers, addresses, names and what people wrote
    #[arg(long)]
    pub redact_personal: bool,
}

/// Shows a trace, or writes its bundle.
pub(super) async fn run(args: TraceArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let output = Output::new(global.json);
    let mut story = gather(&hub, &args).await?;
    let redaction = Redaction::new(args.redact_personal);
    redaction.apply(&mut story);
    let Some(path) = args.bundle else {
        return output.result(&story, |story| table(&["AT", "KIND", "WHAT"], &lines(story)));
    };
    let html = page::render(&story);
    let file = path.display().to_string();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, html.as_bytes()));
    written.map_err(|reason| CliError::Written { file: file.clone(), reason })?;
    let note = if args.redact_personal { "secrets and personal data are left out" } else { "secrets are left out" };
    output.result(&json!({"file": file, "bytes": html.len()}), |_| format!("wrote {file}: {note}"))
}

/// Everything that the hub has under the id.
async fn gather(hub: &HubClient, args: &TraceArgs) -> Result<Value, CliError> {
    let of_tenant = |path: &[&str]| -> Vec<String> {
        let tenant: [&str; 3] = ["v1", "tenants", &args.tenant];
        tenant.iter().chain(path).map(|part| (*part).to_owned()).collect()
    };
    let get = async |path: &[&str]| {
        let path = of_tenant(path);
        hub.get(&path.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let list = async |path: &[&str]| {
        let path = of_tenant(path);
        hub.list(&path.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let trace = get(&["traces", &args.id]).await?;
    let entries = trace["entries"].as_array().cloned().unwrap_or_default();
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    for entry in &entries {
        match text(entry, "kind") {
            "event" => events.push(get(&["events", text(entry, "id")]).await?),
            "delivery" => deliveries.push(get(&["deliveries", text(entry, "id")]).await?),
            _ => {}
        }
    }
    let ours = |all: Vec<Value>| -> Vec<Value> {
        all.into_iter().filter(|one| one["correlation_id"] == args.id.as_str()).collect()
    };
    Ok(json!({
        "correlation_id": args.id,
        "tenant": args.tenant,
        "truncated": trace["truncated"],
        "entries": entries,
        "events": events,
        "deliveries": deliveries,
        "rejections": ours(list(&["rejections"]).await?),
        "parked": ours(list(&["parked"]).await?),
    }))
}

fn lines(story: &Value) -> Vec<Vec<String>> {
    let line = |entry: &Value| ["at", "kind", "summary"].map(|field| text(entry, field).to_owned()).to_vec();
    story["entries"].as_array().into_iter().flatten().map(line).collect()
}
