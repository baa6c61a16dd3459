use switchyard_simulators::{
    faults::Fault,
    twilio::{CallStatus, InboundCall, Person},
};
use switchyard_tests::{api::SOON, hub::Hub};

use super::{NUMBER, PERSON, Stage, TRANSCRIPT, customer};

#[tokio::test]
async fn a_call_is_answered_by_the_config_and_followed_to_its_end_with_callbacks_shuffled_and_doubled() {
    let stage = Stage::new().await;
    let faults = stage.twilio.faults();
    faults.arm("webhook.call_status", Fault::OutOfOrder, 1);
    faults.arm("webhook.call_status", Fault::Duplicate, 4);
    faults.arm("webhook.voice", Fault::Duplicate, 4);
    faults.arm("webhook.recording", Fault::Duplicate, 1);
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    assert_eq!((&outcome.errors, outcome.status), (&Vec::<String>::new(), CallStatus::Completed));
    assert_eq!(outcome.transcript, TRANSCRIPT);
    let call_id = outcome.call_sid.as_str();
    let end = stage.end_of(call_id).await;
    assert_eq!(
        (&end["outcome"], &end["status"], &end["sip_code"]),
        (&"completed".into(), &"completed".into(), &200.into())
    );
    // Four documents, one recording, three callbacks: each request ended, those that came twice too.
    assert!(stage.twilio.wait_for_webhooks(call_id, 8, SOON).await, "{:?}", stage.twilio.webhooks());
    let recording = stage.event("call.recording_ready", |data| data["call_id"] == call_id).await;
    stage.drained().await;
    assert_eq!(recording["recording_id"], stage.twilio.recordings()[0].sid.as_str());
    assert_eq!(recording["duration_s"], 7);
    for (event_type, count) in [("call.received", 1), ("call.input_received", 1), ("call.recording_ready", 1)] {
        assert_eq!(stage.events(event_type).await.len(), count, "{event_type}");
    }
    let received = &stage.events("call.received").await[0];
    assert_eq!((&received["from"], &received["caller_name"]), (&PERSON.into(), &"VVS & <Søn>".into()));
    let told = stage.transitions(call_id).await;
    assert_eq!(told.last().map(String::as_str), Some("ended completed"), "{told:?}");
    assert!(told.iter().any(|state| state.starts_with("transfer")), "{told:?}");
    assert!(told.iter().any(|state| state.starts_with("voicemail")), "{told:?}");
    assert!(stage.tenant.list("/rejections").await.is_empty() && stage.tenant.list("/parked").await.is_empty());
}

#[tokio::test]
async fn a_callback_that_comes_late_changes_nothing() {
    let stage = Stage::new().await;
    // Later than the whole call takes.
    stage.twilio.faults().arm("webhook.call_status", Fault::Delay { ms: 60_000 }, 1);
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    let _ = stage.end_of(&outcome.call_sid).await;
    assert!(stage.twilio.wait_for_webhooks(&outcome.call_sid, 8, SOON).await);
    stage.drained().await;
    let told = stage.transitions(&outcome.call_sid).await;
    assert_eq!(told.iter().filter(|state| state.starts_with("ended")).count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_call_whose_end_was_lost_is_asked_about_and_ends() {
    // Polls come 600 times as fast, so that the second one is soon.
    let stage = Stage::on(Hub::builder().time_factor(600)).await;
    // The hub refuses what it cannot verify, so it never hears of this call's end nor of its recording.
    stage.twilio.faults().arm("webhook.call_status", Fault::WrongSignature, 10);
    stage.twilio.faults().arm("webhook.recording", Fault::WrongSignature, 1);
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    let end = stage.end_of(&outcome.call_sid).await;
    assert_eq!(end["outcome"], "completed");
    let recording = stage.event("call.recording_ready", |data| data["call_id"] == outcome.call_sid.as_str()).await;
    assert_eq!(recording["recording_id"], stage.twilio.recordings()[0].sid.as_str());
    assert!(!stage.tenant.list("/rejections").await.is_empty());
}

#[tokio::test]
async fn silence_is_asked_again_and_ends_in_a_recording_and_who_hangs_up_has_ended() {
    let stage = Stage::new().await;
    let silent = Person { speaks_s: 0, ..Person::default() };
    let call =
        |person| InboundCall { to: NUMBER.to_owned(), from: PERSON.to_owned(), person, ..InboundCall::default() };
    let outcome = stage.twilio.call(&call(silent)).await.expect("the call is carried out");
    assert_eq!(outcome.transcript.iter().filter(|line| *line == "gather nothing").count(), 3, "{outcome:?}");
    assert!(outcome.transcript.ends_with(&["record 0".to_owned(), "say Farvel.".to_owned(), "hang up".to_owned()]));
    assert_eq!(stage.end_of(&outcome.call_sid).await["outcome"], "completed");
    assert!(stage.events("call.input_received").await.is_empty(), "silence is no input");

    let hasty = Person { hangs_up_after: Some(1), ..Person::default() };
    let outcome = stage.twilio.call(&call(hasty)).await.expect("the call is carried out");
    assert_eq!(outcome.transcript.last().map(String::as_str), Some("caller hangs up"));
    assert_eq!(stage.end_of(&outcome.call_sid).await["outcome"], "completed");
}

#[tokio::test]
async fn a_hub_that_failed_gets_the_call_at_its_fallback() {
    let stage = Stage::new().await;
    // The first address refuses the request, as a hub does whose token was rotated too early.
    stage.twilio.faults().arm("webhook.voice", Fault::WrongSignature, 1);
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    assert_eq!(outcome.answers.first(), Some(&Some(401)), "{outcome:?}");
    assert_eq!(outcome.transcript[0], "say We are sorry, something went wrong.", "{outcome:?}");
    assert!(outcome.transcript[1].starts_with("dial "), "{outcome:?}");
    assert_eq!(stage.end_of(&outcome.call_sid).await["outcome"], "completed");
    assert_eq!(stage.events("call.received").await.len(), 1);
}
