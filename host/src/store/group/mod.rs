//! What the writers of all databases share: the callers of one group, and the decisions that need no database.

/// What a caller asks and is answered.
mod call;

/// An accept, with what its caller's task computes of it.
mod prepared;

/// Which events were there before.
mod firsts;

/// Intents and settles.
mod ends;

/// Key-value rows under compare-and-swap.
mod slots;

pub(super) use call::{Call, Reply, after_commit, before_commit};
pub(super) use ends::{Decided, Held, Moved, Place, Writes, decide, kv_of, wanted};
pub(super) use firsts::{First, Firsts, Name, Print, by_id, by_key, is_own};
pub(super) use prepared::{NewRow, Part, Prepared, rows_of, with_told};
pub(super) use slots::{KvPlace, Slot, Staged, place};
