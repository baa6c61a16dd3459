//! The words of the command line.

use std::{convert::Infallible, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;
use url::Url;

use super::{
    backup::BackupArgs,
    import::ImportArgs,
    migrate::MigrateArgs,
    plugin_project::{BuildPluginArgs, NewPluginArgs},
    privacy::PrivacyCommand,
    simulate::words::SimulateArgs,
    trace::TraceArgs,
};

/// An integration hub in one binary: signed events in, sandboxed plugins, signed webhooks out.
#[derive(Parser)]
#[command(name = "switchyard", version, arg_required_else_help = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone)]
pub struct GlobalArgs {
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The hub to talk to
    #[arg(long, global = true, env = "SWITCHYARD_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: Url,
    /// The API key to use; better set in the environment than given here
    #[arg(long, global = true, env = "SWITCHYARD_KEY", hide_env_values = true, value_parser = secret)]
    pub key: Option<SecretString>,
    /// The configuration file; switchyard.toml in this directory when not given
    #[arg(long, global = true, env = "SWITCHYARD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the hub
    Serve(ServeArgs),
    /// Run the hub with provider simulators, to work on plugins without accounts or internet
    Dev(DevArgs),
    /// Play a story with simulators from beginning to end and show every step
    Demo(DemoArgs),
    /// Bring the database to this version's schema, or back to an older one
    Migrate(MigrateArgs),
    /// Write a copy of the database to a file, also while the hub runs
    Backup(BackupArgs),
    /// Put a copy where the database belongs; nothing may be there
    Restore(BackupArgs),
    /// Look at everything that a hub needs, and say how to mend what is wrong
    Doctor,
    /// Print the default configuration, every setting explained
    Config,
    /// Print the OpenAPI document
    Openapi,
    /// Look at plugins and bring them to a hub
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Commands that talk to a running hub or simulator.
    #[command(flatten)]
    Remote(RemoteCommand),
}

/// Commands that only talk to a running hub or simulator.
#[derive(Subcommand)]
pub enum RemoteCommand {
    /// Publish events
    #[command(subcommand)]
    Events(EventsCommand),
    /// Make a provider simulator act, as a customer would, or go wrong
    Simulate(SimulateArgs),
    /// Check rules, try them and put them into force
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Make, list and revoke API keys; replace the master key
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Find everything that is kept about a person, or erase it
    #[command(subcommand)]
    Privacy(PrivacyCommand),
    /// Show everything that shares a correlation id, or write it into one page for somebody else
    Trace(TraceArgs),
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// How much faster than real time retries, polls and schedules run; for `dev` and `demo`
    #[arg(long, hide = true, default_value_t = 1)]
    pub time_factor: u32,
}

/// Arguments of `dev`.
#[derive(Args, Clone, Debug)]
pub struct DevArgs {
    /// Where the database and the keys of this playground lie
    #[arg(long, default_value = "data/dev", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// How much faster than real time retries, polls and schedules run
    #[arg(long, default_value_t = 60)]
    pub time_factor: u32,
}

/// Arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// End after the story; the exit code says whether every step came out right
    #[arg(long)]
    pub once: bool,
    /// Where the demo's files lie; a fresh temporary folder when not given
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// What to do with a plugin.
#[derive(Subcommand)]
pub enum PluginCommand {
    /// Make a folder with a small plugin that works, and its tests
    New(NewPluginArgs),
    /// Build a plugin's component, with cargo
    Build(BuildPluginArgs),
    /// Show what a plugin says about itself: exports, events, connections, limits
    Inspect(InspectArgs),
    /// Run a plugin once in the real sandbox, without a hub: providers answer what the case has recorded. Ends with 0 if
    /// it succeeded, 3 if it answered with an error, 4 if it trapped, passed a limit or broke the contract
    Run(RunPluginArgs),
    /// Run cases and compare what they expect; ends with 1 if one differs
    Test(TestPluginArgs),
    /// Upload a plugin to a hub, which compiles it
    Push(PushArgs),
}

/// Arguments of `plugin inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
}

/// Arguments of `plugin run`.
#[derive(Args, Clone, Debug)]
pub struct RunPluginArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The case: config, an event, a request or a poll, recorded answers, stored values; - or nothing is standard input
    #[arg(value_name = "CASE.json")]
    pub case: Option<PathBuf>,
    /// Handle an event or command of this type, instead of what the case has
    #[arg(long, value_name = "TYPE")]
    pub event: Option<String>,
    /// The event's data
    #[arg(long, value_name = "JSON", requires = "event")]
    pub data: Option<String>,
    /// The installation's config, instead of the case's
    #[arg(long, value_name = "JSON")]
    pub plugin_config: Option<String>,
}

