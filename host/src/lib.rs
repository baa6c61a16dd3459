//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;

/// What is recorded: events and their targets.
pub mod event;

/// Deliveries: states, lanes, scheduling, retries.
pub mod queue;

/// The only door to the database.
pub mod store;
/// The sandbox for plugins, and the contract as plain data.
pub mod plugin;
