use std::time::Duration;

use serde_json::{Value, json};
use switchyard_simulators::{
    faults::{Fault, FaultBody},
    gmail::{Forgery, PushOrder},
    subscriber,
};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    gmail::{MAILBOX, Mailbox, mail},
    hub::Hub,
    world::{bundled, subscriber},
};

/// A message that was not executed is looked up in vain for ten seconds before it is sent again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hub in real time, so that only a push makes the mailbox be looked at soon.
async fn world() -> (Mailbox, Hub, Tenant) {
    let mailbox = Mailbox::start(60).await;
    let hub = mailbox.hub().time_factor(1).start().await;
    let _ = hub.push(bundled("gmail")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    mailbox.install(&hub, &tenant).await;
    (mailbox, hub, tenant)
}

async fn listening(tenant: &Tenant, types: &[&str]) -> subscriber::Handle {
    let at = subscriber().await;
    let _ = tenant.endpoint(&at, "/hook", types, json!({})).await;
    at
}

async fn events(tenant: &Tenant, kind: &str) -> Vec<Value> {
    let mut whole = Vec::new();
    for event in tenant.list(&format!("/events?type={kind}&limit=200")).await {
        whole.push(tenant.get(&format!("/events/{}", text(&event, "id"))).await.expect(200));
    }
    whole
}

async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut seen = String::new();
    let looking = async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(instead) => seen = instead,
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited {} s for {what}; saw {seen}", PATIENCE.as_secs()),
    }
}

/// Waits until nothing of the plugin is under way.
async fn idle(tenant: &Tenant) {
    until("the plugin to be idle", async || {
        let all = tenant.list("/deliveries?target=plugin:gmail&limit=200").await;
        let live =
            all.iter().filter(|one| ["queued", "running", "waiting"].contains(&one["state"].as_str().unwrap_or("")));
        match live.count() {
            0 => Ok(()),
            count => Err(format!("{count} live")),
        }
    })
    .await;
}

/// Orders a message; answers the delivery to the plugin once it is in this state.
async fn sent(tenant: &Tenant, subject: &str, state: &str) -> Value {
    let command = json!({"type": "email.send", "data": {"to": [{"email": "kunde@example.test", "name": "Søren"}],
        "subject": subject, "text": "Vi kommer kl. 14"}});
    let correlation = text(&tenant.publish(&command).await, "correlation_id");
    patiently(&format!("the command to be {state}"), async || {
        let all = tenant.list("/deliveries?target=plugin:gmail&limit=200").await;
        let ours = all.iter().find(|one| one["correlation_id"] == correlation && one["event_type"] == "email.send");
        ours.filter(|one| one["state"] == state).cloned().ok_or_else(|| json!(ours).to_string())
    })
    .await
}

#[tokio::test]
async fn a_message_that_arrives_is_pushed_and_reaches_a_subscriber() {
    let (mailbox, _hub, tenant) = world().await;
    let at = listening(&tenant, &["email.received"]).await;
    let id = mailbox.gmail.receive(mail("=?iso-8859-1?Q?K=E6lder?=", "q1"));
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!(arrived.status, Some(200), "{:?}", arrived.verdict);
    let data = &arrived.json()["data"];
    assert_eq!((&data["message_id"], &data["subject"]), (&json!(id), &json!("Kælder")));
    assert_eq!((&data["from"], &data["from_name"]), (&json!("kunde@example.test"), &json!("Søren")));
    assert_eq!(data["text"].as_str().map(str::trim_end), Some("Vand i kælderen"));
    assert!(mailbox.gmail.pushes().iter().all(|pushed| pushed.statuses == [204]), "{:?}", mailbox.gmail.pushes());
}

#[tokio::test]
async fn a_forged_push_is_401_whatever_is_forged_about_it() {
    let (mailbox, _hub, tenant) = world().await;
    let asked = || mailbox.gmail.counts()["history.list"].received;
    let mut rounds = 0;
    loop {
        idle(&tenant).await;
        let before = asked();
        for forgery in Forgery::ALL {
            let order = PushOrder { forgery, ..PushOrder::default() };
            let outcome = mailbox.gmail.push(&order).await.expect("it is answered");
            assert_eq!(outcome.status, 401, "{forgery:?}: {}", outcome.body);
        }
        rounds += 1;
        assert_eq!(tenant.all("/rejections").await.len(), rounds * Forgery::ALL.len());
        // What a push makes due runs at once, so it would be among what is waited for here.
        idle(&tenant).await;
        if asked() == before {
            break;
        }
        // A poll of the installation's own may fall between the two looks, but not every time.
        assert!(rounds < 5, "forged pushes made the hub look");
    }
    let good = mailbox.gmail.push(&PushOrder::default()).await.expect("it is answered");
    assert_eq!(good.status, 204, "{}", good.body);
}

