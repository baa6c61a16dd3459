//! The edge: the accept loop and the limits that stand before everything else.
//!
//! A connection passes [`listen::serve`], which bounds its bytes, its time and its number; a body passes
//! [`body::read_body`]; a caller passes [`limits::RateLimits`]. Nothing behind this module needs a limit of its own
//! on what strangers send.

/// What the paths of sources begin with.
const INBOUND: &str = "/in/";

/// Bodies under a size, a deadline and a shared memory budget.
pub mod body;

/// Who is calling, also through a trusted proxy.
pub mod client;

/// How much a stranger may send, how long it may take, and how often it may call.
pub mod limits;

/// The accept loop.
pub mod listen;

mod framing;

mod linger;

/// A provider's request, from limits to answer.
pub mod receive;

mod receive_calls;

mod answers;

mod verdict;

mod door;

/// Requests to apps, whose events belong to several tenants.
mod app_source;

mod app_calls;

/// Sources that refuse too much of what they get.
pub mod alarm;

/// Sources that are fed from queues.
pub mod consume;

mod message;

/// Requests that could not be judged yet.
pub mod parked;

#[cfg(test)]
mod tests;
