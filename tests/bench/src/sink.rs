//! Where events arrive: a receiver that answers at once and notes who came when.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use switchyard::clock::SharedClock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{connection::FIELDS, message};

/// Between two looks at how many have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long after the last expected event a second copy of one would come.
const AFTERMATH: Duration = Duration::from_millis(250);

/// One request that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The number that is the path.
    pub(crate) path: u16,
    /// The 128 bits of the event's id.
    pub(crate) id: u128,
    /// When it was here.
    pub(crate) at: Duration,
    /// The sender's stamp in microseconds, if it carries one.
    pub(crate) sent_us: Option<u64>,
}

#[derive(Default)]
struct Seen {
    arrivals: Mutex<Vec<Arrival>>,
    count: AtomicU64,
    malformed: AtomicU64,
}

/// A receiver on a port of its own; it ends when this is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    seen: Arc<Seen>,
    _accepting: AbortOnDropHandle<()>,
}

impl Sink {
    pub(crate) async fn start(clock: SharedClock) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, seen) = (listener.local_addr()?, Arc::new(Seen::default()));
        let accepting = tokio::spawn(accept(listener, seen.clone(), clock));
        Ok(Self { address, seen, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// The URL whose requests are counted under a number.
    pub(crate) fn url(&self, path: u16) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Waits until `count` requests have arrived since the last [`Sink::take`], and for a moment longer so that a
    /// second copy is seen; or until none has arrived for `patience`. Answers them.
    pub(crate) async fn collect(&self, count: u64, patience: Duration) -> anyhow::Result<Vec<Arrival>> {
        let (mut seen, mut quiet) = (0, Duration::ZERO);
        loop {
            let now = self.seen.count.load(Ordering::Relaxed);
            if now >= count || quiet >= patience {
                break;
            }
            quiet = if now > seen { Duration::ZERO } else { quiet + LOOK_EVERY };
            seen = now;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(AFTERMATH).await;
        self.take()
    }

    /// What has arrived since the last time.
    pub(crate) fn take(&self) -> anyhow::Result<Vec<Arrival>> {
        let malformed = self.seen.malformed.load(Ordering::Relaxed);
        ensure!(malformed == 0, "{malformed} requests at the sink were not understood");
        let mut arrivals = self.seen.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen.count.store(0, Ordering::Relaxed);
        Ok(std::mem::take(&mut *arrivals))
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, clock: SharedClock) {
    let mut receivers = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, clock) = (seen.clone(), clock.clone());
        receivers.spawn(async move {
            if receive(stream, &seen, &clock).await.is_err() {
                seen.malformed.fetch_add(1, Ordering::Relaxed);
            }
        });
        while receivers.try_join_next().is_some() {}
    }
}

/// Answers the requests of one connection until it is closed; a connection may end at any time.
async fn receive(mut stream: TcpStream, seen: &Seen, clock: &SharedClock) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 16 << 10], 0);
    loop {
        if filled == buffer.len() {
            ensure!(buffer.len() < (2 << 20), "a request is too long");
            buffer.resize(buffer.len() * 2, 0);
        }
        let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await else { return Ok(()) };
        filled += read;
        while let Some((length, arrival)) = parse(&buffer[..filled], clock)? {
            seen.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
            seen.count.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                return Ok(());
            }
            buffer.copy_within(length..filled, 0);
            filled -= length;
        }
    }
}

/// The first request in `bytes`, if all of it is there, and its length.
fn parse(bytes: &[u8], clock: &SharedClock) -> anyhow::Result<Option<(usize, Arrival)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = request.parse(bytes)? else { return Ok(None) };
    let (mut body, mut id, mut sent_us) = (None, None, None);
    for field in request.headers.iter() {
        match field.name {
            name if name.eq_ignore_ascii_case("content-length") => {
                body = Some(std::str::from_utf8(field.value)?.parse::<usize>()?);
            }
            name if name.eq_ignore_ascii_case("webhook-id") => id = message::event_id(field.value),
            name if name.eq_ignore_ascii_case("x-correlation-id") => sent_us = message::stamp(field.value),
            _ => {}
        }
    }
    let length = head + body.context("a request without a length")?;
    if bytes.len() < length {
        return Ok(None);
    }
    let path = request.path.and_then(|path| path.strip_prefix('/')).and_then(|path| path.parse().ok());
    let path = path.context("a path that is no number")?;
    let id = id.context("a request without the id of an event")?;
    Ok(Some((length, Arrival { path, id, at: clock.monotonic(), sent_us })))
}
