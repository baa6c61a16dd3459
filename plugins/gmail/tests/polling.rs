//! The poll: history becomes events, once each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use gmail::Gmail;
use serde_json::{Value, json};
use switchyard_sdk::error::HttpError;
use switchyard_sdk::testing::Answer;
use switchyard_sdk::{PluginError, Reason};

mod support;
use support::{ME, Mailbox, added, at, message, sync, sync_all, types};

const FROM: [(&str, &str); 3] =
    [("From", "Kunde <kunde@example.test>"), ("To", "office@firma.test"), ("Subject", "Vand")];

fn mailbox(records: &[Value], stands: u64) -> Mailbox {
    let mailbox = Mailbox::default();
    mailbox.history(&json!({ "history": records, "historyId": stands.to_string() }));
    mailbox
}

#[test]
fn the_first_poll_begins_where_the_mailbox_stands_and_tells_nothing() {
    let mailbox = Mailbox::default();
    mailbox.put("GET /profile", 200, json!({ "emailAddress": "x", "historyId": "500" }).to_string());
    mailbox.history(&json!({ "historyId": "500" }));
    let output = sync(&mailbox.host(), None).unwrap();
    assert!(output.events.is_empty() && !output.has_more);
    assert_eq!(output.cursor, at(500));
    assert_eq!(output.next_in.unwrap().as_secs(), 600);
}

#[test]
fn a_new_message_becomes_an_event_that_tells_what_it_says() {
    let mailbox = mailbox(&[added(7, "m1", &["UNREAD", "INBOX"])], 9);
    mailbox.message(&message("m1", &["UNREAD", "INBOX"], &FROM, "Kan I komme i dag?"));
    let host = mailbox.host();
    let output = sync(&host, at(5)).unwrap();
    assert_eq!(types(&output.events), ["email.received"]);
    let event = &output.events[0];
    assert_eq!(event.dedupe_key.as_deref(), Some("gmail:office@firma.test:message:m1:received"));
    assert_eq!((event.subject.as_deref(), event.time), (Some("m1"), Some(1_795_181_485_000)));
    assert_eq!(event.data["from"], "kunde@example.test");
    assert_eq!(event.data["from_name"], "Kunde");
    assert_eq!(event.data["to"], json!(["office@firma.test"]));
    assert_eq!(event.data["date"], "2026-11-20T13:31:25Z");
    assert_eq!(event.data["text"], "Kan I komme i dag?");
    assert_eq!(event.data["snippet"], "Hej & goddag");
    assert_eq!(event.data["has_attachments"], false);
    assert_eq!(output.cursor, at(9));
    let asked = &host.requests()[0].path;
    let wanted = "startHistoryId=5&historyTypes=messageAdded&historyTypes=labelAdded&historyTypes=labelRemoved";
    assert_eq!(asked, &format!("{ME}/history?{wanted}&maxResults=100"));
}

#[test]
fn spam_and_drafts_are_neither_fetched_nor_told() {
    let mailbox =
        mailbox(&[added(6, "m1", &["SPAM"]), added(7, "m2", &["DRAFT"]), added(8, "m3", &["INBOX", "DRAFT"])], 9);
    let host = mailbox.host();
    assert!(sync(&host, at(5)).unwrap().events.is_empty());
    assert_eq!(host.calls(), [format!("GET {ME}/history")]);
}

#[test]
fn what_we_sent_is_told_as_sent_also_when_it_went_to_ourselves() {
    let mailbox = mailbox(&[added(7, "m1", &["SENT", "INBOX", "UNREAD"])], 9);
    let mut headers = FROM.to_vec();
    headers.extend([("X-Hub-Idempotency-Key", "ref-1"), ("Bcc", "secret@example.test")]);
    mailbox.message(&message("m1", &["SENT", "INBOX", "UNREAD"], &headers, "Hej"));
    let events = sync(&mailbox.host(), at(5)).unwrap().events;
    assert_eq!(types(&events), ["email.sent"]);
    assert_eq!(events[0].dedupe_key.as_deref(), Some("gmail:office@firma.test:message:m1:sent"));
    assert_eq!(events[0].data["hub_ref"], "ref-1");
    assert_eq!(events[0].data["bcc"], json!(["secret@example.test"]));
}

#[test]
fn a_draft_that_is_sent_is_told_by_its_new_label() {
    let sent = json!({ "id": "7", "labelsAdded": [
        { "message": { "id": "m1", "threadId": "t1", "labelIds": ["SENT"] }, "labelIds": ["SENT"] }] });
    let mailbox = mailbox(&[sent], 9);
    mailbox.message(&message("m1", &["SENT"], &FROM, "Hej"));
    let events = sync(&mailbox.host(), at(5)).unwrap().events;
    assert_eq!(types(&events), ["email.labels_changed", "email.sent"]);
}

