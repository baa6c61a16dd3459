//! What a guest must not be able to do to its host.

use std::{
    collections::HashMap,
    hint::black_box,
    io::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

pub(crate) fn commit(crime: &str, n: u64) -> Value {
    match crime {
        "loop" => loop {
            black_box(0);
        },
        "spin" => spin(n),
        "alloc" => {
            let mut kept = Vec::new();
            for _ in 0..n / 65_536 {
                kept.push(black_box(vec![1_u8; 65_536]));
            }
            json!({ "blocks": kept.len() })
        }
        "recurse" => json!({ "depth": recurse(n) }),
        "panic" => panic!("a planted panic"),
        "trap" => std::process::abort(),
        "exit" => std::process::exit(3),
        "stderr" => flood_stderr(n),
        "fill" => fill(n),
        "regrow" => regrow(n),
        "stdin" => json!({ "read": std::io::stdin().lines().count() }),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(n));
            json!({ "slept": n })
        }
        "clock" => clock(),
        "random" => json!({ "order": order(), "again": order() }),
        "ambient" => ambient(),
        "hash" => {
            let mut hash = 0_u64;
            for step in 0..n {
                hash = black_box(hash.rotate_left(5) ^ step);
            }
            json!({ "hash": hash.to_string() })
        }
        unknown => panic!("no such command: {unknown}"),
    }
}

/// Writes over one megabyte again and again: bulk operations run inside one instruction.
fn fill(n: u64) -> Value {
    let mut memory = vec![0_u8; 1 << 20];
    for round in 0..n {
        black_box(&mut memory).fill(u8::try_from(round % 256).unwrap_or(0));
    }
    json!({ "rounds": n })
}

/// Takes and returns memory, each time a little more.
fn regrow(n: u64) -> Value {
    for round in 0..n {
        black_box(vec![1_u8; usize::try_from(round * 65_536).unwrap_or(0)]);
    }
    json!({ "rounds": n })
}

/// Text that is no text, and text that is not where it claims to be: what a guest in another language could return.
#[expect(unsafe_code, reason = "only unsafe code can lie about a string")]
pub(crate) fn lie(what: &str) -> String {
    if what == "utf8" {
        // SAFETY: it is not safe, and never read here: the host must find out.
        return unsafe { String::from_utf8_unchecked(b"\"\xff\xfe\"".to_vec()) };
    }
    // SAFETY: it is not safe, and never read here: almost all of this string lies outside the memory.
    unsafe { String::from_raw_parts(std::ptr::without_provenance_mut(1 << 16), 0x7fff_0000, 0x7fff_0000) }
}

/// Reads the clock until it has moved by `n` milliseconds.
fn spin(n: u64) -> Value {
    let (start, mut readings) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_millis(n) {
        readings += 1;
    }
    json!({ "readings": readings })
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(black_box(depth - 1)) + frame[usize::try_from(depth % 64).unwrap_or(0)] / depth }
}

fn flood_stderr(n: u64) -> Value {
    let line = "x".repeat(1_024);
    for _ in 0..n / 1_024 {
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    panic!("the last words")
}

fn clock() -> Value {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    json!({ "wall_us": wall.as_micros().to_string(), "elapsed_us": start.elapsed().as_micros().to_string() })
}

fn order() -> Vec<u32> {
    (0..16).map(|n| (n, ())).collect::<HashMap<u32, ()>>().into_keys().collect()
}

fn ambient() -> Value {
    json!({
        "environment": std::env::vars().count(),
        "arguments": std::env::args().count(),
        "root": std::fs::read_dir("/").is_ok(),
        "file": std::fs::write("/tmp/misbehave", "x").is_ok(),
        "tcp": std::net::TcpStream::connect("127.0.0.1:80").is_ok(),
        "udp": std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
        "name": std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok(),
    })
}
