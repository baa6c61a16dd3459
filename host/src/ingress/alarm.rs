//! Sources that refuse too much of what they get: a secret that was changed on one side only, or somebody who tries.
//!
//! A source is failing when in the last five minutes at least 20 requests were refused and they were at least half of
//! all that could be judged. It is well again when the refused are less than a quarter, or when nothing came for as long.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Parts of the window, and how long each is.
const PARTS: usize = 10;
const PART: Duration = Duration::from_secs(30);

/// Refused requests that raise the alarm, if they are at least half of all.
const RAISED_AT: u32 = 20;

/// Sources that are watched at once. Beyond them those that heard nothing for a window are forgotten.
const MAX_SOURCES: usize = 10_000;

/// What a source got in the last five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Refused requests.
    pub refused: u32,
    /// All requests that were judged.
    pub judged: u32,
}

#[derive(Clone, Copy, Default)]
struct Part {
    number: u64,
    share: Share,
}

#[derive(Default)]
struct Watched {
    parts: [Part; PARTS],
    failing: bool,
}

impl Watched {
    fn share(&self, now: u64) -> Share {
        let recent = self.parts.iter().filter(|part| part.number + PARTS as u64 > now);
        recent.fold(Share::default(), |sum, part| Share {
            refused: sum.refused + part.share.refused,
            judged: sum.judged + part.share.judged,
        })
    }

    fn note(&mut self, now: u64, refused: bool) -> Option<Share> {
        let part = &mut self.parts[usize::try_from(now).unwrap_or(0) % PARTS];
        if part.number != now {
            *part = Part { number: now, share: Share::default() };
        }
        part.share.judged += 1;
        part.share.refused += u32::from(refused);
        let share = self.share(now);
        let before = self.failing;
        self.failing = if before { !is_well(share) } else { is_failing(share) };
        (self.failing && !before).then_some(share)
    }
}

const fn is_failing(share: Share) -> bool {
    share.refused >= RAISED_AT && share.refused * 2 >= share.judged
}

const fn is_well(share: Share) -> bool {
    share.refused * 4 < share.judged || share.judged == 0
}

/// How much each source refuses. Kept in memory: it is about the last minutes.
#[derive(Default)]
pub struct SourceAlarms(Mutex<HashMap<String, Watched>>);

impl SourceAlarms {
    /// Notes a judged request. Answers its share when the source begins to fail with it, once.
    pub fn note(&self, source: &str, refused: bool, now: Duration) -> Option<Share> {
        let now = part_of(now);
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = sources.get_mut(source) {
            return watched.note(now, refused);
        }
        if sources.len() >= MAX_SOURCES {
            sources.retain(|_, watched| watched.share(now).judged > 0);
        }
        if sources.len() >= MAX_SOURCES {
            return None;
        }
        sources.entry(source.to_owned()).or_default().note(now, refused)
    }

    /// Whether a source fails now, and what it got.
    #[must_use]
    pub fn failing(&self, source: &str, now: Duration) -> Option<Share> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = sources.get(source).filter(|watched| watched.failing)?;
        Some(watched.share(part_of(now))).filter(|share| !is_well(*share))
    }

    /// How many sources fail now.
    #[must_use]
    pub fn count(&self, now: Duration) -> usize {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = part_of(now);
        sources.values().filter(|watched| watched.failing && !is_well(watched.share(now))).count()
    }
}

/// Counted from one window on, so that no part of the first minutes looks like one that was never used.
fn part_of(now: Duration) -> u64 {
    now.as_secs() / PART.as_secs() + PARTS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_alarm_is_raised_once_when_half_of_twenty_are_refused() {
        let alarms = SourceAlarms::default();
        for _ in 0..20 {
            assert_eq!(alarms.note("src", false, at(0)), None);
        }
        let raised: Vec<_> = (0..40).filter_map(|_| alarms.note("src", true, at(10))).collect();
        assert_eq!(raised, [Share { refused: 20, judged: 40 }]);
        assert_eq!(alarms.failing("src", at(10)), Some(Share { refused: 40, judged: 60 }));
        assert_eq!((alarms.count(at(10)), alarms.failing("other", at(10))), (1, None));
    }

    #[test]
    fn a_few_refused_or_a_small_share_is_no_alarm() {
        let alarms = SourceAlarms::default();
        assert!((0..19).all(|_| alarms.note("few", true, at(0)).is_none()));
        for _ in 0..100 {
            let quiet = alarms.note("many", false, at(0)).is_none() && alarms.note("many", false, at(0)).is_none();
            assert!(quiet && alarms.note("many", true, at(0)).is_none());
        }
        assert_eq!(alarms.count(at(0)), 0);
    }

    #[test]
    fn it_ends_with_good_requests_or_with_time_and_can_be_raised_again() {
        let alarms = SourceAlarms::default();
        let raise = |now| (0..200).filter_map(|_| alarms.note("src", true, now)).count();
        assert_eq!(raise(at(0)), 1);
        assert!(alarms.failing("src", at(299)).is_some());
        assert!(alarms.failing("src", at(330)).is_none(), "what was refused is old");
        for _ in 0..1000 {
            alarms.note("src", false, at(330));
        }
        assert_eq!(alarms.count(at(330)), 0);
        assert_eq!(raise(at(700)), 1, "it is told again");
    }
}
