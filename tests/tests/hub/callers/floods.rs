use switchyard_tests::hub::Hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    senders::{Sender, push_plugins},
    wire::{self, exchange, rest, status, still_serves, talk},
};

/// The limit of an ordinary body.
const BODY_LIMIT: usize = 1 << 20;

/// Sends what `head` announces, far more than is taken, until the hub has had enough; answers what it said.
async fn pour(hub: &Hub, head: &str, piece: Vec<u8>) -> String {
    let (mut reading, mut writing) = wire::connect(hub).await.into_split();
    let head = head.to_owned();
    let pouring = tokio::spawn(async move {
        let mut sent = 0;
        if writing.write_all(head.as_bytes()).await.is_ok() {
            // Far more than any buffer on the way holds, but not without an end.
            while sent < 64 << 20 && writing.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
        }
        writing
    });
    let said = rest(&mut reading).await;
    pouring.abort();
    said
}

#[tokio::test]
async fn g71_a_giant_body_is_refused_however_it_is_announced_and_never_held() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::plain(&hub, "sender").await;
    let events = sender.tenant.path("/events");
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    for path in
        [sender.path.as_str(), events.as_str(), "/v1/tenants", "/in/src_00000000000000000000000000000000", "/nowhere"]
    {
        let head = |fields: &str| format!("POST {path} HTTP/1.1\r\nHost: hub.test\r\n{fields}\r\n");
        for (fields, piece) in [
            ("Content-Length: 10737418240\r\n", vec![b' '; 0x4000]),
            ("Content-Length: 1048577\r\n", vec![b' '; 0x4000]),
            ("Content-Length: 18446744073709551615\r\n", vec![b' '; 0x4000]),
            ("Transfer-Encoding: chunked\r\n", chunk.clone()),
        ] {
            let said = pour(&hub, &head(fields), piece).await;
            // A length that no machine has room for is refused with the head; without a key a body is not looked at.
            assert!([400, 401, 404, 413, 431].contains(&status(&said)), "{path} {fields}: {said}");
            let too_large = fields.contains("10737418240") || fields.contains("1048577") || path.starts_with("/in/");
            assert!(status(&said) == 413 || !too_large || fields.contains("1844"), "{path} {fields}: {said}");
        }
        // No length and no chunks: a request without a body, whatever comes after it is no body.
        let said = pour(&hub, &head(""), vec![b' '; 0x4000]).await;
        assert!((400..500).contains(&status(&said)), "{path}: {said}");
    }
    let resident = hub.get("/metrics").await.text;
    let resident = resident.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    let resident: f64 = resident.and_then(|text| text.parse().ok()).expect("the hub says its memory");
    assert!(resident < 512.0 * 1048576.0, "the hub holds {resident} bytes");
    assert_eq!(sender.tenant.list("/events").await.len(), 0);
    let rejected = sender.tenant.list("/rejections").await;
    assert!(rejected.iter().any(|rejection| rejection["code"] == "body_too_large"), "{rejected:?}");
    still_serves(&hub).await;
}

#[tokio::test]
async fn g71_exactly_the_limit_is_taken_and_a_byte_more_is_not() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let fill = |bytes: usize| {
        let (before, after) = (r#"{"type":"a.b","data":{"fill":""#, "\"}}");
        format!("{before}{}{after}", "x".repeat(bytes - before.len() - after.len()))
    };
    let json = [("content-type", "application/json")];
    assert_eq!(hub.raw("POST", &tenant.path("/events"), &json, fill(BODY_LIMIT)).await.status, 202);
    let problem = hub.raw("POST", &tenant.path("/events"), &json, fill(BODY_LIMIT + 1)).await;
    let _ = problem.problem(413, "body_too_large");
    assert_eq!(tenant.list("/events").await.len(), 1);
}

