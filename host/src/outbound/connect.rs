//! The way out: resolve, vet, connect to exactly what was vetted, then TLS. Everything here happens before the first byte of a
//! request, so every failure means that nothing was sent.

use std::{
    error::Error,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use super::{client::NotSent, egress::EgressGuard};

/// Time for opening the TCP connection, over all addresses that are tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Time for name, TCP and TLS together; leaves TLS at least 5 s.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// How many of a name's addresses are tried, so that each has a useful share of the time.
const MAX_TRIED: usize = 4;

type BoxedError = Box<dyn Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Opens connections for the client's pool. Its errors are, or contain, a [`NotSent`]; any other cause is TLS.
#[derive(Clone)]
pub(super) struct Connector(Arc<HttpsConnector<Dial>>);

impl Connector {
    pub(super) fn new(guard: EgressGuard, tls: rustls::ClientConfig) -> Self {
        // HTTP/1.1 only: one exchange at a time per connection keeps "was a byte of this request written" answerable.
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Self(Arc::new(https.wrap_connector(Dial(guard))))
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxedError;
    type Future = Connecting<Self::Response, BoxedError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxedError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The copy is made here and not by the pool, which clones its connector for every request.
        let mut https = HttpsConnector::clone(&self.0);
        Box::pin(
            async move { timeout(READY_LIMIT, https.call(uri)).await.unwrap_or_else(|_| Err(NotSent::Tls.into())) },
        )
    }
}

/// Name to vetted addresses to TCP.
#[derive(Clone)]
pub(super) struct Dial(EgressGuard);

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = NotSent;
    type Future = Connecting<Self::Response, NotSent>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let guard = self.0.clone();
        Box::pin(async move {
            let addresses = guard.addresses(&uri).await.map_err(NotSent::Egress)?;
            let https = uri.scheme() == Some(&Scheme::HTTPS);
            let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
            first_that_answers(&addresses, port).await.map(TokioIo::new)
        })
    }
}

/// Tries the addresses in the resolver's order, each with an equal share of the time.
async fn first_that_answers(addresses: &[IpAddr], port: u16) -> Result<TcpStream, NotSent> {
    let tried = addresses.iter().take(MAX_TRIED);
    let share = CONNECT_LIMIT / u32::try_from(tried.len().max(1)).unwrap_or(1);
    let mut last = NotSent::Egress(super::egress::EgressError::Dns);
    for address in tried {
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                // Requests are written whole; waiting for a fuller packet would only add latency.
                stream.set_nodelay(true).map_err(|_| NotSent::Unreachable)?;
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => last = NotSent::Refused,
            Ok(Err(_)) => last = NotSent::Unreachable,
            Err(_) => last = NotSent::ConnectTimeout,
        }
    }
    Err(last)
}
