use serde_json::json;
use switchyard_tests::hub::{ADMIN_KEY, Hub};

use super::wire::{answers, status, still_serves, talk};

/// What a smuggler wants the hub to take for a request of its own.
const SMUGGLED: &str = "GET /v1/status HTTP/1.1\r\nHost: hub.test\r\n\r\n";

/// A POST with these fields between its own, and bytes behind its head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /healthz HTTP/1.1\r\nHost: hub.test\r\n{fields}\r\n{rest}")
}

/// Requests that could be divided in two ways.
fn ambiguous() -> Vec<(&'static str, String)> {
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let te = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &chunked);
    vec![
        ("a length, then chunks", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("chunks, then a length", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &chunked)),
        ("names in another case", post("content-length:4\r\nTRANSFER-ENCODING:chunked\r\n", &chunked)),
        ("a length of nothing and chunks", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 0\r\n", &format!("12345{SMUGGLED}"))),
        ("the same length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a list of lengths", post("Content-Length: 5, 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a length with a plus", post("Content-Length: +5\r\n", &format!("12345{SMUGGLED}"))),
        ("a negative length", post("Content-Length: -1\r\n", SMUGGLED)),
        ("a length in hex", post("Content-Length: 0x5\r\n", &format!("12345{SMUGGLED}"))),
        ("a length with a fraction", post("Content-Length: 5.0\r\n", &format!("12345{SMUGGLED}"))),
        ("an empty length", post("Content-Length: \r\n", SMUGGLED)),
        ("a length beyond all numbers", post("Content-Length: 18446744073709551620\r\n", &format!("1234{SMUGGLED}"))),
        (
            "a length behind much space",
            post(&format!("Content-Length: {}5\r\n", " ".repeat(200)), &format!("12345{SMUGGLED}")),
        ),
        ("an unknown coding", te("xchunked")),
        ("chunks inside another coding", te("gzip, chunked")),
        ("another coding outside", te("chunked, gzip")),
        ("chunks twice", te("chunked, chunked")),
        ("two fields of codings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunked)),
        ("a coding with a parameter", te("chunked;x=1")),
        ("a quoted coding", te("\"chunked\"")),
        ("a coding with a vertical tab", te("\x0bchunked")),
        ("no coding", te("")),
        ("a space before the colon of chunks", post("Transfer-Encoding : chunked\r\n", &chunked)),
        ("a space before the colon of a length", post("Content-Length : 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a tab before the colon", post("Content-Length\t: 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a name with a NUL", post("Content-Length\0: 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a folded line", post("X-Folded: a\r\n b\r\n", SMUGGLED)),
        ("a folded coding", post("Transfer-Encoding:\r\n chunked\r\n", &chunked)),
        ("a line that begins with a space", post(" Content-Length: 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a field without a colon", post("Content-Length 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a bare line feed after the request", "POST /healthz HTTP/1.1\nHost: hub.test\r\n\r\n".to_owned() + SMUGGLED),
        ("a bare line feed after a field", post("X-A: a\nContent-Length: 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a bare line feed for the end", format!("POST /healthz HTTP/1.1\r\nHost: hub.test\r\n\n{SMUGGLED}")),
        ("a bare carriage return", post("X-A: a\rContent-Length: 5\r\n", &format!("12345{SMUGGLED}"))),
        (
            "chunks in HTTP/1.0",
            format!("POST /healthz HTTP/1.0\r\nHost: hub.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned() + SMUGGLED),
        ("two hosts", post("Host: evil.test\r\n", SMUGGLED)),
        ("a space in the path", "GET /healthz /x HTTP/1.1\r\nHost: hub.test\r\n\r\n".to_owned() + SMUGGLED),
        ("another version", "GET /healthz HTTP/1.2\r\nHost: hub.test\r\n\r\n".to_owned() + SMUGGLED),
        ("HTTP/2 behind the wrong door", "GET /healthz HTTP/2.0\r\nHost: hub.test\r\n\r\n".to_owned() + SMUGGLED),
    ]
}

/// Chunks that could be read in two ways, behind a head that is sound.
fn ambiguous_chunks() -> Vec<(&'static str, String)> {
    let body = |chunks: &str| {
        let head = format!(
            "POST /v1/tenants HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        format!("{head}{chunks}{SMUGGLED}")
    };
    vec![
        ("a size with a plus", body("+2\r\n{}\r\n0\r\n\r\n")),
        ("a size with a prefix", body("0x2\r\n{}\r\n0\r\n\r\n")),
        ("a negative size", body("-2\r\n{}\r\n0\r\n\r\n")),
        ("an empty size", body("\r\n{}\r\n0\r\n\r\n")),
        ("a size beyond all numbers", body("10000000000000002\r\n{}\r\n0\r\n\r\n")),
        ("a size that is too small", body("1\r\n{}\r\n0\r\n\r\n")),
        ("a size that ends with a bare line feed", body("2\n{}\r\n0\r\n\r\n")),
        ("an extension with a bare line feed", body("2;x\n{}\r\n0\r\n\r\n")),
        ("a chunk that ends with a bare line feed", body("2\r\n{}\n0\r\n\r\n")),
    ]
}

#[tokio::test]
async fn g76_a_request_that_could_be_divided_in_two_ways_is_answered_400_and_nothing_follows_it() {
    let hub = Hub::start().await;
    for (what, request) in ambiguous() {
        let said = talk(&hub, request.as_bytes()).await;
        assert_eq!((status(&said), answers(&said)), (400, 1), "{what}: {said}");
    }
    for (what, request) in ambiguous_chunks() {
        let said = talk(&hub, request.as_bytes()).await;
        assert_eq!((status(&said), answers(&said)), (400, 1), "{what}: {said}");
    }
    // The same as the second request of a connection, behind one with a body of either kind.
    let first = [
        "GET /healthz HTTP/1.1\r\nHost: hub.test\r\n\r\n".to_owned(),
        format!(
            "POST /v1/tenants HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        ),
        format!(
            "POST /v1/tenants HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{{\r\n1\r\n}}\r\n0\r\nX: y\r\n\r\n"
        ),
    ];
    for first in first {
        for (what, request) in ambiguous() {
            let said = talk(&hub, format!("{first}{request}").as_bytes()).await;
            assert_eq!(answers(&said), 2, "{what} as the second request: {said}");
            let second = said.rfind("HTTP/1.1 ").map(|at| status(&said[at..]));
            assert_eq!(second, Some(400), "{what} as the second request: {said}");
        }
    }
    let metrics = hub.get("/metrics").await.text;
    assert!(metrics.contains("switchyard_edge_connections_closed_total{cause=\"framing\"}"), "it is counted");
    still_serves(&hub).await;
}

#[tokio::test]
async fn requests_of_one_reading_share_a_connection_in_every_form() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let head = |fields: &str| {
        format!(
            "POST {} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Type: application/json\r\n{fields}\r\n",
            tenant.path("/events")
        )
    };
    let event = json!({"type": "a.b", "data": {"text": "GET / HTTP/1.1\n\n"}}).to_string();
    let by_length = format!("{}{event}", head(&format!("Content-Length: {}\r\n", event.len())));
    let (left, right) = event.split_at(7);
    let by_chunks = format!(
        "{}{:x};note=\"a;b\"\r\n{left}\r\n{:X}\r\n{right}\r\n0\r\nX-Trailer: y\r\n\r\n",
        head("Transfer-Encoding: Chunked\r\n"),
        left.len(),
        right.len()
    );
    let end = "GET /healthz HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n\r\n";
    let said = talk(&hub, [&by_length, "\r\n", &by_chunks, &by_length, &by_chunks, end].concat().as_bytes()).await;
    assert_eq!((said.matches("HTTP/1.1 202").count(), answers(&said)), (4, 5), "{said}");
    assert_eq!(tenant.list("/events").await.len(), 4);
}
