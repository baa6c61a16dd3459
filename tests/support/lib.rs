//! What the black-box tests share.

/// The behaviour of every store, as cases that take the store as a parameter.
pub mod conformance;

/// The real binary as a child process on its own folder.
pub mod hub;

/// A small client of the HTTP interface that shows status and body.
pub mod api;

/// A raw TCP peer that does what no honest server does.
pub mod sink;

/// A PostgreSQL database of its own for a test.
pub mod database;

/// A PostgreSQL server that a test may kill.
pub mod server;

/// A network that misbehaves on command.
pub mod proxy;

/// Where a hub keeps everything, for cases that run on both databases.
pub mod place;

/// Several hubs on one database.
pub mod nodes;

/// RabbitMQ: the one that all tests share, and one that a test may kill.
pub mod broker;

/// The compiled components and the simulated other sides.
pub mod world;

/// A command whose hub dies at every step of its journal.
pub mod death;

/// A simulated Google that knows one client.
pub mod google;

/// A simulated mailbox and the Google that knows its owner.
pub mod gmail;

/// Simulated calendars and the Google that knows their owner.
pub mod calendar;
