//! `switchyard migrate`: the schema's steps, up and down.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{GlobalArgs, Output, output::table};
use crate::{
    app::database_file,
    config::Settings,
    store::sqlite::{Undone, migrate_down, migrate_up, schema_steps},
};

/// Arguments of `migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Which way; up when not given
    #[command(subcommand)]
    pub way: Option<Way>,
    /// Only say what would be done
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// Which way to go.
#[derive(Clone, Debug, Subcommand)]
pub enum Way {
    /// Make the steps that are missing; the hub does it too when it starts
    Up {
        /// The last step to make; all when not given
        #[arg(long, value_name = "NUMBER")]
        to: Option<i64>,
    },
    /// Undo steps, the newest first: what they made is lost. No hub may run
    Down {
        /// The last step to keep; 0 undoes all
        #[arg(long, value_name = "NUMBER")]
        to: i64,
        /// The loss is wanted
        #[arg(long)]
        yes: bool,
    },
    /// List the steps, and which of them the database has
    Status,
}

/// Brings the database to the wanted step, or says what that would do.
///
/// # Errors
/// The database cannot be opened, is in use, is newer than this version, or a loss was not agreed to.
pub async fn migrate(args: &MigrateArgs, global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let settings = Settings::load(global.config.as_deref())?;
    let file = database_file(&settings)?.to_string_lossy().into_owned();
    match &args.way {
        None => up(&file, None, args.dry_run, output).await,
        Some(Way::Up { to }) => up(&file, *to, args.dry_run, output).await,
        Some(Way::Down { to, yes }) => down(&file, *to, args.dry_run, *yes, output).await,
        Some(Way::Status) => status(&file, output).await,
    }
}

async fn up(file: &str, to: Option<i64>, dry_run: bool, output: Output) -> anyhow::Result<()> {
    if dry_run {
        let steps = schema_steps(file).await?;
        let missing = steps.iter().filter(|step| !step.applied && to.is_none_or(|to| step.number <= to));
        let pending: Vec<_> = missing.map(|step| format!("{:04} {}", step.number, step.name)).collect();
        return Ok(output.result(&json!({"pending": pending}), |_| match pending.as_slice() {
            [] => "the database is up to date".to_owned(),
            pending => format!("would apply: {}", pending.join(", ")),
        })?);
    }
    let applied = migrate_up(file, to).await?;
    Ok(output.result(&json!({"migrated": file, "applied": applied}), |_| match applied.as_slice() {
        [] => format!("{file} has nothing to do"),
        applied => format!("{file}: applied {}", applied.join(", ")),
    })?)
}

async fn down(file: &str, to: i64, dry_run: bool, yes: bool, output: Output) -> anyhow::Result<()> {
    let planned = migrate_down(file, to, true).await?;
    if planned.steps.is_empty() {
        let nothing = json!({"undone": [], "lost": {}});
        return Ok(output.result(&nothing, |_| format!("{file} has no step above {to}"))?);
    }
    let lost = planned.lost.iter().map(|(table, rows)| (table.clone(), Value::from(*rows))).collect::<Map<_, _>>();
    let (steps, loss) = (planned.steps.join(", "), loss(&planned));
    if dry_run {
        let value = json!({"would_undo": planned.steps, "lost": lost});
        return Ok(output.result(&value, |_| format!("would undo {steps}; {loss} would be lost"))?);
    }
    anyhow::ensure!(
        yes,
        "undoing {steps} loses {loss} for ever; write a copy with `switchyard backup FILE` first, then say --yes"
    );
    let done = migrate_down(file, to, false).await?;
    let value = json!({"undone": done.steps, "lost": lost});
    Ok(output.result(&value, |_| format!("{file}: undone {steps}; lost {loss}"))?)
}

/// What going down loses, in words.
fn loss(undone: &Undone) -> String {
    let full = undone.lost.iter().filter(|(_, rows)| *rows > 0);
    let tables: Vec<_> = full.map(|(table, rows)| format!("{rows} rows of {table}")).collect();
    if tables.is_empty() { "what the steps added".to_owned() } else { tables.join(", ") }
}

async fn status(file: &str, output: Output) -> anyhow::Result<()> {
    let steps = schema_steps(file).await?;
    let entry = |step: &crate::store::sqlite::SchemaStep| json!({"number": step.number, "name": step.name, "applied": step.applied, "known": step.known});
    let value = json!({"database": file, "steps": steps.iter().map(entry).collect::<Vec<_>>()});
    Ok(output.result(&value, |_| {
        let state = |applied, known| match (applied, known) {
            (true, true) => "applied",
            (false, _) => "missing",
            (true, false) => "applied by a newer version",
        };
        let rows = steps.iter().map(|step| {
            vec![format!("{:04}", step.number), step.name.clone(), state(step.applied, step.known).to_owned()]
        });
        table(&["STEP", "NAME", "STATE"], &rows.collect::<Vec<_>>())
    })?)
}
