use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_simulators::{
    faults::{Fault, FaultBody},
    twilio::{CallStatus, Callee},
};
use switchyard_tests::api::{SOON, text};

use super::{PATIENTLY, PERSON, PLUGIN, Stage};

fn command() -> Value {
    json!({"type": "call.create", "data": {"to": PERSON, "say": "Håndværkeren er på vej."}})
}

impl Stage {
    /// The delivery of a command once it is in a state; a provider that hangs takes long.
    async fn command_in(&self, event: &Value, state: &str) -> Value {
        let looking = async {
            loop {
                let all = self.tenant.list(&format!("/deliveries?target={PLUGIN}&limit=200")).await;
                if let Some(found) = all.iter().find(|row| row["event_id"] == event["id"] && row["state"] == state) {
                    return self.tenant.get(&format!("/deliveries/{}", text(found, "id"))).await.expect(200);
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        let found = tokio::time::timeout(PATIENTLY, looking).await;
        found.unwrap_or_else(|_| panic!("the command did not become {state}"))
    }
}

#[tokio::test]
async fn a_call_is_placed_once_whatever_becomes_of_the_answer() {
    let stage = Stage::new().await;
    let faults = [
        ("nothing", None),
        ("executed, then the line broke", Some(Fault::DropAfter)),
        ("executed, then 500", Some(Fault::FailAfter { status: 500, body: FaultBody::Html })),
        ("503, not executed", Some(Fault::FailBefore { status: 503, body: FaultBody::Provider })),
        ("429, not executed", Some(Fault::RateLimit { retry_after_s: Some(1) })),
    ];
    for (count, (what, fault)) in (1..).zip(faults) {
        if let Some(fault) = fault {
            stage.twilio.faults().arm("calls.create", fault, 1);
        }
        let event = stage.tenant.publish(&command()).await;
        let _ = stage.command_in(&event, "delivered").await;
        let calls = stage.twilio.calls();
        assert_eq!(calls.len(), count, "{what}");
        let sid = calls.last().expect("a call").sid.clone();
        let created = stage.event("call.created", |data| data["call_id"] == sid.as_str()).await;
        assert_eq!(created["to"], PERSON, "{what}");
        assert_eq!(stage.end_of(&sid).await["outcome"], "completed", "{what}");
    }
    stage.drained().await;
    assert_eq!(stage.events("call.created").await.len(), stage.twilio.calls().len());
    for call in stage.twilio.calls() {
        let told = stage.transitions(&call.sid).await;
        assert_eq!(told.last().map(String::as_str), Some("ended completed"), "{told:?}");
    }
}

#[tokio::test]
async fn a_call_whose_answer_never_comes_is_found_by_its_callback() {
    let stage = Stage::new().await;
    stage.twilio.faults().arm("calls.create", Fault::HangAfter, 1);
    let event = stage.tenant.publish(&command()).await;
    stage.twilio.faults().wait_held(1, SOON).await.expect("Twilio has the call and says nothing");
    let delivery = stage.command_in(&event, "delivered").await;
    assert_eq!(stage.twilio.calls().len(), 1);
    let calls = delivery["journal"]["calls"].as_array().cloned().unwrap_or_default();
    let writes: Vec<_> = calls.iter().filter(|call| text(call, "call").starts_with("POST")).collect();
    assert_eq!((writes.len(), &writes[0]["outcome"]), (1, &json!("unknown")), "{delivery:#}");
}

#[tokio::test]
async fn a_hub_that_dies_at_any_step_of_the_journal_places_one_call() {
    let mut stage = Stage::new().await;
    let points = [
        "intent.before_commit",
        "intent.after_commit",
        "provider.before_send",
        "provider.after_answer",
        "settle.before_commit",
        "settle.after_commit",
    ];
    for (count, point) in (1..).zip(points) {
        stage.hub.kill().await;
        stage.hub.set("SWITCHYARD_FAILPOINTS", &format!("{point}=abort"));
        stage.hub.restart().await;
        // The hub may die before it could say that it has the command.
        let event = json!({"type": "call.create", "id": format!("call-{count}"), "data": command()["data"]});
        let (path, body) = (stage.tenant.path("/events"), Bytes::from(event.to_string()));
        let json = [("content-type", "application/json")];
        let _ = stage.hub.try_raw("POST", &path, &json, body.clone()).await;
        assert!(stage.hub.ended(SOON).await.is_some(), "{point} was not passed");
        stage.hub.unset("SWITCHYARD_FAILPOINTS");
        stage.hub.restart().await;
        // Again, for the same reason; the hub knows it by its id.
        let _ = stage.hub.raw("POST", &path, &json, body).await.expect(202);
        let _ = stage.command_in(&event, "delivered").await;
        assert_eq!(stage.twilio.calls().len(), count, "{point}");
        let sid = stage.twilio.calls().last().expect("a call").sid.clone();
        let _ = stage.event("call.created", |data| data["call_id"] == sid.as_str()).await;
        stage.drained().await;
    }
    assert_eq!(stage.events("call.created").await.len(), points.len());
}

#[tokio::test]
async fn a_call_that_nobody_takes_ends_as_it_was() {
    let stage = Stage::new().await;
    let ends = [
        (CallStatus::Busy, "busy", json!(486)),
        (CallStatus::NoAnswer, "no_answer", json!(487)),
        (CallStatus::Failed, "failed", json!(404)),
    ];
    for (status, outcome, sip_code) in ends {
        stage.twilio.set_callee(PERSON, Callee { ends: Some(status), ..Callee::default() });
        let event = stage.tenant.publish(&command()).await;
        let _ = stage.command_in(&event, "delivered").await;
        let sid = stage.twilio.calls().last().expect("a call").sid.clone();
        let end = stage.end_of(&sid).await;
        assert_eq!((&end["outcome"], &end["sip_code"]), (&json!(outcome), &sip_code), "{end}");
    }
}

#[tokio::test]
async fn a_machine_that_answers_is_told_and_a_recorded_call_has_a_recording() {
    let stage = Stage::new().await;
    let machine = Callee { answered_by: Some("machine_start".to_owned()), ..Callee::default() };
    stage.twilio.set_callee(PERSON, machine);
    let mut command = command();
    command["data"]["detect_machine"] = json!(true);
    command["data"]["record"] = json!(true);
    let event = stage.tenant.publish(&command).await;
    let _ = stage.command_in(&event, "delivered").await;
    let sid = stage.twilio.calls()[0].sid.clone();
    assert_eq!(stage.end_of(&sid).await["answered_by"], "machine_start");
    let recording = stage.event("call.recording_ready", |data| data["call_id"] == sid.as_str()).await;
    assert_eq!(recording["recording_id"], stage.twilio.recordings()[0].sid.as_str());
}

#[tokio::test]
async fn a_number_that_twilio_refuses_is_a_dead_letter_with_its_words() {
    let stage = Stage::new().await;
    let event = stage.tenant.publish(&json!({"type": "call.create", "data": {"to": "+00000", "say": "Hej"}})).await;
    let dead = stage.command_in(&event, "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("bad_data"), &json!("twilio_21211")), "{dead:#}");
    assert!(stage.twilio.calls().is_empty());
}
