use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::outbound::egress::{Blocked, EgressPolicy, Resolve};

/// Every name is this machine, and look-ups are counted.
#[derive(Default)]
struct Loopback(AtomicUsize);

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match host {
            "inside.example" => Ok(vec!["10.0.0.1".parse().unwrap()]),
            "gone.example" => Err(EgressError::Dns),
            _ => Ok(vec!["127.0.0.1".parse().unwrap()]),
        }
    }
}

fn policy() -> EgressPolicy {
    EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new())
}

fn client() -> (HttpClient, Arc<Loopback>) {
    let resolver = Arc::new(Loopback::default());
    (HttpClient::new(EgressGuard::new(policy(), resolver.clone())).unwrap(), resolver)
}

fn post(url: &str) -> Outgoing {
    Outgoing {
        method: Method::POST,
        target: policy().check_url(url).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{\"n\":1}"),
        timeout: Duration::from_secs(5),
        response_cap: 1024,
    }
}

/// What a scripted peer does with one connection, once per request it reads.
#[derive(Clone, Copy)]
enum Peer {
    /// Writes this.
    Says(&'static str),
    /// Writes this and keeps the connection open without another byte.
    SaysThenHangs(&'static str),
    /// Closes without an answer.
    HangsUp,
}

/// A peer that does the same for every request; returns its address and the requests it read.
async fn peer(script: Peer) -> (SocketAddr, Arc<std::sync::Mutex<Vec<String>>>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(std::sync::Mutex::new(Vec::new()));
    let connections = Arc::new(AtomicUsize::new(0));
    let (seen, count) = (requests.clone(), connections.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(converse(stream, script, seen.clone()));
        }
    });
    (address, requests, connections)
}

