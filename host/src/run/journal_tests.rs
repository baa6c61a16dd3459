use proptest::prelude::*;

use super::*;
use crate::{
    id::Key,
    plugin::model::{Header, HttpRequest, Idempotency, Method},
};

fn record(entries: Vec<Entry>) -> Record {
    Record {
        started_at_ms: 1_000,
        seed: [7; 32],
        version: "1.0.0".to_owned(),
        config: "{}".to_owned(),
        sources: Vec::new(),
        traceparent: "00-1-2-01".to_owned(),
        entries,
    }
}

/// An entry whose call and print are those of `number`.
fn entry(number: u8, outcome: EntryOutcome) -> Entry {
    let write = outcome != EntryOutcome::Read;
    Entry {
        call: format!("call {number}"),
        print: [number; 32],
        outcome,
        key: write.then(|| format!("sw-{number}")),
        sent_at_ms: write.then_some(1_000 + u64::from(number)),
        at_ms: 2_000 + u64::from(number),
        status: None,
        answer: (outcome != EntryOutcome::Intent).then(|| answer(number)),
    }
}

fn answer(number: u8) -> Recorded {
    Recorded::Verified(Ok(number.is_multiple_of(2)))
}

fn reopened(outcomes: &[EntryOutcome]) -> Option<Journal> {
    let entries = outcomes.iter().zip(0..).map(|(outcome, number)| entry(number, *outcome));
    Journal::reopen(record(entries.collect()))
}

use EntryOutcome::{Confirmed, Failed, Intent, Read, Unknown};

/// Meets call `number`, which may be repeated or not.
fn meet(journal: &mut Journal, number: u8, may_repeat: bool) -> Result<Step, JournalMismatch> {
    journal.meet(&format!("call {number}"), [number; 32], may_repeat)
}

#[track_caller]
fn served(journal: &mut Journal, number: u8) {
    match meet(journal, number, false).unwrap() {
        Step::Served(recorded) => assert_eq!(recorded, answer(number)),
        other => panic!("call {number}: {other:?}"),
    }
}

#[test]
fn a_record_without_a_confirmed_or_unresolved_write_begins_anew() {
    assert!(reopened(&[]).is_none());
    assert!(reopened(&[Read, Read]).is_none());
    assert!(reopened(&[Read, Failed]).is_none(), "only write refused: all live, under a fresh record");
}

#[test]
fn what_follows_the_last_confirmed_write_is_live() {
    // Second write refused: the first is served, reads before it too, the second is tried anew.
    let mut journal = reopened(&[Read, Confirmed, Read, Failed]).unwrap();
    served(&mut journal, 0);
    assert_eq!(journal.served_at_ms(), 2_000);
    served(&mut journal, 1);
    assert!(!journal.is_replaying());
    assert!(matches!(meet(&mut journal, 9, false), Ok(Step::Live { index: 2 })), "any call may follow now");
}

#[test]
fn a_refusal_before_a_confirmed_write_stays_served() {
    let mut journal = reopened(&[Failed, Read, Confirmed]).unwrap();
    for number in 0..3 {
        served(&mut journal, number);
    }
    assert_eq!(journal.finish(), Ok(()));
}

#[test]
fn an_intent_that_may_be_repeated_is_repeated_under_its_stored_key() {
    let mut journal = reopened(&[Read, Intent]).unwrap();
    served(&mut journal, 0);
    match meet(&mut journal, 1, true).unwrap() {
        Step::Repeat { index: 1, key, sent_at_ms: 1_001 } => assert_eq!(key, "sw-1"),
        other => panic!("{other:?}"),
    }
    // A repeat that is turned away stays unresolved: the next attempt repeats it again under the same key.
    journal.answer(1, Unknown, Some(429), answer(0), 5_000);
    let mut journal = Journal::reopen(journal.record().clone()).unwrap();
    served(&mut journal, 0);
    assert!(matches!(meet(&mut journal, 1, true), Ok(Step::Repeat { key, .. }) if key == "sw-1"));
}

