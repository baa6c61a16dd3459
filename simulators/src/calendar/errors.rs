//! Google's error documents, as Calendar writes them.

use serde_json::json;

use crate::http::Reply;

/// A refusal with everything that its document shows.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: u16,
    domain: &'static str,
    reason: String,
    message: String,
    /// `parameter` or `header`, and its name.
    location: Option<(&'static str, &'static str)>,
}

impl ApiError {
    fn new(status: u16, domain: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { status, domain, reason: reason.to_owned(), message: message.into(), location: None }
    }

    fn at(mut self, kind: &'static str, name: &'static str) -> Self {
        self.location = Some((kind, name));
        self
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(401, "global", "authError", "Invalid Credentials").at("header", "Authorization")
    }

    pub(crate) fn insufficient_scope() -> Self {
        Self::new(403, "global", "insufficientPermissions", "Request had insufficient authentication scopes.")
    }

    pub(crate) fn forbidden_for_service_accounts() -> Self {
        let message = "Service accounts cannot invite attendees without Domain-Wide Delegation of Authority.";
        Self::new(403, "calendar", "forbiddenForServiceAccounts", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "global", "notFound", "Not Found")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "global", "invalid", message)
    }

    pub(crate) fn required(message: impl Into<String>) -> Self {
        Self::new(400, "global", "required", message)
    }

    pub(crate) fn parse_error() -> Self {
        Self::new(400, "global", "parseError", "Parse Error")
    }

    pub(crate) fn time_range_empty() -> Self {
        Self::new(400, "calendar", "timeRangeEmpty", "The specified time range is empty.").at("parameter", "timeMax")
    }

    pub(crate) fn duplicate() -> Self {
        Self::new(409, "global", "duplicate", "The requested identifier already exists.")
    }

    pub(crate) fn deleted() -> Self {
        Self::new(410, "global", "deleted", "Resource has been deleted")
    }

    pub(crate) fn full_sync_required() -> Self {
        let message = "Sync token is no longer valid, a full sync is required.";
        Self::new(410, "calendar", "fullSyncRequired", message).at("parameter", "syncToken")
    }

    pub(crate) fn updated_min_too_long_ago() -> Self {
        let message = "The requested minimum modification time lies too far in the past.";
        Self::new(410, "calendar", "updatedMinTooLongAgo", message).at("parameter", "updatedMin")
    }

    pub(crate) fn condition_not_met() -> Self {
        Self::new(412, "global", "conditionNotMet", "Precondition Failed").at("header", "If-Match")
    }

    pub(crate) fn channel_id_not_unique(id: &str) -> Self {
        Self::new(400, "global", "channelIdNotUnique", format!("Channel id {id} not unique"))
    }

    pub(crate) fn channel_not_found(id: &str) -> Self {
        Self::new(404, "global", "notFound", format!("Channel '{id}' not found for project"))
    }

    /// The document of an injected status. 403 and 429 are the two forms of a limit, with the reason that is set.
    pub(crate) fn injected(status: u16, limit_reason: &str) -> Self {
        match status {
            401 => Self::unauthenticated(),
            403 | 429 => Self::new(status, "usageLimits", limit_reason, "Rate Limit Exceeded"),
            404 => Self::not_found(),
            410 => Self::full_sync_required(),
            412 => Self::condition_not_met(),
            400..=499 => Self::new(status, "global", "badRequest", "Bad Request"),
            _ => Self::new(status, "global", "backendError", "Backend Error"),
        }
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let mut item = json!({ "domain": error.domain, "reason": error.reason, "message": error.message });
        if let Some((kind, name)) = error.location {
            item["locationType"] = json!(kind);
            item["location"] = json!(name);
        }
        let document = json!({ "error": { "errors": [item], "code": error.status, "message": error.message } });
        Reply::json(error.status, &document)
    }
}
