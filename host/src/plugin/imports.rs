//! The host's side of the imports: budgets and the contract's own rules are decided here, everything else is the
//! caller's [`HostCalls`](super::host_calls::HostCalls).

mod crypto;
mod http;
mod kv;
mod log;
mod metrics;

use super::{bindings::imports, state::State};

impl imports::types::Host for State {}
