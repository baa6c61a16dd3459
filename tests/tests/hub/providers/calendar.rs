use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchyard_simulators::{
    calendar::Forgery,
    clock::{Clock as _, SystemClock},
    faults::Fault,
};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    calendar::{Calendars, VAN},
    hub::Hub,
    world::bundled,
};

/// Commands whose hub dies at every step.
mod deaths;

/// How often an inbound request is repeated.
const TIMES: usize = 50;

/// A day that is far enough ahead to be free, and not beyond the horizon: a Tuesday about three weeks from now.
fn day() -> String {
    let now = jiff::Timestamp::from_millisecond(SystemClock.now_ms()).unwrap_or_default();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let days = (14..28).filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok());
    let tuesday = |date: &jiff::civil::Date| date.weekday() == jiff::civil::Weekday::Tuesday;
    days.into_iter().find(tuesday).map(|date| date.to_string()).unwrap_or_default()
}

/// A hub in real time, so that only a notification makes it look at a calendar soon.
async fn world(more: Value) -> (Calendars, Hub, Tenant) {
    started(1, 1, more).await
}

async fn started(hub_factor: u32, calendar_factor: u32, more: Value) -> (Calendars, Hub, Tenant) {
    let calendars = Calendars::start(calendar_factor).await;
    let hub = calendars.hub().time_factor(hub_factor).start().await;
    let _ = hub.push(bundled("calendar")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    calendars.install(&hub, &tenant, more).await;
    (calendars, hub, tenant)
}

async fn events(tenant: &Tenant, kind: &str) -> Vec<Value> {
    let mut whole = Vec::new();
    for event in tenant.list(&format!("/events?type={kind}&limit=200")).await {
        whole.push(tenant.get(&format!("/events/{}", text(&event, "id"))).await.expect(200));
    }
    whole
}

/// Waits until there are so many events of a type, and answers them, newest first.
async fn told(tenant: &Tenant, kind: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} {kind}"), async || {
        let all = events(tenant, kind).await;
        if all.len() >= count { Ok(all) } else { Err(json!(all).to_string()) }
    })
    .await
}

/// Waits until nothing of the plugin is under way.
async fn idle(tenant: &Tenant) {
    until("the plugin to be idle", async || {
        let all = tenant.list("/deliveries?target=plugin:calendar&limit=200").await;
        let is_live = |one: &&Value| ["queued", "running", "waiting"].contains(&one["state"].as_str().unwrap_or(""));
        let live: Vec<_> = all.iter().filter(is_live).collect();
        if live.is_empty() { Ok(()) } else { Err(json!(live).to_string()) }
    })
    .await;
}

/// Gives a command and waits until its delivery is in this state.
async fn commanded(tenant: &Tenant, kind: &str, data: Value, state: &str) -> Value {
    let correlation = text(&tenant.publish(&json!({"type": kind, "data": data})).await, "correlation_id");
    let is = |one: &Value| one["correlation_id"] == correlation && one["event_type"] == kind && one["state"] == state;
    let found = tenant.delivery("plugin:calendar", state, is).await;
    tenant.get(&format!("/deliveries/{}", text(&found, "id"))).await.expect(200)
}

fn visit(start: &str) -> Value {
    json!({"calendar_id": "primary", "title": "Besøg", "start": format!("{}T{start}", day()), "duration_minutes": 60})
}

fn timed(id: &str, from: &str, to: &str) -> Value {
    let time = |clock: &str| json!({"dateTime": format!("{}T{clock}:00", day()), "timeZone": "Europe/Copenhagen"});
    json!({"id": id, "summary": "Møde", "start": time(from), "end": time(to)})
}

