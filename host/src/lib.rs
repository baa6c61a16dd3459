//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.

#![doc(test(attr(deny(warnings))))]

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;

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
