//! What is recorded: events, their targets and the words for both.

/// An immutable fact or command.
#[expect(clippy::module_inception, reason = "the file of the type that the folder is named after")]
mod event;

pub use event::{Event, EventType, InvalidName, Target, TenantId, Urgency};
