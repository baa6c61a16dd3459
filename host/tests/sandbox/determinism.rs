//! Time and randomness follow from the record; nothing else of the machine can be seen.

use switchyard::plugin::{limits::Limits, virtual_time::VirtualClock};

use crate::support::{Http, START_MS, TestHost, call, data, guest, handle, order, sandbox};

async fn with_seed(what: &str, seed: [u8; 32]) -> serde_json::Value {
    let mut call = call(Limits::default(), TestHost::default());
    call.seed = seed;
    data(&sandbox().handle(guest().await, order(what, 0), call).await)
}

#[tokio::test]
async fn randomness_follows_from_the_seed() {
    let first = with_seed("random", [1; 32]).await;
    assert_eq!(with_seed("random", [1; 32]).await, first);
    assert_ne!(with_seed("random", [2; 32]).await, first);
}

#[tokio::test]
async fn time_stands_where_the_record_says() {
    let (first, _) = handle("clock", 0, Limits::default(), TestHost::default()).await;
    let first = data(&first);
    let wall_us: u64 = first["wall_us"].as_str().unwrap().parse().unwrap();
    assert!((START_MS * 1_000..START_MS * 1_000 + 100).contains(&wall_us), "{first}");
    assert_eq!(first["elapsed_us"], "1", "each reading takes a microsecond");
    let (second, _) = handle("clock", 0, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&second), first);
}

#[tokio::test]
async fn a_loop_on_the_clock_ends() {
    let (ended, _) = handle("spin", 1, Limits::default(), TestHost::default()).await;
    let readings = data(&ended)["readings"].as_u64().unwrap();
    assert!((990..=1_000).contains(&readings), "{readings}");
}

#[tokio::test]
async fn an_answer_moves_the_clock_to_its_recorded_time() {
    let clock = VirtualClock::starting_at(START_MS);
    let at_ms = START_MS + 3_600_000;
    let host = TestHost { clock: Some(clock.clone()), ..TestHost::with(Http::AnswersAt(at_ms)) };
    let mut call = call(Limits::default(), host);
    call.clock = clock.clone();
    data(&sandbox().handle(guest().await, order("http", 0), call).await);
    assert_eq!(clock.now_ms(), at_ms);
}

#[tokio::test]
async fn a_guest_sees_nothing_of_the_machine() {
    let (ended, _) = handle("ambient", 0, Limits::default(), TestHost::default()).await;
    let seen = data(&ended);
    for (what, seen) in seen.as_object().unwrap() {
        assert!(seen == &serde_json::json!(false) || seen == &serde_json::json!(0), "{what}: {seen}");
    }
    assert_eq!(seen.as_object().unwrap().len(), 7);
}
