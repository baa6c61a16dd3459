//! Twilio's REST API.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use switchyard_simulators::twilio::MessageStatus;

use crate::support::{ACCOUNT, LIMIT, NUMBER, PERSON, Running, call, send, twilio, twilio_call, twilio_with};

type Twilio = Running<switchyard_simulators::twilio::Handle>;

async fn fetch(twilio: &Twilio, path: &str) -> Value {
    twilio_call(twilio, Method::GET, path, &[]).await.unwrap().expect(200)
}

async fn refused(twilio: &Twilio, form: &[(&str, &str)]) -> u64 {
    let error = send(twilio, form).await.expect(400);
    assert_eq!(error["status"], 400);
    error["code"].as_u64().unwrap()
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_20003() {
    let twilio = twilio().await;
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", twilio.base_url());
    let wrong = "Basic QUM6d3Jvbmc=";
    for headers in [vec![], vec![("authorization", wrong)]] {
        let error = call(Method::GET, &url, &headers, "").await.unwrap().expect(401);
        assert_eq!((error["code"].as_u64(), error["message"].as_str()), (Some(20003), Some("Authenticate")));
    }
}

#[tokio::test]
async fn a_message_is_created_fetched_and_found_by_its_filters() {
    let twilio = twilio().await;
    let sent = send(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", "Ref 17: på vej")]).await.expect(201);
    assert_eq!((sent["status"].as_str(), sent["date_sent"].clone()), (Some("queued"), Value::Null));
    assert_eq!(sent["date_created"], "Fri, 20 Nov 2026 13:31:25 +0000");
    let sid = sent["sid"].as_str().unwrap();
    assert!(twilio.wait_for_status(sid, MessageStatus::Delivered, LIMIT).await);
    assert_eq!(fetch(&twilio, &format!("Messages/{sid}.json")).await["status"], "delivered");
    let query = "Messages.json?To=%2B4520123456&From=%2B4570000001&DateSent%3E=2026-11-20";
    assert_eq!(fetch(&twilio, query).await["messages"][0]["sid"], sid);
    for other in ["To=%2B4511111111", "DateSent%3E=2026-11-21", "DateSent%3C=2026-11-19", "DateSent=2026-11-19"] {
        let page = fetch(&twilio, &format!("Messages.json?{other}")).await;
        assert_eq!(page["messages"], Value::Array(vec![]), "{other}");
    }
}

#[tokio::test]
async fn numbers_and_bodies_are_validated() {
    let twilio = twilio().await;
    let long = "x".repeat(1601);
    assert_eq!(refused(&twilio, &[("From", NUMBER), ("Body", "Hej")]).await, 21604);
    assert_eq!(refused(&twilio, &[("To", "20123456"), ("From", NUMBER), ("Body", "Hej")]).await, 21211);
    assert_eq!(refused(&twilio, &[("To", PERSON), ("Body", "Hej")]).await, 21603);
    assert_eq!(refused(&twilio, &[("To", PERSON), ("From", "+4599999999"), ("Body", "Hej")]).await, 21606);
    assert_eq!(refused(&twilio, &[("To", PERSON), ("From", NUMBER)]).await, 21602);
    assert_eq!(refused(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", &long)]).await, 21617);
    let callback = [("To", PERSON), ("From", NUMBER), ("Body", "Hej"), ("StatusCallback", "http://a_b.test/")];
    assert_eq!(refused(&twilio, &callback).await, 21609);
    assert!(twilio.messages().is_empty());
}

#[tokio::test]
async fn a_list_is_paged_and_new_messages_do_not_shift_the_next_page() {
    let twilio = twilio().await;
    for number in 0..5 {
        send(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", &format!("Nr {number}"))]).await.expect(201);
    }
    let bodies = |page: &Value| -> Vec<String> {
        page["messages"].as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap().to_owned()).collect()
    };
    let mut page = fetch(&twilio, "Messages.json?PageSize=2&To=%2B4520123456").await;
    assert_eq!(bodies(&page), ["Nr 4", "Nr 3"]);
    send(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", "Nr 5")]).await.expect(201);
    let mut rest = Vec::new();
    while let Some(next) = page["next_page_uri"].as_str() {
        let path = next.strip_prefix(&format!("/2010-04-01/Accounts/{ACCOUNT}/")).unwrap().to_owned();
        page = fetch(&twilio, &path).await;
        rest.extend(bodies(&page));
    }
    assert_eq!(rest, ["Nr 2", "Nr 1", "Nr 0"]);
}

#[tokio::test]
async fn a_message_can_be_redacted_and_deleted_once_it_has_arrived() {
    let twilio = twilio().await;
    let sent = send(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", "hemmeligt")]).await.expect(201);
    let sid = sent["sid"].as_str().unwrap();
    let path = format!("Messages/{sid}.json");
    assert!(twilio.wait_for_status(sid, MessageStatus::Delivered, LIMIT).await);
    let redacted = twilio_call(&twilio, Method::POST, &path, &[("Body", "")]).await.unwrap().expect(200);
    assert_eq!(redacted["body"], "");
    twilio_call(&twilio, Method::DELETE, &path, &[]).await.unwrap().expect(204);
    let gone = twilio_call(&twilio, Method::GET, &path, &[]).await.unwrap().expect(404);
    assert_eq!(gone["code"], 20404);
}

#[tokio::test]
async fn a_queued_message_can_be_withdrawn_and_a_sent_one_cannot() {
    let twilio = twilio_with(|options| options.status_step = Duration::from_secs(3_600_000)).await;
    let sent = send(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", "Hej")]).await.expect(201);
    let path = format!("Messages/{}.json", sent["sid"].as_str().unwrap());
    let cancel = [("Status", "canceled")];
    assert_eq!(twilio_call(&twilio, Method::POST, &path, &cancel).await.unwrap().expect(200)["status"], "canceled");
    assert_eq!(twilio_call(&twilio, Method::POST, &path, &cancel).await.unwrap().expect(400)["code"], 30409);
}

#[tokio::test]
async fn a_call_is_created_and_fetched() {
    let twilio = twilio().await;
    let form = [("To", PERSON), ("From", NUMBER), ("Url", "https://hub.example.test/voice")];
    let created = twilio_call(&twilio, Method::POST, "Calls.json", &form).await.unwrap().expect(201);
    let sid = created["sid"].as_str().unwrap();
    assert!(sid.starts_with("CA") && sid.len() == 34);
    assert_eq!(fetch(&twilio, &format!("Calls/{sid}.json")).await["to"], PERSON);
    let form = [("To", PERSON), ("From", NUMBER)];
    assert_eq!(twilio_call(&twilio, Method::POST, "Calls.json", &form).await.unwrap().expect(400)["code"], 21205);
}

#[tokio::test]
async fn equal_seeds_give_equal_identifiers() {
    let mut sids = Vec::new();
    for _ in 0..2 {
        let twilio = twilio_with(|options| options.seed = 7).await;
        sids.push(send(&twilio, &[("To", PERSON), ("From", NUMBER), ("Body", "Hej")]).await.expect(201)["sid"].clone());
    }
    assert_eq!(sids[0], sids[1]);
}
