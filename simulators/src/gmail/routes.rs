//! Which request means which operation, who may make it, and what other processes may ask of the simulator.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Behaviour, Gmail,
    errors::ApiError,
    labels, messages, outgoing,
    pubsub::{self, Subscription, Topic},
    push::{self, PushOrder},
    search, watch,
};
use crate::{
    http::{Call, Reply},
    oauth::Refusal,
    provider::{Provider, control_problem, unknown_command, with_body},
};

const FULL: &str = "https://mail.google.com/";
const MODIFY: &str = "https://www.googleapis.com/auth/gmail.modify";
const READONLY: &str = "https://www.googleapis.com/auth/gmail.readonly";
const SEND: &str = "https://www.googleapis.com/auth/gmail.send";
const COMPOSE: &str = "https://www.googleapis.com/auth/gmail.compose";
const LABELS: &str = "https://www.googleapis.com/auth/gmail.labels";
const METADATA: &str = "https://www.googleapis.com/auth/gmail.metadata";

/// What there is to do, and `push` for what Pub/Sub sends.
const OPERATIONS: [&str; 13] = [
    "profile.get",
    "messages.list",
    "messages.get",
    "messages.send",
    "messages.modify",
    "attachments.get",
    "threads.get",
    "history.list",
    "labels.list",
    "labels.create",
    "watch",
    "stop",
    "push",
];

/// The mailbox behind HTTP.
pub(crate) struct Api(pub(crate) Arc<Gmail>);

impl Api {
    fn dispatch(&self, call: &Call) -> Result<Reply, ApiError> {
        let operation = self.operation(call);
        let account = self.authorized(call, &operation)?;
        let segments = call.segments();
        let ["gmail", "v1", "users", user, rest @ ..] = segments.as_slice() else { return Err(ApiError::not_found()) };
        let gmail = &self.0;
        let ours = account.eq_ignore_ascii_case(&gmail.address);
        if !(*user == "me" || decoded(user).eq_ignore_ascii_case(&account)) {
            return Err(ApiError::forbidden("forbidden", format!("Delegation denied for {account}")));
        }
        if !ours {
            // Another account has another mailbox, of which only the profile is known.
            return match operation.as_str() {
                "profile.get" => Ok(Reply::json(
                    200,
                    &json!({"emailAddress": account, "messagesTotal": 0,
                    "threadsTotal": 0, "historyId": "1000"}),
                )),
                _ => Err(ApiError::not_found()),
            };
        }
        let now = gmail.clock.now_ms();
        let answer = match (operation.as_str(), rest) {
            ("profile.get", _) => self.profile(),
            ("messages.list", _) => search::list(&gmail.mailbox(), call, now, gmail.time_factor)?,
            ("messages.get", [_, id]) => messages::get(&gmail.mailbox(), call, id)?,
            ("threads.get", [_, id]) => messages::thread(&gmail.mailbox(), call, id)?,
            ("attachments.get", [_, message, _, id]) => messages::attachment(&gmail.mailbox(), message, id)?,
            ("messages.send", _) => outgoing::send(gmail, call)?,
            ("messages.modify", [_, id, _]) => labels::modify(gmail, call, id)?,
            ("history.list", _) => messages::history(&gmail.mailbox(), call)?,
            ("labels.list", _) => labels::list(gmail),
            ("labels.create", _) => labels::create(gmail, call)?,
            ("watch", _) => watch::watch(gmail, call)?,
            ("stop", _) => {
                gmail.mailbox().watch = None;
                return Ok(Reply::empty(204));
            }
            _ => return Err(ApiError::not_found()),
        };
        Ok(Reply::json(200, &answer))
    }

    /// The account of the bearer token, which must be good for the operation.
    fn authorized(&self, call: &Call, operation: &str) -> Result<String, ApiError> {
        let scopes: &[&str] = match operation {
            "messages.send" => &[FULL, MODIFY, COMPOSE, SEND],
            "messages.modify" => &[FULL, MODIFY],
            "labels.create" => &[FULL, MODIFY, LABELS],
            "labels.list" => &[FULL, MODIFY, READONLY, LABELS, METADATA],
            "attachments.get" => &[FULL, MODIFY, READONLY],
            "profile.get" => &[FULL, MODIFY, READONLY, COMPOSE, METADATA],
            _ => &[FULL, MODIFY, READONLY, METADATA],
        };
        let bearer = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let grant = self.0.grants.check(bearer, scopes).map_err(ApiError::refused)?;
        let only_metadata = !grant.scopes.iter().any(|scope| [FULL, MODIFY, READONLY].contains(&scope.as_str()));
        let whole = !matches!(call.query_value("format").as_deref(), Some("metadata" | "minimal"));
        if only_metadata && (operation == "messages.get" && whole || call.query_value("q").is_some()) {
            return Err(ApiError::forbidden("forbidden", "Metadata scope does not support this request"));
        }
        Ok(grant.account)
    }

    fn profile(&self) -> Value {
        let mailbox = self.0.mailbox();
        let threads: std::collections::BTreeSet<&str> =
            mailbox.in_order().map(|message| message.thread_id.as_str()).collect();
        json!({"emailAddress": self.0.address, "messagesTotal": mailbox.messages.len(),
            "threadsTotal": threads.len(), "historyId": mailbox.history_id.to_string()})
    }
}

