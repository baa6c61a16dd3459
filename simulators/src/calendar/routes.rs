//! Which request means which operation, and who may make it.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value};

use super::{
    account::{Account, Write, Writer},
    channel,
    errors::ApiError,
    event::{Event, Mode},
    freebusy,
    listing::{self, Query},
};
use crate::{
    http::{Call, Reply},
    oauth::{Grant, Refusal},
    provider::Provider,
};

/// The account behind HTTP.
pub(crate) struct Api(pub(crate) Arc<Account>);

/// Scopes, without their prefix, of which one is enough.
const SCOPE: &str = "https://www.googleapis.com/auth/";
const READ: [&str; 5] =
    ["calendar", "calendar.readonly", "calendar.events", "calendar.events.readonly", "calendar.events.owned"];
const WRITE: [&str; 3] = ["calendar", "calendar.events", "calendar.events.owned"];
const FREEBUSY: [&str; 4] = ["calendar", "calendar.readonly", "calendar.freebusy", "calendar.events.freebusy"];

/// All operations, those of webhooks included.
const OPERATIONS: [&str; 10] = [
    "events.list",
    "events.insert",
    "events.watch",
    "events.get",
    "events.patch",
    "events.update",
    "events.delete",
    "freebusy.query",
    "channels.stop",
    "webhook.notification",
];

/// A request, read from its method and path; ids are decoded.
enum Route {
    List(String),
    Insert(String),
    Watch(String),
    Get(String, String),
    Patch(String, String),
    Update(String, String),
    Delete(String, String),
    FreeBusy,
    Stop,
    Unknown,
}

impl Route {
    fn of(call: &Call) -> Self {
        let segments = call.segments();
        let ["calendar", "v3", rest @ ..] = segments.as_slice() else { return Self::Unknown };
        let id = |part: &str| decoded(part);
        match (&call.method, rest) {
            (&Method::POST, ["freeBusy"]) => Self::FreeBusy,
            (&Method::POST, ["channels", "stop"]) => Self::Stop,
            (&Method::GET, ["calendars", calendar, "events"]) => Self::List(id(calendar)),
            (&Method::POST, ["calendars", calendar, "events"]) => Self::Insert(id(calendar)),
            (&Method::POST, ["calendars", calendar, "events", "watch"]) => Self::Watch(id(calendar)),
            (&Method::GET, ["calendars", calendar, "events", event]) => Self::Get(id(calendar), id(event)),
            (&Method::PATCH, ["calendars", calendar, "events", event]) => Self::Patch(id(calendar), id(event)),
            (&Method::PUT, ["calendars", calendar, "events", event]) => Self::Update(id(calendar), id(event)),
            (&Method::DELETE, ["calendars", calendar, "events", event]) => Self::Delete(id(calendar), id(event)),
            _ => Self::Unknown,
        }
    }

    const fn operation(&self) -> &'static str {
        match self {
            Self::List(_) => "events.list",
            Self::Insert(_) => "events.insert",
            Self::Watch(_) => "events.watch",
            Self::Get(..) => "events.get",
            Self::Patch(..) => "events.patch",
            Self::Update(..) => "events.update",
            Self::Delete(..) => "events.delete",
            Self::FreeBusy => "freebusy.query",
            Self::Stop => "channels.stop",
            Self::Unknown => "unknown",
        }
    }

    const fn scopes(&self) -> &'static [&'static str] {
        match self {
            Self::List(_) | Self::Watch(_) | Self::Get(..) | Self::Stop => &READ,
            Self::Insert(_) | Self::Patch(..) | Self::Update(..) | Self::Delete(..) => &WRITE,
            Self::FreeBusy => &FREEBUSY,
            Self::Unknown => &[],
        }
    }
}

