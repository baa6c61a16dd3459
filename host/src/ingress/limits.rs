//! The numbers of the edge, and the rates at which a caller may call.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{Quota, RateLimiter, clock::Clock as _, middleware::NoOpMiddleware, state::keyed::HashMapStateStore};
use ipnet::IpNet;
use serde::Deserialize;

use crate::{
    clock::SharedClock,
    config::value::{duration, networks, size},
    id::Key,
};

/// Limits on connections, headers and bodies. The section `[limits]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenLimits {
    /// How long a new connection may stay silent.
    #[serde(deserialize_with = "duration")]
    pub first_byte_timeout: Duration,
    /// How long a request's head may take, and how long an idle kept-alive connection may wait for the next one.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// Header fields per request; more is answered 431.
    pub header_count: usize,
    /// Bytes of a request's head; more is answered 431. At least 8 KiB.
    #[serde(deserialize_with = "size")]
    pub header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Silence on an HTTP/2 connection after which it is asked for a sign of life.
    #[serde(deserialize_with = "duration")]
    pub http2_keep_alive: Duration,
    /// Connections in all; one more is answered 503 and closed.
    pub connections: usize,
    /// Connections of one address (for IPv6: one /64). Trusted proxies are exempt.
    pub connections_per_ip: usize,
    /// Age at which a connection is asked to close after what it is doing.
    #[serde(deserialize_with = "duration")]
    pub connection_lifetime: Duration,
    /// Bytes of a body; more is answered 413.
    #[serde(deserialize_with = "size")]
    pub body_bytes: usize,
    /// Silence within a body.
    #[serde(deserialize_with = "duration")]
    pub body_idle_timeout: Duration,
    /// A whole body.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// Bytes of all bodies held in memory at once; beyond it requests are answered 503.
    #[serde(deserialize_with = "size")]
    pub body_memory: usize,
    /// Networks whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// How long requests may take to finish once a connection is asked to close.
    #[serde(deserialize_with = "duration")]
    pub closing_grace: Duration,
    /// Paths that take larger bodies. Not a setting: whoever builds the routes knows them.
    #[serde(skip)]
    pub large_bodies: Vec<LargeBody>,
}

/// A path whose bodies may be larger and slower than the others.
#[derive(Clone, Debug)]
pub struct LargeBody {
    /// The path; a segment in braces stands for any one segment.
    pub path: &'static str,
    /// What its bodies may be.
    pub limits: BodyLimits,
}

impl LargeBody {
    fn matches(&self, path: &str) -> bool {
        let (mut pattern, mut path) = (self.path.split('/'), path.split('/'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some(any), Some(_)) if any.starts_with('{') => {}
                (Some(expected), Some(segment)) if expected == segment => {}
                _ => return false,
            }
        }
    }
}

/// What one body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Its size in bytes.
    pub bytes: usize,
    /// The longest silence within it.
    pub idle: Duration,
    /// The longest time it may take.
    pub deadline: Duration,
}

impl ListenLimits {
    /// What a body sent to `path` may be.
    #[must_use]
    pub fn body(&self, path: &str) -> BodyLimits {
        let usual = BodyLimits { bytes: self.body_bytes, idle: self.body_idle_timeout, deadline: self.body_timeout };
        self.large_bodies.iter().find(|large| large.matches(path)).map_or(usual, |large| large.limits)
    }

    /// Whether `ip` is a proxy whose word about the client counts.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&ip))
    }
}

/// Rates at which one caller and one source may call. The section `[rates]` of the configuration; 0 means no limit.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// Requests per second of one address, sustained.
    pub ip_per_second: u32,
    /// Requests of one address at once, after a silence.
    pub ip_burst: u32,
    /// Requests per second to one source, sustained.
    pub source_per_second: u32,
    /// Requests to one source at once, after a silence.
    pub source_burst: u32,
}

/// The caller is too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, try again in {} s", retry_after_s(self.retry_after))]
pub struct RateLimited {
    /// When the same request would be let through.
    pub retry_after: Duration,
}

impl RateLimited {
    /// The value for a `Retry-After` header: whole seconds, at least one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> u64 {
        retry_after_s(self.retry_after)
    }
}

fn retry_after_s(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()))
}

/// Token buckets per address and per source. Memory follows the number of callers of the last moments: buckets that
/// are full again are dropped every few thousand checks.
pub struct RateLimits {
    ip: Option<Buckets<IpAddr>>,
    source: Option<Buckets<Key>>,
}

impl RateLimits {
    /// Buckets that fill with the time of `clock`.
    #[must_use]
    pub fn new(settings: RateSettings, clock: &SharedClock) -> Self {
        Self {
            ip: Buckets::new(settings.ip_per_second, settings.ip_burst, clock),
            source: Buckets::new(settings.source_per_second, settings.source_burst, clock),
        }
    }