#[tokio::test]
async fn fifty_pushes_in_any_order_tell_of_each_message_once() {
    let (mailbox, _hub, tenant) = world().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        mailbox.gmail.receive(mail(&format!("m{n}"), &format!("m{n}")));
        ids.push(mailbox.gmail.history_id());
    }
    for n in 0..50 {
        let history_id = Some(ids[(n * 7 + 3) % ids.len()]);
        let outcome = mailbox.gmail.push(&PushOrder { history_id, ..PushOrder::default() }).await.expect("answered");
        assert_eq!(outcome.status, 204);
        if n % 10 == 0 {
            mailbox.gmail.republish(n % 20 == 0);
        }
    }
    until("five messages", async || {
        let found = events(&tenant, "email.received").await.len();
        if found >= 5 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    idle(&tenant).await;
    let mut subjects: Vec<String> =
        events(&tenant, "email.received").await.iter().map(|event| text(&event["data"], "subject")).collect();
    subjects.sort();
    assert_eq!(subjects, ["m0", "m1", "m2", "m3", "m4"]);
}

#[tokio::test]
async fn labels_that_change_are_told_and_do_not_make_a_message_new() {
    let (mailbox, _hub, tenant) = world().await;
    let id = mailbox.gmail.receive(mail("m", "m"));
    until("the message", async || {
        let found = events(&tenant, "email.received").await.len();
        if found == 1 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    assert!(mailbox.gmail.relabel(&id, &["STARRED"], &["UNREAD"]));
    until("the labels", async || {
        let found = events(&tenant, "email.labels_changed").await;
        if found.len() == 2 { Ok(()) } else { Err(json!(found).to_string()) }
    })
    .await;
    assert_eq!(events(&tenant, "email.received").await.len(), 1);
}

#[tokio::test]
async fn a_history_that_is_gone_is_told_and_what_came_meanwhile_is_found() {
    let (mailbox, _hub, tenant) = world().await;
    idle(&tenant).await;
    // Nobody is told of it, and then nobody remembers it.
    mailbox.gmail.expire_watch();
    mailbox.gmail.receive(mail("lost", "lost"));
    mailbox.gmail.forget_history();
    let _ = mailbox.gmail.push(&PushOrder::default()).await.expect("it is answered");
    until("the message of the gap", async || {
        let found = events(&tenant, "email.received").await;
        if found.len() == 1 { Ok(()) } else { Err(json!(found).to_string()) }
    })
    .await;
    assert_eq!(events(&tenant, "sync.reset").await.len(), 1);
    // The history is followed again after it.
    mailbox.gmail.receive(mail("next", "next"));
    let _ = mailbox.gmail.push(&PushOrder::default()).await.expect("it is answered");
    until("the next message", async || {
        let found = events(&tenant, "email.received").await.len();
        if found == 2 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    assert_eq!(events(&tenant, "sync.reset").await.len(), 1);
}

#[tokio::test]
async fn a_watch_of_seven_days_is_renewed_every_day() {
    // A day of the hub is about two seconds, and seven days of Gmail about seven.
    let mailbox = Mailbox::start(80_000).await;
    let hub = mailbox.hub().time_factor(40_000).start().await;
    let _ = hub.push(bundled("gmail")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    mailbox.install(&hub, &tenant).await;
    until("the renewals of more than seven days", async || {
        assert!(mailbox.gmail.is_watched(), "the watch ended");
        let asked = mailbox.gmail.counts()["watch"].executed;
        if asked >= 6 { Ok(()) } else { Err(asked.to_string()) }
    })
    .await;
    let _ = hub.delete(&tenant.path("/plugins/gmail")).await.expect(202);
    until(
        "the announcements to stop",
        async || {
            if mailbox.gmail.is_watched() { Err("watched".to_owned()) } else { Ok(()) }
        },
    )
    .await;
}

#[tokio::test]
async fn a_message_is_sent_once_whatever_happens_to_the_answer() {
    let (mailbox, _hub, tenant) = world().await;
    let faults = [
        ("executed, then the line broke", Fault::DropAfter),
        ("executed, then 500", Fault::FailAfter { status: 500, body: FaultBody::Html }),
        ("not executed, 503", Fault::FailBefore { status: 503, body: FaultBody::Provider }),
        ("not executed, 403 with a rate reason", Fault::FailBefore { status: 403, body: FaultBody::Provider }),
        ("not executed, 429", Fault::RateLimit { retry_after_s: Some(1) }),
    ];
    for (number, (what, fault)) in faults.into_iter().enumerate() {
        mailbox.gmail.faults().arm("messages.send", fault, 1);
        let _ = sent(&tenant, what, "delivered").await;
        assert!(mailbox.gmail.faults().armed().is_empty(), "{what}: the fault was met");
        let all = mailbox.gmail.sent();
        assert_eq!(all.len(), number + 1, "{what}");
        assert_eq!(all.iter().filter(|message| message.subject == what).count(), 1, "{what}");
    }
    // The poll has seen them too, and nobody is told twice.
    until("the poll to have seen the last one", async || {
        let cursor = mailbox.gmail.counts()["messages.get"].executed;
        if cursor >= 5 { Ok(()) } else { Err(cursor.to_string()) }
    })
    .await;
    idle(&tenant).await;
    let told = events(&tenant, "email.sent").await;
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.iter().all(|event| event["data"]["hub_ref"].as_str().is_some_and(|text| text.len() == 32)));
}

#[tokio::test]
async fn a_message_that_went_out_before_a_crash_is_adopted_after_it() {
    let (mailbox, mut hub, tenant) = world().await;
    mailbox.gmail.faults().arm("messages.send", Fault::HangAfter, 1);
    let command =
        json!({"type": "email.send", "data": {"to": ["kunde@example.test"], "subject": "Crash", "text": "x"}});
    let _ = tenant.publish(&command).await;
    mailbox.gmail.faults().wait_held(1, SOON).await.expect("Gmail has the message and says nothing");
    hub.kill().await;
    assert!(mailbox.gmail.faults().wait_none_held(SOON).await, "the connection went with the hub");
    hub.restart().await;
    patiently("the command to end", async || {
        let all = tenant.list("/deliveries?target=plugin:gmail&limit=200").await;
        let done = all.iter().any(|one| one["event_type"] == "email.send" && one["state"] == "delivered");
        if done { Ok(()) } else { Err(json!(all).to_string()) }
    })
    .await;
    assert_eq!(mailbox.gmail.sent().len(), 1);
    assert_eq!(mailbox.gmail.counts()["messages.send"].received, 1);
}

#[tokio::test]
async fn recipients_that_gmail_refuses_end_the_command_with_gmails_words() {
    let (mailbox, _hub, tenant) = world().await;
    let command = json!({"type": "email.send", "data": {"to": ["kunde@localhost"], "subject": "x", "text": "x"}});
    let _ = tenant.publish(&command).await;
    let dead = tenant.delivery_in("plugin:gmail", "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("bad_data"), &json!("gmail_400")), "{dead}");
    assert!(mailbox.gmail.sent().is_empty());
    let refused = tenant.post("/events", &json!({"type": "email.send", "data": {"to": ["nobody"], "text": "x"}})).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
}

#[tokio::test]
async fn a_login_that_ended_holds_the_command_until_somebody_logs_in_again() {
    let mailbox = Mailbox::start(60).await;
    let hub = mailbox.hub().time_factor(1).start().await;
    let _ = hub.push(bundled("gmail")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let (app, connection) = mailbox.install(&hub, &tenant).await;
    assert_eq!(mailbox.google.grants().revoke_grants(Some(MAILBOX)), 1);
    let command = json!({"type": "email.send", "data": {"to": ["kunde@example.test"], "subject": "Late", "text": "x"}});
    let _ = tenant.publish(&command).await;
    let is_held = |one: &Value| one["event_type"] == "email.send" && one["state"] == "held";
    let _ = tenant.delivery("plugin:gmail", "held", is_held).await;
    let shown = tenant.get(&format!("/connections/{connection}")).await.expect(200);
    assert_eq!(shown["state"], "needs_login", "{shown}");
    assert_eq!(events(&tenant, "connection.login_needed").await.len(), 1);
    let secret = json!({"secret": mailbox.secret(&app)});
    let _ = tenant.post(&format!("/connections/{connection}/rotate"), &secret).await.expect(200);
    patiently("the command to be carried out", async || match mailbox.gmail.sent().len() {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
}
