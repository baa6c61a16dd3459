//! A provider's request and what it turned out to be.

use serde::{Deserialize, Serialize};

use super::{EmittedEvent, Header, base64_bytes};

/// One HTTP request to a source, as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundRequest {
    /// The source it came to.
    pub source_id: String,
    /// Upper-case method.
    pub method: String,
    /// The public URL with the exact path and query that were received.
    pub url: String,
    /// All fields in order.
    pub headers: Vec<Header>,
    /// The exact bytes.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    /// When the last byte arrived.
    pub received_at_ms: u64,
    /// Address of the peer, after trusted proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<String>,
    /// Data added inside the contract's line, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// An HTTP answer for the provider; its status is 200 to 599 and its body at most 64 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Fields as the plugin gave them; those of the connection are the server's to drop.
    pub headers: Vec<Header>,
    /// The body.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// What a request turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Received {
    /// Authentic: store it with its events, then answer.
    Accepted {
        /// Accepted in this order.
        events: Vec<EmittedEvent>,
        /// None means 200 with an empty body.
        reply: Option<Reply>,
        /// Schedules whose poll becomes due with the events.
        poll_now: Vec<String>,
    },
    /// Answer, store nothing.
    Handled(Reply),
    /// Not proven to be from the provider; the text, at most 256 bytes, is for the tenant's admin.
    Unauthenticated(String),
}
