use serde_json::json;

use super::*;

fn asked<'a>(provider: &'a str, host: &'a str, method: &'a str, path: &'a str) -> Asked<'a> {
    Asked { provider, host, method, path, overridden: false }
}

fn commands(provider: &str, host: &str, method: &str, path: &str) -> Option<&'static [&'static str]> {
    gate(&asked(provider, host, method, path)).map(|gate| gate.commands)
}

const MESSAGES: &str = "/2010-04-01/Accounts/AC1/Messages.json";

#[test]
fn sending_is_closed_outside_its_command_and_reading_is_open() {
    let twilio = |method: &str, path: &str| commands("twilio", "provider.example", method, path);
    for path in [
        MESSAGES,
        "/2010-04-01/Accounts/AC1/Messages.json?x=1",
        "/2010-04-01/Accounts/AC1/Messages",
        "/2010-04-01/Accounts/AC1/messages.JSON",
        "/2010-04-01/Accounts/AC1/Mess%61ges.json",
        "/2010-04-01/Accounts/AC1/Mess%2561ges.json",
        "/2010-04-01/Accounts/AC1/Messages/",
        "/2010-04-01/Accounts/AC1//Messages.xml;x=1",
        "/2010-04-01/Accounts/AC1/SMS/Messages",
    ] {
        assert_eq!(twilio("POST", path), Some(&["sms.send"][..]), "{path}");
        assert_eq!(twilio("PUT", path), Some(&["sms.send"][..]), "{path}");
        assert_eq!(twilio("GET", path), None, "{path}");
    }
    assert_eq!(twilio("POST", "/2010-04-01/Accounts/AC1/Calls.json"), Some(&["call.create"][..]));
    assert_eq!(twilio("POST", "/2010-04-01/Accounts/AC1/Calls/CA1.json"), None, "an existing call");
    assert_eq!(commands("billy", "api.billysbilling.com", "POST", MESSAGES), None);
    let overridden = Asked { overridden: true, ..asked("twilio", "", "GET", MESSAGES) };
    assert!(gate(&overridden).is_some(), "a GET that asks to be taken for a POST");
}

#[test]
fn a_provider_is_known_by_its_host_too() {
    assert_eq!(commands("own", "api.twilio.com", "POST", MESSAGES), Some(&["sms.send"][..]));
    assert_eq!(commands("own", "API.Twilio.com.", "POST", MESSAGES), Some(&["sms.send"][..]));
    assert_eq!(commands("own", "nottwilio.com", "POST", MESSAGES), None);
    let send = "/gmail/v1/users/me/messages/send";
    assert_eq!(commands("own", "gmail.googleapis.com", "POST", send), Some(&["email.send"][..]));
    assert_eq!(commands("own", "www.googleapis.com", "POST", send), Some(&["email.send"][..]));
}

#[test]
fn googles_ways_of_writing_to_people_are_closed() {
    let told = |method: &str, path: &str| gate(&asked("google", "", method, path)).map(|gate| gate.told);
    assert_eq!(told("POST", "/gmail/v1/users/me/messages/send"), Some(Told::Mail));
    assert_eq!(told("POST", "/upload/gmail/v1/users/me/messages/send?uploadType=media"), Some(Told::Mail));
    for path in [
        "/gmail/v1/users/me/drafts/send",
        "/batch/gmail/v1",
        "/gmail/v1/users/me/settings/forwardingAddresses",
        "/gmail/v1/users/me/settings/vacation",
    ] {
        assert_eq!(told("POST", path), Some(Told::Nowhere), "{path}");
    }
    for path in ["/gmail/v1/users/me/messages/18c1/modify", "/gmail/v1/users/me/watch", "/gmail/v1/users/me/drafts"] {
        assert_eq!(told("POST", path), None, "{path}");
    }
    let event = "/calendar/v3/calendars/primary/events";
    assert_eq!(told("POST", &format!("{event}?sendUpdates=all")), Some(Told::Attendees));
    assert_eq!(told("PATCH", &format!("{event}/e1?sendUpdates=externalOnly")), Some(Told::Attendees));
    assert_eq!(told("PUT", &format!("{event}/e1?sendNotifications=true")), Some(Told::Attendees));
    assert_eq!(told("POST", &format!("{event}?sendUpdates=none")), None);
    assert_eq!(told("POST", event), None);
    assert_eq!(told("POST", "/calendar/v3/calendars/primary/events/watch"), None);
}

#[test]
fn whom_a_form_goes_to_is_told_by_all_of_it() {
    let sms = Gate { commands: &["sms.send"], told: Told::Form(Channel::Sms) };
    let to = |path: &str, body: &str| recipients(&sms, path, body.as_bytes());
    let one = |text: &str| (Channel::Sms, text.to_owned());
    assert_eq!(to("/M", "To=%2B4520123456&Body=Hi"), Ok(vec![one("+4520123456")]));
    assert_eq!(to("/M", "To=%2B4520123456&to=%2B4530123456"), Ok(vec![one("+4520123456"), one("+4530123456")]));
    assert_eq!(to("/M?To=%2B4530123456", "To=%2B4520123456"), Ok(vec![one("+4530123456"), one("+4520123456")]));
    assert!(to("/M", "Body=Hi").is_err() && to("/M", "").is_err());
    assert!(to("/M", "To=client:alice").is_err(), "not a number, so that it cannot be compared");
}

#[test]
fn whom_a_mail_and_an_invitation_go_to_is_told() {
    let mail = Gate { commands: &["email.send"], told: Told::Mail };
    let message = "To: A <a@x.dk>\r\nBcc: b@x.dk\r\nSubject: Hi\r\n\r\nHello";
    let body = json!({"raw": RAW.encode(message), "threadId": "t"}).to_string();
    let email = |text: &str| (Channel::Email, text.to_owned());
    assert_eq!(recipients(&mail, "/send", body.as_bytes()), Ok(vec![email("a@x.dk"), email("b@x.dk")]));
    for body in ["", "{}", "{\"raw\": 1}", "{\"raw\": \"%%%\"}", message] {
        assert!(recipients(&mail, "/send", body.as_bytes()).is_err(), "{body}");
    }
    let none = json!({"raw": RAW.encode("Subject: Hi\r\n\r\nTo: a@x.dk")}).to_string();
    assert!(recipients(&mail, "/send", none.as_bytes()).is_err(), "nobody is named");
    let visit = Gate { commands: &["appointment.create"], told: Told::Attendees };
    let body = json!({"attendees": [{"email": "A@x.dk"}, {"displayName": "x"}]}).to_string();
    assert_eq!(recipients(&visit, "/events", body.as_bytes()), Ok(vec![email("a@x.dk")]));
    assert_eq!(recipients(&visit, "/events", b""), Ok(Vec::new()));
    let closed = Gate { commands: &["email.send"], told: Told::Nowhere };
    assert!(recipients(&closed, "/drafts/send", b"{}").is_err());
}
