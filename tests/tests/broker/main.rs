//! Bells between nodes, on a real RabbitMQ: what is rung is heard, what is lost is known, and a broker that goes away is
//! found again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

/// Nodes with bells, as a hub has them.
mod node;

/// Bells that are rung and heard.
mod bells;

/// What others do to the queue of a node.
mod meddling;

/// A broker that dies, freezes, starves or never answers.
mod outages;

/// Connections to brokers of tenants.
mod dialling;
