//! `switchyard migrate move`: from a file to a server.

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::{
    app::key_file,
    cli::Output,
    clock::SystemClock,
    config::{Database, Settings},
    store::transfer::{self, Progress, Transferred},
};

/// How many characters the bar has.
const BAR: usize = 30;

/// Arguments of `migrate move`.
#[derive(Args, Clone, Debug)]
pub struct MoveArgs {
    /// The file of the stopped hub, as sqlite:./data/switchyard.db; nothing in it is changed
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// The empty database, as postgres://user@host/name; better left out, so that the setting database_url names it and
    /// no password stands in the list of processes
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub to: Option<SecretString>,
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

pub(super) async fn run(args: &MoveArgs, settings: &Settings, dry_run: bool, output: Output) -> anyhow::Result<()> {
    let from = match args.from.parse() {
        Ok(Database::Sqlite(path)) => path,
        _ => anyhow::bail!("--from names no file; write it as sqlite:./data/switchyard.db"),
    };
    let to = match args.to.as_ref().map(|url| url.expose_secret().parse()) {
        None => settings.database_url.clone(),
        Some(Ok(database)) => database,
        Some(Err(error)) => anyhow::bail!("--to: {error}"),
    };
    let Database::Postgres(to) = to else {
        anyhow::bail!(
            "there is no PostgreSQL database to move to; give --to postgres://.., or set SWITCHYARD_DATABASE_URL"
        );
    };
    let mut show = |progress: Progress<'_>| output.progress(&bar(&progress), progress.done == progress.total);
    let done = transfer::run(&from, to.expose_secret(), dry_run, SystemClock::shared(), &mut show).await?;
    let value = json!({
        "from": from.display().to_string(),
        "to": done.to,
        "moved": !dry_run,
        "tables": done.tables.iter().map(|table| json!({"name": table.name, "rows": table.rows, "checksum": table.checksum})).collect::<Vec<_>>(),
    });
    Ok(output.result(&value, |_| told(&done, &from, settings, dry_run))?)
}

fn bar(progress: &Progress<'_>) -> String {
    let share = progress.done as f64 / progress.total.max(1) as f64;
    let full = ((share * BAR as f64) as usize).min(BAR);
    let (done, rest) = ("#".repeat(full), ".".repeat(BAR - full));
    let Progress { act, table, done: rows, total } = progress;
    format!("[{done}{rest}] {:3.0} %  {act} {table}, {rows} of {total} rows", share * 100.0)
}

fn told(done: &Transferred, from: &std::path::Path, settings: &Settings, dry_run: bool) -> String {
    let rows: u64 = done.tables.iter().map(|table| table.rows).sum();
    let (count, to) = (done.tables.len(), &done.to);
    if dry_run {
        return format!("would move {rows} rows of {count} tables to {to}, which is empty");
    }
    let keys = match (&settings.master_keys, key_file(from)) {
        (None, file) if file.exists() => {
            format!(" Set SWITCHYARD_MASTER_KEYS to what {} holds, on every node.", file.display())
        }
        _ => " Give every node the same SWITCHYARD_MASTER_KEYS as before.".to_owned(),
    };
    format!(
        "moved {rows} rows of {count} tables to {to}; counts and checksums of every table are equal on both sides. Start \
         the hub there, and never again on {}.{keys}",
        from.display()
    )
}
