//! The commands that talk to a hub or a simulator.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    args::{CreateKeyArgs, EventsCommand, GlobalArgs, KeyScope, KeysCommand, PushArgs, RemoteCommand, SendArgs},
    client::{CliError, HubClient},
    import::import,
    master_keys,
    output::{Output, table, text},
    privacy, rules, simulate, trace,
};

/// Runs a command against a running hub or simulator and prints what came of it.
///
/// # Errors
///
/// See [`CliError`]; each says the fix.
pub async fn run(command: RemoteCommand, global: &GlobalArgs) -> Result<(), CliError> {
    match command {
        RemoteCommand::Events(EventsCommand::Send(args)) => send(args, global).await,
        RemoteCommand::Events(EventsCommand::Import(args)) => import(args, global).await,
        RemoteCommand::Events(EventsCommand::Replay { tenant, id }) => replay(&tenant, &id, global).await,
        RemoteCommand::Rules(command) => rules::run(command, global).await,
        RemoteCommand::Keys(command) => keys(command, global).await,
        RemoteCommand::Simulate(args) => simulate::run(args, global).await,
        RemoteCommand::Privacy(command) => privacy::run(command, global).await,
        RemoteCommand::Trace(args) => trace::run(args, global).await,
    }
}

/// Uploads a component, which the hub compiles before it answers.
///
/// # Errors
///
/// See [`CliError`].
pub async fn push(args: &PushArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let output = Output::new(global.json);
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let wasm =
        std::fs::read(&args.file).map_err(|reason| CliError::File { file: args.file.display().to_string(), reason })?;
    let (name, size) = (args.file.display().to_string(), wasm.len());
    let report = move |sent: usize| {
        let percent = sent.saturating_mul(100).checked_div(size).unwrap_or(100);
        let done = sent == size;
        let text =
            if done { format!("{name}: {} KiB sent, compiling", size / 1024) } else { format!("{name}: {percent} %") };
        output.progress(&text, done);
    };
    let added = hub.upload(&["v1", "plugins"], wasm.into(), report).await?;
    output.result(&added, |added| {
        format!("{} {} is there (sha256 {})", text(added, "name"), text(added, "version"), text(added, "sha256"))
    })
}

async fn send(args: SendArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let mut event = Map::new();
    event.insert("type".to_owned(), args.type_.into());
    event.insert("data".to_owned(), data(args.data, args.data_file)?);
    let optional = [
        ("id", args.id),
        ("subject", args.subject),
        ("ordering_key", args.ordering_key),
        ("correlation_id", args.correlation_id),
        ("expires_at", args.expires_at),
        ("urgency", args.emergency.then(|| "emergency".to_owned())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            event.insert(name.to_owned(), value.into());
        }
    }
    let accepted = hub.post(&["v1", "tenants", &args.tenant, "events"], &event.into()).await?;
    Output::new(global.json).result(&accepted, |accepted| {
        let known = if accepted["duplicate"] == true { " (was there already)" } else { "" };
        format!("accepted {}{known}, correlation id {}", text(accepted, "id"), text(accepted, "correlation_id"))
    })
}

async fn replay(tenant: &str, id: &str, global: &GlobalArgs) -> Result<(), CliError> {
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let rerouted = hub.post(&["v1", "tenants", tenant, "events", id, "replay"], &json!({})).await?;
    Output::new(global.json).result(&rerouted, |rerouted| {
        let targets: Vec<&str> =
            rerouted["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match targets[..] {
            [] => format!("{id} goes to nobody now"),
            _ => format!("{id} goes to {}", targets.join(", ")),
        }
    })
}

fn data(given: Option<String>, file: Option<PathBuf>) -> Result<Value, CliError> {
    let (place, json) = match (given, file) {
        (Some(json), _) => ("--data".to_owned(), json),
        (None, Some(path)) if path != Path::new("-") => {
            let place = path.display().to_string();
            let json = std::fs::read_to_string(&path);
            (place.clone(), json.map_err(|reason| CliError::File { file: place, reason })?)
        }
        (None, _) => {
            let mut json = String::new();
            let place = "standard input".to_owned();
            match std::io::stdin().read_to_string(&mut json) {
                Ok(_) => (place, json),
                Err(reason) => return Err(CliError::File { file: place, reason }),
            }
        }
    };
    serde_json::from_str(&json).map_err(|reason| CliError::NotJson { place, reason })
}

async fn keys(command: KeysCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let output = Output::new(global.json);
    match command {
        KeysCommand::Create(args) => {
            let made = hub.post(&["v1", "keys"], &new_key(args)).await?;
            output.result(&made, |made| {
                let note = "This is the only time it is shown.";
                format!("{}\n{} {note}", text(made, "key"), text(made, "id"))
            })
        }
        KeysCommand::List => {
            let keys = Value::from(hub.list(&["v1", "keys"]).await?);
            output.result(&keys, key_table)
        }
        KeysCommand::Revoke { id } => {
            hub.delete(&["v1", "keys", &id]).await?;
            output.result(&json!({"id": id, "revoked": true}), |_| format!("revoked {id}"))
        }
        KeysCommand::Renew { id } => {
            let made = hub.post(&["v1", "keys", &id, "rotate"], &json!({})).await?;
            output.result(&made, |made| format!("{}\nThis is the only time it is shown.", text(made, "key")))
        }
        KeysCommand::Status => master_keys::status(&hub, output).await,
        KeysCommand::Rotate => master_keys::rotate(&hub, output).await,
    }
}

fn new_key(args: CreateKeyArgs) -> Value {
    let scope = match args.scope {
        KeyScope::Operator => "operator",
        KeyScope::Admin => "admin",
        KeyScope::Publisher => "publisher",
        KeyScope::Reader => "reader",
    };
    let mut key = Map::from_iter([("scope".to_owned(), Value::from(scope))]);
    if let Some(tenant) = args.tenant {
        key.insert("tenant".to_owned(), tenant.into());
    }
    if args.emergency {
        key.insert("emergency".to_owned(), true.into());
    }
    if let Some(end) = args.expires_at {
        key.insert("expires_at".to_owned(), end.into());
    }
    key.into()
}

fn key_table(keys: &Value) -> String {
    let columns = ["id", "scope", "tenant", "last_used_at", "expires_at"];
    let rows: Vec<Vec<String>> = keys
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| columns.iter().map(|column| key[*column].as_str().unwrap_or("-").to_owned()).collect())
        .collect();
    table(&["ID", "SCOPE", "TENANT", "LAST USED", "ENDS"], &rows)
}

#[cfg(test)]
mod tests;
