use serde_json::json;
use switchyard_tests::{api::until, hub::Hub};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::wire::{self, connect_from, still_serves};

/// What the hub holds of one address, and in all, by default.
const OF_ONE: usize = 1_024;
const IN_ALL: usize = 10_000;

/// How many descriptors a process may have open here.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(OF_ONE)
}

/// Opens connections from one address and keeps them, each in the middle of a head; the hub may have closed some.
async fn hold(hub: &Hub, host: u8, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = connect_from(hub, host).await.expect("the listener takes connections");
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub.test\r\nX-Held: ").await;
        held.push(stream);
    }
    held
}

/// A good caller from an address of its own, on a fresh connection.
async fn served(hub: &Hub) -> bool {
    let Ok(mut stream) = connect_from(hub, 77).await else { return false };
    let _ = stream.write_all(&wire::request("GET", "/healthz", &[], b"")).await;
    let mut said = String::new();
    let read = timeout(wire::PATIENCE, stream.read_to_string(&mut said)).await;
    read.is_ok() && wire::status(&said) == 200
}

fn gauge(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// How many connections are open, and how many the hub ended because of a cap.
async fn census(hub: &Hub, cap: &str) -> (usize, usize) {
    let metrics = hub.get("/metrics").await.text;
    let closed = format!("switchyard_edge_connections_closed_total{{cause=\"{cap}\"}} ");
    (gauge(&metrics, "switchyard_edge_connections ") as usize, gauge(&metrics, &closed) as usize)
}

/// How many connections a test makes, here and in the hub a descriptor each; some are for other things.
fn crowd() -> usize {
    let crowd = IN_ALL.min(descriptors().saturating_sub(500));
    if crowd < IN_ALL {
        println!("this machine allows {} open files, so that {crowd} connections are made", descriptors());
    }
    crowd
}

#[tokio::test]
async fn g75_ten_thousand_connections_of_one_address_take_its_places_and_no_others() {
    // They may be longer in their head than the test takes, so that the cap alone decides.
    let hub = Hub::builder().set("SWITCHYARD_LIMITS__HEADER_TIMEOUT", "120s").start().await;
    let tenant = hub.tenant("acme").await;
    let (crowd, mut held) = (crowd(), Vec::new());
    for _ in 0..10 {
        held.extend(hold(&hub, 2, crowd / 10).await);
        assert!(served(&hub).await, "a good caller was not served beside {} connections", held.len());
    }
    let expected = held.len().saturating_sub(OF_ONE);
    let open = until("all to be counted", async || match census(&hub, "per_ip_cap").await {
        (open, refused) if refused >= expected => Ok(open),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(open <= OF_ONE + 50, "{open} connections are open");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert!(served(&hub).await);
}

#[tokio::test]
async fn g75_connections_of_many_addresses_are_held_up_to_the_cap_and_give_their_places_back() {
    let crowd = crowd();
    let cap = crowd - 400;
    let hub = Hub::builder()
        .set("SWITCHYARD_LIMITS__HEADER_TIMEOUT", "120s")
        .set("SWITCHYARD_LIMITS__CONNECTIONS", &cap.to_string())
        .start()
        .await;
    let mut held = Vec::new();
    for host in 10_u8.. {
        let count = OF_ONE.min(crowd - held.len());
        if count == 0 {
            break;
        }
        held.extend(hold(&hub, host, count).await);
        if held.len() + 100 < cap {
            assert!(served(&hub).await, "a good caller was not served beside {} connections", held.len());
        }
    }
    // Full: whoever comes now is told to come again, and what is held costs little.
    assert!(!served(&hub).await, "there was a place beyond the cap");
    let (open, refused) = census(&hub, "cap").await;
    assert!(open <= cap && refused > 0, "{open} are open, {refused} were refused");
    let metrics = hub.get("/metrics").await.text;
    assert!(gauge(&metrics, "process_resident_memory_bytes ") < 700.0 * 1_048_576.0, "memory of idle connections");
    drop(held);
    until("places to be given back", async || if served(&hub).await { Ok(()) } else { Err("full".to_owned()) }).await;
    still_serves(&hub).await;
}
