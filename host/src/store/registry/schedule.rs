use serde::Serialize;

use crate::{clock::Timestamp, schedule::timetable::Timetable};

/// A schedule of an installation.
#[derive(Clone, Debug, Serialize)]
pub struct ScheduleRow {
    /// Name in the manifest, or of the rule.
    pub name: String,
    /// When it is due; none while its poll is live or the installation is off.
    pub due_at: Option<Timestamp>,
    /// When a poll last succeeded.
    pub succeeded_at: Option<Timestamp>,
    /// The tenant's own times, instead of the manifest's.
    pub timetable: Option<Timetable>,
    /// How many runs were missed ever.
    pub missed: u64,
    /// When that was last found.
    pub missed_at: Option<Timestamp>,
}

impl ScheduleRow {
    /// One that has never run.
    #[must_use]
    pub const fn new(name: String, due_at: Option<Timestamp>, timetable: Option<Timetable>) -> Self {
        Self { name, due_at, succeeded_at: None, timetable, missed: 0, missed_at: None }
    }
}

/// How many configs of an installation are kept.
pub const KEPT_CONFIGS: u32 = 100;

/// A config that an installation has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigVersion {
    /// Counted from 1.
    pub number: u64,
    /// A JSON object.
    pub config: String,
    /// When it was saved.
    pub made_at: Timestamp,
    /// `key_..` of the caller, `host`, or `cli`.
    pub made_by: String,
}
