//! The queue: what is waiting, why, and for how long.

/// Why a delivery did not succeed, in ten classes.
pub mod reason;

/// When a failed delivery is tried again.
pub mod retry;
