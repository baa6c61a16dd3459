//! A Google with one or more calendars and a memory, small enough to read.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};
use switchyard_sdk::host::{HttpRequest, HttpResponse, Method};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, HttpError};

pub const TOKEN: &str = "398348u3tu83ut8uu38";

/// What is in the calendars, and how Google misbehaves.
#[derive(Default)]
pub struct Book {
    pub events: BTreeMap<(String, String), Value>,
    pub changes: u64,
    pub page: usize,
    /// Sync tokens up to this change are forgotten.
    pub forgotten: u64,
    pub channels: Vec<Value>,
    pub stopped: Vec<String>,
    /// The next answer to this method is this instead, and the request is not carried out.
    pub instead: Vec<(Method, u16, Value)>,
    /// Somebody else books this right after the next insert or patch.
    pub rival: Option<Value>,
    pub freebusy_error: Option<(String, String)>,
    /// Changes an event behind the back of the next patches, so often.
    pub meddle: u32,
}

pub type Google = Rc<RefCell<Book>>;

pub fn google() -> Google {
    Rc::new(RefCell::new(Book { page: 250, ..Book::default() }))
}

/// A host whose connection `calendar` is this Google.
pub fn host(google: &Google) -> MockHost {
    let google = Rc::clone(google);
    MockHost::new()
        .provider("calendar", move |request| google.borrow_mut().answer(request))
        .secret("channel.secret", TOKEN)
}

pub fn config() -> Value {
    json!({ "calendars": [{ "id": "primary" }], "time_zone": "Europe/Copenhagen" })
}

pub fn types(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

pub fn keys(events: &[Emit]) -> Vec<&str> {
    events.iter().filter_map(|event| event.dedupe_key.as_deref()).collect()
}

/// A timed event of the primary calendar.
pub fn timed(id: &str, start: &str, end: &str) -> Value {
    json!({ "id": id, "summary": "Besøg", "start": { "dateTime": start }, "end": { "dateTime": end } })
}

fn status(status: u16, body: &Value) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status, headers: Vec::new(), body: body.to_string().into_bytes() })
}

pub fn failure(code: u16, reason: &str) -> Value {
    json!({ "error": { "errors": [{ "reason": reason }], "code": code, "message": format!("{reason} for a@b.test") } })
}

impl Book {
    /// A person or Google writes an event.
    pub fn put(&mut self, calendar: &str, event: Value) -> String {
        self.changes += 1;
        let id = event["id"].as_str().unwrap().to_owned();
        let key = (calendar.to_owned(), id.clone());
        let mut whole = self.events.get(&key).cloned().unwrap_or_else(|| {
            json!({ "status": "confirmed", "created": format!("2026-11-20T12:00:{:02}.000Z", self.changes % 60),
                "iCalUID": format!("{id}@google.com") })
        });
        merge(&mut whole, &event);
        whole["etag"] = json!(format!("\"{}\"", self.changes));
        whole["change"] = json!(self.changes);
        self.events.insert(key, whole);
        id
    }

    pub fn cancel(&mut self, calendar: &str, id: &str) {
        self.put(calendar, json!({ "id": id, "status": "cancelled" }));
    }

    pub fn live(&self, calendar: &str) -> Vec<Value> {
        let of = self.events.iter().filter(|((known, _), event)| known == calendar && event["status"] != "cancelled");
        of.map(|(_, event)| event.clone()).collect()
    }

