//! The one HTTP client of the process, for deliveries and provider calls alike.
//!
//! Connections are kept and shared by scheme, host and port, also between tenants. That is safe because nothing in a
//! connection belongs to a tenant: the address was vetted by the operator's rules, which are the same for all; there are no
//! client certificates, so the TLS session proves only the server; credentials travel in each request's own fields; and
//! HTTP/1.1 carries one exchange at a time. A kept connection stays with the address it was vetted for, whatever the name
//! resolves to later.
//!
//! Redirects are answers like any other, proxies of the environment are not read, and nothing is decompressed.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT_ENCODING, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::ConfigBuilderExt;
use hyper_util::{
    client::legacy::{self, Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::time::timeout;

use super::{
    connect::Connector,
    egress::{EgressError, EgressGuard, EgressPolicy, Target},
};

/// Most fields an answer may have.
const MAX_HEADERS: usize = 100;

/// Most bytes the head of an answer may have.
const MAX_HEAD: usize = 32 * 1024;

/// How long an unused connection is kept, and how many per host.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 128;

/// One request, complete. `Debug` shows neither fields nor body.
#[derive(Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// All fields but `host`, `content-length`, `accept-encoding`, and `user-agent` unless given.
    pub headers: HeaderMap,
    /// The body; empty sends none.
    pub body: Bytes,
    /// Time for the whole exchange: name, connection, request, answer and its body.
    pub timeout: Duration,
    /// Most bytes of the answer's body that are read.
    pub response_cap: usize,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Outgoing");
        shown.field("method", &self.method).field("target", &self.target).field("body_bytes", &self.body.len());
        shown.finish_non_exhaustive()
    }
}

/// A complete answer, whatever its status. `Debug` shows neither fields nor body.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All fields.
    pub headers: HeaderMap,
    /// The body, up to the cap.
    pub body: Bytes,
    /// True if the body went on beyond the cap; the rest was not read.
    pub truncated: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Answer");
        shown.field("status", &self.status).field("body_bytes", &self.body.len()).field("truncated", &self.truncated);
        shown.finish_non_exhaustive()
    }
}

/// Why there is no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not one byte of the request was written: the receiver cannot have acted on it.
    #[error(transparent)]
    NotSent(NotSent),
    /// Bytes of the request may have been written: the receiver may have acted on it.
    #[error(transparent)]
    MaybeSent(MaybeSent),
}

/// What kept the request from being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The egress guard refused, or the name did not resolve.
    #[error(transparent)]
    Egress(EgressError),
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// No connection in time.
    #[error("no connection was made in time")]
    ConnectTimeout,
    /// The network or the host is not reachable.
    #[error("the host could not be reached")]
    Unreachable,
    /// No TLS session: the certificate is not trusted or does not fit, the peer speaks no TLS 1.2 or later, or it was too slow.
    #[error("no TLS connection was made; is the certificate valid for this host?")]
    Tls,
    /// The kept connection ended before the request was put on it, and no other was made.
    #[error("the connection ended before the request was sent")]
    ConnectionEnded,
}

/// What happened after the request may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaybeSent {
    /// No head of an answer in time.
    #[error("there was no answer in time")]
    Timeout,
    /// A head came, the whole body did not come in time.
    #[error("status {0} came, but its body did not end in time")]
    BodyTimeout(StatusCode),
    /// The connection broke before the head of an answer.
    #[error("the connection broke before the answer")]
    Reset,
    /// The connection broke inside the answer's body.
    #[error("status {0} came, but the connection broke inside its body")]
    BodyReset(StatusCode),
    /// What came is not HTTP, or its head is beyond the limits.
    #[error("the answer is not valid HTTP, or its head is too large")]
    BadAnswer,
}

impl SendError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotSent(NotSent::Egress(error)) => error.code(),
            Self::NotSent(NotSent::Refused) => "connect_refused",
            Self::NotSent(NotSent::ConnectTimeout) => "connect_timeout",
            Self::NotSent(NotSent::Unreachable) => "unreachable",
            Self::NotSent(NotSent::Tls) => "tls",
            Self::NotSent(NotSent::ConnectionEnded) => "connection_ended",
            Self::MaybeSent(MaybeSent::Timeout) => "timeout",
            Self::MaybeSent(MaybeSent::BodyTimeout(_)) => "body_too_slow",
            Self::MaybeSent(MaybeSent::Reset | MaybeSent::BodyReset(_)) => "reset",
            Self::MaybeSent(MaybeSent::BadAnswer) => "bad_answer",
        }
    }
}

/// The client. Cheap to clone; all clones share one pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pooled: Client<Connector, Full<Bytes>>,
    guard: EgressGuard,
}