#[test]
fn an_intent_that_may_not_be_repeated_is_unanswered_once_and_then_served() {
    let mut journal = reopened(&[Intent]).unwrap();
    assert!(matches!(meet(&mut journal, 0, false), Ok(Step::Unanswered { index: 0, sent_at_ms: 1_000 })));
    journal.answer(0, Unknown, None, answer(0), 3_000);
    let mut journal = Journal::reopen(journal.record().clone()).unwrap();
    served(&mut journal, 0);
    assert_eq!(journal.served_at_ms(), 3_000);
    assert_eq!(journal.record().entries[0].sent_at_ms, Some(1_000), "the first sending's time stays");
}

#[test]
fn an_unknown_write_with_confirmed_ones_after_it_is_served_as_it_was_seen() {
    let mut journal = reopened(&[Unknown, Read, Confirmed]).unwrap();
    match meet(&mut journal, 0, true).unwrap() {
        Step::Served(recorded) => assert_eq!(recorded, answer(0)),
        other => panic!("it is not the last one, so it is not repeated: {other:?}"),
    }
}

#[test]
fn another_call_at_the_same_place_is_a_mismatch_that_shows_both() {
    let mut journal = reopened(&[Read, Confirmed]).unwrap();
    served(&mut journal, 0);
    let mismatch = meet(&mut journal, 5, true).unwrap_err();
    assert_eq!(mismatch, JournalMismatch { index: 1, recorded: "call 1".to_owned(), actual: "call 5".to_owned() });
    assert!(mismatch.to_string().contains("call 1") && mismatch.to_string().contains("call 5"));
}

#[test]
fn a_run_that_returns_before_its_journal_ends_is_a_mismatch() {
    let mut journal = reopened(&[Read, Confirmed]).unwrap();
    served(&mut journal, 0);
    let mismatch = journal.finish().unwrap_err();
    assert_eq!((mismatch.index, mismatch.recorded.as_str()), (1, "call 1"));
    served(&mut journal, 1);
    assert_eq!(journal.finish(), Ok(()));
}

#[test]
fn only_a_confirmed_or_unresolved_write_keeps_the_record() {
    for (outcomes, kept) in [
        (vec![Read, Failed], false),
        (vec![Confirmed], true),
        (vec![Read, Intent], true),
        (vec![Unknown, Failed], true),
    ] {
        let entries = outcomes.iter().zip(0..).map(|(outcome, number)| entry(number, *outcome));
        assert_eq!(Journal::begin(record(entries.collect())).has_effects(), kept, "{outcomes:?}");
    }
}

#[test]
fn a_write_whose_intent_was_not_committed_leaves_nothing() {
    let mut journal = reopened(&[Read, Confirmed]).unwrap();
    journal.push(entry(2, Read));
    journal.push(entry(3, Intent));
    journal.retract(3);
    assert_eq!(journal.record().entries.len(), 3);
    journal.retract(0);
    assert_eq!(journal.record().entries.len(), 3, "what was there before the run stays");
    let mut fresh = Journal::begin(record(vec![entry(0, Read), entry(1, Intent)]));
    fresh.retract(1);
    assert!(!fresh.has_effects() && !fresh.was_intended(), "the next attempt begins a record of its own");
}

#[test]
fn a_refused_write_leaves_a_stored_intent_to_clear() {
    let refused = Journal::begin(record(vec![entry(0, Read), entry(1, Failed)]));
    assert!(!refused.has_effects() && refused.was_intended());
}

#[test]
fn a_record_is_stored_and_read_whole() {
    let mut stored = record(vec![entry(0, Read), entry(1, Confirmed), entry(2, Intent)]);
    stored.entries[1].answer = Some(Recorded::Http(Err(HttpError::Timeout)));
    let text = serde_json::to_vec(&stored).unwrap();
    assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), stored);
}

