//! A plugin that does as it is told, and is told to go round the policy.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde_json::{Value, json};
use switchyard_simulators::twilio;
use switchyard_tests::{
    api::{Tenant, text},
    hub::Hub,
    world::{self, ACCOUNT_SID},
};

use super::{NUMBER, PERSON, TOKEN, ended, guested};

const MESSAGES: &str = "/2010-04-01/Accounts/AC00000000000000000000000000000001/Messages.json";
const CALLS: &str = "/2010-04-01/Accounts/AC00000000000000000000000000000001/Calls.json";
const VICTIM: &str = "+4530123456";

/// The guest with a connection to Twilio whose provider is called so.
async fn hired(provider: &str) -> (Hub, Tenant, twilio::Handle) {
    let (hub, tenant) = guested().await;
    let twilio = world::twilio(TOKEN).await;
    let account = json!({"provider": provider, "name": "account", "kind": "basic", "base_url": twilio.base_url(),
        "secret": {"username": ACCOUNT_SID, "password": TOKEN}});
    let account = tenant.connection(&account).await;
    let _ = tenant.install("misbehave", &json!({"retry_schedule": [0], "connections": {"basic": account}})).await;
    (hub, tenant, twilio)
}

fn form(to: &str) -> String {
    format!("To={}&From={}&Body=Hi&Twiml=%3CResponse%2F%3E", to.replace('+', "%2B"), NUMBER.replace('+', "%2B"))
}

/// What the guest saw of its request, made in a run of a command to a person.
async fn tried(tenant: &Tenant, command: &str, to: &str, path: &str, body: &str, more: Value) -> Value {
    let mut data = json!({"do": "call", "to": to, "method": "POST", "connection": "basic", "path": path, "body": body,
        "headers": [["content-type", "application/x-www-form-urlencoded"]]});
    for (name, value) in more.as_object().into_iter().flatten() {
        data[name] = value.clone();
    }
    let published = tenant.publish(&json!({"type": command, "data": data})).await;
    let _ = ended(tenant, &text(&published, "id"), "delivered").await;
    let correlation = text(&published, "correlation_id");
    let told = tenant.list(&format!("/events?type=test.done&correlation_id={correlation}")).await;
    told[0]["data"].clone()
}

