use proptest::prelude::*;

use super::*;

fn refusal(code: &str) -> Failure {
    Failure::new(ReasonClass::Policy, code, "for the test")
}

fn hold() -> Hold {
    Hold { failure: refusal("lockdown"), since: Timestamp(1) }
}

/// The rules that apply, as bits: emergency, opt-out, lockdown, cap, hours.
fn facts(bits: u8) -> Facts {
    Facts {
        emergency: bits & 1 != 0,
        opted_out: (bits & 2 != 0).then(|| refusal("opted_out")),
        locked_down: (bits & 4 != 0).then(hold),
        over_cap: (bits & 8 != 0).then(|| refusal("plan_cap")),
        closed: (bits & 16 != 0).then(|| (Timestamp(9), refusal("business_hours"))),
    }
}

#[test]
fn of_all_combinations_of_rules_the_first_that_applies_decides() {
    for bits in 0..32_u8 {
        let expected = match bits.trailing_zeros() {
            0 => Verdict::Allow,
            1 => Verdict::Refuse(refusal("opted_out")),
            2 => Verdict::Hold(hold()),
            3 => Verdict::Refuse(refusal("plan_cap")),
            4 => Verdict::Wait(Timestamp(9), refusal("business_hours")),
            _ => Verdict::Allow,
        };
        assert_eq!(decide(facts(bits)), expected, "{bits:05b}");
    }
}

proptest! {
    #[test]
    fn an_emergency_passes_whatever_applies(bits in 0..32_u8) {
        prop_assert_eq!(decide(facts(bits | 1)), Verdict::Allow);
    }

    #[test]
    fn a_rule_that_begins_to_apply_never_lets_more_happen(bits in 0..32_u8, more in 1..5_u8) {
        let strictness = |verdict: &Verdict| match verdict {
            Verdict::Allow => 0,
            Verdict::Wait(..) => 1,
            Verdict::Hold(_) | Verdict::Refuse(_) => 2,
        };
        let (before, after) = (decide(facts(bits)), decide(facts(bits | (1 << more))));
        prop_assert!(strictness(&after) >= strictness(&before), "{before:?} became {after:?}");
    }
}

#[test]
fn commands_that_reach_people_are_commands_whatever_a_manifest_says() {
    let is = |kind, name: &str| is_command(kind, &name.parse().unwrap());
    for name in reach::REACHING {
        assert!(is(EventKind::Event, name), "{name}");
    }
    assert!(is(EventKind::Command, "invoice.create") && !is(EventKind::Event, "invoice.paid"));
}
