//! Calendars: events, series, lists with sync tokens, free and busy times.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::{
    calendar::{self, Behaviour, Calendar},
    clock::{ManualClock, TimeFactor},
    faults::{Fault, FaultBody},
    oauth::{Consent, Decision, Grants, Rules},
};
use tokio_util::sync::CancellationToken;

use crate::support::{Got, NOW_MS, Running, call, listener};

pub const OWNER: &str = "owner@customer.example";

/// A calendar account with a token that may do everything.
pub struct Account {
    pub running: Running<calendar::Handle>,
    pub grants: Arc<Grants>,
    token: String,
}

impl std::ops::Deref for Account {
    type Target = calendar::Handle;

    fn deref(&self) -> &calendar::Handle {
        &self.running.handle
    }
}

pub async fn account_with(change: impl FnOnce(&mut calendar::Options)) -> Account {
    let clock = ManualClock::starting_at(NOW_MS);
    let grants = Grants::new(Rules::google(), clock.clone());
    let mut options = calendar::Options::new(Arc::clone(&grants), clock.clone());
    options.calendars.push(("van@customer.example".to_owned(), "America/New_York".to_owned()));
    options.time_factor = TimeFactor::new(1_000);
    change(&mut options);
    let stop = CancellationToken::new();
    let handle = Calendar::start(listener().await, options, stop.clone()).unwrap();
    let token = issue(&grants, "client", OWNER, &["calendar"]);
    Account { running: Running::new(handle, clock, stop), grants, token }
}

pub async fn account() -> Account {
    account_with(|_| {}).await
}

fn issue(grants: &Grants, client: &str, account: &str, scopes: &[&str]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("https://www.googleapis.com/auth/{scope}")).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let consent = Consent { account: account.to_owned(), realm: None, decision: Decision::Allow };
    grants.issue(client, &consent, &scopes).access_token
}

impl Account {
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Got {
        self.call_with(method, path, body, &[]).await
    }

    async fn call_with(&self, method: Method, path: &str, body: &Value, more: &[(&str, &str)]) -> Got {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        headers.extend(more);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        call(method, &format!("{}/calendar/v3{path}", self.base_url()), &headers, body).await.unwrap()
    }

    pub async fn insert(&self, body: &Value) -> Got {
        self.call(Method::POST, "/calendars/primary/events", body).await
    }

    async fn list(&self, query: &str) -> Got {
        self.call(Method::GET, &format!("/calendars/primary/events?{query}"), &Value::Null).await
    }
}

pub fn visit(id: &str) -> Value {
    json!({ "id": id, "summary": "Besøg", "start": { "dateTime": "2026-11-24T09:00:00+01:00" },
        "end": { "dateTime": "2026-11-24T10:00:00+01:00" } })
}

