//! What goes wrong on request, at both sides of the execution.

use http::Method;
use serde_json::json;
use switchyard_simulators::faults::{Fault, FaultBody};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{BILLY_TOKEN, LIMIT, NUMBER, PERSON, billy, billy_call, billy_get, send, twilio, twilio_call};

const FORM: [(&str, &str); 3] = [("To", PERSON), ("From", NUMBER), ("Body", "Hej")];

#[tokio::test]
async fn a_dropped_answer_has_been_executed() {
    let twilio = twilio().await;
    twilio.faults().arm("messages.create", Fault::DropAfter, 1);
    assert!(twilio_call(&twilio, Method::POST, "Messages.json", &FORM).await.is_err());
    assert_eq!(twilio.messages().len(), 1);
    send(&twilio, &FORM).await.expect(201);
}

#[tokio::test]
async fn a_failure_before_executes_nothing_and_a_failure_after_has_executed() {
    let twilio = twilio().await;
    twilio.faults().arm("messages.create", Fault::FailBefore { status: 503, body: FaultBody::Provider }, 2);
    twilio.faults().arm("messages.create", Fault::FailAfter { status: 500, body: FaultBody::Provider }, 1);
    for _ in 0..2 {
        assert_eq!(send(&twilio, &FORM).await.expect(503)["code"], 20503);
    }
    assert!(twilio.messages().is_empty());
    assert_eq!(send(&twilio, &FORM).await.expect(500)["code"], 20500);
    assert_eq!(twilio.messages().len(), 1);
    let count = twilio.counts()["messages.create"];
    assert_eq!((count.received, count.executed), (3, 1));
}

#[tokio::test]
async fn a_rate_limit_may_say_when_to_come_back() {
    let twilio = twilio().await;
    twilio.faults().arm("messages.*", Fault::RateLimit { retry_after_s: Some(7) }, 1);
    twilio.faults().arm("*", Fault::RateLimit { retry_after_s: None }, 1);
    let first = send(&twilio, &FORM).await;
    assert_eq!((first.status, first.headers["retry-after"].to_str().unwrap()), (429, "7"));
    let second = send(&twilio, &FORM).await;
    assert_eq!((second.json()["code"].as_u64(), second.headers.get("retry-after")), (Some(20429), None));
    assert!(twilio.messages().is_empty());
}

#[tokio::test]
async fn a_wrong_token_can_be_pretended() {
    let twilio = twilio().await;
    twilio.faults().arm("messages.create", Fault::WrongToken, 1);
    assert_eq!(send(&twilio, &FORM).await.expect(401)["code"], 20003);
    send(&twilio, &FORM).await.expect(201);
}

#[tokio::test]
async fn a_held_request_is_seen_as_held_and_gets_its_answer_at_the_release() {
    let billy = billy().await;
    billy.faults().arm("contacts.create", Fault::HangAfter, 1);
    let contact = json!({"contact": {"type": "company", "name": "Kunde ApS", "countryId": "DK"}});
    let handle = billy.handle.clone();
    let request = tokio::spawn(async move { billy_call(&handle, Method::POST, "/contacts", &contact).await });
    billy.faults().wait_held(1, LIMIT).await.unwrap();
    assert_eq!((billy.contact_count(), request.is_finished()), (1, false));
    billy.faults().release();
    request.await.unwrap().unwrap().expect(200);
    assert_eq!(billy.faults().held(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_held_and_what_it_asked_for_stays() {
    let billy = billy().await;
    billy.faults().arm("contacts.create", Fault::HangAfter, 1);
    let body = json!({"contact": {"type": "company", "name": "Kunde ApS", "countryId": "DK"}}).to_string();
    let address = billy.base_url().strip_prefix("http://").unwrap().to_owned();
    let mut client = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v2/contacts HTTP/1.1\r\nHost: {address}\r\nX-Access-Token: {BILLY_TOKEN}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    billy.faults().wait_held(1, LIMIT).await.unwrap();
    drop(client);
    assert!(billy.faults().wait_none_held(LIMIT).await);
    assert_eq!(billy.contact_count(), 1);
}

#[tokio::test]
async fn an_error_may_be_no_json_or_have_a_log_line_before_it() {
    let billy = billy().await;
    billy.faults().arm("organization.fetch", Fault::FailBefore { status: 500, body: FaultBody::Html }, 1);
    let fault = Fault::FailBefore { status: 502, body: FaultBody::LogLineThenProvider };
    billy.faults().arm("organization.fetch", fault, 1);
    let html = billy_get(&billy, "/organization").await;
    assert!(html.status == 500 && html.body.starts_with(b"<html>"));
    let logged = billy_get(&billy, "/organization").await;
    let (line, document) = std::str::from_utf8(&logged.body).unwrap().split_once('\n').unwrap();
    assert!(line.starts_with("PHP Warning"));
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!(document["meta"]["statusCode"], 502);
}

#[tokio::test]
async fn latency_combines_with_another_fault() {
    let billy = billy().await;
    billy.faults().arm("organization.fetch", Fault::Latency { ms: 1 }, 1);
    billy.faults().arm("organization.fetch", Fault::FailBefore { status: 503, body: FaultBody::Empty }, 1);
    let failed = billy_get(&billy, "/organization").await;
    assert_eq!((failed.status, failed.body.len()), (503, 0));
    billy_get(&billy, "/organization").await.expect(200);
    assert!(billy.faults().armed().is_empty());
}

#[tokio::test]
async fn a_wrong_clock_shows_in_the_providers_stamps() {
    let twilio = twilio().await;
    twilio.set_clock_offset_ms(-86_400_000);
    let sent = send(&twilio, &FORM).await.expect(201);
    assert_eq!(sent["date_created"], "Thu, 19 Nov 2026 13:31:25 +0000");
}

#[tokio::test]
async fn an_answer_may_be_spoilt_although_all_went_well() {
    let twilio = twilio().await;
    for body in [FaultBody::Truncated, FaultBody::WrongTypes, FaultBody::EmptyObject, FaultBody::Huge] {
        let before = twilio.messages().len();
        twilio.faults().arm("messages.create", Fault::Spoil { body }, 1);
        let answer = send(&twilio, &FORM).await;
        assert_eq!((answer.status, twilio.messages().len()), (201, before + 1), "{body:?}");
        let read: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        assert!(read["sid"].as_str().is_none(), "{body:?}");
    }
}

#[tokio::test]
async fn a_request_may_be_dropped_unheard_and_an_answer_reset() {
    let twilio = twilio().await;
    twilio.faults().arm("messages.create", Fault::DropBefore, 1);
    assert!(twilio_call(&twilio, Method::POST, "Messages.json", &FORM).await.is_err());
    assert!(twilio.messages().is_empty());
    twilio.faults().arm("messages.create", Fault::ResetAfter, 1);
    assert!(twilio_call(&twilio, Method::POST, "Messages.json", &FORM).await.is_err());
    assert_eq!(twilio.messages().len(), 1);
}

#[tokio::test]
async fn a_credential_without_an_end_is_refused_once() {
    let billy = billy().await;
    billy.faults().arm("*", Fault::ExpireToken, 1);
    assert_eq!(billy_get(&billy, "/organization").await.status, 401);
    billy_get(&billy, "/organization").await.expect(200);
}
