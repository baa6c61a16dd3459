use serde_json::{Value, json};
use switchyard_simulators::faults::Fault;
use switchyard_tests::{
    api::{faulty, text, until},
    calendar::Calendars,
    database::Database,
    hub::Hub,
    world::bundled,
};

use super::{NUMBER, Office, PERSON, alarmed, assert_refused, emergency, ended, guested};

#[tokio::test]
async fn stop_in_any_spelling_silences_and_start_ends_the_silence() {
    let office = Office::open().await;
    for (stop, start) in [("STOP", "START"), (" stop! ", "unstop"), ("Afmeld", "TILMELD"), ("opt out", "Yes")] {
        office.hears(PERSON, stop).await;
        let dead = ended(&office.tenant, &office.text(PERSON, "an offer").await, "dead").await;
        assert_refused(&dead, "opted_out");
        assert!(!dead.to_string().contains("20123456"), "the reason names nobody: {dead:#}");
        let known = office.consent("sms", PERSON).await;
        assert_eq!((&known["state"], &known["source"]), (&json!("withdrawn"), &json!("stop_keyword")), "{known}");
        office.hears(PERSON, start).await;
        let known = office.consent("sms", PERSON).await;
        assert_eq!(
            (&known["state"], &known["source"]),
            (&json!("granted"), &json!("start_keyword")),
            "{start}: {known}"
        );
    }
    assert!(office.sent_to(PERSON).is_empty(), "{:?}", office.sent_to(PERSON));
    let history = office.consent("sms", PERSON).await["history"].as_array().map(Vec::len);
    assert_eq!(history, Some(8), "each said once, although two events tell of most");
    // What everybody else writes changes nothing.
    office.hears("+4530123456", "Please stop by tomorrow").await;
    let _ = office.tenant.get("/consents/sms/%2B4530123456").await.problem(404, "not_found");
    let _ = ended(&office.tenant, &office.text("+4530123456", "we will").await, "delivered").await;
}

#[tokio::test]
async fn an_opt_out_that_was_answered_outlives_the_process_on_every_database() {
    let database = Database::fresh().await;
    for builder in [Hub::builder(), Hub::builder().on(&database)] {
        let mut office = Office::on(builder).await;
        office.hears(PERSON, "STOP").await;
        office.hub.kill().await;
        office.hub.restart().await;
        assert_eq!(office.consent("sms", PERSON).await["state"], "withdrawn");
        assert_refused(&ended(&office.tenant, &office.text(PERSON, "an offer").await, "dead").await, "opted_out");
        assert!(office.sent_to(PERSON).is_empty());
    }
}

#[tokio::test]
async fn an_opt_out_of_which_only_the_carrier_knows_is_kept() {
    let office = Office::open().await;
    // The hub never believes this message; Twilio does.
    office.twilio.faults().arm("webhook.sms", Fault::WrongSignature, 1);
    let sent = office.twilio.send_sms(NUMBER, PERSON, "STOP").await.expect("it is sent");
    assert_eq!(sent.status, Some(401));
    let _ = ended(&office.tenant, &office.text(PERSON, "first").await, "delivered").await;
    until("the refusal to be known", async || {
        let reply = office.tenant.get("/consents?channel=sms&address=%2B4520123456").await.expect(200);
        if reply["data"][0]["source"] == "carrier_21610" { Ok(()) } else { Err(reply.to_string()) }
    })
    .await;
    assert_refused(&ended(&office.tenant, &office.text(PERSON, "second").await, "dead").await, "opted_out");
}

