//! `switchyard doctor`: looks at everything that a hub needs, from outside and without changing anything, so that it may
//! run beside the hub. Each thing that is wrong comes with what mends it.

/// Findings and how they are shown.
mod report;

/// A database file: its pages, its schema, its disk and its clock.
mod database;

/// A database server: whether a hub can work there, its schema, its clock, its connections.
mod server;

/// The broker between nodes.
mod broker;

/// Master keys and what they open.
mod keys;

/// Where the hub listens, is reached, and may reach.
mod network;

/// The kernel, the process's limits, who may read the files.
mod machine;

/// Plugins and their compiled code.
mod plugins;

use crate::{
    app::plugin_cache,
    cli::{GlobalArgs, Output},
    clock::SystemClock,
    config::{Database, Settings},
};
use report::Report;

/// Looks at everything and prints a table.
///
/// # Errors
/// Something keeps a hub from working; the table says what.
pub async fn doctor(global: &GlobalArgs, output: Output) -> anyhow::Result<()> {
    let mut report = Report::default();
    match Settings::load(global.config.as_deref()) {
        Ok(settings) => look(&settings, &mut report).await,
        Err(error) => report.fail("settings", error.to_string(), "mend the setting; `switchyard config` explains all"),
    }
    output.result(&report.json(), |_| report.table())?;
    anyhow::ensure!(report.failed() == 0, "{} of these keep a hub from working", report.failed());
    Ok(())
}

async fn look(settings: &Settings, report: &mut Report) {
    report.ok("settings", "every setting is known and fits".to_owned());
    let clock = SystemClock::shared();
    let (found, in_use) = match &settings.database_url {
        Database::Sqlite(file) => {
            let found = database::look(file, &clock, report).await;
            let in_use = found.as_ref().is_some_and(|found| found.in_use);
            (found.filter(|found| found.damage.is_none()).map(|found| found.kept), in_use)
        }
        Database::Postgres(url) => {
            let found = server::look(url, &clock, settings, report).await;
            let in_use = found.as_ref().is_some_and(|found| !found.nodes.is_empty());
            (found.map(|found| found.kept), in_use)
        }
    };
    broker::look(settings, report).await;
    keys::look(settings, found.as_ref(), &clock, report);
    if let Database::Sqlite(file) = &settings.database_url {
        machine::files(file, plugin_cache(&settings.database_url), report);
    }
    network::look(settings, in_use, report);
    machine::look(settings, report);
    let cache_key = found.and_then(|found| found.plugin_cache_key);
    plugins::look(settings, cache_key, &clock, report).await;
}
