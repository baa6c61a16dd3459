//! How far a request came, as its row keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::privacy::Place;

/// How often an erasure walks through everything, if each walk finds something new, before it waits a while.
pub const WALKS: u32 = 5;

/// The state of a request between two steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which place of [`Place::ALL`] is walked through.
    #[serde(default)]
    pub place: usize,
    /// Where in it the next step goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many whole walks are behind it.
    #[serde(default)]
    pub walks: u32,
    /// Rows that were looked at, in all walks.
    #[serde(default)]
    pub looked: u64,
    /// Rows that named the person, by place, in all walks.
    #[serde(default)]
    pub found: BTreeMap<String, u64>,
    /// Rows that named the person in this walk.
    #[serde(default)]
    pub found_now: u64,
    /// Rows of this walk that cannot be emptied while a delivery of theirs is under way.
    #[serde(default)]
    pub held_up: u64,
    /// Parts of the export.
    #[serde(default)]
    pub pieces: u32,
    /// Bytes of the export.
    #[serde(default)]
    pub bytes: u64,
}

impl Progress {
    /// As it is stored.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// As it was stored. What cannot be read begins anew: every step can be done again.
    #[must_use]
    pub fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The place that is walked through; none after the last one.
    #[must_use]
    pub fn walked(&self) -> Option<Place> {
        Place::ALL.get(self.place).copied()
    }

    /// Notes rows of the place that is walked through.
    pub fn note(&mut self, looked: u64, found: u64) {
        self.looked += looked;
        self.found_now += found;
        if let Some(place) = self.walked().filter(|_| found > 0) {
            *self.found.entry(place.name().to_owned()).or_default() += found;
        }
    }

    /// Goes on after what was read.
    pub fn go_on(&mut self, next: Option<String>) {
        if next.is_none() {
            self.place += 1;
        }
        self.after = next;
    }

    /// Begins another walk.
    pub fn walk_again(&mut self) {
        self.walks += 1;
        (self.place, self.after, self.found_now, self.held_up) = (0, None, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_through_every_place_and_survives_being_stored() {
        let mut progress = Progress::default();
        let mut seen = Vec::new();
        while let Some(place) = progress.walked() {
            seen.push(place);
            progress.note(10, 1);
            progress.go_on(Some("a\0b".to_owned()));
            progress = Progress::of(&progress.to_text());
            assert_eq!((progress.walked(), progress.after.as_deref()), (Some(place), Some("a\0b")));
            progress.go_on(None);
        }
        assert_eq!(seen, Place::ALL);
        let places = Place::ALL.len() as u64;
        assert_eq!((progress.looked, progress.found_now, progress.found["kv"]), (10 * places, places, 1));
        progress.walk_again();
        assert_eq!((progress.walked(), progress.found_now, progress.looked), (Some(Place::Events), 0, 10 * places));
        assert_eq!(Progress::of("no JSON"), Progress::default());
    }
}
