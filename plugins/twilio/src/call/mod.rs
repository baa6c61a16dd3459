//! Calls: what is known of each, and what is done about it.

/// What a request says of a call, on its way to the handler.
pub mod report;

/// Where a call stands, and what may follow.
pub mod progress;

/// What reports come to: transitions, each told once.
pub mod track;

/// Recordings that can be fetched.
pub mod recording;

/// The command `call.create`.
pub mod create;

/// Finds a call whose answer was lost.
mod lookup;

/// Asks Twilio about calls of which nothing was heard for long.
pub mod reconcile;

/// Under which events about a call are deduplicated and ordered.
pub fn key(account: &str, call_id: &str) -> String {
    format!("twilio:{account}:call:{call_id}")
}
