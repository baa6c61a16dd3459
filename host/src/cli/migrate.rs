//! `switchyard migrate`: the schema's steps, up and down, and the way from a file to a server.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{GlobalArgs, Output, output::table};
use crate::{
    app::Place,
    config::Settings,
    store::schema::{SchemaStep, Undone},
};

/// From a file to a server.
mod moving;

/// The steps of either database.
mod place;

pub use moving::MoveArgs;

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
    /// Copy everything of a stopped hub from a file to an empty PostgreSQL database, and compare both
    Move(MoveArgs),
}

/// Brings the database to the wanted step, or says what that would do.
///
/// # Errors
/// The database cannot be opened, is in use, is newer than this version, or a loss was not agreed to.
pub async fn migrate(args: &MigrateArgs, global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let settings = Settings::load(global.config.as_deref())?;
    let place = Place::of(&settings.database_url)?;
    match &args.way {
        None => up(&place, None, args.dry_run, output).await,
        Some(Way::Up { to }) => up(&place, *to, args.dry_run, output).await,
        Some(Way::Down { to, yes }) => down(&place, *to, args.dry_run, *yes, output).await,
        Some(Way::Status) => status(&place, output).await,
        Some(Way::Move(args_of_move)) => moving::run(args_of_move, &settings, args.dry_run, output).await,
    }
}

async fn up(place: &Place, to: Option<i64>, dry_run: bool, output: Output) -> anyhow::Result<()> {
    if dry_run {
        let steps = place::steps(place).await?;
        let missing = steps.iter().filter(|step| !step.applied && to.is_none_or(|to| step.number <= to));
        let pending: Vec<_> = missing.map(|step| format!("{:04} {}", step.number, step.name)).collect();
        return Ok(output.result(&json!({"pending": pending}), |_| match pending.as_slice() {
            [] => "the database is up to date".to_owned(),
            pending => format!("would apply: {}", pending.join(", ")),
        })?);
    }
    let (applied, file) = (place::up(place, to).await?, place.label());
    Ok(output.result(&json!({"migrated": file, "applied": applied}), |_| match applied.as_slice() {
        [] => format!("{file} has nothing to do"),
        applied => format!("{file}: applied {}", applied.join(", ")),
    })?)
}

async fn down(place: &Place, to: i64, dry_run: bool, yes: bool, output: Output) -> anyhow::Result<()> {
    let (planned, file) = (place::down(place, to, true).await?, place.label());
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
        "undoing {steps} loses {loss} for ever; write a copy with {} first, then say --yes",
        place::copy_first(place)
    );
    let done = place::down(place, to, false).await?;
    let value = json!({"undone": done.steps, "lost": lost});
    Ok(output.result(&value, |_| format!("{file}: undone {steps}; lost {loss}"))?)
}

/// What going down loses, in words.
fn loss(undone: &Undone) -> String {
    let full = undone.lost.iter().filter(|(_, rows)| *rows > 0);
    let tables: Vec<_> = full.map(|(table, rows)| format!("{rows} rows of {table}")).collect();
    if tables.is_empty() { "what the steps added".to_owned() } else { tables.join(", ") }
}

async fn status(place: &Place, output: Output) -> anyhow::Result<()> {
    let steps = place::steps(place).await?;
    let entry = |step: &SchemaStep| json!({"number": step.number, "name": step.name, "applied": step.applied, "known": step.known, "compatible": step.compatible});
    let value = json!({"database": place.label(), "steps": steps.iter().map(entry).collect::<Vec<_>>()});
    Ok(output.result(&value, |_| {
        let state = |step: &SchemaStep| match (step.applied, step.known, step.compatible) {
            (true, true, _) => "applied",
            (false, ..) => "missing",
            (true, false, true) => "applied by a newer version, beside which this one can go on",
            (true, false, false) => "applied by a newer version",
        };
        let rows =
            steps.iter().map(|step| vec![format!("{:04}", step.number), step.name.clone(), state(step).to_owned()]);
        table(&["STEP", "NAME", "STATE"], &rows.collect::<Vec<_>>())
    })?)
}
