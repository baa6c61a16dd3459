//! The accept loop: hyper under our own limits.
//!
//! `axum::serve` never sets the timer that hyper's header timeout needs, and hyper alone waits for ever for a first
//! byte and for the rest of a body. Here a connection is one task, and every wait in it has a bound: the first byte,
//! the head, the body (see [`super::body`]), and the connection's age.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::{
    body::{BodyError, Charge, GuardedBody, MemoryBudget, RefusedBody},
    client::Client,
    limits::{BodyLimits, ListenLimits, network},
    linger::{Account, Linger},
};
use crate::observe::metrics::{self, Closed};

/// Serves `router` on `listener` until `shutdown`, then stops accepting, lets requests finish for at most
/// `limits.closing_grace`, and returns when the last connection is closed.
///
/// Every request carries a [`Client`] in its extensions. An answer that leaves a body unread closes its connection.
pub async fn serve(listener: TcpListener, router: Router, limits: ListenLimits, shutdown: CancellationToken) {
    let hub = Arc::new(Edge {
        stopping: shutdown.clone(),
        builder: builder(&limits),
        budget: MemoryBudget::new(limits.body_memory),
        census: Mutex::default(),
        router,
        limits,
    });
    let connections = TaskTracker::new();
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = SHORTEST_PAUSE;
                take(&hub, &connections, stream, peer);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely. The listener stays readable, so accepting at once again
                // would spin; connections that end meanwhile make room.
                metrics::accept_failed();
                tracing::warn!(error = %error, pause_ms = pause.as_millis(), "cannot accept connections");
                let _ = timeout(pause, shutdown.cancelled()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    // Who was told by the system that the connection stands is answered; closing the listener would reset it.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        take(&hub, &connections, stream, peer);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn take(hub: &Arc<Edge>, connections: &TaskTracker, stream: TcpStream, peer: SocketAddr) {
    match Edge::admit(hub, peer.ip()) {
        Some(seat) => {
            connections.spawn(connection(Arc::clone(hub), stream, peer, seat, hub.stopping.child_token()));
        }
        None => turn_away(&stream),
    }
}

/// How long an idle connection is kept after the hub was told to stop: its next request may be on its way.
const LAST_REQUEST: Duration = Duration::from_millis(250);

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Hyper's own default, for which its parser needs no allocation.
const USUAL_HEADER_COUNT: usize = 100;

/// The smallest head buffer that hyper takes.
const SMALLEST_HEADER_BYTES: usize = 8192;

/// What all connections share.
struct Edge {
    stopping: CancellationToken,
    limits: ListenLimits,
    router: Router,
    builder: auto::Builder<TokioExecutor>,
    budget: Arc<MemoryBudget>,
    census: Mutex<Census>,
}

#[derive(Default)]
struct Census {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A counted connection; leaving gives its place back.
struct Seat {
    edge: Arc<Edge>,
    network: IpAddr,
}

impl Edge {
    fn admit(edge: &Arc<Self>, ip: IpAddr) -> Option<Seat> {
        let network = network(ip);
        let mut census = edge.census.lock().unwrap_or_else(PoisonError::into_inner);
        let same = census.by_network.get(&network).copied().unwrap_or(0);
        let crowded = same >= edge.limits.connections_per_ip && !edge.limits.trusts(ip.to_canonical());
        if crowded || census.total >= edge.limits.connections {
            metrics::connection_closed(if crowded { Closed::PerIpCap } else { Closed::Cap });
            return None;
        }
        census.total += 1;
        *census.by_network.entry(network).or_default() += 1;
        metrics::connections(census.total);
        drop(census);
        Some(Seat { edge: Arc::clone(edge), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut census = self.edge.census.lock().unwrap_or_else(PoisonError::into_inner);
        census.total = census.total.saturating_sub(1);
        metrics::connections(census.total);
        if let Some(same) = census.by_network.get_mut(&self.network) {
            *same -= 1;
            if *same == 0 {
                census.by_network.remove(&self.network);
            }
        }
    }
}

fn builder(limits: &ListenLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(SMALLEST_HEADER_BYTES));
    if limits.header_count != USUAL_HEADER_COUNT {
        http1.max_headers(limits.header_count);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.http2_keep_alive)
        .keep_alive_timeout(limits.http2_keep_alive);
    builder
}

/// Errors of `accept` that say nothing about the listener: the peer gave up while it waited.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Tells a caller for whom there is no place, as far as that costs nothing.
fn turn_away(stream: &TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // A fresh socket's send buffer takes these bytes; where it does not, the close alone has to do.
    let _ = stream.try_write(ANSWER);
}

/// Where a connection stands; each stage has its own deadline.
enum Stage {
    /// No request's head was complete yet.
    Opening,
    Open,
    /// The hub stops: the next answer closes the connection.
    Last,
    /// Asked to close after what it is doing.
    Closing,
}

async fn connection(edge: Arc<Edge>, stream: TcpStream, peer: SocketAddr, seat: Seat, shutdown: CancellationToken) {
    let _seat = seat;
    let limits = &edge.limits;
    if stream.set_nodelay(true).is_err() || !speaks(&stream, limits.first_byte_timeout, &shutdown).await {
        return;
    }
    let account = Arc::new(Account::default());
    let io = TokioIo::new(Linger::new(stream, Arc::clone(&account)));
    let service = {
        let (edge, account) = (Arc::clone(&edge), Arc::clone(&account));
        service_fn(move |request| answer(Arc::clone(&edge), Arc::clone(&account), peer, request))
    };
    let mut hyper = std::pin::pin!(edge.builder.serve_connection(io, service));
    let mut clock = std::pin::pin!(sleep(limits.header_timeout));
    let mut stage = Stage::Opening;
    loop {
        select! {
            biased;
            ended = hyper.as_mut() => {
                if let Err(error) = ended {
                    // A stranger's bad request is not our error.
                    tracing::debug!(error = %error, "connection ended early");
                }
                return;
            }
            () = clock.as_mut() => match stage {
                // Hyper's header timeout starts only once it has told HTTP/1 from HTTP/2.
                Stage::Opening if !account.has_started() => return metrics::connection_closed(Closed::Header),
                Stage::Opening => {
                    stage = Stage::Open;
                    clock.set(sleep(limits.connection_lifetime.saturating_sub(limits.header_timeout)));
                }
                Stage::Last => {
                    stage = Stage::Closing;
                    hyper.as_mut().graceful_shutdown();
                    clock.set(sleep(limits.closing_grace));
                }
                Stage::Open => {
                    stage = Stage::Closing;
                    metrics::connection_closed(Closed::Lifetime);
                    hyper.as_mut().graceful_shutdown();
                    clock.set(sleep(limits.closing_grace));
                }
                Stage::Closing => return metrics::connection_closed(Closed::Grace),
            },
            () = shutdown.cancelled(), if !matches!(stage, Stage::Last | Stage::Closing) => {
                stage = Stage::Last;
                clock.set(sleep(LAST_REQUEST));
            }
        }
    }
}

/// Waits for a first byte without taking it.
async fn speaks(stream: &TcpStream, patience: Duration, shutdown: &CancellationToken) -> bool {
    let mut byte = [0];
    select! {
        biased;
        first = timeout(patience, stream.peek(&mut byte)) => match first {
            Ok(peeked) => matches!(peeked, Ok(1)),
            Err(_) => {
                metrics::connection_closed(Closed::Silent);
                false
            }
        },
        () = async { shutdown.cancelled().await; sleep(LAST_REQUEST).await } => false,
    }
}

/// One request. The last one of a connection when the hub stops, so that no request meets a connection that goes.
async fn answer(
    edge: Arc<Edge>,
    account: Arc<Account>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let closes_by_header = request.version() < Version::HTTP_2;
    let stopping = edge.stopping.clone();
    let response = handle(edge, account, peer, request).await?;
    Ok(if stopping.is_cancelled() { closing(response, closes_by_header) } else { response })
}

/// Refused by its head, or handed to the router with a guarded body.
async fn handle(
    edge: Arc<Edge>,
    account: Arc<Account>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    account.start();
    let (mut parts, incoming) = request.into_parts();
    let closes_by_header = parts.version < Version::HTTP_2;
    if !names_one_host(&parts) {
        metrics::connection_closed(Closed::Framing);
        return Ok(closing(StatusCode::BAD_REQUEST.into_response(), closes_by_header));
    }
    let limits = edge.limits.body(parts.uri.path());
    if let Err(refused) = judge(&parts, &incoming, limits, &edge.budget) {
        metrics::body_refused(refused.code());
        if !parts.uri.path().starts_with(super::INBOUND) {
            return Ok(closing(refused.into_response(), closes_by_header));
        }
        // The source's tenant is to see it as a rejection, so the handler gets the refusal in place of the body.
        parts.extensions.insert(Client::of(peer, &parts.headers, &edge.limits));
        parts.extensions.insert(RefusedBody(refused));
        account.settle();
        let response = edge.router.clone().call(Request::from_parts(parts, Body::empty())).await?;
        return Ok(closing(response, closes_by_header));
    }
    parts.extensions.insert(Client::of(peer, &parts.headers, &edge.limits));
    let mut router = edge.router.clone();
    if incoming.is_end_stream() {
        account.settle();
        return router.call(Request::from_parts(parts, Body::empty())).await;
    }
    let charge = Charge::new(&edge.budget);
    let body = Body::new(GuardedBody::new(incoming, limits, Arc::clone(&charge), account));
    let response = router.call(Request::from_parts(parts, body)).await?;
    Ok(if charge.is_complete() { response } else { closing(response, closes_by_header) })
}

/// Whether a request says once for whom it is, as RFC 9112 wants: whoever stands before the hub may go by another one.
fn names_one_host(parts: &http::request::Parts) -> bool {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => parts.version != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// What can be said about a body before any of it is read.
fn judge(
    parts: &http::request::Parts,
    incoming: &Incoming,
    limits: BodyLimits,
    budget: &MemoryBudget,
) -> Result<(), BodyError> {
    if incoming.is_end_stream() {
        return Ok(());
    }
    let declared = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limits.bytes {
        return Err(BodyError::TooLarge { limit: limits.bytes });
    }
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !parts.headers.get_all(header::CONTENT_ENCODING).iter().all(identity) {
        return Err(BodyError::Encoded);
    }
    if !budget.has_room_for(declared) {
        return Err(BodyError::Overloaded);
    }
    Ok(())
}

fn closing(mut response: Response, by_header: bool) -> Response {
    if by_header {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
