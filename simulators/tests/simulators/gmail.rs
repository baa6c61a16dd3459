//! A mailbox: messages, history, search, sending, and who may do what.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::{
    faults::{Fault, FaultBody},
    gmail::Behaviour,
};

use crate::{
    gmail_support::{MAILBOX, READ, SEND, World, mail, world, world_with},
    support::{call, get, post_json},
};

fn history_ids(answer: &Value) -> Vec<u64> {
    let records = answer["history"].as_array().cloned().unwrap_or_default();
    records.iter().map(|record| record["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn send(world: &World, raw: &str, thread: Option<&str>) -> crate::support::Got {
    let mut body = json!({"raw": URL_SAFE.encode(raw)});
    if let Some(thread) = thread {
        body["threadId"] = json!(thread);
    }
    world.call(Method::POST, "/messages/send", &body).await
}

#[tokio::test]
async fn a_message_that_arrives_is_in_the_history_and_can_be_read_in_every_form() {
    let world = world().await;
    let before = world.gmail.history_id();
    let id = world.gmail.receive(mail("Vand", "<q@mail.example.test>", "Kan I komme?"));
    let history = world.get(&format!("/history?startHistoryId={before}")).await.expect(200);
    assert_eq!(history["history"][0]["messagesAdded"][0]["message"]["id"], id);
    assert_eq!(history["history"][0]["messagesAdded"][0]["message"]["labelIds"], json!(["INBOX", "UNREAD"]));
    let full = world.get(&format!("/messages/{id}?format=full")).await.expect(200);
    assert_eq!(full["payload"]["mimeType"], "text/plain");
    assert_eq!(URL_SAFE.decode(full["payload"]["body"]["data"].as_str().unwrap()).unwrap(), b"Kan I komme?\r\n");
    let raw = world.get(&format!("/messages/{id}?format=raw")).await.expect(200);
    assert!(URL_SAFE.decode(raw["raw"].as_str().unwrap()).unwrap().starts_with(b"From: "));
    let some = world.get(&format!("/messages/{id}?format=metadata&metadataHeaders=subject")).await.expect(200);
    assert_eq!(some["payload"]["headers"], json!([{"name": "Subject", "value": "Vand"}]));
    world.get("/messages/nothing").await.expect(404);
}

#[tokio::test]
async fn parts_are_a_tree_with_transfer_encodings_undone_and_attachments_by_id() {
    let world = world().await;
    let raw = "From: a@example.test\r\nTo: office@firma.test\r\nSubject: =?iso-8859-1?Q?K=E6lder?=\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n\
        --b1\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n\
        --b2\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        K=E6lder\r\n--b2\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        PHA+aGVqPC9wPg==\r\n--b2--\r\n\
        --b1\r\nContent-Type: application/pdf; name=\"t.pdf\"\r\nContent-Disposition: attachment; filename=\"t.pdf\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\naGVqIQ==\r\n--b1--\r\n";
    let id = world.gmail.receive(raw);
    let full = world.get(&format!("/messages/{id}")).await.expect(200);
    let payload = &full["payload"];
    assert_eq!(payload["headers"][2], json!({"name": "Subject", "value": "=?iso-8859-1?Q?K=E6lder?="}));
    let plain = &payload["parts"][0]["parts"][0];
    assert_eq!((&plain["partId"], &plain["mimeType"]), (&json!("0.0"), &json!("text/plain")));
    // The charset is left as it was.
    assert_eq!(URL_SAFE.decode(plain["body"]["data"].as_str().unwrap()).unwrap(), b"K\xe6lder");
    let html = &payload["parts"][0]["parts"][1];
    assert_eq!(URL_SAFE.decode(html["body"]["data"].as_str().unwrap()).unwrap(), b"<p>hej</p>");
    let pdf = &payload["parts"][1];
    assert_eq!((&pdf["filename"], &pdf["body"]["size"]), (&json!("t.pdf"), &json!(4)));
    assert!(pdf["body"].get("data").is_none());
    let attachment = pdf["body"]["attachmentId"].as_str().unwrap();
    let fetched = world.get(&format!("/messages/{id}/attachments/{attachment}")).await.expect(200);
    assert_eq!(URL_SAFE.decode(fetched["data"].as_str().unwrap()).unwrap(), b"hej!");
}

#[tokio::test]
async fn history_has_gaps_pages_types_and_an_end() {
    let world = world_with(|options| options.behaviour.page_size = 2).await;
    let before = world.gmail.history_id();
    assert!(world.get(&format!("/history?startHistoryId={before}")).await.expect(200).get("history").is_none());
    let ids: Vec<String> =
        (0..5).map(|n| world.gmail.receive(mail(&format!("m{n}"), &format!("<{n}@x.test>"), "x"))).collect();
    assert!(world.gmail.relabel(&ids[0], &["STARRED"], &["UNREAD"]));
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/history?startHistoryId={before}{token}")).await.expect(200);
        seen.extend(history_ids(&page));
        let Some(next) = page["nextPageToken"].as_str() else { break };
        token = format!("&pageToken={next}");
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]) && seen.windows(2).any(|pair| pair[0] + 1 < pair[1]));
    assert_eq!(*seen.last().unwrap(), world.gmail.history_id());
    let labels = world.get(&format!("/history?startHistoryId={before}&historyTypes=labelAdded")).await.expect(200);
    assert_eq!(labels["history"][0]["labelsAdded"][0]["labelIds"], json!(["STARRED"]));
    assert_eq!(history_ids(&labels).len(), 1);
    world.get("/history?startHistoryId=1&historyTypes=everything").await.expect(404);
    let last = seen[5];
    assert_eq!(history_ids(&world.get(&format!("/history?startHistoryId={last}")).await.expect(200)), [seen[6]]);
}