#[test]
fn keys_differ_by_delivery_index_and_attempt() {
    let (one, other) = (Key([1; 16]), Key([2; 16]));
    let keys = [
        idempotency_key(one, 0, 1),
        idempotency_key(one, 1, 1),
        idempotency_key(one, 0, 2),
        idempotency_key(other, 0, 1),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(idempotency_key(one, 0, 1), keys[0]);
    assert!(keys.iter().all(|key| key.len() == 35 && key.starts_with("sw-")));
}

fn request() -> HttpRequest {
    HttpRequest {
        connection: "billy".to_owned(),
        method: Method::Post,
        path: "/invoices?x=1".to_owned(),
        headers: vec![Header { name: "accept".to_owned(), value: b"a/b".to_vec() }],
        body: Some(b"{}".to_vec()),
        timeout_ms: None,
        read_only: false,
        idempotency: None,
        extensions: None,
    }
}

#[test]
fn the_print_of_a_request_differs_with_every_part_of_it() {
    let changes: [fn(&mut HttpRequest); 11] = [
        |request| request.connection.push('2'),
        |request| request.method = Method::Put,
        |request| request.path.push('1'),
        |request| request.headers[0].name.push('s'),
        |request| request.headers[0].value.push(b'c'),
        |request| request.headers.clear(),
        |request| request.body = Some(b"{ }".to_vec()),
        |request| request.body = Some(Vec::new()),
        |request| request.body = None,
        |request| request.read_only = true,
        |request| request.idempotency = Some(Idempotency::OwnId),
    ];
    let mut prints = std::collections::BTreeSet::from([http_print(&request())]);
    for change in changes {
        let mut changed = request();
        change(&mut changed);
        assert!(prints.insert(http_print(&changed)), "{changed:?}");
    }
}

proptest! {
    #[test]
    fn every_byte_of_a_body_is_in_the_print(body in prop::collection::vec(any::<u8>(), 1..64), at: prop::sample::Index, bit in 0_u8..8) {
        let mut other = body.clone();
        other[at.index(body.len())] ^= 1 << bit;
        let print = |body: Vec<u8>| http_print(&HttpRequest { body: Some(body), ..request() });
        prop_assert_ne!(print(body), print(other));
    }

    #[test]
    fn bytes_that_move_between_parts_change_the_print(parts in prop::collection::vec("[ab]{0,4}", 2..5), cut in 0_usize..4) {
        let all = parts.concat();
        let (left, right) = all.split_at(cut.min(all.len()));
        let whole: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let halves = [left.as_bytes(), right.as_bytes()];
        prop_assert_eq!(call_print("kv.get", &whole) == call_print("kv.get", &halves), whole.as_slice() == halves.as_slice());
        prop_assert_ne!(call_print("kv.get", &whole), call_print("kv.set", &whole));
    }

    #[test]
    fn the_served_prefix_ends_at_the_last_confirmed_or_unresolved_write(codes in prop::collection::vec(0_u8..5, 0..20)) {
        let outcomes: Vec<_> = codes.iter().map(|code| [Read, Intent, Confirmed, Failed, Unknown][usize::from(*code)]).collect();
        let last = outcomes.iter().rposition(|outcome| !matches!(outcome, Read | Failed));
        let journal = reopened(&outcomes);
        prop_assert_eq!(journal.is_some(), last.is_some());
        if let (Some(journal), Some(last)) = (journal, last) {
            prop_assert_eq!(journal.record().entries.len(), last + 1);
            prop_assert!(journal.is_frozen(last) && !journal.is_frozen(last + 1));
        }
    }
}

#[test]
fn a_journal_is_full_once_its_answers_come_to_the_limit_and_not_before() {
    let answered = |bytes: usize| {
        let response = HttpResponse { status: 200, headers: Vec::new(), body: vec![b'x'; bytes] };
        Entry { call: String::new(), answer: Some(Recorded::Http(Ok(response))), ..entry(0, EntryOutcome::Read) }
    };
    let mut journal = Journal::begin(record(Vec::new()));
    journal.push(answered(JOURNAL_BYTES - 1));
    assert!(!journal.is_full());
    journal.push(answered(1));
    assert!(journal.is_full());
    // What is stored counts again when the run is executed again.
    let written = Entry { outcome: EntryOutcome::Confirmed, ..answered(JOURNAL_BYTES) };
    assert!(Journal::reopen(record(vec![written])).unwrap().is_full());
}