fn decoded(part: &str) -> String {
    // A `+` in a path is itself, unlike in a form.
    let form = part.replace('+', "%2B");
    form_urlencoded::parse(form.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

impl Api {
    fn caller(&self, call: &Call, route: &Route) -> Result<Grant, ApiError> {
        let scopes: Vec<String> = route.scopes().iter().map(|scope| format!("{SCOPE}{scope}")).collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let bearer = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.0.options.grants.check(bearer, &scopes).map_err(|refusal| match refusal {
            Refusal::Scope => ApiError::insufficient_scope(),
            Refusal::Missing | Refusal::Unknown | Refusal::Expired => ApiError::unauthenticated(),
        })
    }

    fn dispatch(&self, call: &Call) -> Result<Reply, ApiError> {
        let route = Route::of(call);
        if matches!(route, Route::Unknown) {
            return Err(ApiError::not_found());
        }
        let caller = self.caller(call, &route)?;
        let account = &self.0;
        match &route {
            Route::List(calendar) => {
                let (query, now) = (Query::new(call.query_pairs()), account.clock.now_ms());
                let behaviour = account.read(|state| state.behaviour);
                let listed = account.change(|state| listing::list(state.agenda(calendar)?, &query, behaviour, now))?;
                Ok(Reply::json(200, &listed))
            }
            Route::Get(calendar, event) => {
                let found = account.change(|state| state.agenda(calendar)?.find(event))?;
                self.shown(calendar, &found)
            }
            Route::Insert(calendar) => {
                let body = object(call)?;
                self.written(call, &caller, calendar, &Write::Insert(&body))
            }
            Route::Patch(calendar, id) => {
                let body = object(call)?;
                self.written(call, &caller, calendar, &Write::Update { id, body: &body, mode: Mode::Patch })
            }
            Route::Update(calendar, id) => {
                let body = object(call)?;
                self.written(call, &caller, calendar, &Write::Update { id, body: &body, mode: Mode::Replace })
            }
            Route::Delete(calendar, id) => {
                self.write(call, &caller, calendar, &Write::Delete { id })?;
                Ok(Reply::empty(204))
            }
            Route::Watch(calendar) => {
                channel::watch(account, calendar, &Value::Object(object(call)?)).map(|answer| Reply::json(200, &answer))
            }
            Route::Stop => {
                channel::stop(account, &Value::Object(object(call)?))?;
                Ok(Reply::empty(204))
            }
            Route::FreeBusy => {
                let (body, now) = (Value::Object(object(call)?), account.clock.now_ms());
                account.read(|state| freebusy::ask(state, &body, now)).map(|answer| Reply::json(200, &answer))
            }
            Route::Unknown => Err(ApiError::not_found()),
        }
    }

    fn write(&self, call: &Call, caller: &Grant, calendar: &str, write: &Write) -> Result<Event, ApiError> {
        let mails = match call.query_value("sendUpdates").as_deref() {
            Some("all" | "externalOnly") => true,
            None | Some("none") => false,
            Some(other) => return Err(ApiError::invalid(format!("Invalid value for sendUpdates: {other}"))),
        };
        let body = match write {
            Write::Insert(body) | Write::Update { body, .. } => Some(body),
            Write::Delete { .. } => None,
        };
        let invites = body.and_then(|body| body.get("attendees")?.as_array()).is_some_and(|list| !list.is_empty());
        // A service account without delegation acts as itself.
        if invites && caller.client == caller.account {
            return Err(ApiError::forbidden_for_service_accounts());
        }
        let writer = Writer { by: &caller.account, if_match: call.header("if-match"), mails };
        self.0.write(calendar, writer, write)
    }

    fn written(&self, call: &Call, caller: &Grant, calendar: &str, write: &Write) -> Result<Reply, ApiError> {
        let event = self.write(call, caller, calendar, write)?;
        self.shown(calendar, &event)
    }

    fn shown(&self, calendar: &str, event: &Event) -> Result<Reply, ApiError> {
        let shown = self.0.change(|state| {
            let agenda = state.agenda(calendar)?;
            Ok::<_, ApiError>(event.show(&agenda.id, &agenda.zone, &agenda.zone_name))
        })?;
        Ok(Reply::json(200, &shown))
    }
}

fn object(call: &Call) -> Result<Map<String, Value>, ApiError> {
    call.json().map_err(|_| ApiError::parse_error())
}

#[async_trait]
impl Provider for Api {
    fn operation(&self, call: &Call) -> String {
        Route::of(call).operation().to_owned()
    }

    fn execute(&self, call: &Call) -> Reply {
        self.dispatch(call).unwrap_or_else(Reply::from)
    }

    async fn before_answer(&self) {
        let first = self.0.change(|state| std::mem::take(&mut state.first_messages));
        for mut message in first {
            let status = channel::post(&self.0, &message).await;
            message.statuses.push(status);
            self.0.change(|state| state.add_notification(message));
        }
    }

    fn failure(&self, status: u16) -> Reply {
        let reason = self.0.read(|state| state.limit_reason.clone());
        ApiError::injected(status, &reason).into()
    }

    fn unauthenticated(&self) -> Reply {
        ApiError::unauthenticated().into()
    }

    fn expire_token(&self, call: &Call) {
        self.0.options.grants.expire_bearer(call.header("authorization"));
    }

    fn operations(&self) -> Vec<String> {
        OPERATIONS.map(str::to_owned).to_vec()
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        match self.0.options.grants.control(command, call) {
            Some(reply) => reply,
            None => super::control::control(&self.0, command, call).await,
        }
    }
}
