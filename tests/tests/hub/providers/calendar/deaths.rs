use serde_json::{Value, json};
use switchyard_simulators::calendar::Handle;
use switchyard_tests::death::{WritingCommand, at_every_step};

use super::{day, idle, world};

const GUEST: &str = "kunde@example.test";

/// An hour of its own for every round: eight on each of some days.
fn hour(round: u32) -> (String, String) {
    let first: jiff::civil::Date = day().parse().expect("a day");
    let date = first.checked_add(jiff::Span::new().days(i64::from(round / 8))).expect("a day");
    let hour = 8 + round % 8;
    (format!("{date}T{hour:02}:00"), format!("{date}T{hour:02}:45"))
}

/// A person's appointment with a guest, who gets mail of whatever becomes of it.
fn make(calendar: &Handle, round: u32) -> String {
    let (start, end) = hour(round);
    let id = format!("round{round:04}");
    let zone = "Europe/Copenhagen";
    let event = json!({"id": id, "summary": "Møde", "attendees": [{"email": GUEST}],
        "start": {"dateTime": format!("{start}:00"), "timeZone": zone},
        "end": {"dateTime": format!("{end}:00"), "timeZone": zone}});
    calendar.make("primary", &event).expect("an event");
    id
}

/// How many mails of this kind were sent about the round's appointment.
fn mails(calendar: &Handle, round: u32, about: &str) -> usize {
    let id = format!("round{round:04}");
    calendar.invitations().iter().filter(|mail| mail.event_id == id && mail.about == about).count()
}

/// Without channels, so that no notification makes a poll that counts among the steps.
fn quiet() -> Value {
    json!({"push": false})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appointment_create_survives_death_at_every_step() {
    let (calendars, mut hub, tenant) = world(quiet()).await;
    idle(&tenant).await;
    let calendar = &calendars.calendar;
    let command = WritingCommand {
        target: "plugin:calendar",
        emits: Some("appointment.created"),
        faults: calendar.faults(),
        writes: &["events.insert"],
        may_stay_unknown: false,
    };
    let title = |round: u32| format!("round {round}");
    let order = async |round| {
        let (start, _) = hour(round);
        json!({"type": "appointment.create", "data": {"calendar_id": "primary", "title": title(round), "start": start,
            "duration_minutes": 45, "attendees": [{"email": GUEST, "consent": true}]}})
    };
    let effects = |round| {
        let all = calendar.events("primary");
        let ours: Vec<_> = all.iter().filter(|event| event["summary"] == title(round)).collect();
        let mails =
            calendar.invitations().iter().filter(|mail| ours.iter().any(|one| one["id"] == mail.event_id)).count();
        ours.len().max(mails)
    };
    let rounds = at_every_step(&mut hub, &tenant, &command, order, effects).await;
    assert_eq!(rounds.len(), 4 + 2 + 1, "{rounds:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appointment_update_survives_death_at_every_step() {
    let (calendars, mut hub, tenant) = world(quiet()).await;
    idle(&tenant).await;
    let calendar = &calendars.calendar;
    let command = WritingCommand {
        target: "plugin:calendar",
        emits: Some("appointment.updated"),
        faults: calendar.faults(),
        writes: &["events.patch"],
        may_stay_unknown: false,
    };
    let order = async |round| {
        let id = make(calendar, round);
        let (start, _) = hour(round);
        json!({"type": "appointment.update", "data": {"calendar_id": "primary", "appointment_id": id,
            "start": start.replace(":00", ":10")}})
    };
    let effects = |round| mails(calendar, round, "updated");
    let rounds = at_every_step(&mut hub, &tenant, &command, order, effects).await;
    assert_eq!(rounds.len(), 4 + 2 + 1, "{rounds:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appointment_cancel_survives_death_at_every_step() {
    let (calendars, mut hub, tenant) = world(quiet()).await;
    idle(&tenant).await;
    let calendar = &calendars.calendar;
    let command = WritingCommand {
        target: "plugin:calendar",
        emits: Some("appointment.cancelled"),
        faults: calendar.faults(),
        writes: &["events.delete"],
        may_stay_unknown: false,
    };
    let order = async |round| {
        let id = make(calendar, round);
        json!({"type": "appointment.cancel", "data": {"calendar_id": "primary", "appointment_id": id}})
    };
    let effects = |round| mails(calendar, round, "cancelled");
    let rounds = at_every_step(&mut hub, &tenant, &command, order, effects).await;
    assert_eq!(rounds.len(), 4 + 2 + 1, "{rounds:#?}");
}
