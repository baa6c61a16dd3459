use bytes::Bytes;
use serde_json::json;
use switchyard_tests::{
    api::{Api, text, until},
    place::Place,
    sink::{Act, Sink},
};

switchyard_tests::on_both_databases! {
    e48_endless_and_packed_answers_are_cut_and_cost_no_memory,
}

/// Answers at once, each without end.
const AT_ONCE: usize = 16;

/// What the hub may grow by over all of them.
const GROWTH: f64 = 64.0 * 1024.0 * 1024.0;

/// What one peer may push into the buffers between it and a hub that reads no more.
const IN_BETWEEN: u64 = 32 << 20;

const TEN_GIB: u64 = 10 << 30;

/// 15 MiB of nothing, packed into 15 KiB.
const BOMB: &[u8] = include_bytes!("../../../data/bomb.gz");

async fn resident(hub: &Api) -> f64 {
    let metrics = hub.get("/metrics").await;
    let line = metrics.text.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("the hub measures itself")
}

async fn e48_endless_and_packed_answers_are_cut_and_cost_no_memory(place: &Place) {
    let hub = place.builder().start().await;
    let tenant = hub.tenant("acme").await;
    let zeros = Bytes::from(vec![0; 64 << 10]);
    let head = |more: &str| Act::say(format!("HTTP/1.1 200 OK\r\n{more}\r\n\r\n"));
    let declared =
        vec![Act::ReadRequest, head(&format!("content-length: {TEN_GIB}")), Act::Flood(zeros.clone(), TEN_GIB)];
    let chunk: Bytes = [b"10000\r\n".as_slice(), &zeros, b"\r\n"].concat().into();
    let chunked = vec![Act::ReadRequest, head("transfer-encoding: chunked"), Act::Flood(chunk, TEN_GIB)];
    let packed_head = format!("HTTP/1.1 400 No\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", BOMB.len());
    let packed = vec![Act::ReadRequest, Act::say(packed_head), Act::Write(Bytes::from_static(BOMB))];
    let mut sinks = Vec::new();
    for (acts, state) in [(declared, "delivered"), (chunked, "delivered"), (packed, "dead")] {
        let sink = Sink::start(acts).await;
        let wanted = json!({"url": sink.url("/"), "event_types": ["a.b"], "retry_schedule": [0]});
        sinks.push((text(&tenant.post("/endpoints", &wanted).await.expect(201), "id"), sink, state));
    }
    let before = resident(&hub).await;
    for _ in 0..AT_ONCE {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    }
    for (endpoint, sink, state) in &sinks {
        until(&format!("all to be {state}"), async || {
            let ended = tenant.list(&format!("/deliveries?target={endpoint}&state={state}")).await;
            if ended.len() == AT_ONCE { Ok(()) } else { Err(format!("{} are", ended.len())) }
        })
        .await;
        assert!(sink.written() < IN_BETWEEN * AT_ONCE as u64, "the hub took {} bytes", sink.written());
        let asked = sink.heads();
        assert!(asked.iter().all(|head| head.contains("accept-encoding: identity")), "{asked:?}");
    }
    let grown = resident(&hub).await - before;
    assert!(grown < GROWTH, "the hub grew by {grown} bytes");
    let one = tenant.list(&format!("/deliveries?target={}", sinks[0].0)).await.remove(0);
    let shown = tenant.get(&format!("/deliveries/{}", text(&one, "id"))).await.expect(200);
    let response = &shown["attempts"][0]["detail"]["response"];
    assert_eq!(response["truncated"], true, "{response}");
    assert_eq!(response["body"].as_str().map(str::len), Some(16 << 10), "16 KiB are kept");
}
