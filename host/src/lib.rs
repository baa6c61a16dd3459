//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.

#![doc(test(attr(deny(warnings))))]

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;

/// The sandbox for plugins, and the contract as plain data.
pub mod plugin;
