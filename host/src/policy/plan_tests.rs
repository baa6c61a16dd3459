use proptest::prelude::*;

use super::*;

const DAY_MS: i64 = 86_400_000;

fn plan(state: PlanState) -> Plan {
    Plan { state, since: Timestamp(1_000 * DAY_MS), grace_days: 7, caps: BTreeMap::new(), follows: None }
}

fn capped(caps: &[(&str, Option<u64>, Option<u64>)]) -> Plan {
    let caps = caps.iter().map(|(name, day, month)| ((*name).to_owned(), Cap { day: *day, month: *month }));
    Plan { caps: caps.collect(), ..plan(PlanState::Active) }
}

fn usage(day: i64, command: &str, total: u64) -> DayUsage {
    DayUsage { day, command: command.to_owned(), total }
}

#[test]
fn commands_end_with_the_plan_and_after_the_days_of_grace() {
    let code = |state, day: i64| plan(state).unpaid(Timestamp(day * DAY_MS)).map(|failure| failure.code);
    assert_eq!(code(PlanState::Trialing, 5_000), None);
    assert_eq!(code(PlanState::Active, 5_000), None);
    assert_eq!(code(PlanState::PastDue, 1_000), None);
    assert_eq!(code(PlanState::PastDue, 1_006), None);
    assert_eq!(code(PlanState::PastDue, 1_007).as_deref(), Some("plan_past_due"));
    assert_eq!(code(PlanState::Canceled, 1_000).as_deref(), Some("plan_canceled"));
    let at_once = Plan { grace_days: 0, ..plan(PlanState::PastDue) };
    assert!(at_once.unpaid(at_once.since).is_some());
}

#[test]
fn a_cap_counts_its_own_period_and_what_runs() {
    let today = LocalDay { day: 110, month_from: 100 };
    let running = |count: u64| BTreeMap::from([("sms.send".to_owned(), count)]);
    let plan = capped(&[("sms.send", Some(3), Some(10))]);
    let room = |used: &[DayUsage], now: u64| plan.room("sms.send", used, &running(now), today);
    assert_eq!(room(&[], 0), Room::Free);
    assert_eq!(room(&[usage(110, "sms.send", 2)], 0), Room::Free);
    assert_eq!(room(&[usage(110, "sms.send", 2)], 1), Room::Taken);
    assert_eq!(room(&[usage(110, "sms.send", 3)], 0), Room::Full { all: false, month: false, cap: 3 });
    assert_eq!(room(&[usage(109, "sms.send", 3)], 0), Room::Free, "another day");
    assert_eq!(room(&[usage(101, "sms.send", 10)], 0), Room::Full { all: false, month: true, cap: 10 });
    assert_eq!(room(&[usage(99, "sms.send", 10)], 0), Room::Free, "another month");
    assert_eq!(room(&[usage(110, "call.create", 10)], 0), Room::Free, "another command");
    assert_eq!(plan.room("call.create", &[usage(110, "call.create", 10)], &running(0), today), Room::Free);
    let plan = capped(&[(ALL, Some(3), None)]);
    let used = [usage(110, "sms.send", 1), usage(110, "call.create", 2)];
    assert_eq!(plan.room("invoice.create", &used, &running(0), today), Room::Full { all: true, month: false, cap: 3 });
    assert_eq!(plan.room("invoice.create", &used[..1], &running(2), today), Room::Taken);
    let none = capped(&[("sms.send", Some(0), None)]);
    assert_eq!(none.room("sms.send", &[], &running(0), today), Room::Full { all: false, month: false, cap: 0 });
}

#[test]
fn a_day_is_one_of_the_tenants_time_zone() {
    let copenhagen = TimeZone::get("Europe/Copenhagen").unwrap();
    // 23:30 in UTC on the last of October is already November in Copenhagen.
    let at: Timestamp = "2026-10-31T23:30:00Z".parse().unwrap();
    let (there, here) = (LocalDay::at(at, &copenhagen), LocalDay::at(at, &TimeZone::UTC));
    assert_eq!((LocalDay::show(there.day), LocalDay::show(here.day)), ("2026-11-01".into(), "2026-10-31".into()));
    assert_eq!(
        (LocalDay::show(there.month_from), LocalDay::show(here.month_from)),
        ("2026-11-01".into(), "2026-10-01".into())
    );
}

proptest! {
    #[test]
    fn commands_carried_out_one_by_one_never_pass_a_cap(cap in 0_u64..20, asked in 0_u64..40, days in 1_i64..4) {
        let plan = capped(&[("sms.send", Some(cap), Some(cap * 2))]);
        let mut used: Vec<DayUsage> = Vec::new();
        for n in 0..asked {
            let today = LocalDay { day: 100 + (i64::try_from(n).unwrap() % days), month_from: 100 };
            if plan.room("sms.send", &used, &BTreeMap::new(), today) == Room::Free {
                used.push(usage(today.day, "sms.send", 1));
            }
        }
        for day in 100..100 + days {
            prop_assert!(used.iter().filter(|usage| usage.day == day).count() as u64 <= cap);
        }
        prop_assert!(used.len() as u64 <= cap * 2);
    }
}
