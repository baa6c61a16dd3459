//! Pure: which targets an event goes to. Does no I/O.

/// Patterns over event types.
pub mod pattern;

/// CEL expressions, parsed once.
pub mod expression;

/// Filters of endpoints.
pub mod filter;

/// Targets of an event.
#[expect(clippy::module_inception, reason = "the file of the function that the folder is named after")]
pub mod route;
