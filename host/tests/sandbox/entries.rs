//! What goes in and comes out of each function, and of each import.

use switchyard::plugin::{
    limits::Limits,
    model::{EmittedEvent, Header, InboundRequest, Received},
};

use crate::support::{START_MS, TestHost, call, data, guest, handle, sandbox};

fn request(method: &str, body: &[u8]) -> InboundRequest {
    InboundRequest {
        source_id: "src_1".to_owned(),
        method: method.to_owned(),
        url: "https://hub.example/in/src_1?challenge=x".to_owned(),
        headers: vec![Header { name: "x-raw".to_owned(), value: vec![0xff, 0x00] }],
        body: body.to_vec(),
        received_at_ms: START_MS,
        ..InboundRequest::default()
    }
}

async fn receive(request: InboundRequest) -> Received {
    let call = call(Limits::default(), TestHost::default());
    sandbox().receive(guest().await, request, call).await.result.unwrap()
}

#[tokio::test]
async fn handle_is_given_its_context_and_event() {
    let (ended, _) = handle("ok", 0, Limits::default(), TestHost::default()).await;
    let seen = data(&ended);
    assert_eq!(seen["tenant"], "acme");
    assert_eq!(seen["config"], r#"{"greeting":"hej"}"#);
    assert_eq!(seen["reference"], "0123456789abcdef0123456789abcdef");
    let event = &ended.result.unwrap().events[0];
    assert_eq!(*event, EmittedEvent { type_: "test.done".to_owned(), data: event.data.clone(), ..Default::default() });
}

#[tokio::test]
async fn receive_accepts_with_events_and_polls_to_make_due() {
    let Received::Accepted { events, reply, poll_now } = receive(request("POST", br#"{"do":"ok"}"#)).await else {
        panic!("expected an accepted request")
    };
    assert_eq!((events.len(), reply, poll_now), (1, None, vec!["news".to_owned()]));
}

#[tokio::test]
async fn receive_answers_a_handshake_with_bytes_as_they_came() {
    let Received::Handled(reply) = receive(request("GET", b"")).await else { panic!("expected a handshake") };
    assert_eq!(reply.body, b"https://hub.example/in/src_1?challenge=x");
    assert_eq!(reply.headers[0].value, [0xff, 0x00]);
}

#[tokio::test]
async fn receive_says_that_a_request_is_not_authentic() {
    let received = receive(request("POST", &[0xff])).await;
    assert_eq!(received, Received::Unauthenticated("the body is not text".to_owned()));
}

#[tokio::test]
async fn poll_goes_on_from_its_cursor() {
    let poll = |cursor: Option<String>| async {
        let call = call(Limits::default(), TestHost::default());
        sandbox().poll(guest().await, "news".to_owned(), cursor, call).await.result.unwrap()
    };
    let first = poll(None).await;
    assert_eq!((first.cursor.as_deref(), first.has_more, first.next_in_ms), (Some("1"), true, Some(1_000)));
    assert!(first.events[0].data.contains(r#""schedule":"news""#));
    let last = poll(Some("2".to_owned())).await;
    assert_eq!((last.cursor.as_deref(), last.has_more), (Some("3"), false));
}

#[tokio::test]
async fn kv_reaches_the_host_only_within_the_contracts_rules() {
    let (ended, host) = handle("kv", 0, Limits::default(), TestHost::default()).await;
    let seen = data(&ended);
    assert_eq!(host.kv, ["set a 3 Some(1000)", "get-many a,b", "swap a Some(1)", "delete a", "list \"\" 10"]);
    assert_eq!(seen["many"], "Ok(2)");
    assert_eq!(seen["listed"], r#"Ok(["a"])"#);
    assert!(seen["swapped"].as_str().unwrap().contains("version: 7"), "{seen}");
    assert!(seen["empty_key"].as_str().unwrap().contains("InvalidKey"), "{seen}");
    assert!(seen["long_key"].as_str().unwrap().contains("InvalidKey"), "{seen}");
    assert!(seen["large_value"].as_str().unwrap().contains("TooLarge(262144)"), "{seen}");
    assert!(seen["page_of_none"].as_str().unwrap().contains("1 to 1000"), "{seen}");
    assert_eq!(ended.usage.kv_operations, 9);
}

#[tokio::test]
async fn crypto_and_http_reach_the_host() {
    let (ended, host) = handle("crypto", 0, Limits::default(), TestHost::default()).await;
    let seen = data(&ended);
    assert_eq!((&seen["mac"], &seen["token"]), (&true.into(), &false.into()));
    assert!(seen["jwt"].as_str().unwrap().contains("expired"), "{seen}");
    assert_eq!(host.crypto, ["mac inbound.secret HmacSha256 4 3", "token inbound.secret", "jwt google.jwt us"]);
    let (ended, host) = handle("http", 0, Limits::default(), TestHost::default()).await;
    assert_eq!(data(&ended), serde_json::json!({ "status": 200, "body": "[]" }));
    assert_eq!((host.sent[0].connection.as_str(), host.sent[0].path.as_str()), ("provider", "/invoices"));
}
