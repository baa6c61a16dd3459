//! What tells one host call from another, and one write from the next.

use sha2::{Digest, Sha256};

use crate::{id::Key, plugin::model::HttpRequest};

/// The contract's line, part of every print, so that records of another line never match.
const LINE: &str = "switchyard:plugin@0.1";

/// The idempotency key of a write: from delivery, index and the number of the attempt that wrote the intent.
#[must_use]
pub fn idempotency_key(delivery: Key, index: usize, attempt: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(delivery.0);
    hash.update((index as u64).to_be_bytes());
    hash.update(attempt.to_be_bytes());
    format!("sw-{}", hex::encode(&hash.finalize()[..16]))
}

/// The print of an HTTP request: a hash over a length-prefixed encoding of our own, so that it outlives a change of
/// generated bindings.
#[must_use]
pub fn http_print(request: &HttpRequest) -> [u8; 32] {
    let mut hash = Printer::new("http.send");
    hash.part(request.connection.as_bytes());
    hash.part(request.method.as_str().as_bytes());
    hash.part(request.path.as_bytes());
    for header in &request.headers {
        hash.part(header.name.as_bytes());
        hash.part(&header.value);
    }
    hash.part(&[u8::from(request.body.is_some()), u8::from(request.read_only)]);
    hash.part(request.body.as_deref().unwrap_or_default());
    hash.part(format!("{:?}", request.idempotency).as_bytes());
    hash.finish()
}

/// The print of any other call from its name and its parts.
#[must_use]
pub fn call_print(name: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Printer::new(name);
    for part in parts {
        hash.part(part);
    }
    hash.finish()
}

struct Printer(Sha256);

impl Printer {
    fn new(name: &str) -> Self {
        let mut printer = Self(Sha256::new());
        printer.part(LINE.as_bytes());
        printer.part(name.as_bytes());
        printer
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
