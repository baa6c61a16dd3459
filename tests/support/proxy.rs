//! A TCP proxy that misbehaves on command, in each direction by itself: a network between a hub and its database or broker.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// What is read at once.
const PIECE: usize = 16 * 1024;

/// What happens to the bytes that go in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// They are passed on.
    #[default]
    None,
    /// Each piece is passed on so much later.
    Delay(Duration),
    /// At most so many are passed on in a second.
    Throttle(u32),
    /// None is passed on, and nobody is told: the connection stays open. They follow when the fault ends.
    Blackhole,
    /// After so many more, counted on each connection by itself, the connection is cut.
    CutAfter(u64),
    /// When this text, in letters of any case, has been passed on and the other side has answered, the connection is cut: what was asked has
    /// happened, and the answer is lost.
    CutAnswerTo(&'static str),
    /// Before this text is passed on the connection is cut: what was asked never arrives.
    CutBefore(&'static str),
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connected to the server.
    ToServer,
    /// From the server back.
    ToClient,
}

/// Connections on their way through.
struct Shared {
    server: watch::Sender<SocketAddr>,
    to_server: watch::Sender<Fault>,
    to_client: watch::Sender<Fault>,
    refusing: watch::Sender<bool>,
    /// Replaced when all connections of now are cut.
    generation: watch::Sender<CancellationToken>,
    connections: AtomicU64,
    cuts: AtomicU64,
}

/// A proxy before one server. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy on a free port before the server at this address.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            server: watch::Sender::new(server),
            to_server: watch::Sender::default(),
            to_client: watch::Sender::default(),
            refusing: watch::Sender::default(),
            generation: watch::Sender::default(),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                if !*accepting.refusing.borrow() {
                    tokio::spawn(carry(client, accepting.clone()));
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this happens to what goes in one direction, on the connections that are open too.
    pub fn set(&self, direction: Direction, fault: Fault) {
        self.shared.faults(direction).send_replace(fault);
    }

    /// Passes everything on again, and lets new connections in.
    pub fn heal(&self) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.set(direction, Fault::None);
        }
        self.refuse(false);
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.send_replace(refuse);
    }

    /// New connections go to another server, as when a standby takes the place of the first. Those of now are cut.
    pub fn lead_to(&self, server: SocketAddr) {
        self.shared.server.send_replace(server);
        self.cut_all();
    }

    /// Cuts every connection of now.
    pub fn cut_all(&self) {
        self.shared.generation.send_replace(CancellationToken::new()).cancel();
    }

    /// How many connections were ever made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections a fault has cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Shared {
    const fn faults(&self, direction: Direction) -> &watch::Sender<Fault> {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}

/// What both directions of one connection share.
#[derive(Clone)]
struct Line {
    shared: Arc<Shared>,
    cut: CancellationToken,
    /// The answer to what goes on now is lost.
    answer_lost: watch::Sender<bool>,
}

/// Carries one connection until one side ends it or it is cut.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let cut = shared.generation.borrow().child_token();
    let server = *shared.server.borrow();
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    for stream in [&client, &upstream] {
        stream.set_nodelay(true).ok();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = upstream.into_split();
    let line = Line { shared, cut, answer_lost: watch::Sender::default() };
    let there = Pump { line: line.clone(), direction: Direction::ToServer, passed: 0, tail: Vec::new() };
    let back = Pump { line: line.clone(), direction: Direction::ToClient, passed: 0, tail: Vec::new() };
    tokio::select! {
        () = line.cut.cancelled() => {}
        _ = async { tokio::join!(there.run(from_client, to_server), back.run(from_server, to_client)) } => {}
    }
}

