//! `switchyard backup` and `switchyard restore`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{GlobalArgs, Output};
use crate::{app::Place, config::Settings, store::sqlite};

/// Arguments of `backup` and `restore`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The copy
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Writes a copy of the database as it is now, also while a hub uses it.
///
/// # Errors
/// The file exists, the copy cannot be written or is not whole, or the database is a server's, which has its own tools.
pub async fn back_up(args: &BackupArgs, global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let database = match Place::of(&Settings::load(global.config.as_deref())?.database_url)? {
        Place::File(path) => path,
        Place::Server { label, .. } => anyhow::bail!(
            "{label} is PostgreSQL: copy it with `pg_dump --format=custom --file={} <database>`, run as a superuser since \
             row-level security hides rows from others",
            args.file.display()
        ),
    };
    let bytes = sqlite::back_up(&database.to_string_lossy(), &args.file).await?;
    let file = args.file.display().to_string();
    Ok(output.result(&json!({"file": file, "bytes": bytes}), |_| {
        format!("wrote {file} ({} KiB). Its secrets open with the master key alone: keep that elsewhere", bytes / 1024)
    })?)
}

/// Puts a copy where the database belongs.
///
/// # Errors
/// A hub or files are in the way, the copy is no whole database, or the database is a server's, which has its own tools.
pub async fn restore(args: &BackupArgs, global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let database = match Place::of(&Settings::load(global.config.as_deref())?.database_url)? {
        Place::File(path) => path,
        Place::Server { label, .. } => anyhow::bail!(
            "{label} is PostgreSQL: make the roles switchyard_hub and switchyard_tenant and an empty database, and put the \
             copy back with `pg_restore --dbname=<database> {}`, run as a superuser",
            args.file.display()
        ),
    };
    sqlite::restore(&database.to_string_lossy(), &args.file).await?;
    let file = database.display().to_string();
    let list = database.with_extension("erasures");
    let erasures = crate::privacy::listed_erasures(&database)?;
    Ok(output.result(&json!({"restored": file, "erasures": erasures}), |_| {
        let again = match erasures {
            0 => format!(
                "There is no list of erasures {}: if persons were erased since the copy was written, put the list of the \
                 hub's old place there before the hub starts",
                list.display()
            ),
            count => format!(
                "Of the {count} erasures in {} those that the copy does not know are carried out again once the hub starts",
                list.display()
            ),
        };
        format!("{file} is back. What was waiting when the copy was written is delivered again once the hub starts. {again}")
    })?)
}
