//! RabbitMQ: what wakes the owner of a lane sooner than its own look at the database would. Nothing here is needed for
//! anything to be delivered: a bell that is lost costs time, never an event.
//!
//! Also the one way to any AMQP broker, which endpoints and sources of tenants take as well: an address that was read
//! once, and a connection whose every wait is bounded.

/// Where a broker is, and who we are there.
pub mod address;

/// The way to a broker: resolve, dial, shake hands, in bounded time.
pub mod dial;

/// A connection that is there again when it was lost.
pub mod supervisor;

/// How the broker is now.
pub mod status;

/// What a bell says.
pub mod bell;

/// Ringing and hearing.
pub mod bells;

/// The half of the bells that rings.
mod ring;

/// The half of the bells that hears.
mod hear;

pub use address::BrokerAddress;
pub use bells::{BellSettings, Bells, OnBell, Owned, Rung};
pub use status::{BrokerState, BrokerStatus};
