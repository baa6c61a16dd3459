//! Errors as problem documents (RFC 9457): a stable code, and the text says what to do.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    accept::PublishError,
    connection::vault::VaultError,
    directory::LoadError,
    event::{InvalidName, catalogue::SchemaFault, json_limits::JsonLimit},
    outbound::{egress::EgressError, sign::SignError},
    plugin::{guest::CompileError, registry::AddError},
    route::filter::FilterError,
    store::StoreError,
};

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// No key, or not a valid one.
    Unauthenticated,
    /// The key may not do this.
    Forbidden,
    /// There is no such thing, or it is another tenant's.
    NotFound,
    /// There is no such path.
    NoSuchRoute,
    /// The path has no such method.
    MethodNotAllowed,
    /// The body or a parameter is malformed.
    InvalidRequest,
    /// The body is no JSON.
    InvalidJson,
    /// The body is of a type that is not taken here.
    UnsupportedMediaType,
    /// The body is too large.
    BodyTooLarge,
    /// The payload breaks the schema of its type.
    SchemaViolation,
    /// The id was used for another event.
    IdReused,
    /// It exists, or a state stands against it.
    Conflict,
    /// The plugin file is not usable.
    InvalidPlugin,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The request with this idempotency key is still under way.
    IdempotencyInProgress,
    /// The hub is overloaded.
    Overloaded,
    /// The database is away.
    Unavailable,
    /// A fault of the hub.
    Internal,
}

impl Code {
    /// All of them.
    const ALL: [Self; 18] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::InvalidRequest,
        Self::InvalidJson,
        Self::UnsupportedMediaType,
        Self::BodyTooLarge,
        Self::SchemaViolation,
        Self::IdReused,
        Self::Conflict,
        Self::InvalidPlugin,
        Self::IdempotencyKeyReused,
        Self::IdempotencyInProgress,
        Self::Overloaded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Name, status and meaning of every code, for the page that explains them.
    pub(super) fn explained() -> impl Iterator<Item = (&'static str, u16, &'static str)> {
        Self::ALL.into_iter().map(Self::parts).map(|(name, status, title)| (name, status.as_u16(), title))
    }

    const fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, "A valid API key is needed"),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "The key may not do this"),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "Not found"),
            Self::NoSuchRoute => ("no_such_route", StatusCode::NOT_FOUND, "There is no such path"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "The path has no such method")
            }
            Self::InvalidRequest => ("invalid_request", StatusCode::BAD_REQUEST, "The request is not valid"),
            Self::InvalidJson => ("invalid_json", StatusCode::BAD_REQUEST, "The body is not valid JSON"),
            Self::UnsupportedMediaType => {
                ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body has a type that is not taken")
            }
            Self::BodyTooLarge => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::SchemaViolation => {
                ("schema_violation", StatusCode::UNPROCESSABLE_ENTITY, "The data breaks its schema")
            }
            Self::IdReused => ("id_reused", StatusCode::CONFLICT, "The id was used for another event"),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, "The request conflicts with what is there"),
            Self::InvalidPlugin => ("invalid_plugin", StatusCode::UNPROCESSABLE_ENTITY, "The plugin cannot be used"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key was used before")
            }
            Self::IdempotencyInProgress => {
                ("idempotency_in_progress", StatusCode::CONFLICT, "The first request is still under way")
            }
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "The hub is overloaded"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "The database is not available"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "The hub failed"),
        }
    }
}

/// One field that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// The path of the field: `retry_schedule[2]`, `config/base_url`.
    pub(super) field: String,
    /// What is wrong and the fix.
    pub(super) message: String,
}

/// A problem document.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    type_: String,
    /// The code in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Stable identifier of the cause.
    code: &'static str,
    /// What happened this time, and the fix.
    detail: String,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// Seconds after which to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// The result of a handler.
pub(super) type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem with this code and text.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let (name, status, title) = code.parts();
        Self {
            type_: format!("/docs#problem-{name}"),
            title,
            status: status.as_u16(),
            code: name,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// A field of the body or a parameter that is wrong.
    pub(super) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let mut problem = Self::new(Code::InvalidRequest, format!("{field}: {message}"));
        problem.errors.push(FieldError { field, message });
        problem
    }

    /// There is no such thing, or it is another tenant's; both look the same.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// What happened this time.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same with a field named.
    pub(super) fn with_error(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
        self
    }

    /// The same with a time after which to try again.
    pub(super) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A fault of ours: the log gets the cause, the caller does not.
