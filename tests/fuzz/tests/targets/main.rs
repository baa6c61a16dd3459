//! Every parser of outside bytes that has a public door; those without one have their target beside them in `host`. All
//! are called `fuzz_*`, so that `make fuzz` finds them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

/// What proves who sent a request.
mod signatures;

/// Bundled plugins, on requests of strangers.
mod plugins;

/// Rules of tenants.
mod rules;

/// Names, patterns and expressions.
mod names;

/// Addresses and header fields of others.
mod addresses;

/// What was stored, and might have been changed.
mod stored;

/// Documents of JSON, and what they are checked against.
mod documents;

/// What comes from a broker, and where it is.
mod broker;
