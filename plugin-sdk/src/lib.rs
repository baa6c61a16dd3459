//! Write Switchyard plugins in Rust.
//!
//! A plugin is one WASM component. It says what it is ([`Plugin::manifest`]) and implements what it needs:
//! [`Ingest`] turns a provider's request into events, [`Handler`] acts on events and commands, [`Poller`] looks for
//! news on a schedule, [`Lifecycle`] sets up and tears down. [`register!`] exports exactly the traits it is told.
//!
//! Everything outside is behind [`Host`], which the plugin reaches through [`Ctx`]. In the sandbox that is the hub; in
//! a native `cargo test` it is [`testing::MockHost`], so no test of a plugin needs WASM or the network.
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//! use serde_json::json;
//! use switchyard_sdk::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Config {
//!     greeting: String,
//! }
//!
//! struct Hello;
//!
//! impl Plugin for Hello {
//!     type Config = Config;
//!     fn manifest() -> Manifest {
//!         Manifest::new("hello", "0.1.0", "Greets whoever asks for it.")
//!             .handles(EventType::event("greeting.requested", "Somebody wants to be greeted."))
//!             .emits(EventType::event("greeting.made", "Somebody was greeted."))
//!     }
//! }
//!
//! impl Handler for Hello {
//!     fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
//!         let name: String = event.field("name")?;
//!         Ok(Emit::new("greeting.made", json!({ "text": format!("{}, {name}!", ctx.config.greeting) })).into())
//!     }
//! }
//!
//! switchyard_sdk::register!(Hello: handler);
//!
//! let host = switchyard_sdk::testing::MockHost::new();
//! let asked = Event::new("greeting.requested", json!({ "name": "Ada" }));
//! let output = host.handle::<Hello>(json!({ "greeting": "Hello" }), asked).unwrap();
//! assert_eq!(output.events[0].data["text"], "Hello, Ada!");
//! ```
//!
//! The path of a call, file by file:

/// What a plugin says of itself before it runs.
pub mod manifest;

/// The traits of a plugin, and [`register!`].
pub mod plugin;

/// What a call is about: config, time, reference, and the way to the host.
pub mod context;

/// What arrives: an event, an inbound request.
pub mod event;

/// What a plugin returns: emitted events, replies, poll results.
pub mod output;

/// The door to the outside, as a trait.
pub mod host;

/// Calls to providers, built step by step.
pub mod http;

/// Key-value data with JSON and compare-and-swap.
pub mod kv;

/// Writes to providers that cannot recognise a repeat.
pub mod once;

/// Failures as dispositions, and what turns into them.
pub mod error;

/// JSON text to values and back, by as little code as possible.
pub mod json;

/// Values to types, with the path of what does not fit.
pub mod read;

/// Sets and maps in order, with little code.
pub mod sorted;

/// Letters in lower case, with little code.
pub mod text;

/// Amounts of money as decimal strings.
pub mod money;

/// Dates and times without a clock.
pub mod time;

/// How places keep their clocks.
pub mod zone;

/// From the call of the host to the plugin's trait, the same natively and in WASM.
pub mod dispatch;

/// The WASM side: bindings, conversions, and the host behind them.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;

/// A host for native tests.
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use context::Ctx;
pub use error::{CryptoError, ErrorDetail, HttpError, KvError, PluginError, Reason, UnknownOutcome};
pub use event::{Event, InboundRequest};
pub use host::Host;
pub use manifest::Manifest;
pub use output::{Emit, Output, PollOutput, Received, Reply};
pub use plugin::{Handler, Ingest, Lifecycle, Plugin, Poller};

/// All that a plugin's source usually names.
pub mod prelude {
    pub use crate::context::Ctx;
    pub use crate::error::{CryptoError, HttpError, PluginError, Reason};
    pub use crate::event::{Event, InboundRequest};
    pub use crate::host::{KvOptions, Mac, Method};
    pub use crate::manifest::{Connection, ConnectionKind, EventType, Idempotency, Limits, Manifest, Schedule, Secret};
    pub use crate::money::Money;
    pub use crate::output::{Emit, Output, PollOutput, Received, Reply};
    pub use crate::plugin::{Handler, Ingest, Lifecycle, Plugin, Poller};
}

/// Keeps the example of the README true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
