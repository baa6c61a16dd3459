//! The requests that the tool sends, and how it finds them again.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// The size of a publication's body.
pub(crate) const BODY_BYTES: usize = 1024;

/// Digits of a number or stamp in a body, so that all bodies are equally long.
const DIGITS: usize = 16;

/// Requests for a closed loop, taken by many connections at once.
pub(crate) trait Requests: Send + Sync + 'static {
    /// Writes the next whole request; false when there are no more.
    fn next(&self, into: &mut Vec<u8>) -> bool;
}

/// Publications of one tenant. The stamp of a moment travels as the correlation id, which stands in the payload of
/// everything that the event causes, also behind a plugin.
pub(crate) struct Publications {
    request: Vec<u8>,
    number_at: usize,
    stamp_at: usize,
    next: AtomicU64,
    count: u64,
}

impl Publications {
    /// `count` events of a type; `data` is more of its payload, as members of a JSON object.
    pub(crate) fn new(
        hub: SocketAddr,
        tenant: &str,
        key: &str,
        event_type: &str,
        data: &str,
        count: u64,
    ) -> anyhow::Result<Self> {
        let zeros = "0".repeat(DIGITS);
        let start =
            format!(r#"{{"type":"{event_type}","correlation_id":"at-{zeros}","data":{{"n":"{zeros}"{data},"pad":""#);
        let end = r#""}}"#;
        anyhow::ensure!(start.len() + end.len() <= BODY_BYTES, "the payload is too long");
        let pad = "x".repeat(BODY_BYTES - start.len() - end.len());
        let head = format!(
            "POST /v1/tenants/{tenant}/events HTTP/1.1\r\nhost: {hub}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
        );
        let request = format!("{head}{start}{pad}{end}").into_bytes();
        let place = |mark: &str| head.len() + start.find(mark).map_or(0, |at| at + mark.len());
        let (stamp_at, number_at) = (place("\"at-"), place("\"n\":\""));
        Ok(Self { request, number_at, stamp_at, next: AtomicU64::new(0), count })
    }

    /// Writes the request of number `n` with the stamp of a moment.
    pub(crate) fn write(&self, n: u64, at: Duration, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.request);
        digits(n, &mut into[start + self.number_at..][..DIGITS]);
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        digits(at, &mut into[start + self.stamp_at..][..DIGITS]);
    }
}

impl Requests for Publications {
    fn next(&self, into: &mut Vec<u8>) -> bool {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if n >= self.count {
            return false;
        }
        let start = into.len();
        into.extend_from_slice(&self.request);
        digits(n, &mut into[start + self.number_at..][..DIGITS]);
        // Nobody reads the stamp of a closed loop, but correlation ids should differ as they do in life.
        digits(n, &mut into[start + self.stamp_at..][..DIGITS]);
        true
    }
}

/// Requests made beforehand.
pub(crate) struct Prepared {
    requests: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Prepared {
    pub(crate) const fn new(requests: Vec<Vec<u8>>) -> Self {
        Self { requests, next: AtomicUsize::new(0) }
    }
}

impl Requests for Prepared {
    fn next(&self, into: &mut Vec<u8>) -> bool {
        let found = self.requests.get(self.next.fetch_add(1, Ordering::Relaxed));
        into.extend_from_slice(found.map_or(&[], Vec::as_slice));
        found.is_some()
    }
}

fn digits(mut number: u64, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// The 128 bits of `evt_<32 hex digits>`.
pub(crate) fn event_id(text: &[u8]) -> Option<u128> {
    let hex = std::str::from_utf8(text.strip_prefix(b"evt_")?).ok()?;
    u128::from_str_radix(hex, 16).ok()
}

/// The id in the answer to a publication.
pub(crate) fn accepted_id(body: &[u8]) -> Option<u128> {
    const MARK: &[u8] = br#""id":""#;
    let at = body.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    event_id(body.get(at..at + 36)?)
}

/// The microseconds in the correlation id of a stamped event.
pub(crate) fn stamp(correlation_id: &[u8]) -> Option<u64> {
    std::str::from_utf8(correlation_id.strip_prefix(b"at-")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_as_long_as_it_says_and_carries_number_and_stamp() {
        let hub = SocketAddr::from(([127, 0, 0, 1], 80));
        let all = Publications::new(hub, "acme", "key", "a.b", r#","name":"Ida""#, 1).unwrap();
        let mut request = Vec::new();
        all.write(7, Duration::from_micros(42), &mut request);
        let body = &request[request.len() - BODY_BYTES..];
        let parsed: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(parsed["data"]["n"], "0000000000000007");
        assert_eq!(parsed["data"]["name"], "Ida");
        assert_eq!(stamp(parsed["correlation_id"].as_str().unwrap().as_bytes()), Some(42));
        request.clear();
        assert!(all.next(&mut request) && !all.next(&mut request));
    }

    #[test]
    fn the_id_is_found_in_an_answer() {
        let answer = br#"{"id":"evt_0000000000000000000000000000002a","duplicate":false}"#;
        assert_eq!(accepted_id(answer), Some(42));
        assert_eq!(accepted_id(b"{}"), None);
    }
}
