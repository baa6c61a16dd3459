//! One delivery to a subscriber: its body, its signature, the guarded way out, and what the answer means.

/// Event bodies as subscribers receive them.
pub mod body;

/// Standard Webhooks signatures.
pub mod sign;

/// Which addresses the hub may call.
pub mod egress;

/// The way out: resolve, vet, connect to exactly what was vetted.
mod connect;

/// The one HTTP client of the process.
pub mod client;

/// One event to an exchange of a broker.
pub mod publish;

/// What an endpoint's answer means.
pub mod outcome;

/// One attempt at an endpoint.
pub mod deliver;
