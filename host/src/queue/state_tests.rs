use super::*;

const STATES: [State; 6] =
    [State::Queued, State::Running, State::Waiting, State::Delivered, State::Dead, State::Cancelled];

const CAUSES: [Cause; 8] = [
    Cause::Claim,
    Cause::Succeed,
    Cause::Retry,
    Cause::Die,
    Cause::Release,
    Cause::Rescue,
    Cause::Cancel,
    Cause::Replay,
];

/// Rows are states, columns are causes, in the order above; `.` is illegal.
const TABLE: [&str; 6] = [
    "R..X..C.", // queued
    ".DWXQQC.", // running
    "R..X..C.", // waiting
    ".......Q", // delivered
    "......CQ", // dead
    "........", // cancelled
];

#[test]
fn every_pair_of_state_and_cause_is_in_the_table() {
    for (state, row) in STATES.into_iter().zip(TABLE) {
        for (cause, cell) in CAUSES.into_iter().zip(row.chars()) {
            let expected = match cell {
                'Q' => Ok(State::Queued),
                'R' => Ok(State::Running),
                'W' => Ok(State::Waiting),
                'D' => Ok(State::Delivered),
                'X' => Ok(State::Dead),
                'C' => Ok(State::Cancelled),
                _ => Err(IllegalTransition { from: state, cause }),
            };
            assert_eq!(transition(state, cause), expected, "{state} {cause:?}");
        }
    }
}

#[test]
fn cancelled_is_final_and_only_a_person_moves_what_ended() {
    for state in STATES.into_iter().filter(|state| !state.is_live()) {
        for cause in CAUSES.into_iter().filter(|cause| transition(state, *cause).is_ok()) {
            assert!(matches!(cause, Cause::Replay | Cause::Cancel), "{state} {cause:?}");
        }
    }
    assert!(CAUSES.into_iter().all(|cause| transition(State::Cancelled, cause).is_err()));
}

#[test]
fn codes_and_words_name_one_state_each() {
    for state in STATES {
        assert_eq!(State::from_code(state.code()), Some(state));
        assert_eq!(state.as_str().parse::<State>().ok(), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    assert_eq!(State::from_code(6), None);
    assert!("held".parse::<State>().is_err(), "held is a view, not a state");
}
