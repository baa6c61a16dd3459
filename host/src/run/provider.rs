//! Calls to providers from a run: grant, credential, journal, intent, answer.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{
    calls::{Refused, RunCalls, RunStop},
    journal::{Entry, EntryOutcome, JournalMismatch, Recorded, Step, idempotency_key, millis},
    named,
    preview::Reached,
    secrets, step,
    turn::Turned,
};
use crate::{
    clock::Timestamp,
    connection::{
        call::{self, CallError, JournalOutcome, Judged, Sending},
        credential, guard,
        template::{self, UsedSecrets},
        tokens::{self, AccessToken, NoToken},
    },
    directory::view::ConnectionView,
    failpoint::{self, Point},
    outbound::{client::Outgoing, deliver::add_trace},
    plugin::{
        host_calls::{Answer, Stop},
        limits::Limits,
        model::{ConnectionSpec, Header, HttpError, HttpRequest, HttpResponse, Idempotency},
    },
    store::ledger::{Intent, IntentOutcome},
};

/// Time for a call that names none.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The largest body of a request.
const REQUEST_BYTES: usize = 4 << 20;

/// A request that may be sent.
struct Ready {
    outgoing: Outgoing,
    used: UsedSecrets,
    connection: crate::id::Key,
    /// The version of its tokens, for a connection whose tokens the host obtains.
    token: Option<u64>,
    /// Whom the provider invites by it, to be asked about before it leaves.
    invited: Vec<String>,
}

impl RunCalls {
    pub(super) async fn send_to_provider(&mut self, request: HttpRequest) -> Answer<HttpResponse, HttpError> {
        let (name, print) = named::http(&request);
        let manifest = &self.version.clone().manifest;
        let spec = manifest.connections.iter().find(|spec| spec.name == request.connection);
        let convention = request
            .idempotency
            .clone()
            .or_else(|| spec.map(|spec| spec.idempotency.clone()))
            .unwrap_or(Idempotency::None);
        let method = Method::from_bytes(request.method.as_str().as_bytes()).unwrap_or(Method::GET);
        let write = call::is_write(&method, request.read_only);
        let repeatable = write && call::may_repeat(&method, known(&convention));
        let met = self.journal.meet(&name, print, repeatable);
        match met.map_err(|mismatch: JournalMismatch| Stop::new(RunStop::Mismatch(mismatch)))? {
            Step::Served(Recorded::Http(answer)) => {
                self.clock.advance_to(self.journal.served_at_ms());
                Ok(answer)
            }
            Step::Served(_) => Err(self.foreign(self.journal.last_met(), &name)),
            Step::Unanswered { index, sent_at_ms } => Ok(self.never_answered(index, sent_at_ms)),
            Step::Repeat { index, key, sent_at_ms } => {
                if self.dry {
                    return Err(Stop::new(RunStop::Reached(Reached::of(&request, true))));
                }
                let sent_at = Timestamp(i64::try_from(sent_at_ms).unwrap_or(0));
                let sending = self.sending(method, &request, &convention, true, sent_at);
                match self.may_send(&request, spec, &convention, Some(&key)).await {
                    Ok(ready) => self.send_and_answer(index, ready, sending).await,
                    Err(Turned::Seen(error)) => Ok(Err(self.repeat_turned_away(index, error))),
                    Err(Turned::Stopped(stop)) => Err(stop),
                }
            }
            Step::Live { index } => {
                self.room_for_a_call()?;
                let key = write.then(|| idempotency_key(self.claimed.delivery, index, self.claimed.epoch));
                let sending = self.sending(method, &request, &convention, false, self.hub.clock.now());
                match self.may_send(&request, spec, &convention, key.as_deref()).await {
                    Ok(_) if self.ends_before(&request) => {
                        Err(Stop::new(RunStop::Reached(Reached::of(&request, false))))
                    }
                    Ok(ready) => {
                        self.push_entry(
                            name,
                            print,
                            key,
                            if write { EntryOutcome::Intent } else { EntryOutcome::Read },
                            None,
                        );
                        if write && let Err(stop) = self.intend().await {
                            self.journal.retract(index);
                            return Err(stop);
                        }
                        self.send_and_answer(index, ready, sending).await
                    }
                    Err(Turned::Stopped(stop)) => Err(stop),
                    Err(Turned::Seen(error)) => {
                        let outcome = if write { EntryOutcome::Failed } else { EntryOutcome::Read };
                        self.push_entry(name, print, None, outcome, Some(Recorded::Http(Err(error.clone()))));
                        Ok(Err(error))
                    }
                }
            }
        }
    }

