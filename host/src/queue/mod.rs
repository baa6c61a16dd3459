//! Deliveries: states, lanes and their scheduling. Knows nothing of HTTP, plugins or endpoints.

/// The states of a delivery and their only legal transitions.
pub mod state;

/// Lanes and partitions.
pub mod lane;

/// Why a delivery failed.
pub mod reason;
