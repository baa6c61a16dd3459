//! What a person may ask a tenant for: all that is kept about them, or that it goes.
//!
//! A request is carried out by the node that leads, beside its other work: [`job`] walks through every place where
//! something of a person may lie, a portion at a time, and writes what it did with how far it came in one transaction. The
//! hub looks for a keyed hash ([`search`]) and never stores whom it looks for. An erasure is also kept in a list beside the
//! database ([`list`]), so that it is carried out again on a copy that was made before it.

/// Where a text names a person.
pub mod search;

/// Texts and values without the persons whom they name.
pub mod redact;

/// How far a request came.
pub mod progress;

/// Whom a request is about.
mod wanted;

/// What is written of a row into an export.
mod export;

/// What is left of a row that named a person.
mod erase;

/// Requests step by step.
mod job;

/// Erasures beside the database.
mod list;

pub use job::{PrivacyError, new_request};
pub(crate) use list::count as listed_erasures;
pub use wanted::place_of_piece;
