//! One file for each question.

mod accept;
mod backlog;
mod burst;
mod neighbours;
mod nodes;
mod receive;
mod rules;
mod sandbox;
mod start;
mod steady;
mod webhooks;

use crate::{Bench, options::Scenario, report::Report};

/// Measures one scenario and adds what it finds to the report.
pub(crate) async fn measure(scenario: Scenario, bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    match scenario {
        Scenario::Accept => accept::measure(bench, report).await,
        Scenario::Burst => burst::measure(bench, report).await,
        Scenario::Steady => steady::measure(bench, report).await,
        Scenario::Webhooks => webhooks::measure(bench, report).await,
        Scenario::Sandbox => sandbox::measure(bench, report).await,
        Scenario::Receive => receive::measure(bench, report).await,
        Scenario::Rules => rules::measure(bench, report).await,
        Scenario::Backlog => backlog::measure(bench, report).await,
        Scenario::Start => start::measure(bench, report).await,
        Scenario::Neighbours => neighbours::measure(bench, report).await,
        Scenario::Nodes => nodes::measure(bench, report).await,
    }
}