    fn sending(
        &self,
        method: Method,
        request: &HttpRequest,
        convention: &Idempotency,
        is_repeat: bool,
        first_sent_at: Timestamp,
    ) -> Sending {
        Sending {
            method,
            read_only: request.read_only,
            idempotency: known(convention),
            is_repeat,
            first_sent_at,
            response_cap: Limits::resolve(&self.version.manifest.limits).response_bytes,
        }
    }

    /// A write of an earlier attempt has no answer and may not be repeated: the plugin must look its effect up, and
    /// every later run sees the same.
    fn never_answered(&mut self, index: usize, sent_at_ms: u64) -> Result<HttpResponse, HttpError> {
        let message = "the hub stopped before the provider's answer was recorded".to_owned();
        let answer = Err(HttpError::UnknownOutcome { sent_at_ms, message });
        let at_ms = millis(self.hub.clock.now());
        self.clock.advance_to(at_ms);
        self.journal.answer(index, EntryOutcome::Unknown, None, Recorded::Http(answer.clone()), at_ms);
        answer
    }

    /// Turned away on our side: the first sending stays unresolved, under its key, and what the run saw of it is kept,
    /// since later calls may follow from it.
    fn repeat_turned_away(&mut self, index: usize, error: HttpError) -> HttpError {
        let at_ms = millis(self.hub.clock.now());
        let answer = Recorded::Http(Err(error.clone()));
        self.journal.answer(index, EntryOutcome::Unknown, None, answer, at_ms);
        error
    }

    fn push_entry(
        &mut self,
        call: String,
        print: [u8; 32],
        key: Option<String>,
        outcome: EntryOutcome,
        answer: Option<Recorded>,
    ) {
        let at_ms = millis(self.hub.clock.now());
        let sent_at_ms = key.is_some().then_some(at_ms);
        self.journal.push(Entry { call, print, outcome, key, sent_at_ms, at_ms, status: None, answer });
    }

    /// Commits the journal and the staged kv operations, so that a crash from here on is met by the next attempt.
    async fn intend(&mut self) -> Result<(), Stop> {
        let journal = self.sealed_journal(&self.tenant.key).map_err(Stop::new)?;
        let kv = self.take_staged();
        let intent = Intent {
            tenant: self.tenant.row.id.clone(),
            delivery: self.claimed.delivery,
            epoch: self.claimed.epoch,
            journal,
            kv,
            plugin: self.installation.row.plugin.clone(),
        };
        match self.hub.store.intend(intent).await.map_err(|error| Stop::new(RunStop::Store(error)))? {
            IntentOutcome::Committed => Ok(()),
            IntentOutcome::LostLease => Err(Stop::new(RunStop::LostLease)),
            IntentOutcome::LostSwap => Err(Stop::new(RunStop::LostSwap)),
        }
    }

    /// Ends a run before a write if its node may have lost it: between the intent's commit and here a process can be
    /// stopped or parted from its database for longer than its lease, and whoever took over looks for the effect, finds
    /// none yet, and has it made.
    fn still_alone(&self, sending: &Sending) -> Result<(), Stop> {
        let write = call::is_write(&sending.method, sending.read_only);
        if write && !self.hub.node.holds(self.term) { Err(Stop::new(RunStop::LostLease)) } else { Ok(()) }
    }

