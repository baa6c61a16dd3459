//! Which request means which operation, who may make it, and what other processes may ask of the simulator.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, Method};
use serde::Deserialize;
use serde_json::json;

use super::{
    account::Account,
    calls::{self, CallEvent},
    errors::ApiError,
    inbound::{self, InboundError, InboundSms},
    messages, recordings,
    voice::{self, Callee, InboundCall},
    webhook::Signing,
};
use crate::{
    http::{Call, Reply},
    provider::{Provider, control_problem, unknown_command, with_body},
};

/// The account behind HTTP.
pub(crate) struct Api(pub(crate) Arc<Account>);

/// A request, read from its method and path.
enum Route<'a> {
    CreateMessage,
    ListMessages,
    FetchMessage(&'a str),
    UpdateMessage(&'a str),
    DeleteMessage(&'a str),
    CreateCall,
    FetchCall(&'a str),
    ListCalls,
    UpdateCall(&'a str),
    ListRecordings(Option<&'a str>),
    FetchRecording(&'a str),
    DeleteRecording(&'a str),
    FetchAccount,
    Unknown,
}

impl<'a> Route<'a> {
    fn of(method: &Method, segments: &[&'a str]) -> Self {
        let ["2010-04-01", "Accounts", rest @ ..] = segments else { return Self::Unknown };
        let sid = |part: &'a str| part.strip_suffix(".json").unwrap_or(part);
        match (method, rest) {
            (&Method::GET, [_]) => Self::FetchAccount,
            (&Method::POST, [_, "Messages.json"]) => Self::CreateMessage,
            (&Method::GET, [_, "Messages.json"]) => Self::ListMessages,
            (&Method::GET, [_, "Messages", part]) => Self::FetchMessage(sid(part)),
            (&Method::POST, [_, "Messages", part]) => Self::UpdateMessage(sid(part)),
            (&Method::DELETE, [_, "Messages", part]) => Self::DeleteMessage(sid(part)),
            (&Method::POST, [_, "Calls.json"]) => Self::CreateCall,
            (&Method::GET, [_, "Calls.json"]) => Self::ListCalls,
            (&Method::GET, [_, "Calls", part]) => Self::FetchCall(sid(part)),
            (&Method::POST, [_, "Calls", part]) => Self::UpdateCall(sid(part)),
            (&Method::GET, [_, "Calls", call, "Recordings.json"]) => Self::ListRecordings(Some(call)),
            (&Method::GET, [_, "Recordings.json"]) => Self::ListRecordings(None),
            (&Method::GET, [_, "Recordings", part]) => Self::FetchRecording(sid(part)),
            (&Method::DELETE, [_, "Recordings", part]) => Self::DeleteRecording(sid(part)),
            _ => Self::Unknown,
        }
    }

    const fn operation(&self) -> &'static str {
        match self {
            Self::CreateMessage => "messages.create",
            Self::ListMessages => "messages.list",
            Self::FetchMessage(_) => "messages.fetch",
            Self::UpdateMessage(_) => "messages.update",
            Self::DeleteMessage(_) => "messages.delete",
            Self::CreateCall => "calls.create",
            Self::FetchCall(_) => "calls.fetch",
            Self::ListCalls => "calls.list",
            Self::UpdateCall(_) => "calls.update",
            Self::ListRecordings(_) => "recordings.list",
            Self::FetchRecording(_) => "recordings.fetch",
            Self::DeleteRecording(_) => "recordings.delete",
            Self::FetchAccount => "account.fetch",
            Self::Unknown => "unknown",
        }
    }
}

impl Api {
    /// The credential must be right, and the path must name the account that it belongs to.
    fn authenticated(&self, call: &Call) -> bool {
        let options = &self.0.options;
        let expected = format!("{}:{}", options.account_sid, options.auth_token);
        let given = call
            .header("authorization")
            .and_then(|value| value.strip_prefix("Basic "))
            .and_then(|encoded| STANDARD.decode(encoded.trim()).ok());
        let account = call.segments().get(2).map(|part| part.strip_suffix(".json").unwrap_or(part).to_owned());
        given.is_some_and(|given| given == expected.as_bytes()) && account.as_ref() == Some(&options.account_sid)
    }

    fn dispatch(&self, call: &Call) -> Result<Reply, ApiError> {
        let account = &self.0;
        match Route::of(&call.method, &call.segments()) {
            Route::CreateMessage => messages::create(account, call),
            Route::ListMessages => Ok(messages::list(account, call)),
            Route::FetchMessage(sid) => messages::fetch(account, call, sid),
            Route::UpdateMessage(sid) => messages::update(account, call, sid),
            Route::DeleteMessage(sid) => messages::delete(account, call, sid),
            Route::CreateCall => calls::create(account, call),
            Route::FetchCall(sid) => calls::fetch(account, call, sid),
            Route::ListCalls => Ok(calls::list(account, call)),
            Route::UpdateCall(sid) => calls::update(account, call, sid),
            Route::ListRecordings(of) => Ok(recordings::list(account, call, of)),
            Route::FetchRecording(sid) => recordings::fetch(account, call, sid),
            Route::DeleteRecording(sid) => recordings::delete(account, call, sid),
            Route::FetchAccount => {
                let sid = &account.options.account_sid;
                let body = json!({"sid": sid, "friendly_name": "Simulated", "status": "active", "type": "Full"});
                Ok(Reply::json(200, &body))
            }
            Route::Unknown => Err(ApiError::not_found(&call.path)),
        }
    }

    async fn sms(&self, call: &Call) -> Reply {
        match call.json::<InboundSms>() {
            Ok(sms) => outcome(inbound::receive(&self.0, &sms).await),
            Err(error) => control_problem(400, &error.to_string()),
        }
    }

    async fn replay(&self, call: &Call) -> Reply {
        match call.json::<Replay>() {
            Ok(replay) => outcome(inbound::replay(&self.0, replay.message_sid.as_deref(), replay.fresh_token).await),
            Err(error) => control_problem(400, &error.to_string()),
        }
    }

    async fn call(&self, call: &Call) -> Reply {
        match call.json::<InboundCall>() {
            Ok(person) => outcome(voice::receive(&self.0, &person).await),
            Err(error) => control_problem(400, &error.to_string()),
        }
    }

    fn configure(&self, call: &Call) -> Reply {
        with_body(call, |wanted: Webhooks| {
            self.0.change(|state| {
                if wanted.sms_url.is_some() {
                    (state.sms_url, state.sms_fallback_url) = (wanted.sms_url, wanted.sms_fallback_url);
                }
                if wanted.voice_url.is_some() {
                    (state.voice.url, state.voice.fallback) = (wanted.voice_url, wanted.voice_fallback_url);
                }
                if wanted.voice_status_url.is_some() {
                    (state.voice.status, state.voice.events) = (wanted.voice_status_url, wanted.voice_status_events);
                }
                if let Some(signing) = wanted.signing {
                    state.signing = signing;
                }
            });
            Reply::json(200, &json!({"configured": true}))
        })
    }
}

/// Where incoming messages and calls go; what is not named stays as it is.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Webhooks {
    sms_url: Option<String>,
    sms_fallback_url: Option<String>,
    voice_url: Option<String>,
    voice_fallback_url: Option<String>,
    voice_status_url: Option<String>,
    voice_status_events: Vec<CallEvent>,
    signing: Option<Signing>,
}

/// How a number behaves when it is called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    to: String,
    #[serde(default)]
    callee: Callee,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    #[serde(default)]
    message_sid: Option<String>,
    #[serde(default)]
    fresh_token: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unreachable {
    to: String,
    /// None makes the number reachable again.
    error_code: Option<u32>,
}

fn outcome<T: serde::Serialize>(result: Result<T, InboundError>) -> Reply {
    match result {
        Ok(outcome) => Reply::json(200, &json!(outcome)),
        Err(error) => control_problem(409, &error.to_string()),
    }
}

#[async_trait]
impl Provider for Api {
    fn operation(&self, call: &Call) -> String {
        Route::of(&call.method, &call.segments()).operation().to_owned()
    }

    fn execute(&self, call: &Call) -> Reply {
        if !self.authenticated(call) {
            return self.unauthenticated();
        }
        let reply = self.dispatch(call).unwrap_or_else(Reply::from);
        reply.with(HeaderName::from_static("twilio-concurrent-requests"), "1")
    }

    fn failure(&self, status: u16) -> Reply {
        ApiError::injected(status).into()
    }

    fn unauthenticated(&self) -> Reply {
        ApiError::new(401, 20003, "Authenticate").into()
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        match (&call.method, command) {
            (&Method::POST, "sms") => self.sms(call).await,
            (&Method::POST, "replay") => self.replay(call).await,
            (&Method::POST, "config") => self.configure(call),
            (&Method::POST, "call") => self.call(call).await,
            (&Method::POST, "callee") => with_body(call, |called: Called| {
                self.0.change(|state| state.callees.insert(called.to, called.callee));
                Reply::json(200, &json!({"ok": true}))
            }),
            (&Method::GET, "calls") => Reply::json(200, &self.0.read(|state| json!({"calls": state.calls}))),
            (&Method::GET, "recordings") => {
                Reply::json(200, &self.0.read(|state| json!({"recordings": state.recordings})))
            }
            (&Method::GET, "messages") => Reply::json(200, &self.0.read(|state| json!({"messages": state.messages}))),
            (&Method::GET, "webhooks") => Reply::json(200, &self.0.read(|state| json!({"webhooks": state.webhooks}))),
            (&Method::POST, "unreachable") => with_body(call, |number: Unreachable| {
                self.0.change(|state| match number.error_code {
                    Some(code) => state.unreachable.insert(number.to, code),
                    None => state.unreachable.remove(&number.to),
                });
                Reply::json(200, &json!({"ok": true}))
            }),
            _ => unknown_command(command),
        }
    }
}
