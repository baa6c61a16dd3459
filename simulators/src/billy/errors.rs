//! Billy's error document.

use serde_json::{Map, Value, json};

use crate::http::Reply;

/// An error that the API answers with.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: u16,
    message: String,
    attributes: Map<String, Value>,
}

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), attributes: Map::new() }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(404, format!("{what} was not found."))
    }

    /// 422 with one attribute at fault.
    pub(crate) fn invalid(attribute: &str, message: &str) -> Self {
        let mut error = Self::new(422, "The request contained invalid data.");
        error.attributes.insert(attribute.to_owned(), Value::from(message));
        error
    }

    pub(crate) fn blank(attribute: &str) -> Self {
        Self::invalid(attribute, "This field must not be blank.")
    }

    /// The error that stands for an injected status.
    pub(crate) fn injected(status: u16) -> Self {
        let message = match status {
            401 => "Unauthorized.",
            429 => "Too many requests.",
            500.. => "An unexpected error happened.",
            _ => "The request could not be handled.",
        };
        Self::new(status, message)
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let mut document = json!({
            "meta": {"statusCode": error.status, "success": false, "time": 0.03},
            "errorMessage": error.message,
            "helpUrl": "https://www.billy.dk/api/#errors",
        });
        if !error.attributes.is_empty() {
            document["validationErrors"] =
                json!({"record": {"message": error.message, "attributes": error.attributes}});
        }
        Self::json(error.status, &document)
    }
}