    async fn send_and_answer(
        &mut self,
        index: usize,
        mut ready: Ready,
        sending: Sending,
    ) -> Answer<HttpResponse, HttpError> {
        let started = self.hub.clock.monotonic();
        let step = self.hub.begin_step(&self.claimed.event.traceparent);
        // Nobody could be told of an error here, so these places only wait or die.
        failpoint::pass(Point::ProviderBeforeSend).await.ok();
        self.still_alone(&sending)?;
        let mut result = self.hub.client.send(ready.outgoing.clone()).await;
        let mut no_token = None;
        if ready.token.is_some() && result.as_ref().is_ok_and(|answer| answer.status == StatusCode::UNAUTHORIZED) {
            // Nothing was executed, and the access token may have ended before its time: another one, once.
            match self.authorize(&mut ready).await {
                Ok(()) => {
                    self.still_alone(&sending)?;
                    result = self.hub.client.send(ready.outgoing.clone()).await;
                }
                Err(error) => no_token = Some(error),
            }
        }
        failpoint::pass(Point::ProviderAfterAnswer).await.ok();
        let now = self.hub.clock.now();
        if let Ok(answer) = &result {
            self.said.note(index, answer.status, &answer.body, &ready.used);
        }
        let Judged { outcome, seen, signal } = call::judge(&sending, result, now);
        self.hub.paces.record(ready.connection, self.hub.clock.monotonic(), signal, self.hub.ids.fraction());
        let took = self.hub.clock.monotonic().saturating_sub(started);
        self.hub.end_step(step, || step::of_call(&ready.outgoing, outcome_label(outcome)));
        crate::observe::metrics::provider_called(outcome_label(outcome), took);
        let (status, answer) = match seen {
            Ok(response) => {
                let response = response.masked(&ready.used);
                let headers =
                    response.headers.into_iter().map(|(name, value)| Header { name: name.to_string(), value });
                let answer =
                    HttpResponse { status: response.status, headers: headers.collect(), body: response.body.to_vec() };
                if answer.status < 400
                    && self.login.as_ref().is_some_and(|refused| refused.connection == ready.connection)
                {
                    // The credential works after all; the refusal was about one resource.
                    self.login = None;
                }
                (Some(answer.status), Ok(answer))
            }
            Err(_) if no_token.is_some() => (None, Err(no_token.unwrap_or(HttpError::Unreachable(None)))),
            Err(error) => {
                if let CallError::NeedsLogin(text) = &error {
                    let (connection, text, version) = (ready.connection, text.clone(), ready.token);
                    self.login = Some(Refused { connection, text, version });
                }
                (None, Err(http_error(error)))
            }
        };
        let at_ms = millis(now);
        self.clock.advance_to(at_ms);
        self.journal.answer(index, entry_outcome(outcome), status, Recorded::Http(answer.clone()), at_ms);
        Ok(answer)
    }

    /// Puts an access token on the request, for a connection whose tokens the host obtains: another one than the request
    /// had before, which the provider refused.
    async fn authorize(&mut self, ready: &mut Ready) -> Result<(), HttpError> {
        let (hub, tenant) = (Arc::clone(&self.hub), Arc::clone(&self.tenant));
        let Some(connection) = tenant.connections.get(&ready.connection) else { return Ok(()) };
        if !connection.row.kind.parse().is_ok_and(tokens::obtains_tokens) {
            return Ok(());
        }
        let obtained = hub.access_token(&tenant, connection, ready.token).await;
        let AccessToken { version, token } = obtained.map_err(|error| match error {
            NoToken::NeedsLogin(text, version) => {
                self.login = Some(Refused { connection: ready.connection, text: text.clone(), version });
                HttpError::NeedsLogin(text)
            }
            NoToken::Denied(text) => HttpError::Denied(text),
            NoToken::Later(_, wait) => HttpError::Unreachable(wait.map(ms)),
            NoToken::Store(_) => HttpError::Unreachable(None),
        })?;
        let put = credential::put_bearer(&mut ready.outgoing.headers, &token);
        put.map_err(|error| HttpError::Denied(error.to_string()))?;
        ready.used.also(vec![token]);
        ready.token = Some(version);
        Ok(())
    }

    /// Whether a preview ends before this request: all but GET and HEAD, whatever the plugin says of it.
    const fn ends_before(&self, request: &HttpRequest) -> bool {
        self.dry && !request.method.is_read()
    }