    fn answer(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(at) = self.instead.iter().position(|(method, _, _)| *method == request.method) {
            let (_, code, body) = self.instead.remove(at);
            return status(code, &body);
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let decode = |text: &str| {
            let bytes = text.as_bytes();
            let (mut out, mut at) = (Vec::new(), 0);
            while at < bytes.len() {
                if bytes[at] == b'%' {
                    out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
                    at += 3;
                } else {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
            String::from_utf8(out).unwrap()
        };
        let query: BTreeMap<String, String> =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect();
        let body: Value = request.body.as_deref().map_or(Value::Null, |body| serde_json::from_slice(body).unwrap());
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let if_match = request.headers.iter().find(|header| header.name == "if-match");
        let if_match = if_match.map(|header| String::from_utf8(header.value.clone()).unwrap());
        match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["freeBusy"]) => self.free_busy(&body),
            ("POST", ["channels", "stop"]) => {
                self.stopped.push(body["id"].as_str().unwrap().to_owned());
                status(204, &Value::Null)
            }
            ("POST", ["calendars", _, "events", "watch"]) => {
                let resource = format!("res{}", self.channels.len());
                let answer = json!({ "id": body["id"], "resourceId": resource, "expiration": "1795780800000" });
                self.channels.push(body);
                status(200, &answer)
            }
            ("GET", ["calendars", calendar, "events"]) => self.list(calendar, &query),
            ("POST", ["calendars", calendar, "events"]) => {
                let key = (calendar.to_string(), body["id"].as_str().unwrap().to_owned());
                if self.events.contains_key(&key) {
                    return status(409, &failure(409, "duplicate"));
                }
                self.put(calendar, body);
                self.rival(calendar);
                status(200, &self.events[&key].clone())
            }
            (method, ["calendars", calendar, "events", id]) => {
                self.one(method, calendar, id, &body, if_match.as_deref())
            }
            _ => status(404, &failure(404, "notFound")),
        }
    }

    fn one(
        &mut self,
        method: &str,
        calendar: &str,
        id: &str,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<HttpResponse, HttpError> {
        let key = (calendar.to_owned(), id.to_owned());
        if method == "PATCH" && self.meddle > 0 {
            self.meddle -= 1;
            self.put(calendar, json!({ "id": id, "colorId": "1" }));
        }
        let Some(event) = self.events.get(&key).cloned() else { return status(404, &failure(404, "notFound")) };
        if if_match.is_some_and(|etag| etag != "*" && event["etag"] != etag) {
            return status(412, &failure(412, "conditionNotMet"));
        }
        match method {
            "GET" => status(200, &event),
            "DELETE" if event["status"] == "cancelled" => status(410, &failure(410, "deleted")),
            "DELETE" => {
                self.cancel(calendar, id);
                status(204, &Value::Null)
            }
            _ => {
                let mut changed = body.clone();
                changed["id"] = json!(id);
                self.put(calendar, changed);
                self.rival(calendar);
                status(200, &self.events[&key].clone())
            }
        }
    }

    fn rival(&mut self, calendar: &str) {
        if let Some(rival) = self.rival.take() {
            self.put(calendar, rival);
        }
    }

    fn list(&mut self, calendar: &str, query: &BTreeMap<String, String>) -> Result<HttpResponse, HttpError> {
        let since: Option<u64> = query.get("syncToken").map(|token| token.parse().unwrap());
        if since.is_some_and(|since| since < self.forgotten) {
            return status(410, &failure(410, "fullSyncRequired"));
        }
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let at = |event: &Value, end: &str| {
            let when = &event[end];
            when["dateTime"]
                .as_str()
                .map_or_else(|| time(&format!("{}T00:00:00Z", when["date"].as_str().unwrap())), time)
        };
        let wanted = |event: &&Value| match since {
            Some(since) => event["change"].as_u64().unwrap() > since,
            None => {
                (query.contains_key("showDeleted") || event["status"] != "cancelled")
                    && query.get("timeMin").is_none_or(|min| at(event, "end") > time(min))
                    && query.get("timeMax").is_none_or(|max| at(event, "start") < time(max))
            }
        };
        let all: Vec<Value> = self
            .events
            .iter()
            .filter(|((known, _), _)| known == calendar)
            .map(|(_, event)| event)
            .filter(wanted)
            .map(|event| match event["status"] == "cancelled" {
                true => json!({ "id": event["id"], "status": "cancelled" }),
                false => event.clone(),
            })
            .collect();
        let from: usize = query.get("pageToken").map_or(0, |page| page.parse().unwrap());
        let items: Vec<&Value> = all.iter().skip(from).take(self.page).collect();
        let mut answer = json!({ "items": items });
        if from + self.page < all.len() {
            answer["nextPageToken"] = json!((from + self.page).to_string());
        } else {
            answer["nextSyncToken"] = json!(self.changes.to_string());
        }
        status(200, &answer)
    }

    fn free_busy(&self, body: &Value) -> Result<HttpResponse, HttpError> {
        let mut calendars = json!({});
        for item in body["items"].as_array().unwrap() {
            let id = item["id"].as_str().unwrap();
            let busy: Vec<Value> = self
                .live(id)
                .iter()
                .filter(|event| event["start"]["dateTime"].is_string())
                .map(|event| {
                    let utc = |end: &str| event[end]["dateTime"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                    json!({ "start": utc("start").to_string(), "end": utc("end").to_string() })
                })
                .collect();
            calendars[id] = match &self.freebusy_error {
                Some((calendar, reason)) if calendar == id => json!({ "errors": [{ "reason": reason }] }),
                _ => json!({ "busy": busy }),
            };
        }
        status(200, &json!({ "calendars": calendars }))
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        match value {
            Value::Null => {
                into.as_object_mut().unwrap().remove(name);
            }
            Value::Object(_) if into[name].is_object() => merge(&mut into[name], value),
            Value::Object(_) => {
                into[name] = json!({});
                merge(&mut into[name], value);
            }
            _ => into[name] = value.clone(),
        }
    }
}