    /// Takes a token of this address. IPv6 addresses of one /64 count as one caller.
    ///
    /// # Errors
    ///
    /// The bucket is empty.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), RateLimited> {
        self.ip.as_ref().map_or(Ok(()), |buckets| buckets.check(&network(ip)))
    }

    /// Takes a token of this source.
    ///
    /// # Errors
    ///
    /// The bucket is empty.
    pub fn check_source(&self, source: Key) -> Result<(), RateLimited> {
        self.source.as_ref().map_or(Ok(()), |buckets| buckets.check(&source))
    }
}

/// The part of an address that one caller controls: an IPv4 address, or the /64 of an IPv6 address.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// Buckets are looked through after this many checks.
const CHECKS_BETWEEN_SWEEPS: u32 = 8192;

struct Buckets<K: std::hash::Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, Monotonic, NoOpMiddleware<Duration>>,
    checks: AtomicU32,
}

impl<K: std::hash::Hash + Eq + Clone> Buckets<K> {
    fn new(per_second: u32, burst: u32, clock: &SharedClock) -> Option<Self> {
        let rate = NonZeroU32::new(per_second)?;
        let quota = Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate));
        let limiter = RateLimiter::hashmap_with_clock(quota, Monotonic(SharedClock::clone(clock)));
        Some(Self { limiter, checks: AtomicU32::new(0) })
    }

    fn check(&self, key: &K) -> Result<(), RateLimited> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_SWEEPS == CHECKS_BETWEEN_SWEEPS - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(key)
            .map_err(|early| RateLimited { retry_after: early.wait_time_from(self.limiter.clock().now()) })
    }
}

/// The hub's clock as governor wants it.
#[derive(Clone)]
struct Monotonic(SharedClock);

impl governor::clock::Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn limits() -> (RateLimits, std::sync::Arc<ManualClock>) {
        let manual = ManualClock::starting_at(Timestamp(1_000_000));
        let clock: SharedClock = manual.clone();
        let settings = RateSettings { ip_per_second: 10, ip_burst: 3, source_per_second: 1, source_burst: 1 };
        (RateLimits::new(settings, &clock), manual)
    }

    #[test]
    fn a_caller_gets_its_burst_then_its_rate() {
        let (limits, clock) = limits();
        let ip: IpAddr = [192, 0, 2, 1].into();
        assert!((0..3).all(|_| limits.check_ip(ip).is_ok()));
        let limited = limits.check_ip(ip).unwrap_err();
        assert_eq!(limited.retry_after, Duration::from_millis(100));
        assert_eq!(limited.retry_after_seconds(), 1);
        assert!(limits.check_ip([192, 0, 2, 2].into()).is_ok(), "another caller is not affected");
        clock.advance(Duration::from_millis(100));
        assert!(limits.check_ip(ip).is_ok());
        assert!(limits.check_ip(ip).is_err());
    }

    #[test]
    fn one_ipv6_network_is_one_caller() {
        let (limits, _clock) = limits();
        for host in 1..=3 {
            assert!(limits.check_ip(IpAddr::V6(format!("2001:db8::{host}").parse().unwrap())).is_ok());
        }
        assert!(limits.check_ip("2001:db8::ffff".parse().unwrap()).is_err());
        assert!(limits.check_ip("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn callers_that_went_away_are_forgotten() {
        let (limits, clock) = limits();
        for host in 0..CHECKS_BETWEEN_SWEEPS - 1 {
            limits.check_ip(IpAddr::V4(host.into())).unwrap();
        }
        clock.advance(Duration::from_secs(60));
        limits.check_ip([192, 0, 2, 1].into()).unwrap();
        assert_eq!(limits.ip.as_ref().unwrap().limiter.len(), 1);
    }

    #[test]
    fn a_large_body_is_for_its_path_only() {
        let mut limits = crate::config::Settings::defaults().unwrap().limits;
        let usual = limits.body("/");
        let large = BodyLimits { bytes: 4 << 20, ..usual };
        limits.large_bodies = vec![LargeBody { path: "/v1/tenants/{tenant}/events", limits: large }];
        assert_eq!(limits.body("/v1/tenants/acme/events"), large);
        for other in ["/v1/tenants/acme", "/v1/tenants/acme/events/x", "/v1/tenants", "/in/src_1"] {
            assert_eq!(limits.body(other), usual, "{other}");
        }
    }

    #[test]
    fn zero_means_no_limit() {
        let clock: SharedClock = ManualClock::starting_at(Timestamp(0));
        let off = RateSettings { ip_per_second: 0, ip_burst: 0, source_per_second: 0, source_burst: 0 };
        let limits = RateLimits::new(off, &clock);
        assert!((0..10_000).all(|_| limits.check_source(Key::default()).is_ok()));
    }
}