/// One direction of one connection.
struct Pump {
    line: Line,
    direction: Direction,
    passed: u64,
    /// The last bytes that were passed on, in which a text may begin.
    tail: Vec<u8>,
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut faults = self.line.shared.faults(self.direction).subscribe();
        let mut piece = vec![0; PIECE];
        loop {
            let read = match from.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => &piece[..read],
            };
            if self.direction == Direction::ToClient && *self.line.answer_lost.borrow() {
                self.cut();
                return;
            }
            // Whoever is told of the end of a fault goes on with the fault that follows.
            let fault = loop {
                let fault = faults.borrow_and_update().clone();
                if fault != Fault::Blackhole {
                    break fault;
                }
                if faults.changed().await.is_err() {
                    return;
                }
            };
            if !self.pass(read, &fault, &mut to).await {
                return;
            }
        }
        to.shutdown().await.ok();
    }

    /// Passes a piece on; answers whether the connection goes on.
    async fn pass(&mut self, piece: &[u8], fault: &Fault, to: &mut OwnedWriteHalf) -> bool {
        match fault {
            Fault::None | Fault::Blackhole => {}
            Fault::Delay(by) => tokio::time::sleep(*by).await,
            Fault::Throttle(per_s) => {
                let seconds = piece.len() as f64 / f64::from((*per_s).max(1));
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            Fault::CutAfter(bytes) => {
                let room = usize::try_from(bytes.saturating_sub(self.passed)).unwrap_or(usize::MAX);
                if room <= piece.len() {
                    to.write_all(&piece[..room]).await.ok();
                    self.cut();
                    return false;
                }
                self.passed += piece.len() as u64;
            }
            Fault::CutAnswerTo(text) => {
                if self.has_now(piece, text) {
                    // Before it is passed on, since the answer may be quick.
                    self.line.answer_lost.send_replace(true);
                }
            }
            Fault::CutBefore(text) => {
                if self.has_now(piece, text) {
                    self.cut();
                    return false;
                }
            }
        }
        to.write_all(piece).await.is_ok()
    }

    /// Whether the text ends in this piece.
    fn has_now(&mut self, piece: &[u8], text: &str) -> bool {
        let mut seen = std::mem::take(&mut self.tail);
        seen.extend_from_slice(piece);
        let found = seen.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()));
        let kept = seen.len().min(text.len().saturating_sub(1));
        self.tail = seen.split_off(seen.len() - kept);
        found
    }

    fn cut(&self) {
        self.line.shared.cuts.fetch_add(1, Ordering::SeqCst);
        self.line.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each piece with the same bytes.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        address
    }

    /// What comes back for a text; none if the connection ends before.
    async fn said(stream: &mut TcpStream, text: &str) -> Option<String> {
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.ok()?;
        String::from_utf8(back).ok()
    }

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn bytes_are_passed_on_and_held_and_follow_when_the_fault_ends() {
        let proxy = Proxy::before(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, "one").await.as_deref(), Some("one"));
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxy.set(direction, Fault::Blackhole);
            assert!(tokio::time::timeout(SHORT, said(&mut stream, "two")).await.is_err());
            proxy.heal();
            let mut back = [0; 3];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"two");
        }
        proxy.set(Direction::ToClient, Fault::Delay(SHORT));
        assert!(tokio::time::timeout(SHORT / 2, said(&mut stream, "slow")).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_is_cut_after_so_many_bytes_or_at_a_text() {
        let proxy = Proxy::before(echo().await).await;
        proxy.set(Direction::ToServer, Fault::CutAfter(6));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, "four").await.as_deref(), Some("four"));
        assert_eq!(said(&mut stream, "more").await, None);
        for fault in [Fault::CutBefore("COMMIT"), Fault::CutAnswerTo("COMMIT")] {
            proxy.set(Direction::ToServer, fault);
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(said(&mut stream, "BEGIN CO").await.as_deref(), Some("BEGIN CO"));
            assert_eq!(said(&mut stream, "MMIT").await, None);
        }
        assert_eq!((proxy.cuts(), proxy.connections()), (3, 3));
    }

    #[tokio::test]
    async fn connections_are_led_to_another_server() {
        let proxy = Proxy::before(echo().await).await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut before, "one").await.as_deref(), Some("one"));
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        proxy.lead_to(other.local_addr().unwrap());
        assert_eq!(said(&mut before, "two").await, None);
        let _after = TcpStream::connect(proxy.address()).await.unwrap();
        let arrived = tokio::time::timeout(Duration::from_secs(5), other.accept()).await;
        assert!(arrived.is_ok_and(|accepted| accepted.is_ok()));
    }

    #[tokio::test]
    async fn all_connections_are_cut_and_new_ones_refused_at_once() {
        let proxy = Proxy::before(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, "one").await.as_deref(), Some("one"));
        proxy.refuse(true);
        proxy.cut_all();
        assert_eq!(said(&mut stream, "two").await, None);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut refused, "three").await, None);
        proxy.heal();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, "four").await.as_deref(), Some("four"));
    }
}
