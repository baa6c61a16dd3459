//! The way to a broker: addresses, TCP, TLS, and the handshake, all in bounded time.
//!
//! A broker of a tenant is reached through the egress guard, exactly as an endpoint over HTTP is: every address of its name
//! is vetted and one of those vetted is dialled, while the certificate is checked for the name. The operator's own broker
//! needs no guard.

use std::{
    error::Error as _,
    fmt, io,
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties, ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError},
    tcp::{AMQPUriTcpExt as _, AsyncTcpStream, OwnedTLSConfig, TLSConfig},
    uri::AMQPScheme,
};
use tokio::time::timeout;

use super::address::BrokerAddress;
use crate::outbound::egress::{EgressError, EgressGuard, RESOLVE_LIMIT};

/// How many of a name's addresses are tried, so that each has a useful share of the time.
const MAX_TRIED: usize = 4;

/// How long an orderly close may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The largest frame we ask for. A connection holds room for 32 of them both ways.
const FRAME_MAX: u32 = 16 << 10;

/// Which addresses of a broker's name may be dialled.
#[derive(Clone, Debug)]
pub enum Way {
    /// Any: the operator's own broker.
    Own,
    /// What the guard lets pass: a tenant's broker.
    Guarded(EgressGuard),
}

impl Way {
    async fn addresses(&self, address: &BrokerAddress) -> Result<Vec<IpAddr>, DialError> {
        match self {
            Self::Guarded(guard) => guard.broker_addresses(address).await.map_err(DialError::Egress),
            Self::Own => {
                let looking = tokio::net::lookup_host((address.host(), address.port()));
                let found = timeout(RESOLVE_LIMIT, looking).await.map_err(|_| DialError::Egress(EgressError::Dns))?;
                let found = found.map_err(|_| DialError::Egress(EgressError::Dns))?;
                Ok(found.map(|address| address.ip()).collect())
            }
        }
    }
}

/// How a broker is dialled.
#[derive(Clone, Debug)]
pub struct Dialling {
    /// What the broker's own pages show for the connection.
    pub name: String,
    /// Which addresses may be dialled.
    pub way: Way,
    /// Time for everything behind the look-up of the name: TCP, TLS, handshake.
    pub limit: Duration,
    /// The silence after which either side takes the other for gone is twice this.
    pub heartbeat: Duration,
    /// Certificate authorities beyond the public ones, as PEM.
    pub trusted: Option<String>,
}

/// Why there is no connection. The texts name no address and repeat nothing of the other side but [`DialError::Refusal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The guard refused, or the name did not resolve.
    #[error(transparent)]
    Egress(EgressError),
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// No TCP connection in time.
    #[error("no connection was made in time")]
    ConnectTimeout,
    /// The network or the host is not reachable.
    #[error("the host could not be reached")]
    Unreachable,
    /// No TLS session.
    #[error("no TLS connection was made; is the certificate valid for this host?")]
    Tls,
    /// The broker did not finish the handshake in time.
    #[error("the broker did not answer in time")]
    Silent,
    /// Wrong user or password.
    #[error("the broker refused user and password")]
    Denied,
    /// Another refusal, with the broker's words: no such virtual host, too many connections.
    #[error("the broker refused the connection: {0}")]
    Refusal(String),
    /// What came is no AMQP 0-9-1, or it broke off.
    #[error("the other side broke off, or speaks no AMQP 0-9-1")]
    NotAmqp,
}

/// An open connection. It ends when this is dropped, whatever still holds a channel of it.
pub struct Link {
    connection: Connection,
    line: Arc<Line>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connected", &self.connection.status().connected()).finish_non_exhaustive()
    }
}

impl Link {
    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Ends the connection in an orderly way, as far as the other side takes part in time.
    pub async fn close(self) {
        let closing = self.connection.close(200, "closing".into());
        // What was not closed in time is cut when it is dropped.
        timeout(CLOSE_LIMIT, closing).await.ok();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.cut();
    }
}

/// The socket beneath a connection, and how far dialling has come. The library's thread has the connection until the
/// handshake ends; it can be freed of a silent broker only by taking the socket away.
#[derive(Default)]
struct Line {
    step: AtomicU8,
    cut: AtomicBool,
    socket: Mutex<Option<TcpStream>>,
}