fn reason(document: &Value) -> &str {
    document["error"]["errors"][0]["reason"].as_str().unwrap_or_default()
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_event_is_taken_once_under_its_own_id_also_after_it_was_deleted() {
    let account = account().await;
    let made = account.insert(&visit("abc01")).await.expect(200);
    assert_eq!((&made["status"], &made["sequence"]), (&json!("confirmed"), &json!(0)));
    assert_eq!(made["start"], json!({ "dateTime": "2026-11-24T09:00:00+01:00", "timeZone": "Europe/Copenhagen" }));
    assert_eq!(reason(&account.insert(&visit("abc01")).await.expect(409)), "duplicate");
    let path = "/calendars/owner%40customer.example/events/abc01";
    account.call(Method::DELETE, path, &Value::Null).await.expect(204);
    assert_eq!(reason(&account.call(Method::DELETE, path, &Value::Null).await.expect(410)), "deleted");
    assert_eq!(account.call(Method::GET, path, &Value::Null).await.expect(200)["status"], "cancelled");
    assert_eq!(reason(&account.insert(&visit("abc01")).await.expect(409)), "duplicate");
    for bad in ["abcd", "wxyz0", "ABCDE", "with-dash"] {
        account.insert(&visit(bad)).await.expect(400);
    }
}

#[tokio::test]
async fn what_google_would_refuse_is_refused() {
    let account = account().await;
    let refused = async |change: Value| {
        let mut event = visit("abc01");
        for (name, value) in change.as_object().unwrap() {
            event[name] = value.clone();
        }
        reason(&account.insert(&event).await.expect(400)).to_owned()
    };
    assert_eq!(refused(json!({ "end": { "dateTime": "2026-11-24T08:00:00+01:00" } })).await, "timeRangeEmpty");
    assert_eq!(refused(json!({ "end": { "date": "2026-11-25" } })).await, "invalid");
    assert_eq!(refused(json!({ "start": { "dateTime": "2026-11-24T09:00:00" } })).await, "required");
    assert_eq!(
        refused(json!({ "start": { "dateTime": "tomorrow", "timeZone": "Europe/Copenhagen" } })).await,
        "invalid"
    );
    assert_eq!(refused(json!({ "attendees": [{ "email": "nobody" }] })).await, "invalid");
    assert_eq!(refused(json!({ "extendedProperties": { "private": { "n": 1 } } })).await, "invalid");
    assert_eq!(refused(json!({ "recurrence": ["RRULE:FREQ=HOURLY"] })).await, "invalid");
    account.call(Method::POST, "/calendars/nobody/events", &visit("abc01")).await.expect(404);
    assert!(account.events("primary").is_empty());
}

#[tokio::test]
async fn a_change_needs_the_etag_that_it_names_and_merges_what_it_gives() {
    let account = account().await;
    let mut event = visit("abc01");
    event["extendedProperties"] = json!({ "private": { "a": "1", "b": "2" } });
    let made = account.insert(&event).await.expect(200);
    let path = "/calendars/primary/events/abc01";
    let patch = json!({ "summary": "Andet", "extendedProperties": { "private": { "b": null, "c": "3" } } });
    let etag = made["etag"].as_str().unwrap().to_owned();
    let changed = account.call_with(Method::PATCH, path, &patch, &[("if-match", &etag)]).await.expect(200);
    assert_eq!((&changed["summary"], &changed["sequence"]), (&json!("Andet"), &json!(0)));
    assert_eq!(changed["extendedProperties"]["private"], json!({ "a": "1", "c": "3" }));
    let stale = account.call_with(Method::PATCH, path, &patch, &[("if-match", &etag)]).await.expect(412);
    assert_eq!(reason(&stale), "conditionNotMet");
    let moved =
        json!({ "start": { "dateTime": "2026-11-24T11:00:00Z" }, "end": { "dateTime": "2026-11-24T12:00:00Z" } });
    assert_eq!(account.call(Method::PATCH, path, &moved).await.expect(200)["sequence"], 1);
    account.call(Method::PUT, path, &json!({ "summary": "x" })).await.expect(400);
}

#[tokio::test]
async fn tokens_expire_and_scopes_are_checked() {
    let mut account = account().await;
    account.token = issue(&account.grants, "client", OWNER, &["calendar.events.readonly"]);
    account.list("").await.expect(200);
    assert_eq!(reason(&account.insert(&visit("abc01")).await.expect(403)), "insufficientPermissions");
    account.token = issue(&account.grants, "robot@p.test", "robot@p.test", &["calendar"]);
    let mut inviting = visit("abc01");
    inviting["attendees"] = json!([{ "email": "a@b.test" }]);
    assert_eq!(reason(&account.insert(&inviting).await.expect(403)), "forbiddenForServiceAccounts");
    account.insert(&visit("abc01")).await.expect(200);
    account.grants.expire_tokens();
    assert_eq!(reason(&account.list("").await.expect(401)), "authError");
}

#[tokio::test]
async fn a_sync_token_brings_what_changed_since_over_pages() {
    let account = account().await;
    for n in 0..5 {
        account.insert(&visit(&format!("event{n}"))).await.expect(200);
    }
    let window = "singleEvents=true&showDeleted=true&maxResults=2&timeMin=2026-11-01T00:00:00Z";
    let first = account.list(window).await.expect(200);
    assert!(first["nextSyncToken"].is_null() && ids(&first) == ["event0", "event1"]);
    // What changes between the pages is not lost.
    account.change("primary", "event0", &json!({ "summary": "x" })).unwrap();
    let page = first["nextPageToken"].as_str().unwrap();
    let second = account.list(&format!("{window}&pageToken={page}")).await.expect(200);
    account.list(&format!("{window}&q=x&pageToken={page}")).await.expect(400);
    let page = second["nextPageToken"].as_str().unwrap();
    let third = account.list(&format!("{window}&pageToken={page}")).await.expect(200);
    let token = third["nextSyncToken"].as_str().unwrap();
    let news = account.list(&format!("singleEvents=true&syncToken={token}")).await.expect(200);
    assert_eq!(ids(&news), ["event0"]);
    let token = news["nextSyncToken"].as_str().unwrap();
    account.cancel("primary", "event1").unwrap();
    account.set_behaviour(Behaviour { bare_deletions: true });
    let news = account.list(&format!("singleEvents=true&syncToken={token}")).await.expect(200);
    assert_eq!(news["items"], json!([{ "kind": "calendar#event", "id": "event1", "status": "cancelled" }]));
    for forbidden in ["timeMin=2026-11-01T00:00:00Z", "q=x", "orderBy=startTime", "updatedMin=2026-11-20T00:00:00Z"] {
        account.list(&format!("singleEvents=true&syncToken={token}&{forbidden}")).await.expect(400);
    }
    account.list(&format!("syncToken={token}")).await.expect(400);
    account.forget_sync_tokens(None);
    let gone = account.list(&format!("singleEvents=true&syncToken={token}")).await.expect(410);
    assert_eq!(reason(&gone), "fullSyncRequired");
    assert_eq!(ids(&account.list("").await.expect(200)).len(), 4, "deleted events are shown on request only");
}

#[tokio::test]
async fn a_series_has_instances_at_the_same_wall_clock_and_exceptions() {
    let account = account().await;
    let series = json!({ "id": "series", "summary": "Møde", "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"],
        "start": { "dateTime": "2026-10-12T09:00:00", "timeZone": "Europe/Copenhagen" },
        "end": { "dateTime": "2026-10-12T10:00:00", "timeZone": "Europe/Copenhagen" } });
    account.insert(&series).await.expect(200);
    let list = account.list("singleEvents=true&orderBy=startTime").await.expect(200);
    let starts: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["start"]["dateTime"].as_str().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "2026-10-12T09:00:00+02:00",
            "2026-10-19T09:00:00+02:00",
            "2026-10-26T09:00:00+01:00",
            "2026-11-02T09:00:00+01:00"
        ]
    );
    assert_eq!(list["items"][0]["id"], "series_20261012T070000Z");
    let path = "/calendars/primary/events/series_20261019T070000Z";
    account.call(Method::DELETE, path, &Value::Null).await.expect(204);
    let moved =
        json!({ "start": { "dateTime": "2026-10-26T12:00:00Z" }, "end": { "dateTime": "2026-10-26T13:00:00Z" } });
    account.change("primary", "series_20261026T080000Z", &moved).unwrap();
    let list = account.list("singleEvents=true&orderBy=startTime").await.expect(200);
    assert_eq!(ids(&list), ["series_20261012T070000Z", "series_20261026T080000Z", "series_20261102T080000Z"]);
    assert_eq!(list["items"][1]["recurringEventId"], "series");
    let token = account.list("singleEvents=true").await.expect(200)["nextSyncToken"].as_str().unwrap().to_owned();
    account.change("primary", "series", &json!({ "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=1"] })).unwrap();
    let news = account.list(&format!("singleEvents=true&syncToken={token}")).await.expect(200);
    let gone = news["items"].as_array().unwrap().iter().find(|item| item["id"] == "series_20261102T080000Z").unwrap();
    assert_eq!(gone["status"], "cancelled");
    assert_eq!(ids(&account.list("singleEvents=false").await.expect(200)), ["series", "series_20261026T080000Z"]);
}