async fn converse(mut stream: TcpStream, script: Peer, seen: Arc<std::sync::Mutex<Vec<String>>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        seen.lock().unwrap().push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        match script {
            Peer::Says(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Peer::SaysThenHangs(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            }
            Peer::HangsUp => return,
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\nok";

async fn send_to(script: Peer) -> Result<Answer, SendError> {
    let (address, _, _) = peer(script).await;
    let mut outgoing = post(&format!("http://{address}/hook"));
    outgoing.timeout = Duration::from_millis(300);
    client().0.send(outgoing).await
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    let answer = send_to(Peer::Says(OK)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.body, "ok");
    assert!(!answer.truncated);
}

#[tokio::test]
async fn the_request_is_sent_as_given_and_asks_for_no_compression() {
    let (address, requests, _) = peer(Peer::Says(OK)).await;
    let mut outgoing = post(&format!("http://{address}/hook?a=%20b"));
    outgoing.headers.insert("x-own", HeaderValue::from_static("1"));
    client().0.send(outgoing).await.unwrap();
    let request = requests.lock().unwrap().concat();
    assert!(request.starts_with("POST /hook?a=%20b HTTP/1.1\r\n"), "{request}");
    for field in ["x-own: 1", "accept-encoding: identity", "user-agent: Switchyard/", "content-length: 7"] {
        assert!(request.contains(field), "{field} in {request}");
    }
    assert!(request.ends_with("\r\n\r\n{\"n\":1}"), "{request}");
}

#[tokio::test]
async fn one_connection_and_one_look_up_serve_many_requests() {
    let (address, requests, connections) = peer(Peer::Says(OK)).await;
    let (client, resolver) = client();
    for _ in 0..20 {
        client.send(post(&format!("http://receiver.test:{}/", address.port()))).await.unwrap();
    }
    assert_eq!(requests.lock().unwrap().len(), 20);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(resolver.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_and_answers_show_no_content_in_debug() {
    let marked = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-a: marker\r\n\r\nmarker";
    let mut outgoing = post("http://127.0.0.1:9/marker");
    outgoing.headers.insert("x-a", HeaderValue::from_static("marker"));
    outgoing.body = Bytes::from_static(b"marker");
    let shown = format!("{outgoing:?} {:?}", send_to(Peer::Says(marked)).await.unwrap());
    assert!(shown.contains("127.0.0.1:9") && !shown.contains("marker"), "{shown}");
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(send_to(Peer::Says(redirect)).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_cut_and_says_so() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}", "x".repeat(5000));
    let answer = send_to(Peer::Says(Box::leak(long.into_boxed_str()))).await.unwrap();
    assert_eq!(answer.body.len(), 1024);
    assert!(answer.truncated);
    let exact = format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{}", "x".repeat(1024));
    let answer = send_to(Peer::Says(Box::leak(exact.into_boxed_str()))).await.unwrap();
    assert!(answer.body.len() == 1024 && !answer.truncated);
}

#[tokio::test]
async fn a_body_in_many_chunks_is_joined() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n3\r\ndef\r\n0\r\n\r\n";
    assert_eq!(send_to(Peer::Says(chunked)).await.unwrap().body, "abcdef");
}

#[tokio::test]
async fn silence_is_maybe_sent_and_a_slow_body_names_the_status() {
    assert_eq!(send_to(Peer::SaysThenHangs("")).await.unwrap_err(), SendError::MaybeSent(MaybeSent::Timeout));
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab";
    let expected = SendError::MaybeSent(MaybeSent::BodyTimeout(StatusCode::OK));
    assert_eq!(send_to(Peer::SaysThenHangs(slow)).await.unwrap_err(), expected);
    assert_eq!(expected.code(), "body_too_slow");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_is_maybe_sent() {
    assert_eq!(send_to(Peer::HangsUp).await.unwrap_err(), SendError::MaybeSent(MaybeSent::Reset));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_told_apart() {
    let expected = SendError::MaybeSent(MaybeSent::BadAnswer);
    assert_eq!(send_to(Peer::Says("SSH-2.0-OpenSSH_9.2\r\n\r\n")).await.unwrap_err(), expected);
    let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(send_to(Peer::Says(Box::leak(flood.into_boxed_str()))).await.unwrap_err(), expected);
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(64 * 1024));
    assert_eq!(send_to(Peer::Says(Box::leak(large.into_boxed_str()))).await.unwrap_err(), expected);
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(send_to(Peer::Says(chunk)).await.unwrap_err(), expected);
}

#[tokio::test]
async fn a_refused_connection_and_a_missing_name_are_not_sent() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (client, _) = client();
    let refused = client.send(post(&format!("http://{unused}/"))).await.unwrap_err();
    assert_eq!(refused, SendError::NotSent(NotSent::Refused));
    let gone = client.send(post("https://gone.example/")).await.unwrap_err();
    assert_eq!(gone, SendError::NotSent(NotSent::Egress(EgressError::Dns)));
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_blocked_without_naming_it() {
    let error = client().0.send(post("https://inside.example/")).await.unwrap_err();
    assert_eq!(error, SendError::NotSent(NotSent::Egress(EgressError::BlockedAddress(Blocked::NotPublic))));
    assert_eq!(error.code(), "blocked_address");
    assert!(!format!("{error} {error:?}").contains("10.0.0.1"));
}

#[tokio::test]
async fn a_peer_without_tls_is_a_tls_failure_and_not_sent() {
    let (address, requests, _) = peer(Peer::Says("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let error = client().0.send(post(&format!("https://{address}/"))).await.unwrap_err();
    assert_eq!(error, SendError::NotSent(NotSent::Tls));
    assert!(!requests.lock().unwrap().concat().contains("POST"));
}

#[tokio::test]
async fn time_that_ends_during_the_handshake_is_not_sent() {
    let (address, _, _) = peer(Peer::SaysThenHangs("")).await;
    let mut outgoing = post(&format!("https://{address}/"));
    outgoing.timeout = Duration::from_millis(100);
    let error = client().0.send(outgoing).await.unwrap_err();
    assert_eq!(error, SendError::NotSent(NotSent::ConnectTimeout));
}

#[tokio::test]
async fn a_kept_connection_that_ended_is_replaced() {
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (address, _, connections) = peer(Peer::Says(closing)).await;
    let (client, _) = client();
    for _ in 0..3 {
        client.send(post(&format!("http://{address}/"))).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}