#[test]
fn labels_that_come_and_go_in_one_record_are_one_change() {
    let of = |labels: &[&str]| json!([{ "message": { "id": "m1", "threadId": "t1", "labelIds": ["STARRED"] }, "labelIds": labels }]);
    let record = json!({ "id": "7", "labelsAdded": of(&["STARRED"]), "labelsRemoved": of(&["UNREAD", "INBOX"]) });
    let host = mailbox(&[record], 9).host();
    let events = sync(&host, at(5)).unwrap().events;
    assert_eq!(types(&events), ["email.labels_changed"]);
    assert_eq!(events[0].dedupe_key.as_deref(), Some("gmail:office@firma.test:history:7:m1"));
    assert_eq!(events[0].data["added"], json!(["STARRED"]));
    assert_eq!(events[0].data["removed"], json!(["UNREAD", "INBOX"]));
    assert_eq!(host.calls().len(), 1, "a change of labels needs no fetch");
}

#[test]
fn a_message_that_was_archived_meanwhile_was_received_nevertheless() {
    let mailbox = mailbox(&[added(7, "m1", &["INBOX"])], 9);
    mailbox.message(&message("m1", &["STARRED"], &FROM, "Hej"));
    assert_eq!(types(&sync(&mailbox.host(), at(5)).unwrap().events), ["email.received"]);
}

#[test]
fn a_message_that_is_gone_when_it_is_fetched_is_left_out() {
    let mailbox = mailbox(&[added(6, "gone", &["INBOX"]), added(7, "m1", &["INBOX"])], 9);
    mailbox.message(&message("m1", &["INBOX"], &FROM, "Hej"));
    let output = sync(&mailbox.host(), at(5)).unwrap();
    assert_eq!((types(&output.events), output.cursor), (vec!["email.received"], at(9)));
}

#[test]
fn other_labels_than_the_inbox_can_make_a_message_received() {
    let mailbox = mailbox(&[added(6, "m1", &["Label_7"]), added(7, "m2", &["INBOX"])], 9);
    mailbox.message(&message("m1", &["Label_7"], &FROM, "Hej"));
    let settings = json!({ "mailbox": "office@firma.test", "labels": ["Label_7"] });
    let output = mailbox.host().poll::<Gmail>(settings, "sync", at(5)).unwrap();
    assert_eq!(output.events.len(), 1);
    assert_eq!(output.events[0].subject.as_deref(), Some("m1"));
}

#[test]
fn a_long_history_is_told_in_parts_each_message_once() {
    let records: Vec<Value> = (0..70).map(|n| added(100 + 3 * n, &format!("m{n}"), &["INBOX"])).collect();
    let mailbox = Mailbox::default();
    for n in 0..70 {
        mailbox.message(&message(&format!("m{n}"), &["INBOX"], &FROM, "Hej"));
    }
    // Gmail answers from the record after the one that is named.
    let query = "historyTypes=messageAdded&historyTypes=labelAdded&historyTypes=labelRemoved&maxResults=100";
    for start in std::iter::once(99).chain((0..70).map(|n| 100 + 3 * n)) {
        let later: Vec<&Value> =
            records.iter().filter(|record| record["id"].as_str().unwrap().parse::<u64>().unwrap() > start).collect();
        let page = json!({ "history": later, "historyId": "999" });
        mailbox.put(&format!("GET /history?startHistoryId={start}&{query}"), 200, page.to_string());
    }
    let (events, cursor) = sync_all(&mailbox.host(), at(99));
    let told: Vec<_> = events.iter().map(|event| event.subject.clone().unwrap()).collect();
    assert_eq!(told, (0..70).map(|n| format!("m{n}")).collect::<Vec<_>>());
    assert_eq!(cursor, at(999));
}

#[test]
fn a_record_with_more_messages_than_a_run_takes_is_told_in_parts() {
    let entries: Vec<Value> = (0..65)
        .map(|n| json!({ "message": { "id": format!("m{n}"), "threadId": "t1", "labelIds": ["INBOX"] } }))
        .collect();
    let mailbox = mailbox(&[added(50, "first", &["INBOX"]), json!({ "id": "60", "messagesAdded": entries })], 90);
    for n in 0..65 {
        mailbox.message(&message(&format!("m{n}"), &["INBOX"], &FROM, "Hej"));
    }
    mailbox.message(&message("first", &["INBOX"], &FROM, "Hej"));
    let host = mailbox.host();
    let first = sync(&host, at(40)).unwrap();
    assert_eq!((first.events.len(), first.has_more), (30, true));
    // The mock answers the whole history whatever the start, so what lies before it is taken away.
    mailbox.history(&json!({ "history": [{ "id": "60", "messagesAdded": entries }], "historyId": "90" }));
    let (rest, cursor) = sync_all(&host, first.cursor);
    let told: Vec<_> = first.events.iter().chain(&rest).map(|event| event.subject.clone().unwrap()).collect();
    let wanted: Vec<_> = std::iter::once("first".to_owned()).chain((0..65).map(|n| format!("m{n}"))).collect();
    assert_eq!((told, cursor), (wanted, at(90)));
}

