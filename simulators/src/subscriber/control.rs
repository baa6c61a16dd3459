//! What other processes may ask of the subscriber under `/_sim/`.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Inbox, Script, Secret};
use crate::{
    http::{Call, Reply},
    provider::{control_problem, unknown_command, with_body},
};

const LONGEST_WAIT_MS: u64 = 60_000;

/// Keys of a path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    path: String,
    secrets: Vec<String>,
}

/// Answers of a path: either a whole script or only statuses.
#[derive(Deserialize)]
struct Scripted {
    path: String,
    #[serde(default)]
    statuses: Option<Vec<u16>>,
    #[serde(default)]
    script: Option<Script>,
}

pub(crate) async fn answer(inbox: &Inbox, command: &str, call: &Call) -> Reply {
    match (&call.method, command) {
        (&Method::GET, "requests") => requests(inbox, call).await,
        (&Method::DELETE, "requests") => {
            inbox.change(super::State::forget);
            Reply::json(200, &json!({"requests": []}))
        }
        (&Method::GET, "counts") => Reply::json(200, &json!(inbox.read(|state| state.totals.clone()))),
        (&Method::POST, "secrets") => with_body(call, |given: Secrets| {
            let parsed: Result<Vec<Secret>, _> = given.secrets.iter().map(|text| text.parse()).collect();
            match parsed {
                Ok(secrets) => {
                    let count = secrets.len();
                    inbox.change(|state| state.path_mut(&given.path).secrets = secrets);
                    Reply::json(200, &json!({"path": given.path, "secrets": count}))
                }
                Err(error) => control_problem(400, &error.to_string()),
            }
        }),
        (&Method::POST, "script") => with_body(call, |given: Scripted| {
            let script = match (given.script, given.statuses) {
                (Some(script), None) => script,
                (None, Some(statuses)) => Script::statuses(&statuses),
                _ => return control_problem(400, "give either statuses or script"),
            };
            inbox.change(|state| state.path_mut(&given.path).script = script.clone());
            Reply::json(200, &json!({"path": given.path, "script": script}))
        }),
        _ => unknown_command(command),
    }
}

/// `?path=` names one path; with `?count=` and `?wait_ms=` the answer waits until so many requests have come.
async fn requests(inbox: &Inbox, call: &Call) -> Reply {
    let path = call.query_value("path");
    let number = |name: &str| call.query_value(name).and_then(|text| text.parse::<u64>().ok());
    if let (Some(path), Some(count)) = (&path, number("count")) {
        let limit = Duration::from_millis(number("wait_ms").unwrap_or(0).min(LONGEST_WAIT_MS));
        // Whether they came in time is what the list says; being late is no error here.
        let _ = inbox.wait_for(path, usize::try_from(count).unwrap_or(usize::MAX), limit).await;
    }
    let requests = inbox.requests(path.as_deref());
    Reply::json(200, &json!({"requests": requests}))
}
