//! Telephone calls; a subscriber without keys plays the hub.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::{
    faults::Fault,
    subscriber::Received,
    twilio::{CallEvent, CallStatus, Callee, InboundCall, InboundError},
};

use crate::support::{LIMIT, NUMBER, PERSON, Running, get, post_json, subscriber, twilio, twilio_call, twilio_with};

type Hub = Running<switchyard_simulators::subscriber::Handle>;
type Twilio = Running<switchyard_simulators::twilio::Handle>;

const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

fn field(request: &Received, name: &str) -> String {
    let mut form = form_urlencoded::parse(&request.body);
    form.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Asks for a call that says something and tells of everything; answers its sid.
async fn place(twilio: &Twilio, hub: &Hub, more: &[(&str, &str)]) -> String {
    let callback = hub.url("/told");
    let mut form = vec![("To", PERSON), ("From", NUMBER), ("Twiml", "<Response><Say>Hej</Say></Response>")];
    form.push(("StatusCallback", &callback));
    form.extend(EVENTS.map(|event| ("StatusCallbackEvent", event)));
    form.extend_from_slice(more);
    let created = twilio_call(twilio, Method::POST, "Calls.json", &form).await.unwrap().expect(201);
    assert_eq!((&created["status"], &created["start_time"]), (&json!("queued"), &Value::Null));
    created["sid"].as_str().unwrap().to_owned()
}

fn told(hub: &Hub) -> Vec<(String, String)> {
    hub.requests("/told").iter().map(|told| (field(told, "SequenceNumber"), field(told, "CallStatus"))).collect()
}

#[tokio::test]
async fn an_outgoing_call_is_told_in_order_with_numbers_from_zero() {
    let (twilio, hub) = (twilio().await, subscriber().await);
    let sid = place(&twilio, &hub, &[("MachineDetection", "Enable")]).await;
    assert!(twilio.wait_for_call(&sid, CallStatus::Completed, LIMIT).await);
    hub.wait_for("/told", 4, LIMIT).await.unwrap();
    let expected = [("0", "initiated"), ("1", "ringing"), ("2", "in-progress"), ("3", "completed")];
    assert_eq!(told(&hub), expected.map(|(number, status)| (number.to_owned(), status.to_owned())));
    let last = hub.requests("/told").pop().unwrap();
    assert_eq!(
        (field(&last, "SipResponseCode"), field(&last, "Direction")),
        ("200".to_owned(), "outbound-api".to_owned())
    );
    assert_eq!(field(&last, "Timestamp"), "Fri, 20 Nov 2026 13:31:25 +0000");
    let path = format!("Calls/{sid}.json");
    assert_eq!(twilio_call(&twilio, Method::GET, &path, &[]).await.unwrap().expect(200)["duration"], "0");
    let list = twilio_call(&twilio, Method::GET, "Calls.json?To=%2B4520123456&Status=completed", &[]).await.unwrap();
    assert_eq!(list.expect(200)["calls"][0]["sid"], sid.as_str());
}

#[tokio::test]
async fn callbacks_are_shuffled_and_doubled_on_request() {
    let (twilio, hub) = (twilio().await, subscriber().await);
    twilio.faults().arm("webhook.call_status", Fault::OutOfOrder, 1);
    twilio.faults().arm("webhook.call_status", Fault::Duplicate, 2);
    let _ = place(&twilio, &hub, &[]).await;
    hub.wait_for("/told", 6, LIMIT).await.unwrap();
    let numbers: Vec<String> = told(&hub).into_iter().map(|(number, _)| number).collect();
    assert!(!numbers.is_sorted(), "{numbers:?}");
    let mut once = numbers.clone();
    once.sort();
    once.dedup();
    assert_eq!((numbers.len(), once.len()), (6, 4));
}

#[tokio::test]
async fn a_callee_may_be_busy_and_a_queued_call_may_be_withdrawn() {
    let (twilio, hub) = (twilio().await, subscriber().await);
    twilio.set_callee(PERSON, Callee { ends: Some(CallStatus::Busy), ..Callee::default() });
    let sid = place(&twilio, &hub, &[]).await;
    assert!(twilio.wait_for_call(&sid, CallStatus::Busy, LIMIT).await);
    hub.wait_for("/told", 3, LIMIT).await.unwrap();
    assert_eq!(told(&hub).last().unwrap(), &("2".to_owned(), "busy".to_owned()));

    let slow = twilio_with(|options| options.status_step = Duration::from_secs(3_600_000)).await;
    let sid = place(&slow, &hub, &[]).await;
    let path = format!("Calls/{sid}.json");
    let cancel = [("Status", "canceled")];
    let canceled = twilio_call(&slow, Method::POST, &path, &cancel).await.unwrap().expect(200);
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(twilio_call(&slow, Method::POST, &path, &cancel).await.unwrap().expect(400)["code"], 21220);
}

#[tokio::test]
async fn a_recorded_call_has_a_recording_and_tells_of_it() {
    let (twilio, hub) = (twilio().await, subscriber().await);
    let callback = hub.url("/recorded");
    let sid = place(&twilio, &hub, &[("Record", "true"), ("RecordingStatusCallback", &callback)]).await;
    let told = hub.wait_for("/recorded", 1, LIMIT).await.unwrap().remove(0);
    assert_eq!((field(&told, "CallSid"), field(&told, "RecordingStatus")), (sid.clone(), "completed".to_owned()));
    let of_call = twilio_call(&twilio, Method::GET, &format!("Calls/{sid}/Recordings.json"), &[]).await.unwrap();
    let recording = of_call.expect(200)["recordings"][0]["sid"].as_str().unwrap().to_owned();
    assert_eq!(recording, field(&told, "RecordingSid"));
    let path = format!("Recordings/{recording}.json");
    assert_eq!(twilio_call(&twilio, Method::GET, &path, &[]).await.unwrap().expect(200)["source"], "OutboundAPI");
    twilio_call(&twilio, Method::DELETE, &path, &[]).await.unwrap().expect(204);
    assert_eq!(twilio_call(&twilio, Method::GET, &path, &[]).await.unwrap().expect(404)["code"], 20404);
}

#[tokio::test]
async fn an_answer_that_is_no_document_leads_to_the_fallback_with_the_code() {
    let (twilio, hub) = (twilio().await, subscriber().await);
    let call = InboundCall { to: NUMBER.to_owned(), from: PERSON.to_owned(), ..InboundCall::default() };
    assert_eq!(twilio.call(&call).await.unwrap_err(), InboundError::NoVoiceUrl);
    twilio.set_voice_url(hub.url("/voice"), Some(hub.url("/fallback")));
    twilio.set_voice_status_url(hub.url("/told"), &[CallEvent::Completed]);
    let outcome = twilio.call(&call).await.unwrap();
    assert_eq!((outcome.status, outcome.answers.len()), (CallStatus::Completed, 2));
    assert_eq!(outcome.transcript, ["application error"]);
    let fallback = hub.requests("/fallback").remove(0);
    assert_eq!((field(&fallback, "ErrorCode"), field(&fallback, "ErrorUrl")), ("12300".to_owned(), hub.url("/voice")));
    assert_eq!(field(&hub.requests("/voice")[0], "CallStatus"), "ringing");
    hub.wait_for("/told", 1, LIMIT).await.unwrap();
    assert_eq!(told(&hub), [("0".to_owned(), "completed".to_owned())]);
}

#[tokio::test]
async fn what_twilio_would_refuse_is_refused() {
    let twilio = twilio().await;
    let refused = async |more: &[(&str, &str)]| {
        let mut form = vec![("To", PERSON), ("From", NUMBER)];
        form.extend_from_slice(more);
        twilio_call(&twilio, Method::POST, "Calls.json", &form).await.unwrap().expect(400)["code"].as_u64().unwrap()
    };
    let long = "x".repeat(4001);
    assert_eq!(refused(&[]).await, 21205);
    assert_eq!(refused(&[("Url", "ftp://x")]).await, 21205);
    assert_eq!(refused(&[("Twiml", &long)]).await, 21664);
    assert_eq!(refused(&[("Twiml", "<Response/>"), ("StatusCallback", "http://a_b.test")]).await, 21609);
    assert_eq!(refused(&[("Twiml", "<Response/>"), ("StatusCallbackEvent", "sung")]).await, 21626);
    assert!(twilio.calls().is_empty());
}

#[tokio::test]
async fn a_call_is_steered_over_http() {
    let (twilio, hub) = (twilio().await, subscriber().await);
    let url = |command: &str| format!("{}/_sim/{command}", twilio.base_url());
    let call =
        json!({"to": NUMBER, "from": PERSON, "person": {"inputs": [{"digits": "1"}, null, {"speech": ["akut", 0.9]}]}});
    post_json(&url("call"), &call).await.expect(409);
    let urls = json!({"voice_url": hub.url("/voice"), "voice_status_url": hub.url("/told"), "voice_status_events": ["ringing"]});
    post_json(&url("config"), &urls).await.expect(200);
    let outcome = post_json(&url("call"), &call).await.expect(200);
    assert_eq!(outcome["status"], "completed");
    hub.wait_for("/told", 1, LIMIT).await.unwrap();
    post_json(&url("callee"), &json!({"to": PERSON, "callee": {"ends": "no-answer"}})).await.expect(200);
    let sid = place(&twilio, &hub, &[]).await;
    assert!(twilio.wait_for_call(&sid, CallStatus::NoAnswer, LIMIT).await);
    assert_eq!(get(&url("calls")).await.expect(200)["calls"].as_array().unwrap().len(), 2);
}