    /// Makes the request ready and takes its turn at the connection.
    async fn may_send(
        &mut self,
        request: &HttpRequest,
        spec: Option<&ConnectionSpec>,
        convention: &Idempotency,
        key: Option<&str>,
    ) -> Result<Ready, Turned> {
        let mut ready = self.make_ready(request, spec, convention, key).map_err(Turned::Seen)?;
        self.may_invite(&ready.invited).await?;
        if !self.ends_before(request) {
            self.authorize(&mut ready).await.map_err(Turned::Seen)?;
            self.turn(ready.connection, spec, ready.outgoing.timeout).await?;
            ready.outgoing.timeout = self.time_for_a_call(ready.outgoing.timeout).map_err(Turned::Seen)?;
        }
        Ok(ready)
    }

    /// Checks the request against manifest, grants and limits and puts the credential on it.
    fn make_ready(
        &self,
        request: &HttpRequest,
        spec: Option<&ConnectionSpec>,
        convention: &Idempotency,
        key: Option<&str>,
    ) -> Result<Ready, HttpError> {
        let denied = |text: String| HttpError::Denied(text);
        let slot = &request.connection;
        let spec =
            spec.ok_or_else(|| denied(format!("the manifest has no connection `{slot}`: add it to `connections`")))?;
        self.installation.grants.may_call(slot, &request.method).map_err(|error| denied(error.to_string()))?;
        guard::check_path(&request.path).map_err(|error| denied(error.to_string()))?;
        let body = request.body.as_deref().unwrap_or_default();
        if body.len() > REQUEST_BYTES {
            return Err(HttpError::RequestTooLarge(REQUEST_BYTES as u64));
        }
        let connection = secrets::bound(&self.tenant, &self.installation, None, slot)
            .ok_or_else(|| HttpError::NeedsLogin(format!("no connection is bound to the slot `{slot}`")))?;
        let now = self.hub.clock.now();
        let (credential, _) = connection
            .secrets
            .first()
            .ok_or_else(|| HttpError::NeedsLogin(format!("the connection bound to `{slot}` has no secret")))?;
        let mut used = UsedSecrets::default();
        used.also(credential.masked_values());
        check_convention(convention).map_err(denied)?;
        let mut headers = self.fill_headers(&request.headers, credential.header().as_ref(), &mut used, now)?;
        let body = self.fill(body, &mut used, now)?.into_owned();
        let path = with_key(&mut headers, &request.path, convention, key);
        credential.apply(&mut headers, &body).map_err(|error| denied(error.to_string()))?;
        let invited = self.pass_gate(connection, spec, request, &path, &body).map_err(denied)?;
        add_trace(&mut headers, &self.claimed.event.correlation_id, &self.claimed.event.traceparent);
        let target = self.target(connection, spec, &path)?;
        let outgoing = Outgoing {
            method: Method::from_bytes(request.method.as_str().as_bytes())
                .map_err(|error| denied(error.to_string()))?,
            target,
            headers,
            body: Bytes::from(body),
            timeout: request.timeout_ms.map_or(TIMEOUT, Duration::from_millis),
            response_cap: usize::try_from(Limits::resolve(&self.version.manifest.limits).response_bytes)
                .unwrap_or(usize::MAX),
        };
        Ok(Ready { outgoing, used, connection: connection.row.key, token: None, invited })
    }

    fn target(
        &self,
        connection: &ConnectionView,
        spec: &ConnectionSpec,
        path: &str,
    ) -> Result<crate::outbound::egress::Target, HttpError> {
        let base = match connection.row.base_url.as_deref() {
            Some(own) => Cow::Borrowed(own),
            None => self.hub.settings.provider_origins.replace(&spec.base_url),
        };
        let base = base.trim_end_matches('/');
        let refused = |error| HttpError::Denied(format!("the connection's base URL cannot be called: {error}"));
        self.hub.client.policy().check_url(&format!("{base}{path}")).map_err(refused)
    }

    /// Checks the fields as the plugin wrote them, fills them, and checks them again: a filled secret must neither break a
    /// field nor pass the limits.
    fn fill_headers(
        &self,
        given: &[Header],
        credential: Option<&HeaderName>,
        used: &mut UsedSecrets,
        now: Timestamp,
    ) -> Result<HeaderMap, HttpError> {
        let denied = |error: guard::Denied| HttpError::Denied(error.to_string());
        let written = given.iter().map(|header| (header.name.as_str(), header.value.as_slice()));
        guard::check_headers(written, credential).map_err(denied)?;
        let mut filled = Vec::with_capacity(given.len());
        for header in given {
            filled.push((header.name.as_str(), self.fill(&header.value, used, now)?));
        }
        guard::check_headers(filled.iter().map(|(name, value)| (*name, value.as_ref())), credential).map_err(denied)
    }

