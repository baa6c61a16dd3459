//! Rules that set each other off. Conditions may end such a circle, so it is told and not refused; what nothing else ends,
//! the hop limit does.

use super::{definition::RuleMode, set::CompiledRule};
use crate::{
    event::{EventType, catalogue::Catalogue},
    route::pattern::TypePattern,
};

/// The circles among rules, each as the names of its rules in order. A rule that sets itself off is a circle of one.
#[must_use]
pub fn circles(rules: &[CompiledRule], catalogue: &Catalogue) -> Vec<Vec<String>> {
    let next: Vec<Vec<usize>> = rules.iter().map(|rule| set_off_by(rule, rules, catalogue)).collect();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for start in 0..rules.len() {
        // Each circle is found from its first rule alone, by the shortest way back.
        if let Some(circle) = shortest_way_back(start, &next)
            && circle.iter().min() == Some(&start)
        {
            found.push(circle);
        }
    }
    let names = |circle: Vec<usize>| circle.into_iter().map(|n| rules[n].rule.name.clone()).collect();
    found.into_iter().map(names).collect()
}

fn set_off_by(rule: &CompiledRule, rules: &[CompiledRule], catalogue: &Catalogue) -> Vec<usize> {
    if rule.rule.mode != RuleMode::Live {
        return Vec::new();
    }
    let events = rule.rule.emit.iter().filter(|emission| !catalogue.is_command(&emission.event_type));
    let events: Vec<EventType> = events.filter_map(|emission| emission.event_type.parse().ok()).collect();
    let hears = |pattern: &TypePattern| events.iter().any(|event| pattern.matches(event));
    let others = rules.iter().enumerate();
    let heard = others.filter(|(_, other)| other.rule.mode == RuleMode::Live && other.patterns.iter().any(hears));
    heard.map(|(n, _)| n).collect()
}

fn shortest_way_back(start: usize, next: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; next.len()];
    let mut waiting = std::collections::VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        for &to in &next[at] {
            if to == start {
                let mut way = vec![at];
                while let Some(before) = came_from[way[way.len() - 1]] {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if came_from[to].is_none() {
                came_from[to] = Some(at);
                waiting.push_back(to);
            }
        }
    }
    None
}
