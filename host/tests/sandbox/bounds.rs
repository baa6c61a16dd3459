//! Every bound of one call: the highest value that is allowed, and the first that is refused. After each refusal the
//! sandbox serves the next call.

use serde_json::{Value, json};
use switchyard::plugin::{
    call::{CallEnd, Ended, LimitKind},
    limits::Limits,
    model::{HandledEvent, Output},
};

use crate::support::{TestHost, call, guest, order, sandbox};

const MIB: u64 = 1 << 20;

/// What becomes of the first value beyond a bound.
enum Beyond {
    /// The call ends at this limit.
    Ends(LimitKind),
    /// The call ends as a broken contract.
    Malformed,
    /// The call goes on; the guest is told so.
    Told(&'static str),
    /// The call goes on; so many log lines were dropped.
    LinesDropped(u32),
    /// The call goes on; so many samples were dropped.
    SamplesDropped(u32),
}

struct Bound {
    name: &'static str,
    limits: Limits,
    allowed: Value,
    refused: Value,
    beyond: Beyond,
}

fn bound(name: &'static str, what: &str, allowed: u64, refused: u64, beyond: Beyond) -> Bound {
    let order = |n: u64| json!({"do": what, "n": n});
    Bound { name, limits: Limits::default(), allowed: order(allowed), refused: order(refused), beyond }
}

fn bounds() -> Vec<Bound> {
    use Beyond::{Ends, LinesDropped, Malformed, SamplesDropped, Told};
    // An emitted event counts with its type, and its data has two quotes.
    let output = MIB - "test.done".len() as u64 - 2;
    let keyed = |length: usize| json!({"do": "emit", "type": "test.done", "dedupe_key": "k".repeat(length)});
    vec![
        bound("output of 1 MiB", "output", output, output + 1, Ends(LimitKind::Output)),
        bound("http calls", "http_flood", 64, 65, Told("\"exhausted\":1")),
        bound("kv operations", "kv_flood", 2_000, 2_001, Told("\"exhausted\":1")),
        bound("a kv value of 256 KiB", "kv_value", 256 << 10, (256 << 10) + 1, Told("TooLarge(262144)")),
        bound("a kv key of 512 bytes", "kv_key", 512, 513, Told("InvalidKey")),
        bound("a kv key of one byte", "kv_key", 1, 0, Told("InvalidKey")),
        bound("100 keys at once", "kv_many", 100, 101, Told("at most 100 keys")),
        bound("a page of 1,000 keys", "kv_page", 1_000, 1_001, Told("1 to 1000")),
        bound("a request's body of 4 MiB", "body", 4 * MIB, 4 * MIB + 1, Told("RequestTooLarge(4194304)")),
        bound("log lines", "logs", 1_000, 1_001, LinesDropped(1)),
        Bound {
            limits: Limits { log_bytes: 4_096, ..Limits::default() },
            ..bound("log bytes", "line", 4_096, 4_097, LinesDropped(0))
        },
        Bound {
            limits: Limits { log_bytes: 4_095, ..Limits::default() },
            ..bound("log bytes, one too few", "line", 4_095, 4_096, LinesDropped(1))
        },
        bound("samples of metrics", "metrics", 1_000, 1_001, SamplesDropped(1)),
        bound("nesting of JSON", "deep_json", 64, 65, Malformed),
        bound("values of one JSON", "wide_json", 9_999, 10_000, Malformed),
        Bound { allowed: keyed(255), refused: keyed(256), ..bound("a dedupe key of 255 bytes", "", 0, 0, Malformed) },
    ]
}

async fn obey(order_data: &Value, limits: Limits) -> Ended<Output> {
    let event = HandledEvent { data: order_data.to_string(), ..order("", 0) };
    sandbox().handle(guest().await, event, call(limits, TestHost::default())).await
}

#[tokio::test]
async fn f60_every_bound_allows_its_highest_value_and_refuses_the_next() {
    for Bound { name, limits, allowed, refused, beyond } in bounds() {
        let kept = obey(&allowed, limits).await;
        let answer = match &kept.result {
            Ok(output) => output.events[0].data.clone(),
            Err(end) => panic!("{name}: {allowed} is allowed, and ended as {end}"),
        };
        assert_eq!(kept.usage.log_lines_dropped, 0, "{name}");
        // The guest always reports one number that is none.
        assert!(kept.usage.metrics_dropped <= 1, "{name}");
        let over = obey(&refused, limits).await;
        match (beyond, &over.result) {
            (Beyond::Ends(wanted), Err(CallEnd::Limit { which, .. })) => assert_eq!(*which, wanted, "{name}"),
            (Beyond::Malformed, Err(CallEnd::Malformed { .. })) => {}
            (Beyond::Told(text), Ok(output)) => {
                assert!(output.events[0].data.contains(text), "{name}: {}", output.events[0].data);
                assert!(!answer.contains(text), "{name} is refused where it is allowed: {answer}");
            }
            (Beyond::LinesDropped(lines), Ok(_)) => assert_eq!(over.usage.log_lines_dropped, lines, "{name}"),
            (Beyond::SamplesDropped(samples), Ok(_)) => {
                assert_eq!(over.usage.metrics_dropped, kept.usage.metrics_dropped + samples, "{name}");
            }
            (_, other) => panic!("{name}: {refused} ended as {other:?}"),
        }
        obey(&json!({"do": "ok"}), Limits::default()).await.result.unwrap_or_else(|end| panic!("after {name}: {end}"));
    }
}

/// A guest takes the same path each time, so that the memory it needs is known to the byte.
#[tokio::test]
async fn f57_memory_is_given_to_the_last_byte_of_the_limit_and_not_one_more() {
    let blocks = json!({"do": "alloc", "n": 8 * MIB});
    let needed = obey(&blocks, Limits::default()).await.usage.peak_memory_bytes;
    assert!(needed > 8 * MIB && needed < 16 * MIB, "{needed}");
    let exactly = obey(&blocks, Limits { memory_bytes: needed, ..Limits::default() }).await;
    exactly.result.expect("the limit itself is allowed");
    let short = obey(&blocks, Limits { memory_bytes: needed - 1, ..Limits::default() }).await;
    assert!(matches!(short.result, Err(CallEnd::Limit { which: LimitKind::Memory, .. })));
    // The default is 64 MiB.
    obey(&json!({"do": "alloc", "n": 60 * MIB}), Limits::default()).await.result.expect("60 MiB fit");
    let bomb = obey(&json!({"do": "alloc", "n": 1_u64 << 40}), Limits::default()).await;
    assert!(bomb.usage.peak_memory_bytes <= 64 * MIB, "{:?}", bomb.usage);
    assert!(matches!(bomb.result, Err(CallEnd::Limit { which: LimitKind::Memory, allowed: 67_108_864 })));
}

/// Wherever a guest spins, its time is charged: in its own code, inside one bulk operation, in calls that the host
/// answers at once, and in memory that it takes and gives back.
#[tokio::test]
async fn f56_a_guest_that_spins_ends_at_its_cpu_limit_wherever_it_spins() {
    let limits = Limits { cpu_ms: 60, ..Limits::default() };
    for what in ["loop", "kv_until_stopped", "http_until_stopped", "fill", "regrow", "stderr", "logs", "hash"] {
        let ended = obey(&json!({"do": what, "n": u64::MAX}), limits).await;
        let end = ended.result.err().unwrap_or_else(|| panic!("`{what}` ended well"));
        let stopped = matches!(end, CallEnd::Limit { which: LimitKind::Cpu, allowed: 60 });
        // `regrow` takes more each time and may meet the other limit first.
        let grown = what == "regrow" && matches!(end, CallEnd::Limit { which: LimitKind::Memory, .. });
        assert!(stopped || grown, "`{what}` ended as {end:?}");
        assert!(ended.usage.cpu_ms >= 60 || grown, "{what}: {:?}", ended.usage);
        obey(&json!({"do": "ok"}), Limits::default()).await.result.unwrap_or_else(|end| panic!("after {what}: {end}"));
    }
}

#[tokio::test]
async fn f60_text_that_is_none_and_text_outside_the_memory_end_the_call() {
    for what in ["utf8", "pointer"] {
        let ended = obey(&json!({"do": what}), Limits::default()).await;
        let end = ended.result.err().unwrap_or_else(|| panic!("`{what}` ended well"));
        assert!(
            matches!(end, CallEnd::Trap { .. } | CallEnd::Limit { which: LimitKind::Output, .. }),
            "{what}: {end:?}"
        );
        obey(&json!({"do": "ok"}), Limits::default()).await.result.unwrap_or_else(|end| panic!("after {what}: {end}"));
    }
}

/// A panic in a host function is the host's fault: the call ends, its host comes back, and the next call works.
#[tokio::test]
async fn f65_a_panic_inside_a_host_function_ends_the_call_and_nothing_else() {
    for _ in 0..3 {
        let host = TestHost::with(crate::support::Http::Panics);
        let ended = sandbox().handle(guest().await, order("http", 0), call(Limits::default(), host)).await;
        assert!(ended.host.into_any().is::<TestHost>(), "the host comes back");
        let end = ended.result.expect_err("the call fails");
        assert!(matches!(&end, CallEnd::HostFault(text) if text.contains("a bug in the host")), "{end:?}");
        assert_eq!((end.code(), end.reason()), ("host_fault", None));
        obey(&json!({"do": "ok"}), Limits::default()).await.result.expect("the sandbox lives");
    }
}