impl HttpClient {
    /// A client that trusts the public certificate authorities. Fails only if TLS cannot be set up at all.
    pub fn new(guard: EgressGuard) -> Result<Self, rustls::Error> {
        Ok(Self::build(guard, tls_versions()?.with_webpki_roots().with_no_client_auth()))
    }

    /// A client that trusts exactly `roots`.
    pub fn trusting(guard: EgressGuard, roots: RootCertStore) -> Result<Self, rustls::Error> {
        Ok(Self::build(guard, tls_versions()?.with_root_certificates(roots).with_no_client_auth()))
    }

    fn build(guard: EgressGuard, tls: ClientConfig) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEAD);
        Self { pooled: builder.build(Connector::new(guard.clone(), tls)), guard }
    }

    /// What may be called, for checks when a URL is saved and before it is sent to.
    #[must_use]
    pub fn policy(&self) -> &EgressPolicy {
        self.guard.policy()
    }

    /// What is asked before anything is dialled, for what is not HTTP.
    #[must_use]
    pub fn guard(&self) -> &EgressGuard {
        &self.guard
    }

    /// Sends one request and reads the whole answer, or up to the cap. A request that met a kept connection just as it ended,
    /// before any byte was written, goes out on another one; nothing else is repeated.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Answer, SendError> {
        let Outgoing { method, target, headers, body, timeout: limit, response_cap } = outgoing;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.uri().clone();
        *request.headers_mut() = headers;
        let fields = request.headers_mut();
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        fields.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("Switchyard/", env!("CARGO_PKG_VERSION"))));
        let connection = capture_connection(&mut request);
        let mut head = None;
        let exchange = async {
            let (parts, body) = self.pooled.request(request).await.map_err(|error| failed(&error))?.into_parts();
            head = Some(parts.status);
            let (body, truncated) =
                read_body(body, response_cap).await.map_err(|error| broken(&error, parts.status))?;
            Ok(Answer { status: parts.status, headers: parts.headers, body, truncated })
        };
        let in_time = timeout(limit, exchange).await;
        in_time.unwrap_or_else(|_| {
            Err(match head {
                Some(status) => SendError::MaybeSent(MaybeSent::BodyTimeout(status)),
                // Until a connection is assigned nothing of the request can have been written.
                None if connection.connection_metadata().is_none() => SendError::NotSent(NotSent::ConnectTimeout),
                None => SendError::MaybeSent(MaybeSent::Timeout),
            })
        })
    }
}

fn tls_versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    // The provider is named here, so that it does not depend on which crate installed a default one first. The safe versions
    // are TLS 1.2 and 1.3.
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions()
}

/// Reads up to `cap` bytes; true if there was more.
async fn read_body(mut body: Incoming, cap: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut only = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let room = cap - (only.len() + joined.len());
        let over = data.len() > room;
        data.truncate(room);
        if only.is_empty() && joined.is_empty() {
            // Most answers are one piece, which then is not copied.
            only = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&only);
                only = Bytes::new();
            }
            joined.extend_from_slice(&data);
        }
        if over {
            return Ok((if joined.is_empty() { only } else { joined.freeze() }, true));
        }
    }
    Ok((if joined.is_empty() { only } else { joined.freeze() }, false))
}

/// A failure before the head of an answer.
fn failed(error: &legacy::Error) -> SendError {
    let causes = || std::iter::successors(error.source(), |cause| Error::source(*cause));
    if error.is_connect() {
        let known = causes().find_map(|cause| cause.downcast_ref::<NotSent>());
        return SendError::NotSent(known.copied().unwrap_or(NotSent::Tls));
    }
    match causes().find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        // hyper cancels a request only while it still has it whole, that is before it was taken up by the connection.
        Some(cause) if cause.is_canceled() => SendError::NotSent(NotSent::ConnectionEnded),
        Some(cause) if cause.is_parse() || cause.is_parse_too_large() => SendError::MaybeSent(MaybeSent::BadAnswer),
        Some(_) => SendError::MaybeSent(MaybeSent::Reset),
        // Only requests that the pool itself refuses come without a cause, and those are never written.
        None => SendError::NotSent(NotSent::Egress(EgressError::MalformedUrl("it cannot be requested"))),
    }
}

/// A failure inside the answer's body.
fn broken(error: &hyper::Error, status: StatusCode) -> SendError {
    let kind = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let garbled = matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    SendError::MaybeSent(if garbled { MaybeSent::BadAnswer } else { MaybeSent::BodyReset(status) })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "client_tls_tests.rs"]
mod tls_tests;