/// A command accepted before the STOP has not left yet.
#[tokio::test]
async fn what_waits_when_somebody_opts_out_does_not_leave_any_more() {
    let office = Office::open().await;
    let installed = office.tenant.get("/plugins/twilio").await.expect(200);
    let mut wanted =
        json!({"config": installed["config"], "connections": installed["connections"], "retry_schedule": [0]});
    wanted["mode"] = "off".into();
    let _ = office.tenant.install("twilio", &wanted).await;
    let waiting = office.text(PERSON, "an offer").await;
    let _ = ended(&office.tenant, &waiting, "held").await;
    let _ = office.put_consent("sms", PERSON, "withdrawn").await;
    wanted["mode"] = "live".into();
    let _ = office.tenant.install("twilio", &wanted).await;
    let dead = ended(&office.tenant, &waiting, "dead").await;
    assert_refused(&dead, "opted_out");
    // A person sees it among the dead letters and in the trace, and replays it once it may leave.
    let groups = office.tenant.list("/dead-letters").await;
    assert_eq!((&groups[0]["reason"], &groups[0]["code"]), (&json!("policy"), &json!("opted_out")), "{groups:?}");
    let trace = office.tenant.get(&format!("/traces/{}", text(&dead, "correlation_id"))).await.expect(200);
    assert!(trace.to_string().contains("opted_out"), "{trace}");
    let _ = office.put_consent("sms", PERSON, "granted").await;
    let retry = office.tenant.post("/dead-letters/replay", &json!({"deliveries": [text(&dead, "id")]})).await;
    assert!(retry.status < 300, "{}", retry.text);
    let _ = ended(&office.tenant, &waiting, "delivered").await;
    assert_eq!(office.sent_to(PERSON), ["an offer"]);
}

#[tokio::test]
async fn every_command_that_reaches_a_person_asks_first_and_an_emergency_does_not() {
    let (hub, tenant) = guested().await;
    let put = async |channel: &str, address: &str, state: &str| {
        let wanted = json!({"channel": channel, "address": address, "state": state});
        let _ = tenant.api.put(&tenant.path("/consents"), &wanted).await.expect(200);
    };
    put("sms", "+45 20 12 34 56", "withdrawn").await;
    put("email", "Kunde@Example.com", "withdrawn").await;
    let alarms = alarmed(&hub, &tenant).await;
    let reaching = [
        ("sms.send", json!({"do": "ok", "to": PERSON})),
        ("call.create", json!({"do": "ok", "to": "0045 20123456"})),
        ("call.create", json!({"do": "ok", "to": "+4530123456", "connect_to": PERSON})),
        ("email.send", json!({"do": "ok", "to": ["other@example.com"], "bcc": [{"email": "kunde@example.com"}]})),
        ("appointment.create", json!({"do": "ok", "attendees": [{"email": "KUNDE@example.com", "consent": true}]})),
        ("appointment.update", json!({"do": "ok", "attendees": [{"email": "kunde@example.com", "consent": true}]})),
    ];
    for (command, data) in &reaching {
        let id = text(&tenant.publish(&json!({"type": command, "data": data})).await, "id");
        assert_refused(&ended(&tenant, &id, "dead").await, "opted_out");
        let _ = ended(&tenant, &emergency(&alarms, command, data).await, "delivered").await;
    }
    // Others, and those who are not to be invited, are reached.
    for (command, data) in [
        ("sms.send", json!({"do": "ok", "to": "+4530123456"})),
        ("email.send", json!({"do": "ok", "to": ["other@example.com"]})),
        ("appointment.create", json!({"do": "ok", "attendees": [{"email": "kunde@example.com", "consent": false}]})),
        ("appointment.create", json!({"do": "ok", "attendees": [{"email": "kunde@example.com"}]})),
    ] {
        let id = text(&tenant.publish(&json!({"type": command, "data": data})).await, "id");
        let _ = ended(&tenant, &id, "delivered").await;
    }
    // Calls may be granted to somebody who wants no messages.
    put("call", PERSON, "granted").await;
    let call = json!({"type": "call.create", "data": {"do": "ok", "to": PERSON}});
    let _ = ended(&tenant, &text(&tenant.publish(&call).await, "id"), "delivered").await;
}

