//! The part of the API that reads, and what other processes may ask of the simulator.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    account::{self, Account, EventRecord, StripeError},
    webhook::{self, Sending},
};
use crate::{
    http::{Call, Reply},
    provider::{Provider, control_problem, unknown_command, with_body},
};

const LARGEST_PAGE: usize = 100;

/// The account behind HTTP.
pub(crate) struct Api(pub(crate) Arc<Account>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    url: Option<String>,
    /// The newest first; all of them sign.
    #[serde(default)]
    secrets: Option<Vec<String>>,
    #[serde(default)]
    hold: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    customer: String,
    #[serde(default = "active")]
    status: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    subscription: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Happening {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
    #[serde(default)]
    previous: Option<Value>,
}

#[derive(Deserialize)]
struct Again {
    event: String,
    #[serde(flatten)]
    sending: Value,
}

fn active() -> String {
    "active".to_owned()
}

fn problem(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"type": kind, "message": message}}))
}

impl Api {
    fn list(&self, call: &Call) -> Reply {
        let kind = call.query_value("type");
        let after = call.query_value("starting_after");
        let limit = call.query_value("limit").and_then(|text| text.parse().ok()).unwrap_or(10);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return problem(400, "invalid_request_error", "limit must be between 1 and 100.");
        }
        let newest: Vec<EventRecord> = self.0.read(|state| state.events.iter().rev().cloned().collect());
        let start = match &after {
            None => 0,
            Some(id) => match newest.iter().position(|event| event.id == *id) {
                Some(at) => at + 1,
                None => return problem(400, "invalid_request_error", "No such event: starting_after."),
            },
        };
        let mut wanted = newest[start..].iter().filter(|event| kind.as_ref().is_none_or(|kind| event.kind == *kind));
        let data: Vec<&Value> = wanted.by_ref().take(limit).map(|event| &event.body).collect();
        let more = wanted.next().is_some();
        Reply::json(200, &json!({"object": "list", "url": "/v1/events", "has_more": more, "data": data}))
    }

    fn found(&self, what: &str, id: &str, body: Option<Value>) -> Reply {
        match body {
            Some(body) => Reply::json(200, &body),
            None => problem(404, "invalid_request_error", &format!("No such {what}: '{id}'.")),
        }
    }

    async fn again(&self, call: &Call) -> Reply {
        let again: Again = match call.json() {
            Ok(again) => again,
            Err(error) => return control_problem(400, &error.to_string()),
        };
        let sending: Sending = match serde_json::from_value(again.sending) {
            Ok(sending) => sending,
            Err(error) => return control_problem(400, &error.to_string()),
        };
        match webhook::send_once(&self.0, &again.event, &sending).await {
            Ok(status) => Reply::json(200, &json!({"status": status})),
            Err(error) => refused(&error),
        }
    }

    fn configure(&self, config: Config) -> Reply {
        self.0.change(|state| {
            state.url = config.url.or(state.url.take());
            if let Some(secrets) = config.secrets.filter(|secrets| !secrets.is_empty()) {
                state.secrets = secrets;
            }
            state.holding = config.hold.unwrap_or(state.holding);
        });
        self.0.publish();
        Reply::json(200, &json!({"url": self.0.read(|state| state.url.clone())}))
    }
}

fn refused(error: &StripeError) -> Reply {
    control_problem(409, &error.to_string())
}

#[async_trait]
impl Provider for Api {
    fn operation(&self, call: &Call) -> String {
        match (&call.method, call.segments().as_slice()) {
            (&Method::GET, ["v1", "events"]) => "events.list",
            (&Method::GET, ["v1", "events", _]) => "events.fetch",
            (&Method::GET, ["v1", "subscriptions", _]) => "subscriptions.fetch",
            _ => "unknown",
        }
        .to_owned()
    }

    fn execute(&self, call: &Call) -> Reply {
        if call.header("authorization") != Some(format!("Bearer {}", self.0.options.api_key).as_str()) {
            return self.unauthenticated();
        }
        match (&call.method, call.segments().as_slice()) {
            (&Method::GET, ["v1", "events"]) => self.list(call),
            (&Method::GET, ["v1", "events", id]) => {
                self.found("event", id, self.0.read(|state| state.event(id).map(|event| event.body.clone())))
            }
            (&Method::GET, ["v1", "subscriptions", id]) => {
                let known = |all: &[Value]| all.iter().find(|subscription| subscription["id"] == **id).cloned();
                self.found("subscription", id, self.0.read(|state| known(&state.subscriptions)))
            }
            _ => problem(404, "invalid_request_error", "Unrecognized request URL."),
        }
    }

    fn failure(&self, status: u16) -> Reply {
        problem(status, if status == 429 { "rate_limit_error" } else { "api_error" }, "An injected failure.")
    }

    fn unauthenticated(&self) -> Reply {
        problem(401, "invalid_request_error", "Invalid API Key provided.")
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        match (&call.method, command) {
            (&Method::POST, "config") => with_body(call, |config: Config| self.configure(config)),
            (&Method::POST, "subscribe") => with_body(call, |order: Subscribe| {
                let id = account::subscribe(&self.0, &order.customer, &order.status);
                self.0.publish();
                Reply::json(200, &json!({"subscription": id}))
            }),
            (&Method::POST, "status") => with_body(call, |order: Status| {
                match account::set_status(&self.0, &order.subscription, &order.status) {
                    Ok(()) => {
                        self.0.publish();
                        Reply::json(200, &json!({"status": order.status}))
                    }
                    Err(error) => refused(&error),
                }
            }),
            (&Method::POST, "event") => with_body(call, |order: Happening| {
                let id = account::record(&self.0, &order.kind, order.object, order.previous);
                self.0.publish();
                Reply::json(200, &json!({"event": id}))
            }),
            (&Method::POST, "send") => self.again(call).await,
            (&Method::GET, "events") => Reply::json(200, &json!({"events": self.0.read(|state| state.events.clone())})),
            (&Method::GET, "webhooks") => {
                Reply::json(200, &json!({"webhooks": self.0.read(|state| state.attempts.clone())}))
            }
            _ => unknown_command(command),
        }
    }
}
