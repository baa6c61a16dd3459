//! The edge under raw sockets: what strangers do, and that each is answered or closed in time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{body::read_body, client::Client, limits::ListenLimits, listen::serve};
use crate::{clock::SystemClock, config::Settings};

/// A patience well under a second, and well over what a busy machine needs to answer.
const SHORT: Duration = Duration::from_millis(200);

struct Edge {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
    /// Requests to `/wait` are answered one per permit.
    gate: Arc<Semaphore>,
}

async fn echo(request: Request) -> Response {
    match read_body(request).await {
        Ok(request) => format!("{} bytes", request.body().len()).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn start(change: impl FnOnce(&mut ListenLimits)) -> Edge {
    let mut limits = Settings::defaults().unwrap().limits;
    change(&mut limits);
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let wait = async move |request: Request| {
        let response = echo(request).await;
        waiting.acquire().await.unwrap().forget();
        response
    };
    let router = Router::new()
        .route("/", get(async |Extension(client): Extension<Client>| client.ip.to_string()))
        .route("/echo", post(echo))
        .route("/ignore", post(async || "not read"))
        .route("/wait", post(wait));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
    Edge { address, shutdown, server, gate }
}

impl Edge {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the other end closes.
    async fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }
}

/// What arrives until the other end closes; fails when it does not within two seconds.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(2), stream.read_to_end(&mut bytes)).await;
    read.expect("the connection stayed open").unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer on a connection that stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = timeout(Duration::from_secs(2), stream.read(&mut bytes)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let edge = start(|limits| limits.first_byte_timeout = SHORT).await;
    let clock = SystemClock::shared();
    let begun = clock.monotonic();
    assert_eq!(edge.talk(b"").await, "");
    assert!(clock.monotonic() - begun >= SHORT);
}

#[tokio::test]
async fn half_a_head_is_closed() {
    let edge = start(|limits| limits.header_timeout = SHORT).await;
    // The last two stop within what may still become the preface of HTTP/2.
    for half in ["GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "G", "P", "PRI * HTTP/2.0\r\n"] {
        let answer = edge.talk(half.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{half:?}: {answer}");
    }
}

#[tokio::test]
async fn half_a_body_is_answered_and_closed() {
    let edge = start(|limits| limits.body_idle_timeout = SHORT).await;
    let answer = edge.talk(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"code\":\"body_idle\""), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_trickling_body_is_cut_at_its_deadline() {
    let edge = start(|limits| limits.body_timeout = 2 * SHORT).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    });
    let mut answer = vec![0; 1024];
    let read = timeout(Duration::from_secs(2), reading.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer}");
    trickle.abort();
}

#[tokio::test]
async fn a_giant_declared_body_is_refused_and_the_answer_arrives() {
    let edge = start(|_| {}).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n").await.unwrap();
    // Bytes under way when the other end closes must not turn the answer into a reset.
    let _ = stream.write_all(&[b'x'; 300_000]).await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_cannot_hide_its_size() {
    let edge = start(|limits| limits.body_bytes = 100_000).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [b"2710\r\n".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
    for _ in 0..20 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Exactly the limit is let through.
    let fits = [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        &chunk.repeat(10)[..],
        b"0\r\n\r\n",
    ]
    .concat();
    assert!(edge.talk(&fits).await.ends_with("100000 bytes"));
}

#[tokio::test]
async fn a_chunk_that_lies_about_its_size_is_refused() {
    let edge = start(|_| {}).await;
    for lie in ["fffffffffffffffff\r\nx", "zz\r\nx", "-1\r\nx", "4\r\nabcdefgh\r\n0\r\n\r\n"] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{lie}");
        let answer = edge.talk(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lie:?}: {answer}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let edge = start(|_| {}).await;
    let many: String = (0..101).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(1 << 20));
    for flood in [many, long] {
        let mut stream = edge.connect().await;
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{flood}\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let edge = start(|limits| limits.header_timeout = SHORT).await;
    for garbage in
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".as_slice(), b"\0\0\0\0\r\n\r\n", b"hello\r\n\r\n"]
    {
        let answer = edge.talk(garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test]
async fn two_framings_never_share_a_connection() {
    let edge = start(|_| {}).await;
    let smuggled = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = edge.talk(smuggled).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "what follows is never a second request: {answer}");
    let twice = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde";
    assert!(edge.talk(twice).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn an_encoded_body_is_refused() {
    let edge = start(|_| {}).await;
    let request = |encoding| {
        format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: {encoding}\r\n\
             Content-Length: 4\r\n\r\nabcd"
        )
    };
    assert!(edge.talk(request("gzip").as_bytes()).await.starts_with("HTTP/1.1 415"));
    assert!(edge.talk(request("identity").as_bytes()).await.ends_with("4 bytes"));
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let edge = start(|limits| limits.connections_per_ip = 1).await;
    let mut first = edge.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(answer(&mut first).await.ends_with("127.0.0.1"));
    let refused = edge.talk(b"").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After: 5"), "{refused}");
    drop(first);
    // The place is free again once the close has been seen.
    let mut served = String::new();
    while !served.starts_with("HTTP/1.1 200") {
        let mut stream = edge.connect().await;
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        served.clear();
        let _ = timeout(SHORT, stream.read_to_string(&mut served)).await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_have_any_number_of_connections() {
    let edge = start(|limits| {
        limits.connections_per_ip = 1;
        limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let _first = edge.connect().await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    assert!(edge.talk(request).await.ends_with("203.0.113.9"));
}

#[tokio::test]
async fn bodies_share_a_memory_budget() {
    let edge = start(|limits| limits.body_memory = 60_000).await;
    let body = vec![b'x'; 40_000];
    let request = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n");
        [head.as_bytes(), &body].concat()
    };
    let mut held = edge.connect().await;
    held.write_all(&request("/wait")).await.unwrap();
    let mut refused = String::new();
    while !refused.starts_with("HTTP/1.1 503") {
        // Until the held body has arrived, the second one still fits.
        refused = edge.talk(&request("/echo")).await;
    }
    assert!(refused.contains("retry-after: 5") && refused.contains("overloaded"), "{refused}");
    edge.gate.add_permits(1);
    assert!(rest(&mut held).await.ends_with("40000 bytes"));
    assert!(edge.talk(&request("/echo")).await.ends_with("40000 bytes"), "the budget was given back");
}

#[tokio::test]
async fn an_answer_without_reading_the_body_arrives() {
    let edge = start(|_| {}).await;
    let body = [b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n", &[b'x'; 900_000][..]].concat();
    let mut stream = edge.connect().await;
    let _ = stream.write_all(&body).await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn an_old_connection_is_asked_to_close() {
    let edge = start(|limits| {
        limits.header_timeout = SHORT;
        limits.connection_lifetime = 2 * SHORT;
        limits.closing_grace = Duration::from_secs(5);
    })
    .await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    sleep(3 * SHORT).await;
    edge.gate.add_permits(1);
    let answer = rest(&mut stream).await;
    assert!(answer.ends_with("2 bytes"), "the request under way is finished: {answer}");
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let edge = start(|_| {}).await;
    let mut stream = edge.connect().await;
    for _ in 0..3 {
        stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd").await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.ends_with("4 bytes") && !answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let edge = start(|limits| limits.body_bytes = 1000).await;
    let io = hyper_util::rt::TokioIo::new(edge.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    for (size, status) in [(1000, 200), (1001, 413), (10, 200)] {
        let body = Body::from(vec![b'x'; size]);
        let request = http::Request::post("http://x/echo").body(body).unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), status, "{size} bytes");
    }
    drop(client);
    connection.abort();
}

#[tokio::test]
async fn stopping_finishes_requests_under_way_and_closes_idle_connections() {
    let edge = start(|_| {}).await;
    let mut idle = edge.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    let mut silent = edge.connect().await;
    let mut busy = edge.connect().await;
    busy.write_all(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    // One more request on its own connection proves that the busy one, older, was accepted.
    edge.talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    edge.shutdown.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    assert!(!edge.server.is_finished());
    edge.gate.add_permits(1);
    assert!(rest(&mut busy).await.ends_with("2 bytes"));
    timeout(Duration::from_secs(2), edge.server).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(edge.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn stopping_does_not_wait_longer_than_the_grace() {
    let edge = start(|limits| limits.closing_grace = SHORT).await;
    let mut busy = edge.connect().await;
    busy.write_all(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    edge.talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    edge.shutdown.cancel();
    timeout(Duration::from_secs(2), edge.server).await.expect("the server ends").unwrap();
    assert_eq!(rest(&mut busy).await, "");
}