#[tokio::test]
async fn no_invitation_leaves_for_somebody_who_opted_out_of_mail() {
    let calendars = Calendars::start(1).await;
    let hub = calendars.hub().start().await;
    let _ = hub.push(bundled("calendar")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    calendars.install(&hub, &tenant, json!({})).await;
    let visit = |day: u8, attendees: Value| {
        json!({"type": "appointment.create", "data": {"title": "Visit", "start": format!("2030-05-{day:02}T09:00"),
            "duration_minutes": 60, "attendees": attendees}})
    };
    let invited = json!([{"email": "ja@example.test", "consent": true}]);
    let first = text(&tenant.publish(&visit(6, invited.clone())).await, "id");
    let _ = ended(&tenant, &first, "delivered").await;
    assert_eq!(calendars.calendar.invitations().len(), 1);
    let no = json!({"channel": "email", "address": "JA@example.test", "state": "withdrawn"});
    let _ = tenant.api.put(&tenant.path("/consents"), &no).await.expect(200);
    let refused = text(&tenant.publish(&visit(7, invited)).await, "id");
    assert_refused(&ended(&tenant, &refused, "dead").await, "opted_out");
    // Without an invitation the appointment is made.
    let plain = visit(8, json!([{"email": "ja@example.test", "consent": false}]));
    let _ = ended(&tenant, &text(&tenant.publish(&plain).await, "id"), "delivered").await;
    assert_eq!(calendars.calendar.live_events("primary").len(), 2);
    assert_eq!(calendars.calendar.invitations().len(), 1, "no other mail left");
}

#[tokio::test]
async fn consents_are_put_listed_audited_and_nobody_elses() {
    let office = Office::open().await;
    for (body, field) in [
        (json!({"channel": "sms", "address": "20123456", "state": "withdrawn"}), "address"),
        (json!({"channel": "email", "address": "kunde", "state": "withdrawn"}), "address"),
        (json!({"channel": "fax", "address": PERSON, "state": "withdrawn"}), "channel"),
        (json!({"channel": "sms", "address": PERSON, "state": "maybe"}), "state"),
        (json!({"channel": "sms", "address": PERSON}), "state"),
    ] {
        let problem =
            office.tenant.api.put(&office.tenant.path("/consents"), &body).await.problem(400, "invalid_request");
        assert!(faulty(&problem).contains(&field) || problem.to_string().contains(field), "{problem}");
    }
    let put = office.put_consent("sms", " +45 20 12 34 56", "withdrawn").await;
    assert_eq!((&put["address"], &put["source"]), (&json!(PERSON), &json!("api")), "{put}");
    for number in 0..5 {
        let _ = office.put_consent("email", &format!("kunde{number}@example.com"), "granted").await;
    }
    let all = office.tenant.all("/consents").await;
    assert_eq!(all.len(), 6);
    let pages = office.tenant.get("/consents?limit=4").await.expect(200);
    let next = text(&pages, "next");
    let rest = office.tenant.get(&format!("/consents?limit=4&after={next}")).await.expect(200);
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["next"]), (Some(2), &Value::Null));
    assert_eq!(office.tenant.list("/consents?state=withdrawn").await.len(), 1);
    assert_eq!(office.tenant.list("/consents?channel=email&address=KUNDE1@example.com").await.len(), 1);
    let _ = office.tenant.get("/consents?after=x").await.problem(400, "invalid_request");
    let _ = office.tenant.get("/consents/fax/x").await.problem(400, "invalid_request");
    // Who reads may not put, and no other tenant sees anything.
    let reader = office.hub.key(&json!({"tenant": "acme", "scope": "reader"})).await;
    let body = json!({"channel": "sms", "address": PERSON, "state": "granted"});
    let refused = office.tenant.with_key(&reader);
    let _ = refused.api.put(&refused.path("/consents"), &body).await.problem(403, "forbidden");
    let other = office.hub.tenant("beta").await;
    assert!(other.list("/consents").await.is_empty());
    let _ = other.get("/consents/sms/%2B4520123456").await.problem(404, "not_found");
    let audit = office.tenant.list("/audit").await;
    let rows: Vec<_> = audit.iter().filter(|row| row["action"] == "consent.put").collect();
    assert_eq!(rows.len(), 6);
    assert!(!json!(rows).to_string().contains("example.com") && !json!(rows).to_string().contains("20123456"));
    assert!(!office.hub.log().contains("20123456"), "no address in the log");
}
