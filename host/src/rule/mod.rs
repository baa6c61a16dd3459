//! Rules of tenants: what shall happen when an event of a type comes, said in CEL instead of code.
//!
//! A rule set is the config of the installation `rules`. The host compiles it once ([`set`]), asks at routing whether any
//! rule wants an event, and at the run what those that match emit ([`evaluate`]); the plugin decides what is left to
//! decide with its memory, which is how often. All of it is pure.

/// What a tenant writes.
pub mod definition;

/// Where a rule is wrong.
pub mod fault;

/// What expressions see.
pub mod facts;

/// A rule set, compiled.
pub mod set;

/// What can be told of an expression without an event.
mod shape;

/// Whether what rules name exists and what they emit fits.
pub mod check;

/// Rules that set each other off.
pub mod loops;

/// What matching rules emit.
pub mod evaluate;

/// The installation that rules belong to.
pub const PLUGIN: &str = "rules";

/// The event that tells of a rule which could not do its work. Rules hear it by its exact name only.
pub const FAILED: &str = "rule.failed";

/// What a rule says in `on` to run at times instead of on events.
pub const SCHEDULE: &str = "schedule";

/// Where the host puts what matched among the attributes of the event that the plugin gets.
pub const MATCHED: &str = "matched_rules";
