//! Each limit twice: obeyed and violated.

use std::time::Duration;

use switchyard::plugin::{
    call::{CallEnd, LimitKind},
    limits::Limits,
};

use crate::support::{Http, TestHost, data, failure, handle};

const MIB: u64 = 1 << 20;

#[track_caller]
fn is_limit(end: &CallEnd, expected: LimitKind) -> u64 {
    match end {
        CallEnd::Limit { which, allowed } if *which == expected => *allowed,
        other => panic!("expected the limit {expected:?}, got {other:?}"),
    }
}

#[tokio::test]
async fn work_within_the_cpu_limit_is_done() {
    let (ended, _) = handle("hash", 100_000, Limits::default(), TestHost::default()).await;
    data(&ended);
    assert!(ended.usage.cpu_ms >= 1 && ended.usage.cpu_ms < 200, "{:?}", ended.usage);
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_cpu_limit() {
    let limits = Limits { cpu_ms: 30, ..Limits::default() };
    let (ended, host) = handle("loop", 0, limits, TestHost::default()).await;
    assert!(ended.usage.cpu_ms >= 30, "{:?}", ended.usage);
    assert!(host.sent.is_empty());
    assert_eq!(is_limit(&failure(ended), LimitKind::Cpu), 30);
}

#[tokio::test]
async fn time_in_host_calls_is_not_charged_to_the_guest() {
    let limits = Limits { cpu_ms: 40, ..Limits::default() };
    let host = TestHost::with(Http::Burns(Duration::from_millis(30)));
    let (ended, host) = handle("http_flood", 4, limits, host).await;
    assert_eq!(data(&ended)["answered"], 4);
    assert_eq!(host.sent.len(), 4);
    assert!(ended.usage.cpu_ms < 40, "{:?}", ended.usage);
}

#[tokio::test]
async fn memory_up_to_the_limit_is_given() {
    let limits = Limits { memory_bytes: 16 * MIB, ..Limits::default() };
    let (ended, _) = handle("alloc", 8 * MIB, limits, TestHost::default()).await;
    assert_eq!(data(&ended)["blocks"], 128);
    assert!(ended.usage.peak_memory_bytes >= 8 * MIB && ended.usage.peak_memory_bytes <= 16 * MIB);
}

#[tokio::test]
async fn memory_over_the_limit_ends_the_call() {
    let limits = Limits { memory_bytes: 16 * MIB, ..Limits::default() };
    let (ended, _) = handle("alloc", 64 * MIB, limits, TestHost::default()).await;
    assert!(ended.usage.peak_memory_bytes <= 16 * MIB);
    assert_eq!(is_limit(&failure(ended), LimitKind::Memory), 16 * MIB);
}

#[tokio::test]
async fn a_wait_within_the_wall_limit_is_allowed() {
    let (ended, _) = handle("sleep", 5, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&ended)["slept"], 5);
    assert!(ended.usage.wall_ms >= 5);
}

#[tokio::test]
async fn a_guest_that_sleeps_ends_at_the_wall_limit() {
    let limits = Limits { wall_ms: 40, ..Limits::default() };
    let (ended, _) = handle("sleep", 60_000, limits, TestHost::default()).await;
    assert_eq!(is_limit(&failure(ended), LimitKind::Wall), 40);
}

#[tokio::test]
async fn a_host_call_that_hangs_ends_at_the_wall_limit_and_the_host_comes_back() {
    let limits = Limits { wall_ms: 40, ..Limits::default() };
    let (ended, host) = handle("http", 0, limits, TestHost::with(Http::Hangs)).await;
    assert_eq!(host.sent.len(), 1, "what the host had noted before it hung is still there");
    assert_eq!(is_limit(&failure(ended), LimitKind::Wall), 40);
}

#[tokio::test]
async fn an_output_up_to_the_limit_is_taken() {
    let (ended, _) = handle("output", MIB - 1_000, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&ended).as_str().map(str::len), Some(1_047_576));
}

#[tokio::test]
async fn an_output_over_the_limit_ends_the_call() {
    for size in [MIB + 1, 12 * MIB] {
        let (ended, _) = handle("output", size, Limits::default(), TestHost::default()).await;
        assert_eq!(is_limit(&failure(ended), LimitKind::Output), MIB, "{size} bytes");
    }
}

#[tokio::test]
async fn log_lines_over_the_limit_are_dropped_and_counted() {
    let (ended, host) = handle("logs", 10, Limits::default(), TestHost::default()).await;
    data(&ended);
    assert_eq!((host.lines.len(), ended.usage.log_lines_dropped), (10, 0));

    let (ended, host) = handle("logs", 1_500, Limits::default(), TestHost::default()).await;
    data(&ended);
    assert_eq!((host.lines.len(), ended.usage.log_lines_dropped), (1_000, 500));

    let limits = Limits { log_bytes: 60, ..Limits::default() };
    let (ended, host) = handle("logs", 20, limits, TestHost::default()).await;
    data(&ended);
    assert_eq!((host.lines.len(), ended.usage.log_lines_dropped), (10, 10));
}

#[tokio::test]
async fn kv_operations_over_the_limit_meet_an_exhausted_budget() {
    let (ended, host) = handle("kv_flood", 2_000, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&ended), serde_json::json!({ "answered": 2_000, "exhausted": 0 }));
    assert_eq!(host.kv.len(), 2_000);

    let (ended, host) = handle("kv_flood", 2_100, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&ended), serde_json::json!({ "answered": 2_000, "exhausted": 100 }));
    assert_eq!((host.kv.len(), ended.usage.kv_operations), (2_000, 2_000));
}

#[tokio::test]
async fn http_calls_over_the_limit_meet_an_exhausted_budget() {
    let (ended, host) = handle("http_flood", 70, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&ended), serde_json::json!({ "answered": 64, "exhausted": 6 }));
    assert_eq!((host.sent.len(), ended.usage.http_calls), (64, 64));
}

#[tokio::test]
async fn metric_samples_over_the_limit_are_dropped_and_counted() {
    let (ended, host) = handle("metrics", 5, Limits::default(), TestHost::default()).await;
    data(&ended);
    assert_eq!((host.samples.len(), ended.usage.metrics_dropped), (5, 1), "only the NaN is dropped");

    let (ended, host) = handle("metrics", 1_005, Limits::default(), TestHost::default()).await;
    data(&ended);
    assert_eq!((host.samples.len(), ended.usage.metrics_dropped), (1_000, 6));
}

#[tokio::test]
async fn a_flood_on_standard_error_keeps_its_last_words() {
    let (ended, _) = handle("stderr", MIB, Limits::default(), TestHost::default()).await;
    assert_eq!(ended.stderr.len(), 8 << 10);
    assert!(ended.stderr.contains("the last words"));
    let CallEnd::Trap { message, stderr, .. } = failure(ended) else { panic!("expected a trap") };
    assert!(message.ends_with("the last words"), "{message}");
    assert!(stderr.contains("panicked at"));
}