const CONNECTING: u8 = 0;
const SECURING: u8 = 1;
const SHAKING_HANDS: u8 = 2;

impl Line {
    fn reached(&self, step: u8) {
        self.step.store(step, Ordering::Release);
    }

    fn socket(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a second handle of the socket; fails if the line was cut before it was there.
    fn keep(&self, socket: TcpStream) -> io::Result<()> {
        *self.socket() = Some(socket);
        if self.cut.load(Ordering::Acquire) {
            self.cut();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        if let Some(socket) = self.socket().take() {
            // It fails only where the other side was first.
            socket.shutdown(Shutdown::Both).ok();
        }
    }

    /// What it means that time is up.
    fn late(&self) -> DialError {
        match self.step.load(Ordering::Acquire) {
            CONNECTING => DialError::ConnectTimeout,
            SECURING => DialError::Tls,
            _ => DialError::Silent,
        }
    }

    /// What it means that it failed.
    fn failed(&self, error: &lapin::Error) -> DialError {
        let refused = match error.kind() {
            ErrorKind::ProtocolError(refused) => refused,
            ErrorKind::IOError(error) if self.step.load(Ordering::Acquire) == CONNECTING => {
                return match error.kind() {
                    io::ErrorKind::ConnectionRefused => DialError::Refused,
                    io::ErrorKind::TimedOut => DialError::ConnectTimeout,
                    _ => DialError::Unreachable,
                };
            }
            _ if self.step.load(Ordering::Acquire) == SECURING => return DialError::Tls,
            _ => return DialError::NotAmqp,
        };
        match refused.kind() {
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => DialError::Refusal(short(refused.get_message().as_str())),
            _ if refused.get_id() == 403 => DialError::Denied,
            _ => DialError::Refusal(short(refused.get_message().as_str())),
        }
    }
}

/// The other side's words, on one line and not too many.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(200).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Opens a connection to a broker.
///
/// # Errors
/// There is none, for a reason that has a name.
pub async fn dial(address: &BrokerAddress, dialling: &Dialling) -> Result<Link, DialError> {
    let addresses: Arc<[IpAddr]> = dialling.way.addresses(address).await?.into_iter().take(MAX_TRIED).collect();
    let share = dialling.limit / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let heartbeat_s = u16::try_from(dialling.heartbeat.as_secs()).unwrap_or(u16::MAX);
    let uri = address.to_uri(heartbeat_s, FRAME_MAX);
    let properties = ConnectionProperties::default().with_connection_name(dialling.name.as_str().into());
    let runtime = lapin::runtime::default_runtime().map_err(|_| DialError::Unreachable)?;
    let line = Arc::new(Line::default());
    let (held, trusted) = (line.clone(), dialling.trusted.clone());
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            // The library dials by name only, so it is given each vetted address in the name's place.
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in addresses.iter() {
                let mut vetted = uri.clone();
                vetted.scheme = AMQPScheme::AMQP;
                vetted.authority.host = SocketAddr::new(*address, 0).ip().to_string();
                let connecting = vetted.connect_with_config_async(TLSConfig::default(), &runtime);
                match timeout(share, connecting).await {
                    Ok(Ok(stream)) => {
                        if let AsyncTcpStream::Plain(plain) = &stream {
                            held.keep(TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?))?;
                        }
                        if uri.scheme == AMQPScheme::AMQP {
                            held.reached(SHAKING_HANDS);
                            return Ok(stream);
                        }
                        held.reached(SECURING);
                        let tls = OwnedTLSConfig { cert_chain: trusted.clone(), ..OwnedTLSConfig::default() };
                        let secured = stream.into_tls(&uri.authority.host, tls.as_ref()).await?;
                        held.reached(SHAKING_HANDS);
                        return Ok(secured);
                    }
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
            Err(last.into())
        },
        properties,
    );
    match timeout(dialling.limit, connecting).await {
        Ok(Ok(connection)) => Ok(Link { connection, line }),
        Ok(Err(error)) => {
            line.cut();
            tracing::debug!(error = %error, source = ?error.source().map(ToString::to_string), "dialling a broker failed");
            Err(line.failed(&error))
        }
        Err(_) => {
            line.cut();
            Err(line.late())
        }
    }
}
