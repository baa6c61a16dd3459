use std::time::Duration;

use serde_json::Value;

use super::NOON;
use crate::error::{HttpError, UnknownOutcome};
use crate::host::{Header, HttpResponse};

/// A scripted answer to a provider call.
#[derive(Clone, Debug)]
pub struct Answer(pub(super) Result<HttpResponse, HttpError>);

impl Answer {
    /// A status with a JSON body.
    pub fn json(status: u16, body: Value) -> Self {
        let header = Header { name: "content-type".to_owned(), value: b"application/json".to_vec() };
        Self(Ok(HttpResponse { status, headers: vec![header], body: body.to_string().into_bytes() }))
    }

    /// A status with any body.
    pub fn body(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self(Ok(HttpResponse { status, headers: Vec::new(), body: body.into() }))
    }

    /// A failure.
    pub fn error(error: HttpError) -> Self {
        Self(Err(error))
    }

    /// The provider asks to wait.
    pub fn rate_limited(wait: Duration) -> Self {
        Self(Err(HttpError::RateLimited(wait)))
    }

    /// A lost answer to a write that was sent this long before [`NOON`].
    pub fn lost(ago: Duration) -> Self {
        let ago = u64::try_from(ago.as_millis()).unwrap_or_default();
        Self(Err(HttpError::Unknown(UnknownOutcome { sent_at: NOON - ago, message: "no answer in time".to_owned() })))
    }
}
