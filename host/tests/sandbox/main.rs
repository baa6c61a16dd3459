//! The sandbox against a guest that misbehaves on command: every limit obeyed and violated, every way to end.

mod cache;
mod compile;
mod determinism;
mod ends;
mod entries;
mod hostile;
mod limits;
mod support;
