//! Good calls beside hostile ones, more calls than slots, and the price of an empty call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use switchyard::plugin::{
    call::{CallEnd, LimitKind},
    limits::Limits,
    sandbox::{Sandbox, SandboxOptions},
};
use tokio::task::JoinSet;

use crate::support::{TestHost, call, clock, guest, order, sandbox, wasm};

#[tokio::test]
async fn good_calls_go_on_beside_twenty_hostile_ones() {
    let guest = guest().await;
    let ended = Arc::new(AtomicU32::new(0));
    let mut hostile = JoinSet::new();
    for _ in 0..20 {
        let ended = Arc::clone(&ended);
        hostile.spawn(async move {
            let end = sandbox().handle(guest, order("loop", 0), call(Limits::default(), TestHost::default())).await;
            ended.fetch_add(1, Ordering::SeqCst);
            matches!(end.result, Err(CallEnd::Limit { which: LimitKind::Cpu, .. }))
        });
    }
    tokio::task::yield_now().await;
    let start = clock().monotonic();
    for _ in 0..10 {
        let good = sandbox().handle(guest, order("ok", 0), call(Limits::default(), TestHost::default())).await;
        good.result.unwrap();
    }
    println!("a good call beside twenty endless loops: {:?}", (clock().monotonic() - start) / 10);
    assert!(ended.load(Ordering::SeqCst) < 20, "the good calls did not have to wait for the hostile ones");
    assert!(hostile.join_all().await.into_iter().all(|limited| limited));
}

#[tokio::test]
async fn calls_beyond_the_pool_wait_for_a_slot() {
    let options = SandboxOptions { pool_size: 8, threads: 1, ..SandboxOptions::uncached() };
    let small = Arc::new(Sandbox::new(options, clock()).unwrap());
    let guest = small.compile(wasm().to_vec()).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let (small, guest) = (Arc::clone(&small), Arc::clone(&guest));
        calls.spawn(async move {
            let call = call(Limits::default(), TestHost::default());
            small.handle(&guest, order("sleep", 2), call).await.result.is_ok()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|succeeded| succeeded));
}

/// Printed, not asserted: `cargo test -p switchyard --test sandbox price -- --nocapture`.
#[tokio::test]
async fn the_price_of_an_empty_call_is_printed() {
    let guest = guest().await;
    let clock = clock();
    let empty = || sandbox().handle(guest, order("empty", 0), call(Limits::default(), TestHost::default()));
    let mut times: Vec<Duration> = Vec::with_capacity(3_000);
    for _ in 0..3_000 {
        let start = clock.monotonic();
        let ended = empty().await;
        times.push(clock.monotonic() - start);
        assert_eq!(ended.result.unwrap().events.len(), 0);
    }
    let mut times = times.split_off(500);
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100];
    println!("a fresh empty handle, one after the other: median {:?}, p95 {:?}, p99 {:?}", at(50), at(95), at(99));

    let start = clock.monotonic();
    let callers = (0..16).map(|_| async {
        for _ in 0..250 {
            empty().await.result.unwrap();
        }
    });
    futures_util::future::join_all(callers).await;
    println!("sixteen callers on one sandbox thread: {:?} per call", (clock.monotonic() - start) / 4_000);
}
