//! The command line: its words, and the commands that only talk to a running hub.
//!
//! `serve`, `dev`, `demo`, `migrate`, `backup`, `restore`, `doctor` and `plugin inspect` work on this machine and are dispatched by `main`. The rest
//! goes through `/v1` like any other client and is run by [`run`].

/// The words.
pub mod args;

/// Copies of the database.
mod backup;

/// A small HTTP client for the hub's own interface.
pub mod client;

/// Rows of a table that become events.
mod import;

/// Master keys of a running hub.
mod master_keys;

/// The schema's steps.
mod migrate;

/// What a command prints.
mod output;

/// Folders of plugins in the making.
mod plugin_project;

/// What persons ask for.
mod privacy;

/// The commands that talk to a hub or a simulator.
mod remote;

/// Rules in files.
mod rules;

/// People and faults at the simulators.
pub(crate) mod simulate;

/// The story of a correlation id.
mod trace;

pub use args::{
    Cli, Command, DemoArgs, DevArgs, GlobalArgs, InspectArgs, PluginCommand, RemoteCommand, RunPluginArgs, ServeArgs,
    TestPluginArgs,
};
pub use backup::{BackupArgs, back_up, restore};
pub use client::CliError;
pub use migrate::{MigrateArgs, migrate};
pub use output::Output;
pub(crate) use output::table;
pub use plugin_project::{BuildPluginArgs, NewPluginArgs, build_plugin, new_plugin};
pub use remote::{push, run};
