//! The promises of the hub, shown on the real binary with real components over real HTTP. One binary, so that the
//! sandbox and the store are linked once.

/// The story of the demo, from a text message to hostile plugins.
mod story;

/// What is wrong is refused with words that say what and where, and nothing is lost by it.
mod bad_input;

/// Strangers and customers at their worst.
mod callers;

/// Plugins that misbehave harm nobody but themselves.
mod hostile;

/// From an accepted event to a signed request at a subscriber.
mod delivery;

/// Brokers of tenants: endpoints that are exchanges.
mod amqp;

/// Installing, upgrading and removing plugins that want to be told.
mod lifecycle;

/// Credentials that are refused.
mod login;

/// Each provider through the sandbox, the journal and its simulator.
mod providers;

/// Rules of tenants, on events and at times.
mod rules;

/// Another version beside the one that does the work.
mod shadow;

/// What a replay would do, and commands that find their handler late.
mod preview;

/// What was accepted outlives the process.
mod durability;

/// Several nodes on one database.
mod nodes;

/// What goes out: hostile sinks, forged URLs, what the host says, signatures, replays.
mod outbound;

/// What plans, people and hours allow.
mod policy;

/// Secrets stay where they belong.
mod secrets;

/// What persons may ask for, and a story for somebody else.
mod privacy;

/// What operators do while it works.
mod operations;

/// Everything on a PostgreSQL server.
mod server;

/// Traces and metrics at a collector.
mod telemetry;

/// The interface is what its description says.
mod openapi;

/// Tables whose rows become events.
mod import;

/// From an empty folder to a component.
mod plugin_project;

/// The documentation tells the truth.
mod readme;
