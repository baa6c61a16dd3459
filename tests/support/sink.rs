use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A step that lasts as long as its peer lets it ends after this long all the same.
const LONGEST: Duration = Duration::from_secs(120);

/// What a sink does with a connection, in order; then it closes it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads a request, head and body, whole.
    ReadRequest,
    /// Reads this many bytes.
    Read(usize),
    /// Writes this.
    Write(Bytes),
    /// Writes this over and over, up to so many bytes, while the peer takes it.
    Flood(Bytes, u64),
    /// Writes one byte after another, with a pause before each, over and over.
    Drip(Bytes, Duration),
    /// Keeps the connection open without another byte.
    Hang,
    /// Ends the connection with a reset instead of a farewell.
    Reset,
}

impl Act {
    /// Writes this text.
    #[must_use]
    pub fn say(text: impl Into<String>) -> Self {
        Self::Write(Bytes::from(text.into()))
    }
}

/// A raw TCP peer that plays the same acts on every connection. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    written: AtomicU64,
    heads: Mutex<Vec<String>>,
}

impl Sink {
    /// A sink on a free port.
    pub async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let seen = Arc::new(Seen::default());
        let (noted, acts) = (seen.clone(), Arc::new(acts));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let (noted, acts) = (noted.clone(), acts.clone());
                tokio::spawn(async move { tokio::time::timeout(LONGEST, play(stream, &acts, &noted)).await });
            }
        });
        Self { address, seen }
    }

    /// An URL of the sink.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections that came.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Bytes that its peers took.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.seen.written.load(Ordering::SeqCst)
    }

    /// The beginnings of what was read, one a request.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An address at which nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("it has an address"))
}

/// Plays until the acts are over or the peer is gone.
async fn play(mut stream: TcpStream, acts: &[Act], seen: &Seen) {
    for act in acts {
        let went_on = match act {
            Act::ReadRequest => read_request(&mut stream, seen).await,
            Act::Read(length) => read_some(&mut stream, *length, seen).await,
            Act::Write(bytes) => write(&mut stream, bytes, seen).await,
            Act::Flood(bytes, most) => flood(&mut stream, bytes, *most, seen).await,
            Act::Drip(bytes, pause) => drip(&mut stream, bytes, *pause, seen).await,
            Act::Hang => {
                hang(&mut stream).await;
                None
            }
            Act::Reset => {
                // Without a grace for what is unsent the kernel says goodbye with a reset.
                let _ = stream.set_zero_linger();
                None
            }
        };
        if went_on.is_none() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

async fn write(stream: &mut TcpStream, bytes: &[u8], seen: &Seen) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    seen.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    Some(())
}

async fn flood(stream: &mut TcpStream, bytes: &[u8], most: u64, seen: &Seen) -> Option<()> {
    let mut left = most;
    while left > 0 {
        let piece = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        write(stream, piece, seen).await?;
        left -= piece.len() as u64;
    }
    Some(())
}

async fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration, seen: &Seen) -> Option<()> {
    loop {
        for byte in bytes {
            tokio::time::sleep(pause).await;
            write(stream, &[*byte], seen).await?;
        }
    }
}

/// Until the peer goes.
async fn hang(stream: &mut TcpStream) {
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

fn note(seen: &Seen, bytes: &[u8]) {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
    seen.heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
}

async fn read_some(stream: &mut TcpStream, length: usize, seen: &Seen) -> Option<()> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.ok()?;
    note(seen, &bytes);
    Some(())
}

async fn read_request(stream: &mut TcpStream, seen: &Seen) -> Option<()> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&piece[..length]);
        if whole(&bytes) {
            note(seen, &bytes);
            return Some(());
        }
    }
}

/// Whether head and announced body are there.
fn whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0)
}
