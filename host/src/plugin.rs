//! The narrow door to the sandbox: nothing outside this module knows wasmtime, and nothing inside it knows the
//! store, the queue or the network. A caller gives a plugin's call its context and an implementation of
//! [`HostCalls`](host_calls::HostCalls) and gets both the result and its own object back.

/// The contract as plain data.
pub mod model;

/// What a plugin asks of its caller.
pub mod host_calls;