#[tokio::test]
async fn busy_times_are_merged_and_errors_are_of_single_calendars() {
    let account = account().await;
    account.insert(&visit("abc01")).await.expect(200);
    let touching = json!({ "id": "abc02", "start": { "dateTime": "2026-11-24T10:00:00+01:00" }, "end": { "dateTime": "2026-11-24T11:00:00+01:00" } });
    account.make("primary", &touching).unwrap();
    let free = json!({ "id": "abc03", "transparency": "transparent", "start": { "date": "2026-11-24" }, "end": { "date": "2026-11-25" } });
    account.make("primary", &free).unwrap();
    let ask = json!({ "timeMin": "2026-11-24T00:00:00Z", "timeMax": "2026-11-25T00:00:00Z", "timeZone": "Europe/Copenhagen",
        "items": [{ "id": "primary" }, { "id": "nobody@x.test" }] });
    let told = account.call(Method::POST, "/freeBusy", &ask).await.expect(200);
    let busy = json!([{ "start": "2026-11-24T09:00:00+01:00", "end": "2026-11-24T11:00:00+01:00" }]);
    assert_eq!(told["calendars"]["primary"]["busy"], busy);
    assert_eq!(told["calendars"]["nobody@x.test"]["errors"][0]["reason"], "notFound");
    let mut empty = ask;
    empty["timeMax"] = empty["timeMin"].clone();
    assert_eq!(reason(&account.call(Method::POST, "/freeBusy", &empty).await.expect(400)), "timeRangeEmpty");
}

