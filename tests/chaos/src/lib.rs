//! The real hub under load while it is killed, stopped and starved, and a checker of what is left afterwards.
//!
//! [`world`] sets up a hub with subscribers and simulated providers, [`load`] publishes under ids that are tried again until
//! they are answered, [`rounds`] and [`faults`] do harm, and [`checker`] compares what was answered with what the database
//! and the other sides hold.

/// A hub with everything around it.
pub mod world;

/// What is asked of the hub all the time, and what it answered.
pub mod load;

/// What a person does meanwhile.
pub mod acts;

/// What must hold afterwards.
pub mod checker;

/// What the database and the other sides hold, compared with what was asked.
pub mod evidence;

/// What the database holds.
pub mod ledger;

/// Kill after kill.
pub mod rounds;

/// Harm of every kind, for the long run.
pub mod faults;

/// Several nodes on one database, and what goes wrong there.
pub mod cluster;

/// The process as the system sees it: signals, limits, memory, time on the processor.
pub mod process;

/// A hub in the test's own process, with a clock that may be wrong.
pub mod inside;

/// Chance that can be repeated.
pub mod chance;
