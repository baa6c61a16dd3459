//! Inbound requests that became no events, or not yet.

use std::sync::Arc;

use super::RawRequest;
use crate::{clock::Timestamp, event::TenantId, id::Key, queue::reason::Failure};

/// A request kept until `receive` can judge it.
#[derive(Clone, Debug)]
pub struct ParkedRequest {
    /// The request, with its tenant and source.
    pub request: RawRequest,
    /// The plugin whose `receive` takes it.
    pub plugin: String,
    /// Why it is parked.
    pub failure: Failure,
    /// How often it was tried.
    pub tries: u32,
}

/// An installation with parked requests.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// How many.
    pub count: u64,
}

/// A refused request: what is known without its body.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Its key.
    pub key: Key,
    /// The tenant, where the source is known.
    pub tenant: TenantId,
    /// The source.
    pub source_id: String,
    /// When.
    pub at: Timestamp,
    /// The answer's status.
    pub status: u16,
    /// Stable code: `unauthenticated`, `rejected`, `too_large`, `rate_limited`, `duplicate`.
    pub code: String,
    /// For the tenant's admin, at most 256 bytes.
    pub reason: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// The peer.
    pub remote_addr: Option<String>,
    /// The correlation id that was answered.
    pub correlation_id: Arc<str>,
}
