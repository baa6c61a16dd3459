use serde_json::json;
use switchyard_simulators::twilio::{Forgery, InboundSms};
use switchyard_tests::{
    api::text,
    hub::Hub,
    world::{ACCOUNT_SID, bundled, twilio},
};

const NUMBER: &str = "+4570000001";
const TOKEN: &str = "00112233445566778899aabbccddeeff";

fn sms(body: &str, forgery: Forgery) -> InboundSms {
    InboundSms {
        to: NUMBER.to_owned(),
        from: "+4520123456".to_owned(),
        body: body.to_owned(),
        media: Vec::new(),
        opt_out_type: None,
        signing: Default::default(),
        forgery,
    }
}

#[tokio::test]
async fn a_forged_signature_is_refused_alike_for_every_cause_and_makes_no_event() {
    let hub = Hub::start().await;
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let (tenant, simulator) = (hub.tenant("acme").await, twilio(TOKEN).await);
    let secret = json!({"username": ACCOUNT_SID, "password": TOKEN});
    let connection = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "base_url": simulator.base_url(), "secret": secret});
    let connection = tenant.connection(&connection).await;
    let wanted = json!({"config": {"account_sid": ACCOUNT_SID, "from": NUMBER}, "connections": {"twilio": connection}});
    let installed = tenant.install("twilio", &wanted).await;
    simulator.set_sms_url(text(&installed["sources"][0], "url"), None);

    let mut bodies = Vec::new();
    for forgery in [Forgery::WrongKey, Forgery::NoSignature, Forgery::AlteredBody] {
        let outcome = simulator.send(&sms("not from Twilio", forgery)).await.expect("it is sent");
        assert_eq!(outcome.status, Some(401), "{forgery:?}: {}", outcome.body);
        bodies.push(outcome.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the causes can be told apart: {bodies:?}");
    let rejections = tenant.list("/rejections").await;
    assert_eq!(rejections.len(), 3, "{rejections:?}");
    for rejection in &rejections {
        assert_eq!((&rejection["code"], &rejection["status"]), (&json!("unauthenticated"), &json!(401)));
        assert!(!text(rejection, "reason").is_empty(), "the admin is told why: {rejection}");
        assert!(!rejection.to_string().contains("not from Twilio"), "a rejection keeps no body: {rejection}");
    }
    let mut made = tenant.list("/events").await;
    made.retain(|event| event["type"] != "_poll.due");
    assert!(made.is_empty(), "a forged request made an event: {made:?}");
    assert!(tenant.list("/parked").await.is_empty(), "a forged request was parked");

    let outcome = simulator.send(&sms("Rørskade!", Forgery::None)).await.expect("it is sent");
    assert_eq!(outcome.status, Some(200), "{}", outcome.body);
    let events = tenant.list("/events?type=sms.received").await;
    assert_eq!(events.len(), 1, "{events:?}");
}

#[tokio::test]
async fn a_source_that_does_not_exist_is_not_found_whatever_its_id_looks_like() {
    let hub = Hub::start().await;
    let mut answers = Vec::new();
    for id in
        ["src_00000000000000000000000000000000", "src_1", "x", "%2e%2e", "src_00000000000000000000000000000000/more"]
    {
        let reply = hub.without_key().raw("POST", &format!("/in/{id}"), &[], "{}").await;
        assert_eq!(reply.status, 404, "{id}: {}", reply.text);
        answers.push(reply.text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}
