//! Starts simulators on free ports and calls them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use switchyard_simulators::{
    billy::{self, Billy},
    clock::{ManualClock, TimeFactor},
    stripe::{self, Stripe},
    subscriber::{self, Subscriber},
    twilio::{self, Twilio},
};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const LIMIT: Duration = Duration::from_secs(10);
/// 2026-11-20T13:31:25Z
pub const NOW_MS: i64 = 1_795_181_485_000;
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const NUMBER: &str = "+4570000001";
pub const PERSON: &str = "+4520123456";
pub const BILLY_TOKEN: &str = "billy-token-1";

/// A running simulator; it stops when this is dropped.
pub struct Running<H> {
    pub handle: H,
    pub clock: Arc<ManualClock>,
    pub _stop: DropGuard,
}

impl<H> Running<H> {
    pub fn new(handle: H, clock: Arc<ManualClock>, stop: CancellationToken) -> Self {
        Self { handle, clock, _stop: stop.drop_guard() }
    }
}

impl<H> std::ops::Deref for Running<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handle
    }
}

pub async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An address where nobody listens, and nobody else can for as long as the socket lives.
pub fn deaf_address() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub async fn twilio_with(change: impl FnOnce(&mut twilio::Options)) -> Running<twilio::Handle> {
    let clock = ManualClock::starting_at(NOW_MS);
    let mut options = twilio::Options::new(ACCOUNT, TOKEN, clock.clone());
    options.time_factor = TimeFactor::new(1000);
    change(&mut options);
    let stop = CancellationToken::new();
    let handle = Twilio::start(listener().await, options, stop.clone()).unwrap();
    Running { handle, clock, _stop: stop.drop_guard() }
}

pub async fn twilio() -> Running<twilio::Handle> {
    twilio_with(|_| {}).await
}

pub async fn billy() -> Running<billy::Handle> {
    let clock = ManualClock::starting_at(NOW_MS);
    let stop = CancellationToken::new();
    let options = billy::Options::new(BILLY_TOKEN, clock.clone());
    let handle = Billy::start(listener().await, options, stop.clone()).unwrap();
    Running { handle, clock, _stop: stop.drop_guard() }
}

/// A Stripe whose endpoint's secret is `whsec_1` and whose key is `sk_1`; its ladder of tries runs in seconds.
pub async fn stripe() -> Running<stripe::Handle> {
    let clock = ManualClock::starting_at(NOW_MS);
    let mut options = stripe::Options::new("sk_1", "whsec_1", clock.clone());
    options.time_factor = TimeFactor::new(10_000);
    let stop = CancellationToken::new();
    let handle = Stripe::start(listener().await, options, stop.clone()).unwrap();
    Running { handle, clock, _stop: stop.drop_guard() }
}

pub async fn subscriber() -> Running<subscriber::Handle> {
    let clock = ManualClock::starting_at(NOW_MS);
    let stop = CancellationToken::new();
    let options = subscriber::Options { clock: clock.clone() };
    let handle = Subscriber::start(listener().await, options, stop.clone()).unwrap();
    Running { handle, clock, _stop: stop.drop_guard() }
}

#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

/// One request on a connection of its own; an error is a connection that broke.
pub async fn call(method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Got, String> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let exchange = async {
        let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Got { status: parts.status.as_u16(), headers: parts.headers, body })
    };
    tokio::time::timeout(LIMIT, exchange).await.expect("an answer within the limit")
}

pub async fn get(url: &str) -> Got {
    call(Method::GET, url, &[], Bytes::new()).await.unwrap()
}

pub async fn post_json(url: &str, body: &Value) -> Got {
    call(Method::POST, url, &[("content-type", "application/json")], body.to_string()).await.unwrap()
}

/// `Authorization` for the simulated Twilio account.
pub fn basic() -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{ACCOUNT}:{TOKEN}")))
}

/// A call to the simulated Twilio account; `path` follows the account's own.
pub async fn twilio_call(
    twilio: &twilio::Handle,
    method: Method,
    path: &str,
    form: &[(&str, &str)],
) -> Result<Got, String> {
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/{path}", twilio.base_url());
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = [("authorization", basic()), ("content-type", "application/x-www-form-urlencoded".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    call(method, &url, &headers, body).await
}

pub async fn send(twilio: &twilio::Handle, form: &[(&str, &str)]) -> Got {
    twilio_call(twilio, Method::POST, "Messages.json", form).await.unwrap()
}

/// A call to the simulated company; `path` follows `/v2`.
pub async fn billy_call(billy: &billy::Handle, method: Method, path: &str, body: &Value) -> Result<Got, String> {
    let url = format!("{}/v2{path}", billy.base_url());
    let body = if body.is_null() { String::new() } else { body.to_string() };
    call(method, &url, &[("x-access-token", BILLY_TOKEN), ("content-type", "application/json")], body).await
}

pub async fn billy_get(billy: &billy::Handle, path: &str) -> Got {
    billy_call(billy, Method::GET, path, &Value::Null).await.unwrap()
}