#[tokio::test]
async fn attendees_get_mail_only_when_it_is_asked_for_and_declining_frees_the_time() {
    let account = account().await;
    let mut event = visit("abc01");
    event["attendees"] = json!([{ "email": "a@b.test" }, { "email": OWNER }]);
    account.insert(&event).await.expect(200);
    assert!(account.invitations().is_empty());
    event["id"] = json!("abc02");
    account.call(Method::POST, "/calendars/primary/events?sendUpdates=all", &event).await.expect(200);
    assert_eq!(account.invitations().len(), 2);
    account.answer("primary", "abc01", OWNER, "declined").unwrap();
    account.cancel("primary", "abc02").unwrap();
    let ask =
        json!({ "timeMin": "2026-11-24T00:00:00Z", "timeMax": "2026-11-25T00:00:00Z", "items": [{ "id": "primary" }] });
    let told = account.call(Method::POST, "/freeBusy", &ask).await.expect(200);
    assert_eq!(told["calendars"]["primary"]["busy"], json!([]));
}

#[tokio::test]
async fn limits_come_in_both_forms() {
    let account = account().await;
    account.faults().arm("events.list", Fault::RateLimit { retry_after_s: None }, 1);
    assert_eq!(reason(&account.list("").await.expect(429)), "rateLimitExceeded");
    let settings = json!({ "limit_reason": "quotaExceeded" });
    crate::support::post_json(&format!("{}/_sim/settings", account.base_url()), &settings).await.expect(200);
    account.faults().arm("events.*", Fault::FailBefore { status: 403, body: FaultBody::Provider }, 1);
    let refused = account.list("").await.expect(403);
    assert_eq!((reason(&refused), &refused["error"]["errors"][0]["domain"]), ("quotaExceeded", &json!("usageLimits")));
    account.list("").await.expect(200);
}

#[tokio::test]
async fn people_write_over_http_too() {
    let account = account().await;
    let url = |command: &str| format!("{}/_sim/{command}", account.base_url());
    let mut event = visit("abc01");
    event["calendar"] = json!("primary");
    crate::support::post_json(&url("event"), &event).await.expect(200);
    let moved = json!({ "calendar": "primary", "id": "abc01", "summary": "Flyttet" });
    assert_eq!(crate::support::post_json(&url("move"), &moved).await.expect(200)["summary"], "Flyttet");
    let on = json!({ "calendar": "primary", "id": "abc01" });
    assert_eq!(crate::support::post_json(&url("cancel"), &on).await.expect(200)["status"], "cancelled");
    crate::support::post_json(&url("cancel"), &on).await.expect(409);
    crate::support::post_json(&url("forget_sync_tokens"), &json!({})).await.expect(200);
    let events = crate::support::get(&url("events")).await.expect(200);
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
}
