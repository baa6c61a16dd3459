//! Text that every database stores as it is.
//!
//! PostgreSQL has no U+0000 in a text. So that a hub takes the same on every database, that character is refused wherever
//! a text comes in that is stored as one: in fields of events, names, settings, parameters, keys. The payload of an event
//! is JSON, in which it stands as the escape `\u0000`; it is taken, kept and delivered like any other.

/// What is said of a text that is refused.
pub const NOT_STORABLE: &str = "must not hold the character U+0000; leave it out";

/// Whether every database stores it.
#[must_use]
pub fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// Takes the character out of a text that people read and that is not worth refusing.
pub fn make_storable(text: &mut String) {
    if !is_storable(text) {
        text.retain(|letter| letter != '\0');
    }
}
