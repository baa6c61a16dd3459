//! Who is calling.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::limits::ListenLimits;

/// The caller of a request; every request served by [`super::listen::serve`] carries it in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address that rates and logs go by: the peer, or what a trusted proxy says.
    pub ip: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
}

impl Client {
    /// Reads `X-Forwarded-For` from the right, as far as each hop is a trusted proxy. The first address that is not
    /// one is the caller; what stands left of it could be anybody's invention.
    pub(super) fn of(peer: SocketAddr, headers: &HeaderMap, limits: &ListenLimits) -> Self {
        let mut ip = peer.ip().to_canonical();
        if limits.trusted_proxies.is_empty() {
            return Self { ip, peer };
        }
        let lines: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or_default()).collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            if !limits.trusts(ip) {
                break;
            }
            match parse_hop(hop.trim()) {
                Some(address) => ip = address.to_canonical(),
                None => break,
            }
        }
        Self { ip, peer }
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).and_then(|inner| inner.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn client(peer: &str, forwarded: &[&str]) -> IpAddr {
        let mut limits = Settings::defaults().unwrap().limits;
        limits.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        Client::of(peer.parse().unwrap(), &headers, &limits).ip
    }

    #[test]
    fn a_stranger_cannot_name_another_address() {
        assert_eq!(client("198.51.100.7:1", &["203.0.113.9"]), IpAddr::from([198, 51, 100, 7]));
    }

    #[test]
    fn a_trusted_proxy_names_the_caller() {
        assert_eq!(client("10.0.0.1:1", &["203.0.113.9"]), IpAddr::from([203, 0, 113, 9]));
        assert_eq!(client("10.0.0.1:1", &["203.0.113.9:4711"]), IpAddr::from([203, 0, 113, 9]));
        assert_eq!(client("10.0.0.1:1", &["[2001:db8::1]"]), "2001:db8::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn only_hops_added_by_trusted_proxies_count() {
        assert_eq!(client("10.0.0.1:1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), IpAddr::from([203, 0, 113, 9]));
        assert_eq!(client("10.0.0.1:1", &["1.1.1.1", "203.0.113.9"]), IpAddr::from([203, 0, 113, 9]));
    }

    #[test]
    fn a_hop_that_is_no_address_ends_the_reading() {
        assert_eq!(client("10.0.0.1:1", &["203.0.113.9, unknown"]), IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn fuzz_forwarded_for() {
        let seeds: [&[u8]; 5] = [
            b"203.0.113.9",
            b"1.1.1.1, 203.0.113.9:80, 10.0.0.2",
            b"[2001:db8::1]:443",
            b"::ffff:10.0.0.1",
            b"for=1.1.1.1",
        ];
        switchyard_fuzz::fuzz(&seeds, &["10.0.0.1", ", ", "[", "]:80", "unknown"], |bytes| {
            let mut limits = Settings::defaults().unwrap().limits;
            limits.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
            let value = http::HeaderValue::from_bytes(bytes).ok()?;
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-for"), value)]);
            let stranger = Client::of("198.51.100.7:1".parse().unwrap(), &headers, &limits).ip;
            assert_eq!(stranger, IpAddr::from([198, 51, 100, 7]), "a stranger named another address");
            let behind = Client::of("10.0.0.1:1".parse().unwrap(), &headers, &limits).ip;
            Some(behind == IpAddr::from([10, 0, 0, 1]))
        });
    }
}
