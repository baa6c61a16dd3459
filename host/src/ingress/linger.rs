//! The stream under hyper: what arrives is followed by [`Framing`], and a connection is closed without destroying the
//! answer on its way.
//!
//! When a socket is closed while bytes wait in its receive buffer, the kernel sends a reset, and the reset may
//! overtake the answer. A request refused before its end (413, 431, 415) leaves such bytes. So when bytes are owed
//! an explanation, the writing half is closed first and what still arrives is thrown away for a moment.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::framing::Framing;
use crate::observe::metrics::{self, Closed};

/// How long arriving bytes are thrown away.
const LINGER: Duration = Duration::from_secs(1);

/// What ends every head.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// What a connection has received and done.
#[derive(Debug, Default)]
pub(super) struct Account {
    owed: AtomicBool,
    started: AtomicBool,
}

impl Account {
    /// All bytes so far belong to requests that were read to their end.
    pub(super) fn settle(&self) {
        self.owed.store(false, Ordering::Relaxed);
    }

    /// A request's head is complete.
    pub(super) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether any request's head was complete yet.
    pub(super) fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }
}

/// A TCP stream that closes as the module says.
pub(super) struct Linger {
    stream: TcpStream,
    account: std::sync::Arc<Account>,
    framing: Framing,
    /// The head was spoilt, and hyper is to be told that it is over: of half a head it would wait for the rest.
    ending: bool,
    closing: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    pub(super) fn new(stream: TcpStream, account: std::sync::Arc<Account>) -> Self {
        Self { stream, account, framing: Framing::default(), ending: false, closing: None }
    }
}

impl AsyncRead for Linger {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ending && buf.remaining() >= END_OF_HEAD.len() {
            self.ending = false;
            buf.put_slice(END_OF_HEAD);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.account.owed.store(true, Ordering::Relaxed);
            if self.framing.follow(&mut buf.filled_mut()[before..]) {
                self.ending = true;
                metrics::connection_closed(Closed::Framing);
            }
        }
        read
    }
}

impl AsyncWrite for Linger {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.account.owed.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let closing = this.closing.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 8192];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
