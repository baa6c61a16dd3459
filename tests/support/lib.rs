//! What the black-box tests share.

/// The behaviour of every store, as cases that take the store as a parameter.
pub mod conformance;
