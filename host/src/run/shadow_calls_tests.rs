use super::*;
use crate::plugin::model::{Idempotency, Method};

fn request(method: Method, path: &str, body: &str) -> HttpRequest {
    HttpRequest {
        connection: "billy".to_owned(),
        method,
        path: path.to_owned(),
        headers: Vec::new(),
        body: Some(body.as_bytes().to_vec()),
        timeout_ms: None,
        read_only: false,
        idempotency: Some(Idempotency::None),
        extensions: None,
    }
}

fn entry((call, print): Named, outcome: EntryOutcome, answer: Option<Recorded>) -> Entry {
    Entry { call, print, outcome, key: None, sent_at_ms: Some(5), at_ms: 9_000, status: None, answer }
}

fn response(body: &str) -> Recorded {
    Recorded::Http(Ok(HttpResponse { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() }))
}

fn calls(entries: Vec<Entry>) -> ShadowCalls {
    ShadowCalls::new(entries, VirtualClock::starting_at(0))
}

fn read(named: Named, answer: Recorded) -> Entry {
    entry(named, EntryOutcome::Read, Some(answer))
}

fn stored(value: &str, version: u64) -> Option<KvEntry> {
    Some(KvEntry { value: value.as_bytes().to_vec(), version })
}

#[track_caller]
fn ends_at(stopped: Option<Stop>, call: &str) {
    let stop = stopped.expect("the run is ended");
    assert_eq!(stop.0.downcast_ref(), Some(&Diverged(call.to_owned())));
}

#[tokio::test]
async fn equal_calls_are_answered_in_any_order_each_as_often_as_it_was_made() {
    let (first, second) = (request(Method::Get, "/a?x=1", ""), request(Method::Post, "/b", "{}"));
    let mut calls = calls(vec![
        read(named::http(&first), response("one")),
        read(named::http(&first), response("two")),
        entry(named::http(&second), EntryOutcome::Confirmed, Some(response("made"))),
    ]);
    let mut body = async |request: &HttpRequest| calls.http_send(request.clone()).await.unwrap().unwrap().body;
    assert_eq!(body(&second).await, b"made");
    assert_eq!((body(&first).await, body(&first).await), (b"one".to_vec(), b"two".to_vec()));
    ends_at(calls.http_send(first).await.err(), "GET billy /a");
    assert!(calls.not_made().is_empty());
    assert_eq!(calls.clock.now_ms(), 9_000, "the clock jumped to the recorded answers");
}

#[tokio::test]
async fn another_body_is_another_call() {
    let made = request(Method::Post, "/b", "{}");
    let mut calls = calls(vec![entry(named::http(&made), EntryOutcome::Confirmed, Some(response("made")))]);
    ends_at(calls.http_send(request(Method::Post, "/b", "{\"a\":1}")).await.err(), "POST billy /b");
    assert_eq!(calls.not_made(), ["POST billy /b"]);
}

#[tokio::test]
async fn a_write_without_an_answer_is_an_unknown_outcome() {
    let made = request(Method::Post, "/b", "{}");
    let mut calls = calls(vec![entry(named::http(&made), EntryOutcome::Intent, None)]);
    let answer = calls.http_send(made).await.unwrap();
    assert!(matches!(answer, Err(HttpError::UnknownOutcome { sent_at_ms: 5, .. })), "{answer:?}");
}

#[tokio::test]
async fn kv_writes_are_seen_by_the_run_alone_and_compared_by_content() {
    let options = KvOptions::default();
    let live = vec![
        read(named::kv_get("a"), Recorded::KvGet(Ok(stored("1", 4)))),
        read(named::kv_set("a", b"2", &options), Recorded::KvDone(Ok(()))),
        read(named::kv_delete("b"), Recorded::KvDone(Ok(()))),
    ];
    let written = live_writes(&live);
    let mut calls = calls(live);
    assert_eq!(calls.kv_get("a".to_owned()).await.unwrap(), Ok(stored("1", 4)));
    assert_eq!(calls.kv_set("a".to_owned(), b"3".to_vec(), options).await.unwrap(), Ok(()));
    assert_eq!(calls.kv_get("a".to_owned()).await.unwrap(), Ok(stored("3", 5)));
    assert_eq!(calls.kv_delete("b".to_owned()).await.unwrap(), Ok(()));
    assert_eq!(calls.kv_get("b".to_owned()).await.unwrap(), Ok(None));
    assert_eq!(calls.writes()["b"], written["b"]);
    assert_ne!(calls.writes()["a"], written["a"]);
    ends_at(calls.kv_get("c".to_owned()).await.err(), "kv.get c");
}

#[tokio::test]
async fn a_swap_is_judged_by_what_the_live_run_read() {
    let options = KvOptions::default;
    let mut calls = calls(vec![read(named::kv_get("a"), Recorded::KvGet(Ok(stored("1", 4))))]);
    let mut swap = async |key: &str, expected| {
        calls.kv_swap(key.to_owned(), expected, b"x".to_vec(), options()).await.map(Result::unwrap)
    };
    ends_at(swap("a", Some(4)).await.err(), "kv.swap a");
    let _ = calls.kv_get("a".to_owned()).await.unwrap();
    let mut swap = async |key: &str, expected| {
        calls.kv_swap(key.to_owned(), expected, b"x".to_vec(), options()).await.map(Result::unwrap)
    };
    assert_eq!(swap("a", None).await.unwrap(), SwapResult::Stale(stored("1", 4)));
    assert_eq!(swap("a", Some(4)).await.unwrap(), SwapResult::Swapped(5));
    assert_eq!(swap("a", Some(5)).await.unwrap(), SwapResult::Swapped(6));
}

#[tokio::test]
async fn a_secret_is_checked_only_as_the_live_run_checked_it() {
    let named = named::verify_token("inbound.secret", "t");
    let mut calls = calls(vec![read(named, Recorded::Verified(Ok(true)))]);
    assert_eq!(calls.verify_token("inbound.secret".to_owned(), "t".to_owned()).await.unwrap(), Ok(true));
    let other = calls.verify_token("inbound.secret".to_owned(), "u".to_owned()).await;
    ends_at(other.err(), "crypto.verify-token inbound.secret");
}
