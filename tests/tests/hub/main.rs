//! The promises of the hub, shown on the real binary with real components over real HTTP. One binary, so that the
//! sandbox and the store are linked once.

/// The story of the demo, from a text message to hostile plugins.
mod story;

/// What is wrong is refused with words that say what and where, and nothing is lost by it.
mod bad_input;

/// From an accepted event to a signed request at a subscriber.
mod delivery;

/// What was accepted outlives the process.
mod durability;

/// What goes out: hostile sinks, forged URLs, what the host says, signatures, replays.
mod outbound;

/// Secrets stay where they belong.
mod secrets;

/// The interface is what its description says.
mod openapi;

/// The documentation tells the truth.
mod readme;
