use serde_json::{Value, json};
use switchyard::clock::SystemClock;
use switchyard_tests::api::{faulty, text};

use super::{Office, PERSON, alarmed, assert_refused, emergency, ended};

/// Settings that are open from now on for a day, or closed for at least one.
fn hours(open: bool) -> Value {
    let now = jiff::Timestamp::from_millisecond(SystemClock::shared().now().0).expect("a time");
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let near: Vec<String> =
        (-1..=1_i64).map(|days| today.checked_add(jiff::Span::new().days(days)).expect("a day").to_string()).collect();
    let whole: serde_json::Map<String, Value> = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        .map(|day| (day.to_owned(), json!(["00:00-24:00"])))
        .into_iter()
        .collect();
    let holidays = if open { Vec::new() } else { near };
    json!({"business_hours": {"week": whole, "holidays": holidays}, "theme": "own"})
}

#[tokio::test]
async fn what_is_sent_outside_business_hours_waits_without_a_burnt_try() {
    let office = Office::open().await;
    let changed = office.hub.patch("/v1/tenants/acme", &json!({"settings": hours(false)})).await.expect(200);
    assert_eq!(changed["settings"]["theme"], "own", "what is not the hub's is kept");
    let id = office.text(PERSON, "good morning").await;
    let waiting = ended(&office.tenant, &id, "waiting").await;
    assert_eq!((&waiting["reason"], &waiting["code"]), (&json!("policy"), &json!("business_hours")), "{waiting:#}");
    assert_eq!((&waiting["tries"], &waiting["attempts"]), (&json!(0), &json!([])), "{waiting:#}");
    let due: jiff::Timestamp = text(&waiting, "next_attempt_at").parse().expect("a time");
    let expires: jiff::Timestamp = text(&waiting, "expires_at").parse().expect("a time");
    let opens = expires.as_millisecond() - 86_400_000;
    assert_eq!(opens % 86_400_000, 0, "its day begins when it opens: {expires}");
    assert!((0..1_000).contains(&(due.as_millisecond() - opens)), "{due}");
    // What is bound to no hours, and what is urgent, leaves at once.
    let alarms = alarmed(&office.hub, &office.tenant).await;
    let fire = emergency(&alarms, "sms.send", &json!({"to": PERSON, "body": "Fire"})).await;
    let _ = ended(&office.tenant, &fire, "delivered").await;
    assert_eq!(office.sent_to(PERSON), ["Fire"]);
    // An opt-out comes before the hours, and the hours end when the admin says so.
    let _ = office.put_consent("sms", "+4530123456", "withdrawn").await;
    assert_refused(&ended(&office.tenant, &office.text("+4530123456", "x").await, "dead").await, "opted_out");
    let _ = office.hub.patch("/v1/tenants/acme", &json!({"settings": hours(true)})).await.expect(200);
    let _ = ended(&office.tenant, &id, "delivered").await;
    assert_eq!(office.sent_to(PERSON), ["Fire", "good morning"]);
}

#[tokio::test]
async fn settings_that_cannot_be_followed_are_refused_with_their_field() {
    let office = Office::open().await;
    for (settings, field) in [
        (json!({"business_hours": 7}), "settings.business_hours"),
        (json!({"business_hours": {"week": {"mon": ["16:00-08:00"]}}}), "settings.business_hours.week.mon[0]"),
        (json!({"business_hours": {"week": {"maandag": []}}}), "settings.business_hours.week.maandag"),
        (
            json!({"business_hours": {"week": {"mon": ["08:00-16:00"]}, "holidays": ["tomorrow"]}}),
            "settings.business_hours.holidays[0]",
        ),
    ] {
        let change = json!({"settings": settings});
        let problem = office.hub.patch("/v1/tenants/acme", &change).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
        let made = json!({"id": "beta", "settings": settings});
        let problem = office.hub.post("/v1/tenants", &made).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
    }
}
