//! The egress guard: which addresses the hub may call on behalf of a tenant.
//!
//! A host name is resolved when a connection is opened, every address of the answer is judged, and the connection goes to
//! exactly one of those judged. There is no second look-up that could answer otherwise. One bad address refuses the whole
//! answer: a name that points both outside and inside is not a mistake worth working around.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::Semaphore;
use url::{Host, Url};

use crate::broker::BrokerAddress;

/// How long one look-up of a name may take.
pub const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// An answer with more addresses is refused as broken.
const MAX_ADDRESSES: usize = 64;

/// Look-ups at once. Each holds a thread of the runtime's blocking pool, and that thread cannot be taken back when the time
/// is up, so a dead name server must not take them all.
const MAX_LOOKUPS: usize = 64;

const MAX_URL: usize = 2048;

/// Why an address is not called. The texts never name an address that a name resolved to: that would let a tenant map the
/// network the hub stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The URL itself is not acceptable.
    #[error("the URL is not acceptable: {0}")]
    MalformedUrl(&'static str),
    /// The host is not a public one, or scheme and port need an address that the operator has allowed.
    #[error("{0}")]
    BlockedAddress(Blocked),
    /// The host's name could not be resolved.
    #[error("the host name could not be resolved")]
    Dns,
}

/// The rule by which an address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// Private, loopback, link-local, reserved or the hub's own.
    #[error("the host is not on the public internet")]
    NotPublic,
    /// Plain http, or a port other than 443 and 8443.
    #[error(
        "only https on port 443 or 8443 is allowed, except to addresses that the operator has allowed (SWITCHYARD_EGRESS_ALLOW)"
    )]
    SchemeOrPort,
    /// Plain amqp, or a port other than 5671 and 443.
    #[error(
        "only amqps on port 5671 or 443 is allowed, except to addresses that the operator has allowed (SWITCHYARD_EGRESS_ALLOW)"
    )]
    BrokerSchemeOrPort,
}

impl EgressError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedUrl(_) => "malformed_url",
            Self::BlockedAddress(_) => "blocked_address",
            Self::Dns => "dns",
        }
    }
}

/// A URL that has passed the checks that need no look-up. Only [`EgressPolicy::check_url`] makes one, so holding it proves
/// that the text was read once, in the way browsers read it, and is in its canonical form (`0x7f.1` has become `127.0.0.1`).
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Uri);

/// Shows scheme, host and port: path and query of a webhook URL often hold a token.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", http::uri::Authority::as_str);
        write!(f, "Target({}://{authority}/..)", self.0.scheme_str().unwrap_or_default())
    }
}

impl Target {
    /// The canonical URL.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// The same scheme, host and port with another path and query, appended to this URL's own path. `path` begins with `/`.
    pub fn join(&self, path: &str) -> Result<Self, EgressError> {
        let refused = |_| EgressError::MalformedUrl("the path cannot be part of a URL");
        let base = self.0.path().trim_end_matches('/');
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(format!("{base}{path}").parse().map_err(refused)?);
        Uri::from_parts(parts).map(Self).map_err(|_| EgressError::MalformedUrl("the path cannot be part of a URL"))
    }
}

/// What may be called: the public internet over https, and what the operator has allowed besides.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allow: Vec<IpNet>,
    own: Vec<IpAddr>,
}

impl EgressPolicy {
    /// `allow` is the operator's list (`SWITCHYARD_EGRESS_ALLOW`), never a tenant's. `own` are addresses of this installation
    /// that are public and still must not be called (its listeners, database, broker); the list of the operator overrules it.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, own: Vec<IpAddr>) -> Self {
        Self { allow, own: own.into_iter().map(|address| address.to_canonical()).collect() }
    }

    /// Checks what can be checked without a look-up: scheme, length, no userinfo and no fragment, a host that is a name or a
    /// permitted address. Done when a URL is saved; the addresses behind a name are judged at every connect.
    pub fn check_url(&self, text: &str) -> Result<Target, EgressError> {
        let malformed = EgressError::MalformedUrl;
        if text.len() > MAX_URL {
            return Err(malformed("it is longer than 2048 bytes"));
        }
        let url = Url::parse(text).map_err(|_| malformed("it is not an absolute URL"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(malformed("its scheme is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed("it carries a user name or password"));
        }
        if url.fragment().is_some() {
            return Err(malformed("it has a fragment"));
        }
        let host = url.host().ok_or(malformed("it has no host"))?;
        let trusted_only =
            needs_allowance(url.scheme() == "https", url.port_or_known_default()).then_some(Blocked::SchemeOrPort);
        match host {
            Host::Domain(name) if name.len() > 253 || name.trim_end_matches('.').is_empty() => {
                return Err(malformed("its host name is too long or empty"));
            }
            Host::Domain(_) => self.judge_name(trusted_only)?,
            Host::Ipv4(address) => self.judge(address.into(), trusted_only)?,
            Host::Ipv6(address) => self.judge(address.into(), trusted_only)?,
        }
        url.as_str().parse().map(Target).map_err(|_| malformed("it holds characters that HTTP does not allow"))
    }

    /// Checks what can be checked of a tenant's broker without a look-up, as [`Self::check_url`] does for HTTP.
    pub fn check_broker(&self, broker: &BrokerAddress) -> Result<(), EgressError> {
        let trusted_only = broker_needs_allowance(broker);
        match broker.host().parse() {
            Ok(address) => self.judge(address, trusted_only),
            Err(_) => self.judge_name(trusted_only),
        }
    }

    /// Judges all addresses that a name resolved to; one bad address refuses them all.
    pub fn vet(&self, uri: &Uri, addresses: &[IpAddr]) -> Result<(), EgressError> {
        let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = uri.port_u16().or(Some(if https { 443 } else { 80 }));
        self.vet_all(addresses, needs_allowance(https, port).then_some(Blocked::SchemeOrPort))
    }

    fn vet_all(&self, addresses: &[IpAddr], trusted_only: Option<Blocked>) -> Result<(), EgressError> {
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(EgressError::Dns);
        }
        addresses.iter().try_for_each(|address| self.judge(*address, trusted_only))
    }

    /// Which addresses a name has is not known yet; with an empty list no answer could help.
    fn judge_name(&self, trusted_only: Option<Blocked>) -> Result<(), EgressError> {
        match trusted_only {
            Some(rule) if self.allow.is_empty() => Err(EgressError::BlockedAddress(rule)),
            _ => Ok(()),
        }
    }

    /// Judges an address. `trusted_only` is the rule by which only the operator's list could let it pass.
    fn judge(&self, address: IpAddr, trusted_only: Option<Blocked>) -> Result<(), EgressError> {
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(&address)) {
            Ok(())
        } else if !is_public(address) || self.own.contains(&address) {
            Err(EgressError::BlockedAddress(Blocked::NotPublic))
        } else {
            trusted_only.map_or(Ok(()), |rule| Err(EgressError::BlockedAddress(rule)))
        }
    }
}

