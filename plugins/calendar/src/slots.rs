//! Free slots, as arithmetic on spans: when a place is open, less what is taken, cut into appointments.

use switchyard_sdk::sorted::SortedSet;

use crate::config::Rules;
use crate::time::{DAY, Span, weekday};

/// The open hours that reach into `window`, whole: business hours of each day in the zone, but for holidays. Hours that
/// touch are one.
pub fn open_hours(rules: &Rules, window: Span) -> Vec<Span> {
    let zone = rules.zone;
    let day_of = |at: i64| (at + i64::from(zone.offset_at(at))).div_euclid(DAY);
    let mut open: Vec<Span> = Vec::new();
    // A day more at each side: where the clocks change, a day may begin in another one.
    for day in day_of(window.start) - 1..=day_of(window.end) + 1 {
        if rules.holidays.contains(&day) {
            continue;
        }
        for (from, to) in &rules.hours[weekday(day)] {
            let hours = Span::new(zone.local(day, *from).first(), closing(rules, day, *to));
            if !hours.overlaps(window) || hours.start >= hours.end {
                continue;
            }
            match open.last_mut() {
                Some(last) if hours.start <= last.end => last.end = last.end.max(hours.end),
                _ => open.push(hours),
            }
        }
    }
    open
}

/// The end of business: where the clocks are put back over it, the second time that it comes.
fn closing(rules: &Rules, day: i64, to: i64) -> i64 {
    if to == DAY { rules.zone.local(day + 1, 0).first() } else { rules.zone.local(day, to).last() }
}

/// Spans in order, those that touch or overlap as one.
pub fn merged(spans: Vec<Span>) -> Vec<Span> {
    let spans: SortedSet<Span> = spans.into_iter().filter(|span| span.start < span.end).collect();
    let mut all: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match all.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => all.push(span),
        }
    }
    all
}

/// What of `spans` is not in `less`; both merged.
pub fn without(spans: &[Span], less: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    for span in spans {
        let mut rest = *span;
        for taken in less.iter().filter(|taken| taken.overlaps(*span)) {
            if taken.start > rest.start {
                left.push(Span::new(rest.start, taken.start));
            }
            rest.start = rest.start.max(taken.end);
        }
        if rest.start < rest.end {
            left.push(rest);
        }
    }
    left
}

/// The first `most` appointments of this length that lie in the open hours and touch nothing that is taken. They begin a
/// whole number of steps after the beginning of the hours.
pub fn free(open: &[Span], taken: &[Span], length: i64, step: i64, not_before: i64, most: usize) -> Vec<Span> {
    let taken = merged(taken.to_vec());
    let (length, step) = (length.max(1), step.max(1));
    let mut slots = Vec::new();
    for hours in open {
        let mut start = on_step(hours.start, not_before.max(hours.start), step);
        let mut next = taken.partition_point(|busy| busy.end <= start);
        while start + length <= hours.end && slots.len() < most {
            let slot = Span::new(start, start + length);
            while taken.get(next).is_some_and(|busy| busy.end <= slot.start) {
                next += 1;
            }
            match taken.get(next).filter(|busy| busy.overlaps(slot)) {
                Some(busy) => start = on_step(hours.start, busy.end, step),
                None => {
                    slots.push(slot);
                    start += step;
                }
            }
        }
    }
    slots
}

/// The first time from `at` on that lies a whole number of steps after `from`.
fn on_step(from: i64, at: i64, step: i64) -> i64 {
    let past = (at - from).max(0);
    from + (past + step - 1) / step * step
}