#[test]
fn pages_without_records_are_followed_by_their_token() {
    let mailbox = Mailbox::default();
    mailbox.history(&json!({ "historyId": "90", "nextPageToken": "p2" }));
    let query = "startHistoryId=5&historyTypes=messageAdded&historyTypes=labelAdded&historyTypes=labelRemoved";
    mailbox.put(
        &format!("GET /history?{query}&maxResults=100&pageToken=p2"),
        200,
        json!({ "historyId": "90" }).to_string(),
    );
    assert_eq!(sync(&mailbox.host(), at(5)).unwrap().cursor, at(90));
}

#[test]
fn a_history_that_turns_in_a_circle_is_malformed_and_no_endless_loop() {
    let same = json!({ "historyId": "90", "nextPageToken": "p", "history": [added(5, "m1", &["SPAM"])] });
    for page in [same, json!({ "historyId": "90", "nextPageToken": "p" })] {
        let mailbox = Mailbox::default();
        mailbox.history(&page);
        let error = sync(&mailbox.host(), at(5)).unwrap_err();
        assert_eq!((&error.detail().reason, error.detail().code.as_str()), (&Reason::ProviderDown, "malformed_answer"));
    }
}

#[test]
fn an_id_that_is_too_old_is_told_and_the_last_week_is_listed() {
    let mailbox = Mailbox::default();
    mailbox.put("GET /profile", 200, json!({ "historyId": "700" }).to_string());
    let page = |ids: &[&str], next: Option<&str>| {
        let messages: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "threadId": "t1" })).collect();
        json!({ "messages": messages, "nextPageToken": next }).to_string()
    };
    let list = "GET /messages?q=newer_than%3A7d&maxResults=25";
    mailbox.put(list, 200, page(&["m3", "m2"], Some("p2")));
    mailbox.put(&format!("{list}&pageToken=p2"), 200, page(&["m1", "gone"], None));
    mailbox.message(&message("m1", &["SENT"], &FROM, "Hej"));
    mailbox.message(&message("m2", &["INBOX"], &FROM, "Hej"));
    mailbox.message(&message("m3", &["STARRED"], &FROM, "Hej"));
    let host = mailbox.host();
    let reset = sync(&host, at(5)).unwrap();
    assert_eq!(types(&reset.events), ["sync.reset"]);
    assert_eq!((&reset.events[0].data["from"], &reset.events[0].data["to"]), (&json!("5"), &json!("700")));
    assert_eq!(host.calls()[1], format!("GET {ME}/profile"), "where it stands is asked before the listing");
    mailbox.history(&json!({ "historyId": "701" }));
    let (events, cursor) = sync_all(&host, reset.cursor);
    assert_eq!((types(&events), cursor), (vec!["email.received", "email.sent"], at(701)));
}

#[test]
fn a_cursor_that_cannot_be_read_is_a_gap_and_not_an_end() {
    let mailbox = Mailbox::default();
    mailbox.put("GET /profile", 200, json!({ "historyId": "700" }).to_string());
    let output = sync(&mailbox.host(), Some("what another version wrote".to_owned())).unwrap();
    assert_eq!((types(&output.events), output.has_more), (vec!["sync.reset"], true));
}

#[test]
fn a_message_too_large_to_be_read_is_told_by_its_header() {
    let mailbox = mailbox(&[added(7, "m1", &["INBOX"])], 9);
    let mut short = message("m1", &["INBOX"], &FROM, "");
    short["payload"]["body"] = json!({ "size": 0 });
    mailbox.message(&short);
    let too_large = HttpError::ResponseTooLarge { status: 200, limit: 4 << 20 };
    let path = format!("{ME}/messages/m1?format=full");
    let host = mailbox.host().answer("gmail", "GET", &path, Answer::error(too_large));
    let events = sync(&host, at(5)).unwrap().events;
    assert_eq!((types(&events), &events[0].data["truncated"]), (vec!["email.received"], &json!(true)));
    assert_eq!(events[0].data["subject"], "Vand");
}

#[test]
fn a_failure_in_between_leaves_the_cursor_where_it_was() {
    let mailbox = mailbox(&[added(6, "m1", &["INBOX"]), added(7, "m2", &["INBOX"])], 9);
    mailbox.message(&message("m1", &["INBOX"], &FROM, "Hej"));
    mailbox.put("GET /messages/m2", 503, "<html>");
    let error = sync(&mailbox.host(), at(5)).unwrap_err();
    assert!(matches!(&error, PluginError::Retry { error, .. } if error.reason == Reason::ProviderDown), "{error}");
}
