//! Announcements: asked for at install, renewed every day, stopped at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use gmail::Gmail;
use serde_json::{Value, json};
use switchyard_sdk::testing::{Answer, MockHost, NOON};
use switchyard_sdk::{PluginError, Reason};

mod support;
use support::{MAILBOX, ME, TOPIC, config, pushed, refused};

const DAY: u64 = 86_400_000;

fn profile(address: &str) -> Answer {
    Answer::json(200, json!({ "emailAddress": address, "historyId": "500" }))
}

fn watching() -> Answer {
    Answer::json(200, json!({ "historyId": "500", "expiration": (NOON + 7 * DAY).to_string() }))
}

fn get(path: &str) -> String {
    format!("{ME}{path}")
}

fn installed() -> MockHost {
    let host = MockHost::new().answer("gmail", "GET", &get("/profile"), profile(MAILBOX)).answer(
        "gmail",
        "POST",
        &get("/watch"),
        watching(),
    );
    host.install::<Gmail>(pushed()).unwrap();
    host
}

fn posts(host: &MockHost, path: &str) -> usize {
    host.calls().iter().filter(|call| **call == format!("POST {ME}{path}")).count()
}

#[test]
fn an_install_proves_the_login_and_asks_for_announcements() {
    let host = installed();
    let body: Value = serde_json::from_slice(host.requests()[1].body.as_ref().unwrap()).unwrap();
    assert_eq!(body, json!({ "topicName": TOPIC, "labelIds": ["INBOX", "SENT"], "labelFilterBehavior": "include" }));
    let forecast: Value = serde_json::from_slice(&host.stored("expires/watch").unwrap()).unwrap();
    assert_eq!((&forecast["at"], &forecast["renews"]), (&json!(NOON + 7 * DAY), &json!(true)));
    // The first poll goes on from where the mailbox stood at the install.
    let host = host.answer("gmail", "GET", &get("/history"), Answer::json(200, json!({ "historyId": "501" })));
    host.poll::<Gmail>(pushed(), "sync", None).unwrap();
    assert!(host.requests()[2].path.contains("startHistoryId=500"));
}

#[test]
fn without_a_topic_the_login_is_proved_and_nothing_announced() {
    let host = MockHost::new().answer("gmail", "GET", &get("/profile"), profile("OFFICE@firma.test"));
    host.install::<Gmail>(config()).unwrap();
    assert_eq!(host.calls(), [format!("GET {ME}/profile")]);
    assert_eq!(host.poll::<Gmail>(config(), "watch", None).unwrap().events, []);
    host.uninstall::<Gmail>(config()).unwrap();
    assert_eq!(host.calls().len(), 1);
}

#[test]
fn a_login_of_another_mailbox_names_the_field() {
    let host = MockHost::new().answer("gmail", "GET", &get("/profile"), profile("other@firma.test"));
    let error = host.install::<Gmail>(pushed()).unwrap_err();
    assert!(matches!(&error, PluginError::NeedsAttention(detail) if detail.reason == Reason::Config), "{error}");
    assert!(error.to_string().contains("`mailbox`") && !error.to_string().contains("other@firma.test"), "{error}");
}

#[test]
fn a_topic_that_gmail_may_not_use_is_explained() {
    for (status, reason, word) in [(403, "forbidden", "Publisher"), (400, "invalidArgument", "same project")] {
        let host = MockHost::new().answer("gmail", "GET", &get("/profile"), profile(MAILBOX)).answer(
            "gmail",
            "POST",
            &get("/watch"),
            refused(status, reason, "User not authorized"),
        );
        let error = host.install::<Gmail>(pushed()).unwrap_err();
        assert!(matches!(&error, PluginError::NeedsAttention(_)), "{error}");
        assert!(error.to_string().contains(word) && error.to_string().contains("`push.topic`"), "{error}");
    }
}

#[test]
fn announcements_are_renewed_every_day_and_may_be_asked_for_twice() {
    let host = installed().answer("gmail", "POST", &get("/watch"), watching());
    host.poll::<Gmail>(pushed(), "watch", None).unwrap();
    assert_eq!(posts(&host, "/watch"), 2);
    let repeats = host.requests().into_iter().filter(|request| request.path.ends_with("/watch"));
    assert!(repeats.clone().all(|request| request.idempotency.is_some()), "the host may repeat it");
}

#[test]
fn a_renewal_that_a_person_must_mend_ends_alone_and_the_mailbox_is_looked_at_further() {
    let closed = || refused(403, "forbidden", "User not authorized");
    let host = installed().answer("gmail", "POST", &get("/watch"), closed());
    let error = host.poll::<Gmail>(pushed(), "watch", None).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.reason == Reason::Config), "{error}");
    host.advance(6 * DAY + 1);
    let host = host.answer("gmail", "POST", &get("/watch"), closed()).answer(
        "gmail",
        "GET",
        &get("/history"),
        Answer::json(200, json!({ "historyId": "501" })),
    );
    host.poll::<Gmail>(pushed(), "sync", Some(json!({ "history_id": 500 }).to_string())).unwrap();
    assert!(host.logs().iter().any(|line| line.message.contains("announcements")));
}

#[test]
fn a_look_at_the_mailbox_renews_what_ends_soon_and_follows_the_config() {
    let history = || Answer::json(200, json!({ "historyId": "501" }));
    let cursor = || Some(json!({ "history_id": 500 }).to_string());
    let host = installed().answer("gmail", "GET", &get("/history"), history());
    host.poll::<Gmail>(pushed(), "sync", cursor()).unwrap();
    assert_eq!(posts(&host, "/watch"), 1, "six days are left");
    host.advance(6 * DAY + 1);
    let host = host
        .answer(
            "gmail",
            "POST",
            &get("/watch"),
            Answer::json(200, json!({ "expiration": (NOON + 14 * DAY).to_string() })),
        )
        .answer("gmail", "GET", &get("/history"), history());
    host.poll::<Gmail>(pushed(), "sync", cursor()).unwrap();
    assert_eq!(posts(&host, "/watch"), 2);
    let mut other = pushed();
    other["labels"] = json!(["INBOX", "Label_7"]);
    let host =
        host.answer("gmail", "POST", &get("/watch"), watching()).answer("gmail", "GET", &get("/history"), history());
    host.poll::<Gmail>(other, "sync", cursor()).unwrap();
    assert_eq!(posts(&host, "/watch"), 3);
    let host = host.answer("gmail", "POST", &get("/stop"), Answer::body(204, "")).answer(
        "gmail",
        "GET",
        &get("/history"),
        history(),
    );
    host.poll::<Gmail>(config(), "sync", cursor()).unwrap();
    assert_eq!((posts(&host, "/stop"), host.stored("watched"), host.stored("expires/watch")), (1, None, None));
}

#[test]
fn an_uninstall_stops_the_announcements() {
    let host = installed().answer("gmail", "POST", &get("/stop"), Answer::body(204, ""));
    host.uninstall::<Gmail>(pushed()).unwrap();
    assert_eq!(posts(&host, "/stop"), 1);
}
