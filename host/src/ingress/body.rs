//! Bodies under a size, a deadline and a shared memory budget.

use std::{
    error::Error as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{limits::BodyLimits, linger::Account};
use crate::observe::metrics;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than this path takes, whether it said so or not.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// What the path takes.
        limit: usize,
    },
    /// Its sender paused for too long.
    #[error("the body stopped arriving")]
    Idle,
    /// It took too long as a whole.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// It is compressed. Encoded bodies are refused, since a signature covers the bytes as they were sent.
    #[error("the body has a Content-Encoding; send it as it is")]
    Encoded,
    /// The memory for bodies is in use.
    #[error("too many bodies are in flight")]
    Overloaded,
    /// The connection broke, or its framing is wrong.
    #[error("the body broke off")]
    Broken,
}

impl BodyError {
    /// The HTTP status that tells the sender.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Idle | Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    /// The stable code of the problem document.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "body_too_large",
            Self::Idle => "body_idle",
            Self::TooSlow => "body_too_slow",
            Self::Encoded => "body_encoded",
            Self::Overloaded => "overloaded",
            Self::Broken => "body_broken",
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let mut problem = serde_json::json!({
            "type": "about:blank",
            "title": self.to_string(),
            "status": self.status().as_u16(),
            "code": self.code(),
        });
        let overloaded = self == Self::Overloaded;
        if overloaded {
            problem["retry_after"] = 5.into();
        }
        let json = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status(), [(header::CONTENT_TYPE, json)], problem.to_string()).into_response();
        if overloaded {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// In the extensions of a request whose body the listener did not let in: why.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedBody(pub(super) BodyError);

/// Reads a body to its end and gives the request back with it. A body of one piece is not copied.
///
/// The bounds are those of the listener: behind [`super::listen::serve`] every body ends by itself within its size
/// and its time, whoever reads it.
///
/// # Errors
///
/// The body went over a limit or broke off. The connection is closed after the answer.
pub async fn read_body(request: Request<Body>) -> Result<Request<Bytes>, BodyError> {
    let (parts, mut body) = request.into_parts();
    if let Some(RefusedBody(refused)) = parts.extensions.get() {
        return Err(*refused);
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| cause(&error))?.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    let whole = if joined.is_empty() { first } else { joined.freeze() };
    Ok(Request::from_parts(parts, whole))
}

/// The limit that ended a body, below however many layers wrapped it.
fn cause(error: &axum::Error) -> BodyError {
    let mut inner = error.source();
    while let Some(error) = inner {
        if let Some(limit) = error.downcast_ref() {
            return *limit;
        }
        inner = error.source();
    }
    BodyError::Broken
}

/// The memory that all bodies together may take.
pub(super) struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// Whether a body of this size would fit now. Nothing is set aside for what is only announced: a sender that
    /// announces much and sends nothing must not keep others out.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit
    }

    fn take(&self, bytes: usize) -> bool {
        if self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.limit {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        false
    }
}

/// What one request holds of the budget. Given back when the request has been answered.
pub(super) struct Charge {
    budget: Arc<MemoryBudget>,
    held: AtomicUsize,
    complete: AtomicBool,
}

impl Charge {
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self { budget: Arc::clone(budget), held: AtomicUsize::new(0), complete: AtomicBool::new(false) })
    }

    /// Whether the body was read to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) -> bool {
        let fits = self.budget.take(bytes);
        if fits {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A body that ends with an error when it goes over its limits.
pub(super) struct GuardedBody {
    incoming: Incoming,
    limits: BodyLimits,
    seen: usize,
    /// Made when the body first has to be waited for; most bodies arrive with their head.
    timers: Option<Timers>,
    charge: Arc<Charge>,
    account: Arc<Account>,
    over: bool,
}

struct Timers {
    idle: Pin<Box<Sleep>>,
    deadline: Pin<Box<Sleep>>,
}

impl GuardedBody {
    pub(super) fn new(incoming: Incoming, limits: BodyLimits, charge: Arc<Charge>, account: Arc<Account>) -> Self {
        Self { incoming, limits, seen: 0, timers: None, charge, account, over: false }
    }

    fn admit(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        self.seen = self.seen.saturating_add(data.len());
        if self.seen > self.limits.bytes {
            return Err(BodyError::TooLarge { limit: self.limits.bytes });
        }
        if !self.charge.add(data.len()) {
            return Err(BodyError::Overloaded);
        }
        if let Some(timers) = &mut self.timers {
            timers.idle.set(sleep(self.limits.idle));
        }
        Ok(())
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<BodyError> {
        let limits = self.limits;
        let timers = self.timers.get_or_insert_with(|| Timers {
            idle: Box::pin(sleep(limits.idle)),
            deadline: Box::pin(sleep(limits.deadline)),
        });
        if timers.deadline.as_mut().poll(cx).is_ready() {
            Some(BodyError::TooSlow)
        } else if timers.idle.as_mut().poll(cx).is_ready() {
            Some(BodyError::Idle)
        } else {
            None
        }
    }

    fn finish(&mut self) {
        self.over = true;
        self.charge.complete.store(true, Ordering::Relaxed);
        self.account.settle();
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let refused = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match this.admit(&frame) {
                Ok(()) => {
                    if this.incoming.is_end_stream() {
                        this.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(refused) => refused,
            },
            Poll::Ready(Some(Err(_))) => BodyError::Broken,
            Poll::Ready(None) => {
                this.finish();
                return Poll::Ready(None);
            }
            Poll::Pending => match this.overdue(cx) {
                Some(refused) => refused,
                None => return Poll::Pending,
            },
        };
        this.over = true;
        metrics::body_refused(refused.code());
        Poll::Ready(Some(Err(refused)))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
