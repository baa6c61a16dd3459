//! The cache of what admins created, refreshed after every change.

/// The snapshots.
pub mod view;
