//! Sorted sets and maps are what the trees of the standard library are.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::collections::{BTreeMap, BTreeSet};

use switchyard_sdk::sorted::{SortedMap, SortedSet};

/// Some order in which no two steps are alike.
fn keys() -> impl Iterator<Item = (u32, String)> {
    (0..2_000_u32).map(|step| (step, format!("{:02}", step.wrapping_mul(2_654_435_761) >> 16 & 63)))
}

#[test]
fn a_map_holds_what_a_tree_would() {
    let (mut ours, mut theirs) = (SortedMap::new(), BTreeMap::new());
    for (step, key) in keys() {
        match step % 4 {
            0 => assert_eq!(ours.remove(key.as_str()), theirs.remove(key.as_str())),
            1 => {
                *ours.or_default(key.clone()) += step;
                *theirs.entry(key.clone()).or_default() += step;
            }
            _ => assert_eq!(ours.insert(key.clone(), step), theirs.insert(key.clone(), step)),
        }
        assert_eq!(ours.get(key.as_str()), theirs.get(key.as_str()));
        assert_eq!(ours.get_mut(key.as_str()), theirs.get_mut(key.as_str()));
        assert_eq!(ours.contains_key(key.as_str()), theirs.contains_key(key.as_str()));
        assert!(ours.iter().eq(&theirs) && ours.len() == theirs.len() && ours.is_empty() == theirs.is_empty());
    }
    assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
    let text = serde_json::to_string(&theirs).unwrap();
    assert_eq!(serde_json::to_string(&ours).unwrap(), text);
    assert_eq!(serde_json::from_str::<SortedMap<String, u32>>(&text).unwrap(), ours);
    let again: SortedMap<String, u32> = theirs.clone().into_iter().rev().collect();
    assert_eq!(again, ours);
    assert!(ours.into_iter().eq(theirs));
}

#[test]
fn a_set_holds_what_a_tree_would() {
    let (mut ours, mut theirs) = (SortedSet::new(), BTreeSet::new());
    for (step, key) in keys() {
        match step % 3 {
            0 => assert_eq!(ours.remove(key.as_str()), theirs.remove(key.as_str())),
            _ => assert_eq!(ours.insert(key.clone()), theirs.insert(key.clone())),
        }
        assert_eq!(ours.contains(key.as_str()), theirs.contains(key.as_str()));
        assert!(ours.iter().eq(&theirs) && ours.len() == theirs.len() && ours.is_empty() == theirs.is_empty());
    }
    let text = serde_json::to_string(&theirs).unwrap();
    assert_eq!(serde_json::to_string(&ours).unwrap(), text);
    assert_eq!(serde_json::from_str::<SortedSet<String>>(&text).unwrap(), ours);
}
