//! `switchyard backup` and `switchyard restore`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{GlobalArgs, Output};
use crate::{app::database_file, config::Settings, store::sqlite};

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
/// The file exists, or the copy cannot be written or is not whole.
pub async fn back_up(args: &BackupArgs, global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let database = database_file(&Settings::load(global.config.as_deref())?)?;
    let bytes = sqlite::back_up(&database.to_string_lossy(), &args.file).await?;
    let file = args.file.display().to_string();
    Ok(output.result(&json!({"file": file, "bytes": bytes}), |_| {
        format!("wrote {file} ({} KiB). Its secrets open with the master key alone: keep that elsewhere", bytes / 1024)
    })?)
}

/// Puts a copy where the database belongs.
///
/// # Errors
/// A hub or files are in the way, or the copy is no whole database.
pub async fn restore(args: &BackupArgs, global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let database = database_file(&Settings::load(global.config.as_deref())?)?;
    sqlite::restore(&database.to_string_lossy(), &args.file).await?;
    let file = database.display().to_string();
    Ok(output.result(&json!({"restored": file}), |_| {
        format!("{file} is back. What was waiting when the copy was written is delivered again once the hub starts")
    })?)
}