/// Arguments of `plugin test`.
#[derive(Args, Clone, Debug)]
pub struct TestPluginArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Cases with `expect`
    #[arg(value_name = "CASE.json", required = true)]
    pub cases: Vec<PathBuf>,
}

/// Arguments of `plugin push`.
#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
}

/// What to do with events.
#[derive(Subcommand)]
pub enum EventsCommand {
    /// Publish one event or command
    Send(SendArgs),
    /// Make events of the rows of a table, once each however often it runs
    Import(ImportArgs),
    /// Route an event again, as if it came now, to whom it would go now
    Replay {
        /// The tenant
        #[arg(long)]
        tenant: String,
        /// The event's id, evt_... or your own
        id: String,
    },
}

/// Arguments of `events send`.
#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// The tenant
    #[arg(long)]
    pub tenant: String,
    /// The event's type, such as invoice.create
    #[arg(long = "type", value_name = "TYPE")]
    pub type_: String,
    /// The event's data as JSON; read from standard input when neither this nor --data-file is given
    #[arg(long, value_name = "JSON", conflicts_with = "data_file")]
    pub data: Option<String>,
    /// A file with the event's data as JSON; - is standard input
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<PathBuf>,
    /// Your own id for the event; sending the same again changes nothing
    #[arg(long)]
    pub id: Option<String>,
    /// What the event is about
    #[arg(long)]
    pub subject: Option<String>,
    /// Events with the same key are delivered in order
    #[arg(long)]
    pub ordering_key: Option<String>,
    /// The id that links this to what caused it
    #[arg(long)]
    pub correlation_id: Option<String>,
    /// When the event is no longer worth delivering, as 2026-11-21T09:00:00Z
    #[arg(long)]
    pub expires_at: Option<String>,
    /// Goes before everything else; the key must be allowed to
    #[arg(long)]
    pub emergency: bool,
}

/// What to do with rules.
#[derive(Subcommand)]
pub enum RulesCommand {
    /// Say what is wrong with the rules of a file, and what they would do on recent events; ends with 1 if a rule is wrong
    Check(RulesArgs),
    /// Put the rules of a file into force, in place of all rules of the tenant
    Push(RulesArgs),
}

/// Arguments of `rules check` and `rules push`.
#[derive(Args, Clone, Debug)]
pub struct RulesArgs {
    /// The tenant
    #[arg(long)]
    pub tenant: String,
    /// Rules in TOML or JSON; the ending says which
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What to do with keys.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key; it is shown once
    Create(CreateKeyArgs),
    /// List keys, without their text
    List,
    /// End a key at once
    Revoke {
        /// The key's id, key_...
        id: String,
    },
    /// Give a key a new text, shown once; the old one ends at once
    Renew {
        /// The key's id, key_...
        id: String,
    },
    /// Say which master key wraps how many tenants' data keys
    Status,
    /// Wrap every data key anew with the first master key; goes on where it was cut short
    Rotate,
}

/// Arguments of `keys create`.
#[derive(Args, Clone, Debug)]
pub struct CreateKeyArgs {
    /// What the key may do
    #[arg(long, value_enum)]
    pub scope: KeyScope,
    /// The tenant it is for; needed for every scope but operator
    #[arg(long)]
    pub tenant: Option<String>,
    /// May send events with urgency `emergency`
    #[arg(long)]
    pub emergency: bool,
    /// When it ends, as 2026-11-21T09:00:00Z
    #[arg(long)]
    pub expires_at: Option<String>,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyScope {
    /// Everything, on every tenant
    Operator,
    /// Everything on one tenant
    Admin,
    /// Publish events of one tenant
    Publisher,
    /// Read one tenant
    Reader,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = Cli::try_parse_from(["switchyard", "keys", "list", "--json", "--url", "http://hub.example"]).unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.url.as_str(), "http://hub.example/");
        assert!(matches!(cli.command, Command::Remote(RemoteCommand::Keys(KeysCommand::List))));
    }

    #[test]
    fn data_comes_from_one_place() {
        let send = ["switchyard", "events", "send", "--tenant", "acme", "--type", "sms.send", "--data", "{}"];
        assert!(Cli::try_parse_from(send).is_ok());
        assert!(Cli::try_parse_from(send.iter().chain(&["--data-file", "x"])).is_err());
    }
}