/// A kilobyte that a reader would make a gigabyte of: blocks of deflate that repeat one byte.
fn bomb() -> Vec<u8> {
    let mut bytes =
        vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xec, 0xc1, 1, 1, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 8];
    bytes.extend([0; 1000]);
    bytes
}

#[tokio::test]
async fn g72_encoded_bodies_are_refused_everywhere_and_never_unpacked() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::plain(&hub, "sender").await;
    let events = sender.tenant.path("/events");
    let key = format!("Bearer {}", switchyard_tests::hub::ADMIN_KEY);
    for encoding in
        ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "identity, gzip", "GZIP", "rot13", ""]
    {
        for (path, more) in [(&sender.path, None), (&events, Some(("Authorization", key.as_str())))] {
            let mut fields = vec![("Content-Type", "application/json"), ("Content-Encoding", encoding)];
            fields.extend(more);
            let said = exchange(&hub, "POST", path, &fields, &bomb()).await;
            assert_eq!(status(&said), 415, "{path} {encoding:?}: {said}");
            assert!(said.to_lowercase().contains("content-encoding"), "the field is not named: {said}");
        }
    }
    let twice = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")];
    assert_eq!(status(&exchange(&hub, "POST", &sender.path, &twice, &bomb()).await), 415);
    // Bytes that are packed and do not say so are bytes: no JSON, and not unpacked either.
    let said =
        exchange(&hub, "POST", &events, &[("Authorization", &key), ("Content-Type", "application/json")], &bomb())
            .await;
    assert_eq!(status(&said), 400, "{said}");
    assert_eq!(sender.tenant.list("/events").await.len(), 0);
    still_serves(&hub).await;
}

#[tokio::test]
async fn g73_a_flood_of_header_fields_is_answered_431_and_others_are_served() {
    let hub = Hub::start().await;
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let few = |count: usize| -> String { (0..count).map(|n| format!("x-{n}: y\r\n")).collect() };
    for (what, flood) in [
        ("ten thousand fields", many),
        ("a field more than is taken", few(100)),
        ("a field of a mebibyte", format!("x-long: {}\r\n", "y".repeat(1 << 20))),
        ("a name of a mebibyte", format!("{}: y\r\n", "x".repeat(1 << 20))),
        ("a head of all that is taken and more", format!("x-a: {0}\r\nx-b: {0}\r\n", "y".repeat(10_000))),
    ] {
        let said = talk(&hub, format!("GET /healthz HTTP/1.1\r\nHost: hub.test\r\n{flood}\r\n").as_bytes()).await;
        assert_eq!(status(&said), 431, "{what}: {said}");
    }
    let long = talk(&hub, format!("GET /{} HTTP/1.1\r\nHost: hub.test\r\n\r\n", "x".repeat(1 << 20)).as_bytes()).await;
    assert!(matches!(status(&long), 414 | 431), "{long}");
    let fits = format!("GET /healthz HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n{}\r\n", few(98));
    assert_eq!(status(&talk(&hub, fits.as_bytes()).await), 200);
    // An endless head is cut off, not gathered.
    let said = pour(&hub, "GET /healthz HTTP/1.1\r\nHost: hub.test\r\n", b"x-more: and more\r\n".repeat(100)).await;
    assert_eq!(status(&said), 431, "{said}");
    still_serves(&hub).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_early_costs_nothing() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let path = tenant.path("/events");
    for cut in [1, 10, 40, 80, 200] {
        let whole = wire::request("POST", &path, &[("Content-Type", "application/json")], &[b' '; 1000]);
        for _ in 0..10 {
            let mut stream = wire::connect(&hub).await;
            stream.write_all(&whole[..cut.min(whole.len())]).await.expect("the hub reads");
            drop(stream);
        }
    }
    let mut stream = wire::connect(&hub).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub.test\r\n\r\n").await.expect("the hub reads");
    let mut byte = [0];
    assert_eq!(stream.read(&mut byte).await.expect("it answers"), 1);
    drop(stream);
    still_serves(&hub).await;
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}
