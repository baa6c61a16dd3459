//! One kept HTTP/1.1 connection of the load tool. It shares the machine with the hub, so it parses no more than it needs.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longer answers are not expected of anything measured.
const ANSWER_BYTES: usize = 32 << 10;

/// Header fields of one message.
pub(crate) const FIELDS: usize = 32;

/// A connection that is used for one request after the other.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, until the next request.
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
    /// Whether the server closes the connection now.
    pub(crate) closes: bool,
}

struct Head {
    status: u16,
    bytes: usize,
    body: usize,
    closes: bool,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: vec![0; ANSWER_BYTES] })
    }

    /// Sends the bytes of a whole request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.read[filled..]).await?;
            ensure!(read > 0, "the connection was closed before an answer, or the answer is too long");
            filled += read;
            let Some(head) = parse(&self.read[..filled])? else { continue };
            if filled >= head.bytes + head.body {
                let body = &self.read[head.bytes..head.bytes + head.body];
                return Ok(Answer { status: head.status, body, closes: head.closes });
            }
        }
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let status = response.code.context("an answer without a status")?;
    let (mut body, mut closes) = (0, false);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            body = std::str::from_utf8(field.value)?.trim().parse()?;
        } else if field.name.eq_ignore_ascii_case("connection") {
            closes = field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("an answer in chunks");
        }
    }
    Ok(Some(Head { status, bytes: length, body, closes }))
}