#[tokio::test]
async fn an_id_that_is_too_old_is_404_and_the_profile_says_where_it_stands() {
    let world = world().await;
    let before = world.gmail.history_id();
    world.gmail.receive(mail("a", "<a@x.test>", "x"));
    world.gmail.forget_history();
    let error = world.get(&format!("/history?startHistoryId={before}")).await.expect(404);
    assert_eq!(error["error"]["errors"][0]["reason"], "notFound");
    let stands = world.get("/profile").await.expect(200)["historyId"].as_str().unwrap().to_owned();
    world.get(&format!("/history?startHistoryId={stands}")).await.expect(200);
    world.get("/history").await.expect(400);
}

#[tokio::test]
async fn a_search_finds_by_message_id_label_and_age_and_not_before_it_is_indexed() {
    let world = world_with(|options| options.behaviour.index_delay_ms = 3_000).await;
    let id = world.gmail.receive(mail("Vand", "<q@mail.example.test>", "x"));
    let find = async |query: &str| world.get(&format!("/messages?q={query}")).await.expect(200);
    assert!(find("rfc822msgid%3Aq%40mail.example.test").await.get("messages").is_none());
    world.clock.advance(Duration::from_secs(3));
    for query in [
        "rfc822msgid%3Aq%40mail.example.test",
        "rfc822msgid%3A%3Cq%40mail.example.test%3E",
        "in%3Ainbox",
        "newer_than%3A7d",
        "vand",
    ] {
        assert_eq!(find(query).await["messages"][0]["id"], id, "{query}");
    }
    for query in ["rfc822msgid%3Aother%40x", "in%3Asent", "after%3A99999999999", "olie"] {
        assert!(find(query).await.get("messages").is_none(), "{query}");
    }
    world.gmail.receive_with_labels(mail("spam", "<s@x.test>", "x"), &["SPAM"]);
    world.clock.advance(Duration::from_secs(3));
    assert!(find("rfc822msgid%3As%40x.test").await.get("messages").is_none());
    let all = world.get("/messages?q=rfc822msgid%3As%40x.test&includeSpamTrash=true").await.expect(200);
    assert_eq!(all["messages"].as_array().unwrap().len(), 1);
    world.get("/messages?q=newer_than%3Asoon").await.expect(400);
}

