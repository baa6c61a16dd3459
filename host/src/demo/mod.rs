//! A story played on a real hub, and a playground: both run `switchyard serve` as a child process beside the
//! provider simulators, so that the hub can be killed and everything goes over real HTTP.

use anyhow::Context as _;

use crate::cli::{DemoArgs, DevArgs, GlobalArgs, Output};

/// The hub as a child process.
mod child;

/// The simulators of all providers.
mod providers;

/// Simulators, hub and tenant.
mod stage;

/// What a step expected and saw.
mod report;

/// Steps of the ordinary day: a text message, an invoice, a payment, forgeries.
mod story;

/// Steps of the bad day: subscribers down, the hub killed, hostile plugins.
mod trouble;

/// Steps of the rest of the day: mail, appointments, another tenant's books, the telephone.
mod office;

/// `switchyard demo`: plays the story and prints it; stays up until Ctrl-C unless `--once`.
///
/// # Errors
/// The stage cannot be set up, or a step came out wrong.
pub async fn demo(args: &DemoArgs, output: Output) -> anyhow::Result<()> {
    let folder = stage::Folder::of_demo(args.folder.as_deref())?;
    let mut stage = stage::Stage::set_up(folder, stage::TIME_FACTOR).await?;
    let mut report = report::Report::begin(output);
    stage.introduce();
    story::play(&stage, &mut report).await;
    trouble::play(&mut stage, &mut report).await;
    office::play(&stage, &mut report).await;
    let correlation = report.correlation().map(str::to_owned);
    let trace = match &correlation {
        Some(correlation) => Some(stage.trace(correlation).await?),
        None => None,
    };
    report.finish(trace.as_ref())?;
    let good = report.all_good();
    if !args.once {
        stage.introduce();
        eprintln!("Ctrl-C ends the demo.");
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    stage.tear_down().await?;
    anyhow::ensure!(good, "a step came out wrong");
    Ok(())
}

/// `switchyard dev`: a hub with simulators and a tenant that has the bundled plugins on, until Ctrl-C.
///
/// # Errors
/// The playground cannot be set up.
pub async fn dev(args: &DevArgs, _: &GlobalArgs) -> anyhow::Result<()> {
    let folder = stage::Folder::kept(&args.folder)?;
    let stage = stage::Stage::set_up(folder, args.time_factor).await?;
    stage.introduce();
    eprintln!("Ctrl-C ends it; {} keeps what happened.", args.folder.display());
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    stage.tear_down().await
}
