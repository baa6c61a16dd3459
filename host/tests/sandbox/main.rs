//! The sandbox against a guest that misbehaves on command: every limit obeyed and violated, every way to end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod bombs;
mod bounds;
mod cache;
mod compile;
mod determinism;
mod ends;
mod entries;
mod hostile;
mod limits;
mod support;
