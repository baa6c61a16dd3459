use std::{sync::Arc, time::Duration};

use switchyard::clock::SystemClock;
use switchyard_tests::hub::{ADMIN_KEY, Hub};
use tokio::{
    io::AsyncWriteExt as _,
    time::{interval, timeout},
};

use super::{
    senders::{Sender, push_plugins},
    wire::{self, rest, status, still_serves},
};

/// How much later than its time a close may come on a machine that does much else.
const SLACK: Duration = Duration::from_secs(20);

/// A caller that takes its time.
struct Slow {
    what: &'static str,
    /// What it sends at once.
    first: Vec<u8>,
    /// What it sends every so often after that.
    then: Option<(&'static [u8], Duration)>,
    /// When the hub is to close it, in seconds after the first byte.
    ends_s: u64,
    /// What the hub answers; 0 for nothing.
    answer: u16,
}

impl Slow {
    /// Plays it and answers how long the hub bore it.
    async fn play(self, hub: Arc<Hub>) {
        let clock = SystemClock::shared();
        let begun = clock.monotonic();
        let (mut reading, mut writing) = wire::connect(&hub).await.into_split();
        let _ = writing.write_all(&self.first).await;
        let dripping = tokio::spawn(async move {
            if let Some((drop, every)) = self.then {
                let mut ticks = interval(every);
                ticks.tick().await;
                while writing.write_all(drop).await.is_ok() {
                    ticks.tick().await;
                }
            }
            writing
        });
        let said = rest(&mut reading).await;
        dripping.abort();
        let took = clock.monotonic() - begun;
        let ends = Duration::from_secs(self.ends_s);
        let early = ends.saturating_sub(Duration::from_millis(300));
        assert!((early..ends + SLACK).contains(&took), "{}: closed after {took:?}, not {ends:?}", self.what);
        assert_eq!(status(&said), self.answer, "{}: {said}", self.what);
    }
}

fn slow_callers(source: &str, events: &str) -> Vec<Slow> {
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Type: application/json\r\n"
        )
    };
    let (second, five) = (Duration::from_secs(1), Duration::from_secs(5));
    let declared = |path: &str| format!("{}Content-Length: 1000\r\n\r\n{{", head(path)).into_bytes();
    let chunked = format!("{}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n", head(source)).into_bytes();
    let slow = |what, first: &[u8], then, ends_s, answer| Slow { what, first: first.to_vec(), then, ends_s, answer };
    vec![
        slow("a silent caller", b"", None, 5, 0),
        slow("a caller that says one byte", b"P", None, 5, 0),
        slow("half a head", b"GET / HTTP/1.1\r\nHost: hub.test\r\nX-Slow: ", None, 5, 0),
        slow("a head of a byte each second", b"GET / HTTP/1.1\r\nX-Slow: ", Some((b"y", second)), 5, 0),
        slow("a head of a line each second", b"GET / HTTP/1.1\r\n", Some((b"X-Slow: y\r\n", second)), 5, 0),
        slow("the beginning of HTTP/2", b"PRI * HTTP/2.0\r\n\r\n", None, 5, 0),
        slow("half a body to a source", &declared(source), None, 10, 408),
        slow("half a body to the interface", &declared(events), None, 10, 400),
        slow("half a chunk", &[&chunked[..], b"5\r\nab"].concat(), None, 10, 408),
        slow("a body of a byte every five seconds", &declared(source), Some((b" ", five)), 30, 408),
        slow("chunks of a byte every five seconds", &chunked, Some((b"1\r\n \r\n", five)), 30, 408),
        slow("an idle connection after a request", b"GET /healthz HTTP/1.1\r\nHost: hub.test\r\n\r\n", None, 5, 200),
    ]
}

#[tokio::test]
async fn g74_every_slow_caller_is_closed_at_its_time_and_a_good_one_is_served_meanwhile() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::plain(&hub, "sender").await;
    let (source, events) = (sender.path.clone(), sender.tenant.path("/events"));
    let hub = Arc::new(hub);
    let mut callers: Vec<_> = Vec::new();
    for slow in slow_callers(&source, &events).into_iter().chain(slow_callers(&source, &events)) {
        callers.push(tokio::spawn(slow.play(hub.clone())));
    }
    let good = tokio::spawn({
        let (hub, tenant) = (hub.clone(), sender.tenant.clone());
        async move {
            let mut ticks = interval(Duration::from_millis(500));
            for _ in 0..20 {
                ticks.tick().await;
                still_serves(&hub).await;
                let _ = tenant.publish(&serde_json::json!({"type": "a.b", "data": {}})).await;
            }
        }
    });
    for caller in callers {
        caller.await.expect("it is closed in time");
    }
    timeout(wire::PATIENCE, good).await.expect("in time").expect("a good caller is served");
    assert_eq!(sender.tenant.list("/events").await.len(), 20);
}
