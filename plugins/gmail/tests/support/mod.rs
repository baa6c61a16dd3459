//! A mailbox in memory, as the mock host's provider.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use gmail::Gmail;
use serde_json::{Value, json};
use switchyard_sdk::error::HttpError;
use switchyard_sdk::host::{HttpRequest, HttpResponse};
use switchyard_sdk::testing::{Answer, MockHost};
use switchyard_sdk::{Emit, PluginError, PollOutput};

pub const MAILBOX: &str = "office@firma.test";
pub const TOPIC: &str = "projects/p/topics/gmail";
pub const PUSHER: &str = "push-sa@hub-test.iam.gserviceaccount.com";
pub const ME: &str = "/gmail/v1/users/me";

/// The settings without pushes.
pub fn config() -> Value {
    json!({ "mailbox": MAILBOX })
}

/// The settings with pushes.
pub fn pushed() -> Value {
    json!({ "mailbox": MAILBOX, "push": { "topic": TOPIC, "service_account": PUSHER } })
}

/// What Gmail answers, by method and path with query; what is not there is a 404.
#[derive(Clone, Default)]
pub struct Mailbox(Rc<RefCell<Answers>>);

/// Status and body by path.
type Answers = BTreeMap<String, (u16, Vec<u8>)>;

impl Mailbox {
    /// Answers this from now on; a path without a query stands for every query.
    pub fn put(&self, call: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.0.borrow_mut().insert(call.to_owned(), (status, body.into()));
    }

    /// A message with this id.
    pub fn message(&self, message: &Value) {
        let id = message["id"].as_str().unwrap();
        self.put(&format!("GET /messages/{id}"), 200, message.to_string());
    }

    /// The history, whatever the start.
    pub fn history(&self, page: &Value) {
        self.put("GET /history", 200, page.to_string());
    }

    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        let path = request.path.strip_prefix(ME).unwrap_or(&request.path);
        let bare = path.split('?').next().unwrap_or_default();
        let answers = self.0.borrow();
        let method = request.method.as_str();
        let found = answers.get(&format!("{method} {path}")).or_else(|| answers.get(&format!("{method} {bare}")));
        let missing =
            (404, json!({ "error": { "code": 404, "errors": [{ "reason": "notFound" }] } }).to_string().into());
        let (status, body) = found.cloned().unwrap_or(missing);
        Ok(HttpResponse { status, headers: Vec::new(), body })
    }

    /// A host whose Gmail this is.
    pub fn host(&self) -> MockHost {
        let answers = self.clone();
        MockHost::new().provider("gmail", move |request| answers.answer(request))
    }
}

/// A message in Gmail's form with one text part.
pub fn message(id: &str, labels: &[&str], headers: &[(&str, &str)], text: &str) -> Value {
    json!({
        "id": id, "threadId": "t1", "labelIds": labels, "snippet": "Hej &amp; goddag", "historyId": "1",
        "internalDate": "1795181485000", "sizeEstimate": 1000,
        "payload": {
            "partId": "", "mimeType": "text/plain", "filename": "", "headers": fields(headers),
            "body": { "size": text.len(), "data": URL_SAFE.encode(text) }
        }
    })
}

/// Header fields in Gmail's form.
pub fn fields(headers: &[(&str, &str)]) -> Value {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// A history record that a message was added.
pub fn added(record: u64, id: &str, labels: &[&str]) -> Value {
    let message = json!({ "id": id, "threadId": "t1", "labelIds": labels });
    json!({ "id": record.to_string(), "messagesAdded": [{ "message": message }] })
}

/// A cursor after this record.
pub fn at(record: u64) -> Option<String> {
    Some(json!({ "history_id": record }).to_string())
}

pub fn sync(host: &MockHost, cursor: Option<String>) -> Result<PollOutput, PluginError> {
    host.poll::<Gmail>(config(), "sync", cursor)
}

/// Polls until there is no more; answers all events and the last cursor.
pub fn sync_all(host: &MockHost, mut cursor: Option<String>) -> (Vec<Emit>, Option<String>) {
    let mut events = Vec::new();
    for _ in 0..100 {
        let output = sync(host, cursor).unwrap();
        events.extend(output.events);
        cursor = output.cursor;
        if !output.has_more {
            return (events, cursor);
        }
    }
    panic!("a poll that never ends");
}

pub fn types(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

pub fn error_document(status: u16, reason: &str, message: &str) -> Value {
    json!({ "error": { "code": status, "message": message, "errors": [{ "reason": reason, "message": message }] } })
}

pub fn refused(status: u16, reason: &str, message: &str) -> Answer {
    Answer::json(status, error_document(status, reason, message))
}
