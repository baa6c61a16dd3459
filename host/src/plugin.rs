//! The narrow door to the sandbox: nothing outside this module knows wasmtime, and nothing inside it knows the
//! store, the queue or the network. A caller gives a plugin's call its context and an implementation of
//! [`HostCalls`](host_calls::HostCalls), and gets both the result and its own object back.

/// The contract as plain data.
pub mod model;

/// What a plugin says of itself, judged.
pub mod manifest;

/// What an installation may do: the manifest asks, the admin grants.
pub mod grant;

/// How much one call may use.
pub mod limits;

/// What a plugin asks of its caller.
pub mod host_calls;

/// The guest's clock and randomness.
pub mod virtual_time;

/// One call: what goes in, and how it ended.
pub mod call;

/// A compiled plugin.
pub mod guest;

/// Compiles plugins and runs their calls.
pub mod sandbox;

/// Published versions and their compiled guests.
pub mod registry;

mod bindings;
mod cache;
mod convert;
mod cpu;
mod engine;
mod imports;
mod invoke;
mod memory;
mod state;
mod stderr;
mod trap;
mod turn;
mod weight;

pub use cache::CacheContents;
pub use engine::pagemap_scan_available;
