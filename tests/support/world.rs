use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use switchyard_simulators::{billy, clock::SystemClock, subscriber, twilio};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The Twilio account of the tests.
pub const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";

/// The folder in which cargo put the hub and its plugins. A test's binary lies in `deps` in it, any other binary beside
/// them.
#[must_use]
pub fn build_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("a test knows its own path");
    let folder = executable.parent().expect("an executable lies in a folder");
    // Tests lie in a folder of their own below it.
    folder.ancestors().find(|folder| !folder.ends_with("deps")).expect("the profile's folder").to_owned()
}

/// A file that `make build` makes.
#[must_use]
pub fn built(path: &Path) -> PathBuf {
    assert!(path.exists(), "{} is not there; run `make build` first", path.display());
    path.to_owned()
}

/// The bytes of a bundled plugin: `twilio`, or `demo/fragile-broken`.
#[must_use]
pub fn bundled(name: &str) -> Vec<u8> {
    read(&build_folder().join("plugins").join(format!("{name}.wasm")))
}

/// The bytes of a guest that only tests and examples use: `hello_plugin`, `misbehave`.
#[must_use]
pub fn guest(name: &str) -> Vec<u8> {
    let target = build_folder().parent().map(Path::to_owned).unwrap_or_default();
    read(&target.join("wasm32-wasip2/plugin").join(format!("{name}.wasm")))
}

fn read(path: &Path) -> Vec<u8> {
    let path = built(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A listener on a free port.
pub async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// A subscriber that verifies what it gets; it lives as long as the test's runtime.
pub async fn subscriber() -> subscriber::Handle {
    let options = subscriber::Options { clock: Arc::new(SystemClock) };
    subscriber::Subscriber::start(listener().await, options, CancellationToken::new()).expect("a subscriber")
}

/// Twilio with an account whose token is `token`; it lives as long as the test's runtime.
pub async fn twilio(token: &str) -> twilio::Handle {
    let options = twilio::Options::new(ACCOUNT_SID, token, Arc::new(SystemClock));
    twilio::Twilio::start(listener().await, options, CancellationToken::new()).expect("a Twilio")
}

/// The token of the Billy of the tests.
pub const BILLY_TOKEN: &str = "billys-token-for-black-box-tests";

/// A Billy; it lives as long as the test's runtime.
pub async fn billy() -> billy::Handle {
    let options = billy::Options::new(BILLY_TOKEN, Arc::new(SystemClock));
    billy::Billy::start(listener().await, options, CancellationToken::new()).expect("a Billy")
}

/// The connection to that Billy, under `base_url`.
#[must_use]
pub fn billy_connection(base_url: &str) -> serde_json::Value {
    serde_json::json!({"provider": "billy", "name": "billy", "kind": "header", "base_url": base_url,
        "secret": {"name": "X-Access-Token", "value": BILLY_TOKEN}})
}

/// How often Billy was asked for an operation; of all those that write, without a name.
#[must_use]
pub fn asked(billy: &billy::Handle, operation: Option<&str>) -> u64 {
    const READS: [&str; 2] = [".list", ".fetch"];
    let wanted = |name: &str| match operation {
        Some(operation) => name == operation,
        None => !READS.iter().any(|read| name.ends_with(read)),
    };
    billy.counts().iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count.received).sum()
}

/// The guest `lifecycle` as another version of itself; the first digit says how it works.
#[must_use]
pub fn lifecycle_guest(version: &str) -> Vec<u8> {
    const MADE: &[u8] = b"guest-version=1.0.0";
    let mut wasm = guest("lifecycle");
    let places: Vec<_> = (0..wasm.len() - MADE.len()).filter(|at| wasm[*at..].starts_with(MADE)).collect();
    assert!(!places.is_empty() && version.len() == 5, "the version stands in the file, and has five bytes");
    for at in places {
        wasm[at + MADE.len() - version.len()..at + MADE.len()].copy_from_slice(version.as_bytes());
    }
    wasm
}

/// The secret of the generic webhook sender of the tests.
pub const SENDER_SECRET: &str = "a-secret-that-sender-and-hub-share-0001";

/// The config of the plugin `webhook` for a sender that signs the body in `x-signature`, and calls all of it `event_type`.
#[must_use]
pub fn sender_config(event_type: &str) -> serde_json::Value {
    serde_json::json!({"scheme": {"kind": "hmac", "header": "x-signature"}, "event": {"from": "fixed", "type": event_type}})
}

/// The connection of that sender.
#[must_use]
pub fn sender_connection() -> serde_json::Value {
    serde_json::json!({"provider": "sender", "name": "sender", "kind": "hmac", "secret": {"secret": SENDER_SECRET}})
}

/// What that sender writes into `x-signature`.
#[must_use]
pub fn sender_signature(body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SENDER_SECRET.as_bytes()).expect("any length is a key");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
