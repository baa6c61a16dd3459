//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;

/// Secrets in memory, master keys and API keys.
pub mod secret;

/// Polls, expiry, pruning.
pub mod schedule;

/// What is recorded: events and their targets.
pub mod event;

/// Accepted means durable: one transaction for an event and its deliveries.
pub mod accept;

/// Pure: which targets an event goes to.
pub mod route;

/// Pure: may it happen.
pub mod policy;

/// Deliveries: states, lanes, scheduling, retries.
pub mod queue;

/// One plugin run.
pub mod run;

/// The sandbox for plugins, and the contract as plain data.
pub mod plugin;

/// Credentials at providers, and calls made with them.
pub mod connection;

/// One delivery to a subscriber.
pub mod outbound;

/// What admins created, cached.
pub mod directory;

/// The HTTP interface.
pub mod api;

/// Everything that the parts of one process share.
pub mod hub;

/// The only door to the database.
pub mod store;
/// Settings: the defaults file, then `switchyard.toml`, then the environment.
pub mod config;

/// The command line: its words, and the commands that only talk to a running hub.
pub mod cli;

/// The edge: the accept loop and the limits that stand before everything else.
pub mod ingress;

/// Soft, then hard shutdown.
pub mod lifecycle;

/// What the hub says about itself: logs, metrics, trace context.
pub mod observe;