/// A server that says yes to everything and counts; answers its address.
async fn anybody(seen: &Arc<AtomicUsize>) -> String {
    let seen = Arc::clone(seen);
    let router = Router::new().fallback(move || {
        seen.fetch_add(1, Ordering::SeqCst);
        async { "{}" }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[track_caller]
fn assert_denied(seen: &Value, word: &str) {
    let error = seen["error"].as_str().unwrap_or_else(|| panic!("it was sent: {seen}"));
    assert!(error.contains("Denied") && error.contains(word), "{error}");
}

#[tokio::test]
async fn nobody_is_texted_or_called_outside_a_run_of_the_command_for_it() {
    let (_hub, tenant, twilio) = hired("twilio").await;
    for path in
        [MESSAGES, &MESSAGES.replace(".json", ""), &MESSAGES.replace("Messages", "Mess%61ges"), &format!("{MESSAGES}/")]
    {
        assert_denied(&tried(&tenant, "test.do", PERSON, path, &form(PERSON), json!({})).await, "sms.send");
        assert_denied(&tried(&tenant, "call.create", PERSON, path, &form(PERSON), json!({})).await, "sms.send");
    }
    assert_denied(&tried(&tenant, "sms.send", PERSON, CALLS, &form(PERSON), json!({})).await, "call.create");
    // To call it reading, or to ask for another method beside, opens nothing.
    assert_denied(
        &tried(&tenant, "test.do", PERSON, MESSAGES, &form(PERSON), json!({"read_only": true})).await,
        "sms.send",
    );
    let overridden = json!({"method": "GET", "headers": [["X-HTTP-Method-Override", "POST"]]});
    assert_denied(&tried(&tenant, "test.do", PERSON, MESSAGES, &form(PERSON), overridden).await, "sms.send");
    assert!(twilio.messages().is_empty() && twilio.calls().is_empty());
    let read = tried(&tenant, "test.do", PERSON, MESSAGES, "", json!({"method": "GET", "headers": []})).await;
    assert_eq!(read["status"], 200, "reading is open: {read}");
}

#[tokio::test]
async fn a_run_for_one_person_reaches_no_other() {
    let (_hub, tenant, twilio) = hired("twilio").await;
    let no = json!({"channel": "sms", "address": VICTIM, "state": "withdrawn"});
    let _ = tenant.api.put(&tenant.path("/consents"), &no).await.expect(200);
    let both = format!("{}&To={}", form(PERSON), VICTIM.replace('+', "%2B"));
    for (path, body) in [
        (MESSAGES.to_owned(), form(VICTIM)),
        (MESSAGES.to_owned(), both),
        (format!("{MESSAGES}?To={}", VICTIM.replace('+', "%2B")), form(PERSON)),
        (MESSAGES.to_owned(), "Body=Hi".to_owned()),
        (MESSAGES.to_owned(), json!({"To": VICTIM}).to_string()),
    ] {
        assert_denied(&tried(&tenant, "sms.send", PERSON, &path, &body, json!({})).await, "recipient");
    }
    assert_denied(&tried(&tenant, "call.create", PERSON, CALLS, &form(VICTIM), json!({})).await, "recipient");
    assert!(twilio.messages().is_empty() && twilio.calls().is_empty());
    let good = tried(&tenant, "sms.send", PERSON, MESSAGES, &form(PERSON), json!({})).await;
    assert_eq!(good["status"], 201, "{good}");
    assert_eq!(twilio.messages().len(), 1);
}

#[tokio::test]
async fn a_mail_and_an_invitation_reach_only_whom_they_may() {
    let (_hub, tenant) = guested().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let google = json!({"provider": "google", "name": "google", "kind": "basic", "base_url": anybody(&seen).await,
        "secret": {"username": "a", "password": "b"}});
    let google = tenant.connection(&google).await;
    let _ = tenant.install("misbehave", &json!({"retry_schedule": [0], "connections": {"basic": google}})).await;
    let no = json!({"channel": "email", "address": "nej@example.test", "state": "withdrawn"});
    let _ = tenant.api.put(&tenant.path("/consents"), &no).await.expect(200);
    let send = "/gmail/v1/users/me/messages/send";
    let mail =
        |to: &str| json!({"raw": URL_SAFE.encode(format!("To: <{to}>\r\nSubject: Hi\r\n\r\nHello"))}).to_string();
    let (ours, other) = (mail("ja@example.test"), mail("nej@example.test"));
    let to = "ja@example.test";
    assert_denied(&tried(&tenant, "test.do", to, send, &ours, json!({})).await, "email.send");
    assert_denied(&tried(&tenant, "email.send", to, send, &other, json!({})).await, "recipient");
    assert_denied(
        &tried(&tenant, "email.send", to, "/gmail/v1/users/me/drafts/send", "{}", json!({})).await,
        "recipient",
    );
    assert_denied(&tried(&tenant, "email.send", to, "/batch/gmail/v1", "", json!({})).await, "recipient");
    let good = tried(&tenant, "email.send", to, send, &ours, json!({})).await;
    assert_eq!(good["status"], 200, "{good}");
    let insert = "/calendar/v3/calendars/primary/events?sendUpdates=all";
    let visit = |who: &str| json!({"summary": "Visit", "attendees": [{"email": who}]}).to_string();
    assert_denied(&tried(&tenant, "test.do", to, insert, &visit(to), json!({})).await, "appointment.create");
    assert_denied(
        &tried(&tenant, "appointment.create", to, insert, &visit("Nej@example.test"), json!({})).await,
        "opted out",
    );
    let good = tried(&tenant, "appointment.create", to, insert, &visit(to), json!({})).await;
    assert_eq!(good["status"], 200, "{good}");
    assert_eq!(seen.load(Ordering::SeqCst), 2, "nothing else left");
}
