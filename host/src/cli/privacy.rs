//! `privacy export` and `privacy erase`: what persons ask for, from the question to its end.

use std::{os::unix::fs::OpenOptionsExt as _, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    GlobalArgs,
    client::{CliError, HubClient},
    output::{Output, table, text},
};

/// Between two looks at how far a request came.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a person asks for.
#[derive(Subcommand)]
pub enum PrivacyCommand {
    /// Write everything that is kept about a person to a file, one JSON object a line
    Export(ExportArgs),
    /// Erase everything that is kept about a person, and cancel what is still on its way
    Erase(EraseArgs),
    /// List what was asked for, newest first
    List {
        /// The tenant
        #[arg(long)]
        tenant: String,
    },
}

/// Whom it is about.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct PersonArgs {
    /// The phone number with its country: +4520123456
    #[arg(long)]
    pub phone: Option<String>,
    /// The e-mail address
    #[arg(long)]
    pub email: Option<String>,
}

/// Arguments of `privacy export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The tenant
    #[arg(long)]
    pub tenant: String,
    /// Whom it is about
    #[command(flatten)]
    pub person: PersonArgs,
    /// Where to write it; nothing is replaced
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// Arguments of `privacy erase`.
#[derive(Args, Clone, Debug)]
pub struct EraseArgs {
    /// The tenant
    #[arg(long)]
    pub tenant: String,
    /// Whom it is about
    #[command(flatten)]
    pub person: PersonArgs,
    /// Go ahead: what is erased does not come back
    #[arg(long)]
    pub yes: bool,
    /// Only ask for it, and do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
}

/// Runs a command against a running hub.
pub(super) async fn run(command: PrivacyCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let output = Output::new(global.json);
    match command {
        PrivacyCommand::Export(args) => export(&hub, args, output).await,
        PrivacyCommand::Erase(args) => erase(&hub, args, output).await,
        PrivacyCommand::List { tenant } => {
            let all = Value::from(hub.list(&["v1", "tenants", &tenant, "privacy", "requests"]).await?);
            output.result(&all, listed)
        }
    }
}

async fn export(hub: &HubClient, args: ExportArgs, output: Output) -> Result<(), CliError> {
    let failed = |reason| CliError::Written { file: args.to.display().to_string(), reason };
    // Before anything is asked, so that nothing is found that cannot be kept; and for nobody else to read.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.to).map_err(failed)?;
    let asked = hub.post(&["v1", "tenants", &args.tenant, "privacy", "export"], &about(&args.person)).await?;
    let done = follow(hub, &args.tenant, asked, output).await?;
    let path: [&str; 7] = ["v1", "tenants", &args.tenant, "privacy", "requests", text(&done, "id"), "export"];
    let bytes = hub.download(&path, file, &args.to.display().to_string()).await?;
    let written = json!({"file": args.to.display().to_string(), "bytes": bytes, "request": done});
    output.result(&written, |written| {
        let found = found(&written["request"]["progress"]);
        format!("wrote {} ({} KiB): {found}", text(written, "file"), bytes.div_ceil(1024))
    })
}

async fn erase(hub: &HubClient, args: EraseArgs, output: Output) -> Result<(), CliError> {
    if !args.yes {
        return Err(CliError::Senseless(
            "what is erased does not come back; look with `privacy export` first, then add --yes",
        ));
    }
    let asked = hub.post(&["v1", "tenants", &args.tenant, "privacy", "erase"], &about(&args.person)).await?;
    if args.no_wait {
        return output.result(&asked, |asked| format!("{} is being carried out", text(asked, "id")));
    }
    let done = follow(hub, &args.tenant, asked, output).await?;
    output.result(&done, |done| format!("erased: {}", found(&done["progress"])))
}

fn about(person: &PersonArgs) -> Value {
    let fields = [("phone", &person.phone), ("email", &person.email)];
    let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value.clone()?))));
    Value::Object(given.collect::<Map<_, _>>())
}

/// Looks at a request until it is done, and says how far it is.
async fn follow(hub: &HubClient, tenant: &str, mut request: Value, output: Output) -> Result<Value, CliError> {
    loop {
        let is_done = request["state"] == "done";
        output.progress(&standing(&request), is_done);
        if is_done {
            return Ok(request);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let id = text(&request, "id").to_owned();
        request = hub.get(&["v1", "tenants", tenant, "privacy", "requests", &id]).await?;
    }
}

fn standing(request: &Value) -> String {
    let progress = &request["progress"];
    let place = progress["place"].as_str().unwrap_or("the end");
    let held_up = match progress["held_up"].as_u64().unwrap_or(0) {
        0 => String::new(),
        count => format!(", {count} wait for deliveries under way"),
    };
    format!(
        "walk {}: at {place}, {} of {} places, {} rows looked at, {}{held_up}",
        progress["walks"].as_u64().unwrap_or(0) + 1,
        progress["places_done"],
        progress["places"],
        progress["looked_at"],
        found(progress)
    )
}

fn found(progress: &Value) -> String {
    let found = progress["found"].as_object();
    let parts: Vec<String> = found.into_iter().flatten().map(|(place, count)| format!("{count} {place}")).collect();
    if parts.is_empty() { "nothing found".to_owned() } else { parts.join(", ") }
}

fn listed(all: &Value) -> String {
    let row = |request: &Value| {
        let columns = ["id", "asked", "kind", "state", "created_at", "actor"];
        columns.iter().map(|column| text(request, column).to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = all.as_array().into_iter().flatten().map(row).collect();
    table(&["ID", "ASKED", "BY", "STATE", "AT", "ACTOR"], &rows)
}
