//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;

/// Secrets in memory, master keys and API keys.
pub mod secret;

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
