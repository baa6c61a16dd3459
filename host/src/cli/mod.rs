//! The command line: its words, and the commands that only talk to a running hub.
//!
//! `serve`, `dev`, `demo`, `migrate` and `plugin inspect` work on this machine and are dispatched by `main`. The rest
//! goes through `/v1` like any other client and is run by [`run`].

/// The words.
pub mod args;

/// A small HTTP client for the hub's own interface.
pub mod client;

/// What a command prints.
mod output;

/// The commands that talk to a hub or a simulator.
mod remote;

pub use args::{
    Cli, Command, DemoArgs, DevArgs, GlobalArgs, InspectArgs, MigrateArgs, PluginCommand, RemoteCommand, RunPluginArgs,
    ServeArgs, TestPluginArgs,
};
pub use client::CliError;
pub use output::Output;
pub use remote::{push, run};