pub(super) fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(error = %error, "an API request failed");
    Problem::new(Code::Internal, "the hub failed; the log has the cause under this correlation id")
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("object"),
            StoreError::Conflict(text) => Self::new(Code::Conflict, text),
            StoreError::Overloaded => {
                Self::new(Code::Overloaded, "too many writes wait; try again shortly").retry_after(1)
            }
            StoreError::Unavailable(cause) | StoreError::Contended(cause) => {
                tracing::warn!(cause, "the database is not available");
                Self::new(Code::Unavailable, "nothing was changed; try again shortly").retry_after(5)
            }
            StoreError::Refused(_) | StoreError::Inconsistent(_) => internal(&error),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => error.into(),
            LoadError::Vault { .. } | LoadError::HubKey { .. } => internal(&error),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::TooLarge => Self::new(Code::BodyTooLarge, "the value is too large to be sealed"),
            VaultError::Keyring(_)
            | VaultError::Malformed
            | VaultError::OtherKey { .. }
            | VaultError::DoesNotOpen { .. } => internal(&error),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Invalid { field, message } => Self::field(field, message),
            PublishError::Schema { path, message } => SchemaFault { path, message }.into(),
            PublishError::EmergencyDenied => {
                Self::new(Code::Forbidden, "this key may not set urgency to emergency; ask for a key with `emergency`")
                    .with_error("urgency", "emergency is not granted to this key")
            }
            PublishError::IdReused { first_id } => {
                let detail = format!("the id {first_id} was used for an event with another type or other data");
                Self::new(Code::IdReused, detail).with_error("id", "choose another id")
            }
            PublishError::Store(error) => error.into(),
        }
    }
}

impl From<SchemaFault> for Problem {
    fn from(fault: SchemaFault) -> Self {
        let field = format!("data{}", fault.path);
        Self::new(Code::SchemaViolation, format!("{field}: {}", fault.message)).with_error(field, fault.message)
    }
}

impl From<JsonLimit> for Problem {
    fn from(limit: JsonLimit) -> Self {
        match limit {
            JsonLimit::TooDeep { .. } | JsonLimit::TooManyNodes { .. } | JsonLimit::Twice { .. } => {
                Self::new(Code::InvalidJson, limit.to_string())
            }
        }
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        Self::field("filter", error.to_string())
    }
}

impl From<EgressError> for Problem {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::MalformedUrl(_) | EgressError::BlockedAddress(_) | EgressError::Dns => {
                Self::field("url", error.to_string())
            }
        }
    }
}

impl From<SignError> for Problem {
    fn from(error: SignError) -> Self {
        match error {
            SignError::UnknownPrefix | SignError::NotBase64 | SignError::Length(_) | SignError::KeyPair => {
                Self::field("secret", error.to_string())
            }
            SignError::Count(_) => Self::field("secret", error.to_string()),
            SignError::Id => Self::field("id", error.to_string()),
        }
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Self::field(error.what.replace(' ', "_"), error.to_string())
    }
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Compile(CompileError::Busy) => {
                Self::new(Code::Overloaded, CompileError::Busy.to_string()).retry_after(60)
            }
            AddError::Compile(error) => {
                Self::new(Code::InvalidPlugin, error.to_string()).with_error(error.part(), error.to_string())
            }
            AddError::Describe(error) => {
                Self::new(Code::InvalidPlugin, error.to_string()).with_error("describe", error.to_string())
            }
            AddError::Manifest(faults) => {
                let mut problem = Self::new(Code::InvalidPlugin, "the manifest is not acceptable");
                for (field, message) in faults {
                    problem = problem.with_error(format!("manifest.{field}"), message);
                }
                if let [only] = problem.errors.as_slice() {
                    problem.detail = format!("{}: {}", only.field, only.message);
                }
                problem
            }
            AddError::Encode(error) => internal(&error),
            AddError::Store(error) => error.into(),
            AddError::Load(error) => error.into(),
        }
    }
}
