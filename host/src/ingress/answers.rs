//! What a provider is answered. Every refusal of one kind looks the same, so that a stranger learns nothing.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::plugin::model::Reply;

/// The one body for every refusal of a signature, so that a stranger learns nothing.
const UNAUTHENTICATED: &str = "the request is not authenticated\n";

/// The answer to a request that is not authentic, or not acceptable.
pub(super) fn refused(status: StatusCode) -> Response {
    let text = if status == StatusCode::UNAUTHORIZED { UNAUTHENTICATED } else { "the request was refused\n" };
    (status, text).into_response()
}

/// The plugin's answer, or an empty one.
pub(super) fn replied(reply: Option<Reply>) -> Response {
    let Some(reply) = reply else { return StatusCode::OK.into_response() };
    let mut response = Response::new(Body::from(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    for header in reply.headers {
        let hop = ["connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "set-cookie"];
        if hop.contains(&header.name.as_str()) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(header.name), HeaderValue::from_bytes(&header.value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The answer while a request cannot be judged or stored.
pub(super) fn unavailable() -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, "try again later\n").into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The answer to one request too many.
pub(super) fn too_many(seconds: u64) -> Response {
    let mut response = (StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}