    fn fill<'a>(&self, text: &'a [u8], used: &mut UsedSecrets, now: Timestamp) -> Result<Cow<'a, [u8]>, HttpError> {
        let valid = |slot: &str, field: &str| {
            self.installation.grants.may_name_secrets_of(slot).ok()?;
            let connection = secrets::bound(&self.tenant, &self.installation, None, slot)?;
            let mut current = connection.secrets.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
            current.find_map(|(credential, _)| credential.field(field))
        };
        template::fill(text, used, valid).map_err(|error| HttpError::Denied(error.to_string()))
    }
}

/// Whether the place that the convention names can carry a key. A key that the provider never sees would make a repeat
/// that looks safe a second effect.
fn check_convention(convention: &Idempotency) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match convention {
        Idempotency::Header(name) => match HeaderName::try_from(name.as_str()) {
            Ok(name) if guard::is_reserved_header(&name) => {
                Err(format!("the field `{name}` is set by the host and cannot carry the idempotency key"))
            }
            Ok(_) => Ok(()),
            Err(_) => Err("the idempotency key's field is not the name of an HTTP field".to_owned()),
        },
        Idempotency::Query(name) if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) => {
            Err("the idempotency key's query parameter must be 1 to 64 of `A-Z a-z 0-9 - _ .`".to_owned())
        }
        Idempotency::Query(_) | Idempotency::None | Idempotency::OwnId | Idempotency::Other(_) => Ok(()),
    }
}

/// Puts the idempotency key where the provider looks for it; answers the path to use.
fn with_key(headers: &mut HeaderMap, path: &str, convention: &Idempotency, key: Option<&str>) -> String {
    match (convention, key) {
        (Idempotency::Header(name), Some(key)) => {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(key)) {
                headers.insert(name, value);
            }
            path.to_owned()
        }
        (Idempotency::Query(name), Some(key)) => {
            let joint = if path.contains('?') { '&' } else { '?' };
            format!("{path}{joint}{name}={key}")
        }
        _ => path.to_owned(),
    }
}

/// The convention as the judgement of answers knows it.
pub(crate) const fn known(convention: &Idempotency) -> call::Idempotency {
    match convention {
        Idempotency::Header(_) => call::Idempotency::Header,
        Idempotency::Query(_) => call::Idempotency::Query,
        Idempotency::OwnId => call::Idempotency::OwnId,
        Idempotency::None | Idempotency::Other(_) => call::Idempotency::None,
    }
}

const fn entry_outcome(outcome: JournalOutcome) -> EntryOutcome {
    match outcome {
        JournalOutcome::Read => EntryOutcome::Read,
        JournalOutcome::Confirmed => EntryOutcome::Confirmed,
        JournalOutcome::Failed => EntryOutcome::Failed,
        JournalOutcome::Unknown => EntryOutcome::Unknown,
    }
}

const fn outcome_label(outcome: JournalOutcome) -> &'static str {
    match outcome {
        JournalOutcome::Read => "read",
        JournalOutcome::Confirmed => "confirmed",
        JournalOutcome::Failed => "failed",
        JournalOutcome::Unknown => "unknown",
    }
}

/// A judged failure as the plugin contract has it.
pub(crate) fn http_error(error: CallError) -> HttpError {
    match error {
        CallError::Denied(text) => HttpError::Denied(text),
        CallError::NeedsLogin(text) => HttpError::NeedsLogin(text),
        CallError::RateLimited(wait) => HttpError::RateLimited(ms(wait)),
        CallError::Unreachable(wait) => HttpError::Unreachable(wait.map(ms)),
        CallError::Timeout => HttpError::Timeout,
        CallError::ResponseTooLarge { status, limit } => HttpError::ResponseTooLarge { status, limit },
        CallError::UnknownOutcome { sent_at, message } => {
            HttpError::UnknownOutcome { sent_at_ms: millis(sent_at), message }
        }
    }
}

fn ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
