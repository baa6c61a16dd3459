use std::{net::SocketAddr, time::Duration};

use switchyard_tests::hub::Hub;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long an answer or a close may take on a machine that does much else.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn address(hub: &Hub) -> SocketAddr {
    hub.url().trim_start_matches("http://").parse().expect("the hub listens")
}

pub(super) async fn connect(hub: &Hub) -> TcpStream {
    TcpStream::connect(address(hub)).await.expect("the hub takes connections")
}

/// A connection from another loopback address, which the hub takes for another caller.
pub(super) async fn connect_from(hub: &Hub, host: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    socket.connect(address(hub)).await
}

/// Sends bytes, however far the hub takes them, and reads until it closes.
pub(super) async fn talk(hub: &Hub, bytes: &[u8]) -> String {
    let (mut reading, mut writing) = connect(hub).await.into_split();
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        let _ = writing.write_all(&bytes).await;
        writing
    });
    let said = rest(&mut reading).await;
    sending.abort();
    said
}

/// What arrives until the hub closes; a reset after an answer counts as a close.
pub(super) async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            said.extend_from_slice(&piece[..read]);
        }
    };
    timeout(PATIENCE, reading).await.expect("the hub left the connection open");
    String::from_utf8_lossy(&said).into_owned()
}

/// The status of the first answer; 0 if there is none.
pub(super) fn status(said: &str) -> u16 {
    said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or_default()
}

/// How many answers there are.
pub(super) fn answers(said: &str) -> usize {
    said.matches("HTTP/1.1 ").count()
}

/// A request with these fields, `Host` among them.
pub(super) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Sends a whole request on a connection of its own and reads the answer.
pub(super) async fn exchange(hub: &Hub, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> String {
    talk(hub, &request(method, path, fields, body)).await
}

/// The hub serves others as before.
pub(super) async fn still_serves(hub: &Hub) {
    assert_eq!(hub.get("/healthz").await.status, 200);
}
