//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.

#![doc(test(attr(deny(warnings))))]

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;

/// Secrets in memory, master keys and API keys.
pub mod secret;

/// What is waiting, why, and for how long.
pub mod queue;

/// Credentials at providers, and calls made with them.
pub mod connection;

/// One delivery to a subscriber.
pub mod outbound;