#[tokio::test]
async fn an_appointment_is_made_moved_and_cancelled_by_command_and_each_is_told_once() {
    let (calendars, _hub, tenant) = world(json!({})).await;
    let calendar = &calendars.calendar;
    let _ = commanded(&tenant, "appointment.create", visit("09:00"), "delivered").await;
    let made = told(&tenant, "appointment.created", 1).await.remove(0);
    let id = text(&made["data"], "appointment_id");
    assert_eq!(made["subject"], id);
    assert_eq!(calendar.live_events("primary").len(), 1);
    let moved = json!({"calendar_id": "primary", "appointment_id": id, "start": format!("{}T13:00", day())});
    let _ = commanded(&tenant, "appointment.update", moved, "delivered").await;
    let updated = told(&tenant, "appointment.updated", 1).await.remove(0);
    assert_eq!(updated["data"]["changed"], json!(["start", "end"]), "{updated}");
    assert_eq!(updated["data"]["previous"]["start"], made["data"]["start"]);
    let cancel = json!({"calendar_id": "primary", "appointment_id": id});
    let _ = commanded(&tenant, "appointment.cancel", cancel, "delivered").await;
    let _ = told(&tenant, "appointment.cancelled", 1).await;
    assert!(calendar.live_events("primary").is_empty());
    // Our own changes come back as notifications, and tell nothing new.
    assert!(calendar.wait_for_notifications(4, SOON).await, "{:?}", calendar.notifications());
    idle(&tenant).await;
    for kind in ["appointment.created", "appointment.updated", "appointment.cancelled"] {
        assert_eq!(events(&tenant, kind).await.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn what_a_person_does_in_the_calendar_is_told_as_soon_as_google_calls() {
    let (calendars, _hub, tenant) = world(json!({})).await;
    let calendar = &calendars.calendar;
    assert_eq!(calendar.live_channels().len(), 1);
    calendar.make("primary", &timed("abcde", "09:00", "10:00")).expect("an event");
    let made = told(&tenant, "appointment.created", 1).await.remove(0);
    assert_eq!((&made["data"]["title"], &made["data"]["appointment_id"]), (&json!("Møde"), &json!("abcde")));
    calendar.change("primary", "abcde", &timed("abcde", "11:00", "12:00")).expect("it moves");
    let moved = told(&tenant, "appointment.updated", 1).await.remove(0);
    assert_eq!(moved["data"]["changed"], json!(["start", "end"]));
    calendar.cancel("primary", "abcde").expect("it is cancelled");
    let cancelled = told(&tenant, "appointment.cancelled", 1).await.remove(0);
    assert_eq!((&cancelled["data"]["title"], &cancelled["data"]["start"]), (&json!("Møde"), &moved["data"]["start"]));
}

#[tokio::test]
async fn forged_notifications_are_refused_alike_and_fifty_repetitions_tell_nothing_twice() {
    let (calendars, _hub, tenant) = world(json!({})).await;
    let calendar = &calendars.calendar;
    for n in 0..3 {
        calendar.make("primary", &timed(&format!("event{n}"), "09:00", "10:00")).expect("an event");
    }
    let before: BTreeSet<String> =
        told(&tenant, "appointment.created", 3).await.iter().map(|event| text(event, "id")).collect();
    for forgery in [
        Forgery { token: Some("guess".to_owned()), ..Forgery::default() },
        Forgery { no_token: true, ..Forgery::default() },
        Forgery { resource_id: Some("another".to_owned()), ..Forgery::default() },
        Forgery { token: Some("guess".to_owned()), channel_id: Some("another".to_owned()), ..Forgery::default() },
    ] {
        assert_eq!(calendar.forge(&forgery).await.expect("it is sent"), Some(401), "{forgery:?}");
    }
    assert_eq!(tenant.all("/rejections").await.len(), 4);
    let statuses = calendar.repeat(TIMES).await.expect("they are sent");
    assert!(statuses.len() >= 4 * TIMES && statuses.iter().all(|status| *status == Some(200)), "{statuses:?}");
    idle(&tenant).await;
    let after: BTreeSet<String> =
        events(&tenant, "appointment.created").await.iter().map(|event| text(event, "id")).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_forgotten_sync_token_tells_of_itself_and_of_every_difference_once() {
    let (calendars, _hub, tenant) = world(json!({})).await;
    let calendar = &calendars.calendar;
    for n in 0..4 {
        calendar.make("primary", &timed(&format!("event{n}"), "09:00", "10:00")).expect("an event");
    }
    let _ = told(&tenant, "appointment.created", 4).await;
    idle(&tenant).await;
    calendar.set_silent(true);
    calendar.cancel("primary", "event1").expect("it is cancelled");
    calendar.forget_sync_tokens(None);
    calendar.set_silent(false);
    calendar.make("primary", &timed("event9", "09:00", "10:00")).expect("an event");
    let reset = told(&tenant, "sync.reset", 1).await.remove(0);
    assert_eq!((&reset["data"]["reason"], &reset["data"]["scope"]), (&json!("fullSyncRequired"), &json!("primary")));
    let _ = told(&tenant, "appointment.cancelled", 1).await;
    idle(&tenant).await;
    assert_eq!(events(&tenant, "appointment.created").await.len(), 5);
    assert_eq!(events(&tenant, "appointment.cancelled").await.len(), 1);
    assert_eq!(events(&tenant, "sync.reset").await.len(), 1);
}

#[tokio::test]
async fn channels_are_renewed_with_an_overlap_and_orphans_are_stopped() {
    // A channel of a week ends after about six seconds.
    let (calendars, _hub, tenant) = started(60, 100_000, json!({})).await;
    let calendar = &calendars.calendar;
    calendar.set_orphan_posts(1);
    until("the channel to be renewed", async || {
        let all = calendar.channels();
        if all.len() >= 3 { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    let all = calendar.channels();
    assert!(all[0].stopped, "the first was stopped: {all:?}");
    assert!(!calendar.live_channels().is_empty(), "somebody is always listening: {all:?}");
    // What was replaced still speaks once; that is answered well, and it is stopped for good.
    calendar.make("primary", &timed("abcde", "09:00", "10:00")).expect("an event");
    let _ = told(&tenant, "appointment.created", 1).await;
    let answered: Vec<_> = calendar.notifications().into_iter().flat_map(|one| one.statuses).collect();
    assert!(answered.iter().all(|status| *status == Some(200)), "{answered:?}");
}

#[tokio::test]
async fn of_two_commands_for_one_time_one_makes_an_appointment_and_the_other_is_refused_with_words() {
    let (calendars, _hub, tenant) = world(json!({
        "calendars": [{"id": "primary"}, {"id": VAN}], "resources": [{"name": "van", "calendars": ["primary", VAN]}]
    }))
    .await;
    let calendar = &calendars.calendar;
    let ask = async |calendar_id: &str| {
        let mut data = visit("09:00");
        data["calendar_id"] = json!(calendar_id);
        tenant.publish(&json!({"type": "appointment.create", "data": data})).await
    };
    // The same calendar is served in order; two calendars of one resource are not.
    let _ = tokio::join!(ask("primary"), ask(VAN), ask("primary"), ask(VAN));
    let ended = until("all commands to end", async || {
        let all = tenant.list("/deliveries?target=plugin:calendar&limit=200").await;
        let ours: Vec<Value> = all.into_iter().filter(|one| one["event_type"] == "appointment.create").collect();
        let over = ours.iter().filter(|one| one["state"] == "delivered" || one["state"] == "dead").count();
        if over == 4 { Ok(ours) } else { Err(json!(ours).to_string()) }
    })
    .await;
    let dead: Vec<&Value> = ended.iter().filter(|one| one["state"] == "dead").collect();
    assert_eq!(dead.len(), 3, "{ended:#?}");
    for one in dead {
        assert_eq!((&one["reason"], &one["code"]), (&json!("bad_data"), &json!("slot_taken")), "{one}");
        let shown = tenant.get(&format!("/deliveries/{}", text(one, "id"))).await.expect(200);
        assert!(shown.to_string().contains("taken by another appointment"), "{shown}");
    }
    assert_eq!(calendar.live_events("primary").len() + calendar.live_events(VAN).len(), 1);
}

#[tokio::test]
async fn a_booking_from_outside_that_was_first_wins_the_race() {
    let (calendars, _hub, tenant) = world(json!({})).await;
    let calendar = &calendars.calendar;
    calendar.faults().arm("events.insert", Fault::HangAfter, 1);
    let waiting = commanded(&tenant, "appointment.create", visit("09:00"), "dead");
    let outside = async {
        calendar.faults().wait_held(1, SOON).await.expect("the insert is held");
        // Ours is the older one here, so it stays although a person books over it.
        calendar.set_clock_offset_ms(2_000);
        calendar.make("primary", &timed("abcde", "09:30", "10:30")).expect("an event");
        calendar.faults().release();
        let _ = told(&tenant, "appointment.created", 2).await;
    };
    tokio::select! {
        dead = waiting => panic!("the first one was refused: {dead}"),
        () = outside => {}
    }
    assert_eq!(calendar.live_events("primary").len(), 2);
    let refused = commanded(&tenant, "appointment.create", visit("10:00"), "dead").await;
    assert_eq!(refused["code"], "slot_taken", "{refused}");
}

#[tokio::test]
async fn only_those_who_agreed_get_mail() {
    let (calendars, _hub, tenant) = world(json!({})).await;
    let mut data = visit("09:00");
    data["attendees"] = json!([
        {"email": "ja@example.test", "consent": true}, {"email": "nej@example.test", "consent": false},
        {"email": "tavs@example.test", "name": "Tavs"}
    ]);
    let _ = commanded(&tenant, "appointment.create", data, "delivered").await;
    let mails: Vec<String> = calendars.calendar.invitations().into_iter().map(|mail| mail.email).collect();
    assert_eq!(mails, ["ja@example.test"]);
    let made = told(&tenant, "appointment.created", 1).await.remove(0);
    assert_eq!(made["data"]["attendees"].as_array().map(Vec::len), Some(1));
    assert_eq!(made["data"]["uninvited"].as_array().map(Vec::len), Some(2), "{made}");
}

#[tokio::test]
async fn a_query_is_answered_with_free_slots_under_its_own_id() {
    let (calendars, _hub, tenant) = world(json!({"travel_buffer_minutes": 30})).await;
    calendars.calendar.make("primary", &timed("abcde", "10:00", "12:00")).expect("an event");
    let query = json!({"from": format!("{}T08:00", day()), "to": format!("{}T17:00", day()), "duration_minutes": 60});
    let asked = tenant.publish(&json!({"type": "availability.query", "data": query})).await;
    let found = told(&tenant, "availability.found", 1).await.remove(0);
    assert_eq!(found["subject"], asked["id"]);
    assert_eq!(found["correlation_id"], asked["correlation_id"]);
    let slots = found["data"]["slots"].as_array().expect("slots");
    let clock = |slot: &Value| slot["start"].as_str().and_then(|start| start.get(11..16)).map(str::to_owned);
    let starts: Vec<String> = slots.iter().filter_map(clock).collect();
    let free = ["08:00", "08:30", "12:30", "13:00", "13:30", "14:00", "14:30", "15:00", "15:30", "16:00"];
    assert_eq!(starts, free);
    // What was offered can be booked.
    let _ = commanded(&tenant, "appointment.create", visit("12:30"), "delivered").await;
}

#[tokio::test]
async fn a_wrong_setting_is_told_at_the_install() {
    let calendars = Calendars::start(1).await;
    let hub = calendars.hub().time_factor(60).start().await;
    let _ = hub.push(bundled("calendar")).await.expect(201);
    for (tenant, config, words) in [
        ("one", json!({"calendars": [{"id": "nobody@x.test"}], "time_zone": "Europe/Copenhagen"}), "calendars[0].id"),
        ("two", json!({"calendars": [{"id": "primary"}], "time_zone": "Europe/Atlantis"}), "time_zone"),
    ] {
        let tenant = hub.tenant(tenant).await;
        let connection = calendars.connection(&hub, &tenant).await;
        let wanted = json!({"config": config, "connections": {"calendar": connection}});
        let _ = tenant.install("calendar", &wanted).await;
        let shown = tenant.delivery_in("plugin:calendar", "held").await;
        assert_eq!(shown["event_type"], "_lifecycle.install", "{shown}");
        assert!(shown.to_string().contains(words), "{shown}");
    }
}
