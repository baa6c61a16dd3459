//! One plugin run: its journal, what its imports reach, and how it ends.

/// The recorded host calls of a delivery.
pub mod journal;

/// What identifies a host call.
mod named;

/// What a run's imports reach.
pub mod calls;

/// Prints of host calls, and idempotency keys.
mod print;

/// Key-value data as a run sees it: what is stored, and what it staged.
mod kv;

/// What providers said, for the attempt's page.
mod said;

/// Provider calls as steps of traces.
mod step;

/// Calls to providers from a run.
pub(crate) mod provider;

/// Requests that reach people.
mod gate;

/// A run's turn at a connection.
mod turn;

/// Secrets by slot and field.
pub mod secrets;

/// Events that a plugin emits.
pub mod emit;

/// How often versions trapped in a row.
pub mod traps;

/// What the plugin of rules gets beside an event.
mod rules;

/// One run, from its record to its end.
#[expect(clippy::module_inception, reason = "the file of the function that the folder is named after")]
pub mod run;

/// How a run ended, and what that does.
pub mod end;

/// What a replay would do, without doing it.
pub mod preview;

/// Another version on the same event, for comparison.
pub mod shadow;

/// What a shadow run's imports reach: the record of the live run, and nothing else.
mod shadow_calls;

/// Where two runs differ.
mod compare;

/// Upgrades of installations that follow a plugin's versions.
pub mod upgrade;
