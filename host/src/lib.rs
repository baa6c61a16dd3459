//! Switchyard: signed events in, sandboxed plugins, signed webhooks out.
//!
//! The path of an event, file by file:
//!
//! 1. `ingress` takes a provider's request through its limits and the plugin's `receive`; `api` takes a client's event.
//! 2. `accept` stores it with its dedupe key and its routed deliveries in one transaction (`route`, `policy`, `store`).
//! 3. `queue` decides which delivery starts next and gives it a slot.
//! 4. `run` runs a plugin with its journal (`plugin` is the sandbox, `connection` the way to providers);
//!    `outbound` signs and sends to a subscriber.
//! 5. `queue::attempt` settles: outcome, attempt, kv, cursor and emitted events in one transaction.

/// The public side: the accept loop, its limits, and providers' requests.
pub mod ingress;

/// Events, their targets, and the catalogue of types.
pub mod event;

/// From something said to something stored.
pub mod accept;

/// Pure: which targets an event goes to.
pub mod route;

/// Pure: rules of tenants, from their text to what they emit.
pub mod rule;

/// Pure: may it happen.
pub mod policy;

/// Deliveries: states, lanes, scheduling, attempts, retries.
pub mod queue;

/// One plugin run with its journal.
pub mod run;

/// The narrow door to the sandbox.
pub mod plugin;

/// Credentials, and how calls with them are judged.
pub mod connection;

/// Signed webhooks to subscribers, and the one HTTP client.
pub mod outbound;

/// RabbitMQ: doorbells between nodes, and the way to any AMQP broker.
pub mod broker;

/// Polls, parked requests, expiry and pruning.
pub mod schedule;

/// The only door to the database.
pub mod store;

/// This process among others that share the database.
pub mod cluster;

/// What admins created, cached.
pub mod directory;

/// `/v1`.
pub mod api;

/// What persons may ask for: all that is kept about them, or that it goes.
pub mod privacy;

/// What the hub says about itself.
pub mod observe;

/// What the parts of one process share.
pub mod hub;

/// Wiring.
pub mod app;

/// Soft, then hard shutdown.
pub mod lifecycle;

/// Settings.
pub mod config;

/// Playing the story, and a playground with simulators.
pub mod demo;

/// What a component says of itself, without a hub.
pub mod inspect;

/// What a hub needs, looked at from outside.
pub mod doctor;

/// One call of a plugin, without a hub.
pub mod trial;

/// The command line.
pub mod cli;

/// Secrets in memory, keys at rest.
pub mod secret;

/// Places where a test makes the hub fail.
pub mod failpoint;

/// Time as a parameter.
pub mod clock;

/// Identifiers and randomness as a parameter.
pub mod id;
