//! Sending at once on the connections to the server.
//!
//! sqlx 0.9.0 leaves TCP_NODELAY unset on its sockets, and hands nobody the socket. The kernel then keeps the last part of
//! each large statement until the server has acknowledged what came before, and the server takes up to 40 ms for that: one
//! node accepted 700 events a second instead of thousands. sqlx has mended it for its next release; this module goes then.

use std::{io, net::SocketAddr};

/// Sets TCP_NODELAY on this process's connections to `port` of any host, and answers on how many it was missing.
///
/// A connection whose socket is not found works all the same, only slower, so this is done after each connect and what
/// fails is not an error of the store.
#[cfg(target_os = "linux")]
pub(super) fn set(port: u16) -> io::Result<usize> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut set = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // Only sockets are looked at: to close another handle of a file that SQLite has open would free its locks.
        let is_socket =
            std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_socket) else { continue };
        // It may have been closed meanwhile.
        let Ok(handle) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let socket = socket2::Socket::from(handle);
        let peer: Option<SocketAddr> = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        if peer.is_some_and(|peer| peer.port() == port) && matches!(socket.tcp_nodelay(), Ok(false)) {
            socket.set_tcp_nodelay(true)?;
            set += 1;
        }
    }
    Ok(set)
}

/// Elsewhere sockets cannot be found; the server's own settings decide.
#[cfg(not(target_os = "linux"))]
pub(super) fn set(_: u16) -> io::Result<usize> {
    Ok(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_sends_at_once_after_its_port_was_named_and_others_stay_as_they_are() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (server, other) = (listen(), listen());
        let to = |listener: &TcpListener| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, theirs) = (to(&server), to(&other));
        let port = server.local_addr().unwrap().port();
        assert!(!ours.nodelay().unwrap());
        let set = |port| match set(port) {
            // Some sandboxes forbid it; the connection then works as before.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => None,
            done => Some(done.unwrap()),
        };
        let Some(count) = set(port) else { return };
        assert_eq!(count, 1);
        assert!(ours.nodelay().unwrap());
        assert!(!theirs.nodelay().unwrap());
        assert_eq!(set(port), Some(0));
    }
}
