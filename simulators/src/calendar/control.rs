//! What other processes may ask of the simulator.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Behaviour,
    account::Account,
    event::Event,
    person::{self, Forgery, PersonError},
};
use crate::{
    http::{Call, Reply},
    provider::{control_problem, unknown_command, with_body},
};

#[derive(Deserialize)]
struct OnEvent {
    calendar: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    response: String,
    /// What an event says of itself, as the API takes it.
    #[serde(flatten)]
    body: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnChannel {
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnCalendar {
    #[serde(default)]
    calendar: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    times: usize,
}

/// Most repetitions of one request.
const MOST_TIMES: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    silent: Option<bool>,
    #[serde(default)]
    orphan_posts: Option<u32>,
    #[serde(default)]
    limit_reason: Option<String>,
    #[serde(default)]
    behaviour: Option<Behaviour>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FreeBusyError {
    calendar: String,
    /// None lets it answer again.
    reason: Option<String>,
}

pub(super) async fn control(account: &Arc<Account>, command: &str, call: &Call) -> Reply {
    let all = |name: &str, value: Value| Reply::json(200, &json!({ name: value }));
    match (&call.method, command) {
        (&Method::POST, "event" | "move" | "cancel" | "answer") => {
            with_body(call, |on: OnEvent| by_hand(account, command, &on))
        }
        (&Method::GET, "events") => all("events", events(account, call.query_value("calendar").as_deref())),
        (&Method::GET, "channels") => all("channels", account.read(|state| json!(state.channels))),
        (&Method::GET, "notifications") => all("notifications", account.read(|state| json!(state.notifications))),
        (&Method::GET, "invitations") => all("invitations", account.read(|state| json!(state.invitations))),
        (&Method::POST, "expire_channel") => with_body(call, |on: OnChannel| {
            Reply::json(200, &json!({ "expired": person::expire_channel(account, &on.channel) }))
        }),
        (&Method::POST, "forget_sync_tokens") => with_body(call, |on: OnCalendar| {
            person::forget_sync_tokens(account, on.calendar.as_deref());
            Reply::json(200, &json!({ "forgotten": true }))
        }),
        (&Method::POST, "vanish") => with_body(call, |on: OnCalendar| {
            person::vanish(account, on.calendar.as_deref().unwrap_or("primary"));
            Reply::json(200, &json!({ "told": true }))
        }),
        (&Method::POST, "repeat") => match call.json::<Repeat>() {
            Ok(repeat) => outcome(person::repeat(account, repeat.times.min(MOST_TIMES)).await, "statuses"),
            Err(error) => control_problem(400, &error.to_string()),
        },
        (&Method::POST, "forge") => match call.json::<Forgery>() {
            Ok(forgery) => outcome(person::forge(account, &forgery).await, "status"),
            Err(error) => control_problem(400, &error.to_string()),
        },
        (&Method::POST, "freebusy_error") => with_body(call, |wish: FreeBusyError| {
            let set = account.change(|state| {
                state.agenda(&wish.calendar).map(|agenda| agenda.freebusy_error.clone_from(&wish.reason))
            });
            match set {
                Ok(()) => Reply::json(200, &json!({ "set": true })),
                Err(error) => control_problem(409, &PersonError::from(error).to_string()),
            }
        }),
        (&Method::POST, "settings") => with_body(call, |settings: Settings| {
            account.change(|state| {
                state.silent = settings.silent.unwrap_or(state.silent);
                state.orphan_posts = settings.orphan_posts.unwrap_or(state.orphan_posts);
                state.behaviour = settings.behaviour.unwrap_or(state.behaviour);
                if let Some(reason) = settings.limit_reason {
                    state.limit_reason = reason;
                }
            });
            Reply::json(200, &json!({ "set": true }))
        }),
        _ => unknown_command(command),
    }
}

fn outcome<T: serde::Serialize>(result: Result<T, PersonError>, name: &str) -> Reply {
    match result {
        Ok(value) => Reply::json(200, &json!({ name: value })),
        Err(error) => control_problem(409, &error.to_string()),
    }
}

fn by_hand(account: &Arc<Account>, command: &str, on: &OnEvent) -> Reply {
    let done = match command {
        "event" => {
            let mut body = on.body.clone();
            if !on.id.is_empty() {
                body.insert("id".to_owned(), json!(on.id));
            }
            person::make(account, &on.calendar, &body)
        }
        "move" => person::change(account, &on.calendar, &on.id, &on.body),
        "cancel" => person::cancel(account, &on.calendar, &on.id),
        _ => person::answer(account, &on.calendar, &on.id, &on.email, &on.response),
    };
    match done {
        Ok(event) => Reply::json(200, &shown(account, &on.calendar, &event)),
        Err(error) => control_problem(409, &error.to_string()),
    }
}

/// An event as the API shows it.
pub(super) fn shown(account: &Account, calendar: &str, event: &Event) -> Value {
    account.change(|state| {
        state.agenda(calendar).map(|agenda| event.show(&agenda.id, &agenda.zone, &agenda.zone_name)).unwrap_or_default()
    })
}

/// All events as they are stored, cancelled ones included.
pub(super) fn events(account: &Account, calendar: Option<&str>) -> Value {
    account.read(|state| {
        let wanted = calendar.map(|id| state.real_id(id).to_owned());
        let agendas = state.agendas.values().filter(|agenda| wanted.as_ref().is_none_or(|id| *id == agenda.id));
        let shown = agendas.flat_map(|agenda| {
            agenda.events.values().map(|event| event.show(&agenda.id, &agenda.zone, &agenda.zone_name))
        });
        Value::Array(shown.collect())
    })
}
