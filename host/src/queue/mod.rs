//! Deliveries: states, lanes and their scheduling. Knows nothing of HTTP, plugins or endpoints.

/// The states of a delivery and their only legal transitions.
pub mod state;

/// Lanes and their keys.
pub mod lane;

/// Ranges of lanes, each owned by one node at a time.
pub mod partition;

/// Why a delivery failed.
pub mod reason;

/// Who starts next: a pure state machine.
pub mod scheduler;

mod lane_state;

mod pool;

pub use lane_state::Health;
pub use pool::PoolKind;

/// The shell of the scheduler.
pub mod dispatch;

/// One attempt from its slot to its settle.
pub mod attempt;

/// Asking the policy.
pub mod ask;

/// What the host says of deliveries and their targets.
pub mod tell;

/// When a delivery is tried again.
pub mod retry;
