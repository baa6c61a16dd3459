//! Google's error document, in the form that Gmail has.

use serde_json::{Value, json};

use crate::{clock::format_utc, http::Reply, oauth::Refusal};

/// An error that the API answers with.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: u16,
    reason: &'static str,
    domain: &'static str,
    code: Option<&'static str>,
    message: String,
}

impl ApiError {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            reason: "invalidArgument",
            domain: "global",
            code: Some("INVALID_ARGUMENT"),
            message: message.into(),
        }
    }

    pub(crate) fn not_found() -> Self {
        let message = "Requested entity was not found.".to_owned();
        Self { status: 404, reason: "notFound", domain: "global", code: Some("NOT_FOUND"), message }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self { status: 409, reason: "aborted", domain: "global", code: Some("ABORTED"), message: message.into() }
    }

    pub(crate) fn forbidden(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: 403, reason, domain: "global", code: Some("PERMISSION_DENIED"), message: message.into() }
    }

    /// A token that is not good enough.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        if refusal == Refusal::Scope {
            return Self::forbidden("insufficientPermissions", "Insufficient Permission");
        }
        let message = "Invalid Credentials".to_owned();
        Self { status: 401, reason: "authError", domain: "global", code: Some("UNAUTHENTICATED"), message }
    }

    /// An injected error: 403 and 429 are the two forms of a rate limit, and the text of 429 names a time.
    pub(crate) fn injected(status: u16, now_ms: i64) -> Self {
        let (reason, domain, code, message) = match status {
            400 => ("failedPrecondition", "global", "FAILED_PRECONDITION", "Precondition check failed.".to_owned()),
            401 => return Self::refused(Refusal::Unknown),
            403 => {
                return Self {
                    status,
                    reason: "userRateLimitExceeded",
                    domain: "usageLimits",
                    code: None,
                    message: format!("User Rate Limit Exceeded.  Retry after {}", in_two_seconds(now_ms)),
                };
            }
            404 => return Self::not_found(),
            429 => {
                let text = format!("User-rate limit exceeded.  Retry after {}", in_two_seconds(now_ms));
                ("rateLimitExceeded", "usageLimits", "RESOURCE_EXHAUSTED", text)
            }
            _ => ("backendError", "global", "INTERNAL", "Internal error encountered.".to_owned()),
        };
        Self { status, reason, domain, code: Some(code), message }
    }
}

fn in_two_seconds(now_ms: i64) -> String {
    format_utc(now_ms.saturating_add(2_000), "%Y-%m-%dT%H:%M:%S.000Z")
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let mut entry = json!({"message": error.message, "domain": error.domain, "reason": error.reason});
        if error.status == 401 {
            entry["locationType"] = json!("header");
            entry["location"] = json!("Authorization");
        }
        let mut document = json!({"code": error.status, "message": error.message, "errors": [entry]});
        if let Some(code) = error.code {
            document["status"] = Value::from(code);
        }
        Self::json(error.status, &json!({"error": document}))
    }
}
