//! Twilio's classic error document.

use serde_json::json;

use crate::http::Reply;

/// An error that the API answers with.
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn not_found(path: &str) -> Self {
        Self::new(404, 20404, format!("The requested resource {path} was not found"))
    }

    /// The error that stands for an injected status.
    pub(crate) fn injected(status: u16) -> Self {
        match status {
            404 => Self::new(404, 20404, "The requested resource was not found"),
            429 => Self::new(429, 20429, "Too Many Requests"),
            500 => Self::new(500, 20500, "Internal Server Error"),
            503 => Self::new(503, 20503, "Service Unavailable"),
            other => Self::new(other, u32::from(other) + 20_000, "Request failed"),
        }
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let document = json!({
            "code": error.code,
            "message": error.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", error.code),
            "status": error.status,
        });
        Self::json(error.status, &document)
    }
}
