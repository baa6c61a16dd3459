use switchyard_tests::hub::Hub;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::OwnedReadHalf,
    time::timeout,
};

use super::wire::{self, PATIENCE, still_serves};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET http://hub.test/healthz, from the static table where it has it and as plain text where not.
const GET: &[u8] = b"\x82\x86\x04\x08/healthz\x41\x08hub.test";

/// POST to the same.
const POST: &[u8] = b"\x83\x86\x04\x08/healthz\x41\x08hub.test";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    /// The hub said GOAWAY with this code.
    Away(u32),
    /// It closed without a word.
    Closed,
}

/// Reads frames until the hub ends the connection.
async fn end(mut reading: OwnedReadHalf) -> End {
    let reading = async {
        let mut end = End::Closed;
        let mut head = [0; 9];
        while reading.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if reading.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == GOAWAY && length >= 8 {
                end = End::Away(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
            }
        }
        end
    };
    timeout(PATIENCE, reading).await.expect("the hub left the connection open")
}

/// Sends the opening and then pieces without an end, until the hub has had enough.
async fn flood(hub: &Hub, mut piece: impl FnMut(u32) -> Vec<u8> + Send + 'static) -> End {
    let (reading, mut writing) = wire::connect(hub).await.into_split();
    let sending = tokio::spawn(async move {
        if writing.write_all(&opening()).await.is_ok() {
            for number in 0..200_000 {
                if writing.write_all(&piece(number)).await.is_err() {
                    break;
                }
            }
        }
        writing
    });
    let end = end(reading).await;
    sending.abort();
    end
}

#[tokio::test]
async fn g73_floods_of_http2_frames_end_their_connection_and_no_other() {
    const PROTOCOL_ERROR: u32 = 1;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let hub = Hub::start().await;
    let away = |end: &End| matches!(end, End::Away(code) if *code != 0);

    // A head that never ends.
    let end = flood(&hub, |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"),
    });
    let end = end.await;
    assert!(away(&end) || end == End::Closed, "CONTINUATION: {end:?}");

    // A head of 1 MiB, in pieces.
    let end = flood(&hub, |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\x81\x7c".as_slice(), &[b'y'; 16_000]].concat()),
    });
    let end = end.await;
    assert!(away(&end) || end == End::Closed, "a long head: {end:?}");

    // Frames that are not what must come.
    let end = flood(&hub, |number| frame(CONTINUATION, END_HEADERS, number * 2 + 1, GET)).await;
    assert_eq!(end, End::Away(PROTOCOL_ERROR), "CONTINUATION without HEADERS");
    let end = flood(&hub, |number| frame(DATA, 0, number * 2 + 1, b"x")).await;
    assert_eq!(end, End::Away(PROTOCOL_ERROR), "DATA without HEADERS");

    // Requests that are taken back as soon as they are made.
    let end = flood(&hub, |number| {
        let stream = number * 2 + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, GET), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
            .concat()
    });
    assert_eq!(end.await, End::Away(ENHANCE_YOUR_CALM), "rapid reset");

    // Requests that the hub has to take back.
    let end = flood(&hub, |number| {
        let stream = number * 2 + 1;
        let zero = 0_u32.to_be_bytes();
        [frame(HEADERS, END_HEADERS, stream, POST), frame(WINDOW_UPDATE, 0, stream, &zero)].concat()
    });
    let end = end.await;
    assert!(away(&end), "requests that are broken at once: {end:?}");
    still_serves(&hub).await;
}

#[tokio::test]
async fn g73_frames_that_say_nothing_are_bounded_in_time() {
    let hub = Hub::builder().set("SWITCHYARD_LIMITS__HTTP2_KEEP_ALIVE", "2s").start().await;
    // A request without an end, kept alive by empty frames: its body's deadline ends it, or the flood of them does.
    let end = flood(&hub, |number| match number {
        0 => frame(HEADERS, END_HEADERS, 1, POST),
        _ => frame(DATA, 0, 1, &[]),
    });
    let pings = flood(&hub, |_| frame(PING, 0, 0, &[0; 8]));
    let settings = flood(&hub, |_| frame(SETTINGS, 0, 0, &[]));
    let (end, pings, settings) = tokio::join!(end, pings, settings);
    for (what, end) in [("empty DATA", end), ("PING", pings), ("SETTINGS", settings)] {
        assert!(matches!(end, End::Away(_) | End::Closed), "{what}: {end:?}");
    }
    still_serves(&hub).await;
}

#[tokio::test]
async fn a_good_request_over_http2_is_answered_like_any_other() {
    let hub = Hub::start().await;
    let (mut reading, mut writing) = wire::connect(&hub).await.into_split();
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    writing.write_all(&[opening(), request].concat()).await.expect("the hub reads");
    let answered = async {
        let mut head = [0; 9];
        loop {
            reading.read_exact(&mut head).await.expect("a frame");
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            reading.read_exact(&mut payload).await.expect("its payload");
            if head[3] == HEADERS {
                // The static table's entry for `:status: 200`.
                return payload[0];
            }
        }
    };
    assert_eq!(timeout(PATIENCE, answered).await.expect("it is answered"), 0x88);
}
