//! The `switchyard` command.

use std::process::ExitCode;

use clap::Parser as _;
use switchyard::{
    app,
    cli::{self, Cli, Command, Output, PluginCommand},
    config, demo, doctor, inspect, trial,
};

/// Events are made on one thread and freed on another, which glibc's allocator does slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, global } = Cli::parse();
    let output = Output::new(global.json);
    let done = match command {
        Command::Serve(args) => app::serve(&args, &global).await,
        Command::Dev(args) => demo::dev(&args, &global).await,
        Command::Demo(args) => demo::demo(&args, output).await,
        Command::Migrate(args) => cli::migrate(&args, &global, output).await,
        Command::Backup(args) => cli::back_up(&args, &global, output).await,
        Command::Restore(args) => cli::restore(&args, &global, output).await,
        Command::Doctor => doctor::doctor(&global, output).await,
        Command::Config => output.result(&config::DEFAULTS.into(), |_| config::DEFAULTS.to_owned()).map_err(Into::into),
        Command::Openapi => app::print_openapi(output),
        Command::Plugin(PluginCommand::New(args)) => cli::new_plugin(&args, output).await,
        Command::Plugin(PluginCommand::Build(args)) => cli::build_plugin(&args, output).await,
        Command::Plugin(PluginCommand::Inspect(args)) => inspect::inspect(&args, output).await,
        Command::Plugin(PluginCommand::Run(args)) => return code(trial::run(&args, output).await),
        Command::Plugin(PluginCommand::Test(args)) => return code(trial::test(&args, output).await),
        Command::Plugin(PluginCommand::Push(args)) => cli::push(&args, &global).await.map_err(Into::into),
        Command::Remote(command) => cli::run(command, &global).await.map_err(Into::into),
    };
    code(done.map(|()| ExitCode::SUCCESS))
}

/// The exit code of a command; an error is told and ends with 1.
fn code(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("switchyard: {error:#}");
        ExitCode::FAILURE
    })
}