#[tokio::test]
async fn what_is_sent_stands_under_sent_in_its_thread_and_in_the_history() {
    let world = world().await;
    let question = world.gmail.receive(mail("Vand", "<q@mail.example.test>", "x"));
    let before = world.gmail.history_id();
    let answer = "From: office@firma.test\r\nTo: kunde@example.test\r\nSubject: Re: Vand\r\n\
        Message-ID: <hub.1@firma.test>\r\nIn-Reply-To: <q@mail.example.test>\r\n\
        References: <q@mail.example.test>\r\n\r\nJa\r\n";
    let sent = send(&world, answer, Some(&question)).await.expect(200);
    assert_eq!((&sent["threadId"], &sent["labelIds"]), (&json!(question), &json!(["SENT"])));
    let history = world.get(&format!("/history?startHistoryId={before}")).await.expect(200);
    assert_eq!(history["history"][0]["messagesAdded"][0]["message"]["id"], sent["id"]);
    assert_eq!(world.gmail.sent()[0].message_id.as_deref(), Some("hub.1@firma.test"));
    // Another subject begins another thread, whatever the sender named.
    let other = answer.replace("Re: Vand", "Noget andet").replace("hub.1", "hub.2");
    let other = send(&world, &other, Some(&question)).await.expect(200);
    assert_eq!(other["threadId"], other["id"]);
    send(&world, answer, Some("nothing")).await.expect(404);
    let thread = world.get(&format!("/threads/{question}?format=metadata")).await.expect(200);
    assert_eq!(thread["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_message_to_oneself_is_sent_and_received() {
    let world = world().await;
    let raw = format!("To: {MAILBOX}\r\nSubject: x\r\n\r\nx\r\n");
    let sent = send(&world, &raw, None).await.expect(200);
    assert_eq!(sent["labelIds"], json!(["INBOX", "SENT", "UNREAD"]));
    let id = world.gmail.sent()[0].message_id.clone().unwrap();
    assert!(id.ends_with("@mail.gmail.com"), "a missing Message-ID is added: {id}");
}

#[tokio::test]
async fn what_gmail_would_refuse_is_refused() {
    let world = world().await;
    for raw in ["Subject: x\r\n\r\nx", "To: nobody\r\n\r\nx", "To: a@localhost\r\n\r\nx", "Cc: @x.test\r\n\r\nx"] {
        let error = send(&world, raw, None).await.expect(400);
        assert_eq!(error["error"]["code"], 400, "{raw}");
    }
    world.call(Method::POST, "/messages/send", &json!({"raw": "+/+/"})).await.expect(400);
    world.call(Method::POST, "/messages/send", &json!({})).await.expect(400);
    assert!(world.gmail.sent().is_empty());
}

#[tokio::test]
async fn a_message_id_can_be_rewritten_while_other_fields_stay() {
    let world = world_with(|options| options.behaviour.rewrite_message_id = true).await;
    let raw = "To: a@b.test\r\nMessage-ID: <hub.1@firma.test>\r\nX-Hub-Idempotency-Key: ref\r\n\r\nx\r\n";
    let sent = send(&world, raw, None).await.expect(200);
    let id = world.gmail.sent()[0].message_id.clone().unwrap();
    assert!(id.ends_with("@mail.gmail.com"), "{id}");
    let path =
        format!("/messages/{}?format=metadata&metadataHeaders=X-Hub-Idempotency-Key", sent["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.expect(200)["payload"]["headers"][0]["value"], "ref");
}

#[tokio::test]
async fn labels_are_modified_listed_and_made() {
    let world = world().await;
    let id = world.gmail.receive(mail("a", "<a@x.test>", "x"));
    let path = format!("/messages/{id}/modify");
    let changed = world.call(Method::POST, &path, &json!({"removeLabelIds": ["UNREAD"]})).await.expect(200);
    assert_eq!(changed["labelIds"], json!(["INBOX"]));
    world.call(Method::POST, &path, &json!({"addLabelIds": ["Nothing"]})).await.expect(400);
    let many: Vec<String> = (0..101).map(|n| format!("Label_{n}")).collect();
    world.call(Method::POST, &path, &json!({"addLabelIds": many})).await.expect(400);
    let made = world.call(Method::POST, "/labels", &json!({"name": "Kunder"})).await.expect(200);
    world.call(Method::POST, "/labels", &json!({"name": "kunder"})).await.expect(409);
    let labels = world.get("/labels").await.expect(200);
    assert!(labels["labels"].as_array().unwrap().iter().any(|label| label["id"] == made["id"]));
}

#[tokio::test]
async fn a_token_must_be_good_ours_and_for_the_operation() {
    let world = world().await;
    let url = format!("{}/gmail/v1/users/me/profile", world.gmail.base_url());
    for token in ["", "Bearer nonsense", "Basic x"] {
        let error = call(Method::GET, &url, &[("authorization", token)], "").await.unwrap().expect(401);
        assert_eq!(error["error"]["errors"][0]["reason"], "authError");
    }
    let reader = world.token(MAILBOX, &[READ]);
    world.call_with(&reader, Method::GET, "/profile", &Value::Null).await.expect(200);
    let error = world.call_with(&reader, Method::POST, "/messages/send", &json!({})).await.expect(403);
    assert_eq!(error["error"]["errors"][0]["reason"], "insufficientPermissions");
    let sender = world.token(MAILBOX, &[SEND]);
    world.call_with(&sender, Method::GET, "/messages", &Value::Null).await.expect(403);
    let other = world.token("other@firma.test", &[READ]);
    let profile = world.call_with(&other, Method::GET, "/profile", &Value::Null).await.expect(200);
    assert_eq!(profile["emailAddress"], "other@firma.test");
    world.call_with(&other, Method::GET, "/messages", &Value::Null).await.expect(404);
    world.google.grants().expire_tokens();
    world.get("/profile").await.expect(401);
}

#[tokio::test]
async fn rate_limits_have_both_forms_and_name_a_time() {
    let world = world().await;
    world.gmail.faults().arm("profile.get", Fault::RateLimit { retry_after_s: None }, 1);
    let error = world.get("/profile").await.expect(429);
    let text = error["error"]["message"].as_str().unwrap();
    assert!(text.contains("Retry after 2026-11-20T13:31:27.000Z"), "{text}");
    world.gmail.faults().arm("profile.get", Fault::FailBefore { status: 403, body: FaultBody::Provider }, 1);
    let error = world.get("/profile").await.expect(403);
    assert_eq!(error["error"]["errors"][0]["domain"], "usageLimits");
    assert_eq!(error["error"]["errors"][0]["reason"], "userRateLimitExceeded");
}

#[tokio::test]
async fn a_lost_answer_has_sent_the_message() {
    let world = world().await;
    world.gmail.faults().arm("messages.send", Fault::DropAfter, 1);
    let url = format!("{}/gmail/v1/users/me/messages/send", world.gmail.base_url());
    let body = json!({"raw": URL_SAFE.encode("To: a@b.test\r\n\r\nx\r\n")}).to_string();
    call(Method::POST, &url, &[("authorization", &world.bearer())], body).await.unwrap_err();
    assert_eq!(world.gmail.sent().len(), 1);
    assert_eq!(world.gmail.counts()["messages.send"], switchyard_simulators::Count { received: 1, executed: 1 });
}

#[tokio::test]
async fn a_mailbox_is_steered_over_http() {
    let world = world().await;
    let url = |command: &str| format!("{}/_sim/{command}", world.gmail.base_url());
    let arrived = json!({"from": "kunde@example.test", "subject": "Vand", "text": "Hej"});
    let id = post_json(&url("receive"), &arrived).await.expect(200)["id"].clone();
    post_json(&url("receive"), &json!({"raw": "From: a@b.test\nSubject: x\n\nx"})).await.expect(200);
    post_json(&url("receive"), &json!({})).await.expect(400);
    post_json(&url("relabel"), &json!({"message_id": id, "remove": ["UNREAD"]})).await.expect(200);
    post_json(&url("relabel"), &json!({"message_id": "nothing"})).await.expect(404);
    let messages = get(&url("messages")).await.expect(200);
    assert_eq!(messages["messages"][0]["labels"], json!(["INBOX"]));
    let behaviour = Behaviour { numeric_history_id: true, ..Behaviour::default() };
    assert_eq!(post_json(&url("behaviour"), &json!(behaviour)).await.expect(200), json!(behaviour));
    post_json(&url("forget-history"), &Value::Null).await.expect(200);
    assert_eq!(get(&url("watch")).await.expect(200)["watched"], false);
    post_json(&url("push"), &json!({})).await.expect(409);
    post_json(&url("nothing"), &Value::Null).await.expect(404);
}