fn decoded(segment: &str) -> String {
    form_urlencoded::parse(format!("x={segment}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrival {
    /// RFC 822 as text.
    #[serde(default)]
    raw: Option<String>,
    /// RFC 822 in base64, for bytes that are no text.
    #[serde(default)]
    raw_base64: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    labels: Option<Vec<String>>,
}

impl Arrival {
    /// The message: as given, or a plain one from its parts.
    fn raw(&self, gmail: &Gmail) -> Option<Vec<u8>> {
        if let Some(raw) = &self.raw_base64 {
            return base64::engine::general_purpose::STANDARD.decode(raw).ok();
        }
        if let Some(raw) = &self.raw {
            return Some(raw.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes());
        }
        let (from, subject) = (self.from.as_deref()?, self.subject.as_deref().unwrap_or_default());
        let id = gmail.ids.uuid();
        Some(
            format!(
                "From: {from}\r\nTo: {}\r\nSubject: {subject}\r\nMessage-ID: <{id}@mail.example.test>\r\n\
                 MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: 8bit\r\n\r\n{}\r\n",
                gmail.address,
                self.text.as_deref().unwrap_or_default()
            )
            .into_bytes(),
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relabel {
    message_id: String,
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTopic {
    name: String,
    #[serde(default)]
    publisher: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Republish {
    fresh_id: bool,
}

#[async_trait]
impl Provider for Api {
    fn operation(&self, call: &Call) -> String {
        let segments = call.segments();
        let ["gmail", "v1", "users", _, rest @ ..] = segments.as_slice() else { return "unknown".to_owned() };
        let operation = match (&call.method, rest) {
            (&Method::GET, ["profile"]) => "profile.get",
            (&Method::GET, ["messages"]) => "messages.list",
            (&Method::POST, ["messages", "send"]) => "messages.send",
            (&Method::POST, ["messages", _, "modify"]) => "messages.modify",
            (&Method::GET, ["messages", _]) => "messages.get",
            (&Method::GET, ["messages", _, "attachments", _]) => "attachments.get",
            (&Method::GET, ["threads", _]) => "threads.get",
            (&Method::GET, ["history"]) => "history.list",
            (&Method::GET, ["labels"]) => "labels.list",
            (&Method::POST, ["labels"]) => "labels.create",
            (&Method::POST, ["watch"]) => "watch",
            (&Method::POST, ["stop"]) => "stop",
            _ => "unknown",
        };
        operation.to_owned()
    }

    fn execute(&self, call: &Call) -> Reply {
        self.dispatch(call).unwrap_or_else(Reply::from)
    }

    fn failure(&self, status: u16) -> Reply {
        ApiError::injected(status, self.0.clock.now_ms()).into()
    }

    fn unauthenticated(&self) -> Reply {
        ApiError::refused(Refusal::Unknown).into()
    }

    fn expire_token(&self, call: &Call) {
        self.0.grants.expire_bearer(call.header("authorization"));
    }

    fn operations(&self) -> Vec<String> {
        OPERATIONS.map(str::to_owned).to_vec()
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        let gmail = &self.0;
        match (&call.method, command) {
            (&Method::POST, "receive") => with_body(call, |arrival: Arrival| match arrival.raw(gmail) {
                Some(raw) => {
                    let labels =
                        arrival.labels.clone().unwrap_or_else(|| vec!["INBOX".to_owned(), "UNREAD".to_owned()]);
                    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                    Reply::json(200, &json!({"id": messages::receive(gmail, raw.into(), &labels)}))
                }
                None => control_problem(400, "give `raw`, `raw_base64`, or `from` with `subject` and `text`"),
            }),
            (&Method::POST, "relabel") => with_body(call, |wanted: Relabel| {
                let names = |list: &[String]| list.to_vec();
                let (add, remove) = (names(&wanted.add), names(&wanted.remove));
                let add: Vec<&str> = add.iter().map(String::as_str).collect();
                let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
                match labels::relabel(gmail, &wanted.message_id, &add, &remove) {
                    true => Reply::json(200, &json!({"ok": true})),
                    false => control_problem(404, "there is no such message"),
                }
            }),
            (&Method::GET, "messages") => Reply::json(200, &json!({"messages": gmail.mailbox().views()})),
            (&Method::POST, "forget-history") => {
                gmail.mailbox().forget_history();
                Reply::json(200, &json!({"history_id": gmail.mailbox().history_id}))
            }
            (&Method::GET, "watch") => Reply::json(200, &json!({"watched": watch::is_watched(gmail)})),
            (&Method::POST, "expire-watch") => {
                gmail.mailbox().watch = None;
                Reply::json(200, &json!({"watched": false}))
            }
            (&Method::POST, "topics") => with_body(call, |new: NewTopic| {
                gmail.mailbox().topics.insert(new.name, Topic { publisher: new.publisher });
                Reply::json(200, &json!({"ok": true}))
            }),
            (&Method::POST, "subscriptions") => with_body(call, |new: Subscription| {
                gmail.mailbox().subscriptions.push(new);
                Reply::json(200, &json!({"ok": true}))
            }),
            (&Method::GET, "pushes") => Reply::json(200, &json!({"pushes": gmail.mailbox().pushed})),
            (&Method::POST, "push") => match call.json::<PushOrder>() {
                Ok(order) => match push::once(gmail, &order).await {
                    Ok(outcome) => Reply::json(200, &json!(outcome)),
                    Err(error) => control_problem(409, &error.to_string()),
                },
                Err(error) => control_problem(400, &error.to_string()),
            },
            (&Method::POST, "republish") => with_body(call, |wanted: Republish| {
                pubsub::republish(gmail, wanted.fresh_id);
                Reply::json(200, &json!({"ok": true}))
            }),
            (&Method::GET, "behaviour") => Reply::json(200, &json!(gmail.mailbox().behaviour)),
            (&Method::POST, "behaviour") => with_body(call, |behaviour: Behaviour| {
                gmail.mailbox().behaviour = behaviour;
                Reply::json(200, &json!(behaviour))
            }),
            _ => unknown_command(command),
        }
    }
}
