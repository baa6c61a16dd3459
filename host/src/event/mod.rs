//! What is recorded: events, their targets and the words for both.

/// An immutable fact or command.
#[expect(clippy::module_inception, reason = "the file of the type that the folder is named after")]
mod event;

/// What types there are, with schemas and examples.
pub mod catalogue;

/// How deep and large JSON may be, judged before it is parsed.
pub mod json_limits;

/// Text that every database stores as it is.
pub mod text;

pub use event::{Event, EventType, InvalidName, Target, TenantId, Urgency};
