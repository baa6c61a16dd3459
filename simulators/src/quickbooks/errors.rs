//! Faults, in the two spellings that QuickBooks has for them.

use serde_json::{Value, json};

use super::company::pacific;
use crate::http::Reply;

/// An error that the API answers with.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    code: &'static str,
    kind: &'static str,
    message: String,
    detail: String,
    element: Option<String>,
}

impl Fault {
    /// A refusal of what was sent: status 400.
    pub(crate) fn invalid(code: &'static str, message: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status: 400, code, kind: "ValidationFault", message: message.to_owned(), detail, element: None }
    }

    /// The field that is at fault.
    pub(crate) fn at(mut self, element: &str) -> Self {
        self.element = Some(element.to_owned());
        self
    }

    pub(crate) fn missing(element: &str) -> Self {
        let detail = format!("Required parameter {element} is missing in the request");
        Self::invalid("2020", "Required param missing, need to supply the required value for the API", detail)
            .at(element)
    }

    pub(crate) fn no_reference(element: &str, id: &str) -> Self {
        Self::invalid("2500", "Invalid Reference Id", format!("Invalid Reference Id : {element} {id}")).at(element)
    }

    pub(crate) fn bad_enum(element: &str) -> Self {
        Self::invalid("2170", "Invalid Enumeration", format!("{element} is not one of the supported values."))
            .at(element)
    }

    pub(crate) fn business(detail: &str) -> Self {
        Self::invalid("6000", "A business validation error has occurred while processing your request", detail)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        let detail = format!("Object Not Found : Something you're trying to use has been made inactive: {what}");
        Self::invalid("610", "Object Not Found", detail)
    }

    pub(crate) fn stale() -> Self {
        let detail = "Stale Object Error : You and another user were working on this at the same time. \
                      Somebody else saved it before you did.";
        Self::invalid("5010", "Stale Object Error", detail)
    }

    pub(crate) fn query(detail: &str) -> Self {
        Self::invalid("4000", "Error parsing query", detail)
    }

    /// An operation, path or method that does not exist.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::invalid("500", "Unsupported Operation", format!("Operation {what} is not supported."))
    }

    /// The company is not one that this token may use.
    pub(crate) fn wrong_company() -> Self {
        let message = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403";
        Self {
            status: 403,
            code: "3100",
            kind: "AUTHORIZATION",
            message: message.to_owned(),
            detail: "The application is not authorized for this company.".to_owned(),
            element: None,
        }
    }

    pub(crate) fn throttled() -> Self {
        Self {
            status: 429,
            code: "003001",
            kind: "THROTTLE",
            message: "message=ThrottleExceeded; errorCode=003001; statusCode=429".to_owned(),
            detail: "The request limit of this company was reached.".to_owned(),
            element: None,
        }
    }

    pub(crate) fn unauthenticated() -> Self {
        Self {
            status: 401,
            code: "3200",
            kind: "AUTHENTICATION",
            message: "message=AuthenticationFailed; errorCode=003200; statusCode=401".to_owned(),
            detail: "Token expired".to_owned(),
            element: None,
        }
    }

    /// What stands for an injected status. 200 is a fault that hides behind a success.
    pub(crate) fn injected(status: u16) -> Self {
        match status {
            401 => Self::unauthenticated(),
            403 => Self::wrong_company(),
            429 => Self::throttled(),
            200..=299 => {
                let fault = Self::business("The transaction could not be saved: a tax agency is not set up.");
                Self { status, ..fault }
            }
            400..=499 => Self { status, ..Self::business("The request could not be handled.") },
            _ => Self {
                status,
                code: "10000",
                kind: "SystemFault",
                message: "An application error has occurred while processing your request".to_owned(),
                detail: "System Failure Error".to_owned(),
                element: None,
            },
        }
    }

    /// `Fault`, `Error`, `Message`: what the accounting service itself writes.
    pub(crate) fn reply(&self, now_ms: i64) -> Reply {
        let mut error = json!({"Message": self.message, "Detail": self.detail, "code": self.code});
        if let Some(element) = &self.element {
            error["element"] = Value::from(element.as_str());
        }
        let fault = json!({"Fault": {"Error": [error], "type": self.kind}, "time": pacific(now_ms)});
        Reply::json(self.status, &fault)
    }

    /// `fault`, `error`, `message`: what the gateway in front of it writes.
    pub(crate) fn lower_case_reply(&self, now_ms: i64) -> Reply {
        let error = json!({
            "message": self.message, "detail": self.detail, "code": self.code, "element": self.element,
        });
        let fault = json!({
            "warnings": null, "intuitObject": null, "fault": {"error": [error], "type": self.kind}, "report": null,
            "queryResponse": null, "batchItemResponse": [], "attachableResponse": [], "syncErrorResponse": null,
            "requestId": null, "time": now_ms, "status": null, "cdcresponse": [],
        });
        Reply::json(self.status, &fault)
    }
}
