use serde::{Deserialize, Serialize};
use switchyard_sdk::json;

/// Where the next poll goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// All that happened up to this record is told.
    pub history_id: u64,
    /// So many changes after it are told too: a poll may end inside a record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: usize,
    /// The page to go on with, while pages have no records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The listing that fills a gap, before the history is followed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relist: Option<Relist>,
}

/// How far a listing has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relist {
    /// The page to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// So many messages of that page are told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: usize,
    /// How many messages are still listed at most.
    pub left: usize,
}

impl Cursor {
    /// After this record.
    pub fn at(history_id: u64) -> Self {
        Self { history_id, ..Self::default() }
    }

    /// From the text that the last poll left.
    pub fn read(text: &str) -> Option<Self> {
        switchyard_sdk::read::from_slice(text.as_bytes()).ok()
    }

    /// For the next poll.
    pub fn write(&self) -> Option<String> {
        json::written(self).ok()
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
