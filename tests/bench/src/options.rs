//! What can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

/// Measures the hub beside bare handlers on this machine.
#[derive(Debug, Parser)]
#[command(name = "switchyard-bench")]
pub struct Options {
    /// Small counts: shows that every scenario works and loses nothing, and judges no figure.
    #[arg(long)]
    pub quick: bool,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// On PostgreSQL instead of SQLite; the server is that of the tests, named by TEST_POSTGRES_URL.
    #[arg(long)]
    pub postgres: bool,
    /// How often each throughput is measured; without it 3 times, or once with `--quick`.
    #[arg(long)]
    pub runs: Option<usize>,
    /// Where the report is written as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// What the tool starts itself as.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Options {
    /// The scenarios to measure, each once, in the order of the table.
    #[must_use]
    pub fn scenarios(&self) -> Vec<Scenario> {
        // Several nodes need a database that they can share.
        let wanted = |scenario: &Scenario| match self.only.is_empty() {
            true => *scenario != Scenario::Nodes || self.postgres,
            false => self.only.contains(scenario),
        };
        Scenario::value_variants().iter().copied().filter(wanted).collect()
    }

    /// How often each throughput is measured.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 }).clamp(1, 100)
    }
}

/// Processes of the tool itself.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A handler without a hub; prints its address and ends with its standard input.
    #[command(hide = true)]
    Bare {
        /// What it does.
        kind: Bare,
        /// The database that it fills, if it needs one: a file, or the URL of an empty one.
        database: String,
    },
}

/// What a bare handler does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bare {
    /// Reads it and answers.
    Empty,
    /// Inserts the rows that the hub would, through the same group commit.
    Insert,
}

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Durable accepts.
    Accept,
    /// From accepted to delivered, to one endpoint and to ten.
    Burst,
    /// End to end at a steady rate.
    Steady,
    /// Signed webhooks through the sandbox.
    Webhooks,
    /// What the sandbox costs.
    Sandbox,
    /// What each bundled plugin takes for a request, and how large it is.
    Receive,
    /// What rules cost.
    Rules,
    /// A long queue in other lanes.
    Backlog,
    /// Start and idle memory.
    Start,
    /// Tenants whose plugins spin.
    Neighbours,
    /// Three nodes on one PostgreSQL database.
    Nodes,
}

impl Scenario {
    /// The name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Burst => "burst",
            Self::Steady => "steady",
            Self::Webhooks => "webhooks",
            Self::Sandbox => "sandbox",
            Self::Receive => "receive",
            Self::Rules => "rules",
            Self::Backlog => "backlog",
            Self::Start => "start",
            Self::Neighbours => "neighbours",
            Self::Nodes => "nodes",
        }
    }

    /// What it finds out.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Accept => "accept: how many events a second are durable, beside handlers without a hub",
            Self::Burst => "burst: how many events a second are delivered, and what that costs",
            Self::Steady => "steady: how long an event takes from end to end at a steady rate",
            Self::Webhooks => "webhooks: how many signed requests a second go through the sandbox",
            Self::Sandbox => "sandbox: what a call costs over the same code without a sandbox",
            Self::Receive => "receive: how long each plugin takes for a request, and how large it is",
            Self::Rules => "rules: what fifty rules cost an event, and how many events a second go through twenty",
            Self::Backlog => "backlog: what a long queue in other lanes changes",
            Self::Start => "start: how soon the hub is ready, and how much memory it takes",
            Self::Neighbours => "neighbours: what spinning plugins of other tenants change",
            Self::Nodes => "nodes: what three nodes on one database do against one",
        }
    }

    /// The longest time that it may take.
    #[must_use]
    pub const fn bound(self, quick: bool) -> Duration {
        if quick {
            return Duration::from_secs(90);
        }
        Duration::from_secs(match self {
            Self::Accept | Self::Burst | Self::Backlog => 900,
            Self::Steady | Self::Webhooks | Self::Sandbox | Self::Receive | Self::Rules | Self::Start => 300,
            Self::Neighbours | Self::Nodes => 600,
        })
    }
}