/// Brokers are called over TLS at the port that is theirs, or at the one that every firewall lets pass.
fn broker_needs_allowance(broker: &BrokerAddress) -> Option<Blocked> {
    let usual = broker.tls() && matches!(broker.port(), 5671 | 443);
    (!usual).then_some(Blocked::BrokerSchemeOrPort)
}

const fn needs_allowance(https: bool, port: Option<u16>) -> bool {
    !https || !matches!(port, Some(443 | 8443))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 ranges that are not the public internet.
const DENIED_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carrier NAT
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // a cloud's own host agent, on a public address
    v4(169, 254, 0, 0, 16),   // link-local, with the clouds' metadata services
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved and broadcast
];

/// IPv6 is denied outside this range, so loopback, unique local, link-local, site-local, multicast, the IPv4-compatible
/// `::/96`, NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`), discard (`100::/64`) and SIDs (`5f00::/16`) all are.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// What lies in the global range and still is not public, or hides an IPv4 address inside.
const DENIED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 0, 23),     // protocol assignments, with Teredo (2001::/32)
    v6(0x2001, 0xdb8, 0, 32), // documentation
    v6(0x2002, 0, 0, 16),     // 6to4
    v6(0x3fff, 0, 0, 20),     // documentation
];

fn is_public(canonical: IpAddr) -> bool {
    match canonical {
        IpAddr::V4(address) => !DENIED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => GLOBAL_V6.contains(&address) && !DENIED_V6.iter().any(|net| net.contains(&address)),
    }
}

/// Where addresses of host names come from.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`; [`EgressError::Dns`] if there is none. It is not waited for beyond [`RESOLVE_LIMIT`].
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, EgressError>;
}

/// The operating system's resolver.
pub struct SystemResolver(Semaphore);

impl SystemResolver {
    /// A resolver that makes a bounded number of look-ups at once.
    #[must_use]
    pub fn new() -> Self {
        Self(Semaphore::new(MAX_LOOKUPS))
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        let _turn = self.0.acquire().await.map_err(|_| EgressError::Dns)?;
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|_| EgressError::Dns)?;
        Ok(found.take(MAX_ADDRESSES + 1).map(|address| address.ip()).collect())
    }
}

/// Policy and resolver together: what the connector asks before it dials.
#[derive(Clone)]
pub struct EgressGuard {
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn Resolve>,
}

impl EgressGuard {
    /// A guard that resolves with `resolver`.
    #[must_use]
    pub fn new(policy: EgressPolicy, resolver: Arc<dyn Resolve>) -> Self {
        Self { policy: Arc::new(policy), resolver }
    }

    /// The policy, for checks when a URL is saved.
    #[must_use]
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// The addresses to which a connection for `uri` may be made, all of them vetted, at least one.
    pub async fn addresses(&self, uri: &Uri) -> Result<Vec<IpAddr>, EgressError> {
        let host = uri.host().ok_or(EgressError::MalformedUrl("it has no host"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses = self.resolved(bare).await?;
        self.policy.vet(uri, &addresses)?;
        Ok(addresses)
    }

    /// The same for a tenant's broker.
    pub async fn broker_addresses(&self, broker: &BrokerAddress) -> Result<Vec<IpAddr>, EgressError> {
        let addresses = self.resolved(broker.host()).await?;
        self.policy.vet_all(&addresses, broker_needs_allowance(broker))?;
        Ok(addresses)
    }

    async fn resolved(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        let looking = tokio::time::timeout(RESOLVE_LIMIT, self.resolver.resolve(host));
        looking.await.unwrap_or(Err(EgressError::Dns))
    }
}

impl fmt::Debug for EgressGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressGuard").field("policy", &self.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
