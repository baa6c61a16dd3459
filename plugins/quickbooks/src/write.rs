use serde_json::Value;
use switchyard_sdk::http::RequestBuilder;
use switchyard_sdk::prelude::*;

use crate::client::{self, malformed, read, record};
use crate::config::Config;
use crate::fault::{self, Fault};

/// How often a write is made anew when a success hid a fault that passes, or somebody else was faster.
const TRIES: usize = 3;

/// What became of a write.
pub enum Written {
    /// The record as it is now.
    Done(Value),
    /// QuickBooks does not do it.
    Refused(Fault),
    /// It answered with a success that cannot be read.
    Unreadable,
}

/// Sends a write once. A lost answer is no matter here: the host repeats the write under the same request id.
pub fn send(request: &RequestBuilder, entity: &str) -> Result<Written, PluginError> {
    let response = match request.send() {
        Ok(response) => response,
        Err(HttpError::ResponseTooLarge { status, .. }) if (200..300).contains(&status) => {
            return Ok(Written::Unreadable);
        }
        Err(error) => return Err(error.into()),
    };
    match read(&response) {
        Ok(Ok(answer)) => {
            Ok(record(&answer, entity).map_or(Written::Unreadable, |record| Written::Done(record.clone())))
        }
        Ok(Err(fault)) => Ok(Written::Refused(fault)),
        Err(_) if response.is_success() => Ok(Written::Unreadable),
        Err(error) => Err(error),
    }
}

/// Makes a record, once. Where a success hides a fault or cannot be read, `find` looks for the record by our reference:
/// the host takes such an answer for a confirmed write, and serves it again instead of sending it.
pub fn create(
    request: &RequestBuilder,
    entity: &str,
    find: impl Fn() -> Result<Option<Value>, PluginError>,
) -> Result<Result<Value, Fault>, PluginError> {
    let mut hidden = None;
    for _ in 0..TRIES {
        match send(request, entity)? {
            Written::Done(record) => return Ok(Ok(record)),
            Written::Refused(fault) if !fault.is_hidden() => return Ok(Err(fault)),
            Written::Refused(fault) => match find()? {
                Some(record) => return Ok(Ok(record)),
                None if fault.is_passing() => hidden = Some(fault),
                None => return Ok(Err(fault)),
            },
            Written::Unreadable => {
                let message =
                    "QuickBooks took a write, its answer says nothing, and what it made is not to be seen yet.";
                let unseen = || PluginError::retry(Reason::UnknownOutcome, "not_seen_yet", message);
                return find()?.map(Ok).ok_or_else(unseen);
            }
        }
    }
    Err(hidden.map_or_else(malformed, |fault| fault.disposition()))
}

/// What a change came to.
pub enum Changed {
    /// There is no such record.
    Missing,
    /// It was so already.
    Already,
    /// It was changed.
    Done(Value),
}

/// Changes a record that somebody else may change too: reads it, makes the change, and does both again when it was
/// stale, three times at most. `change` answers what to send, or none where nothing is to be done.
pub fn change(
    ctx: &Ctx<Config>,
    entity: &str,
    id: &str,
    path: &str,
    change: impl Fn(&Value) -> Option<Value>,
) -> Result<Changed, PluginError> {
    let mut last = None;
    for _ in 0..TRIES {
        let Some(there) = client::fetch(ctx, entity, id)? else { return Ok(Changed::Missing) };
        let Some(mut body) = change(&there) else { return Ok(Changed::Already) };
        for name in ["Id", "SyncToken"] {
            body[name] = there.get(name).cloned().unwrap_or_default();
        }
        body["sparse"] = Value::Bool(true);
        match send(&client::post(ctx, path, &body), entity)? {
            Written::Done(record) => return Ok(Changed::Done(record)),
            Written::Refused(fault) if fault.code == fault::STALE || (fault.is_hidden() && fault.is_passing()) => {
                ctx.info("a record was changed by somebody else meanwhile; reading it again", &[]);
                last = Some(fault);
            }
            // A success that says nothing: the next look shows whether the change is made.
            Written::Unreadable => {}
            Written::Refused(fault) => return Err(fault.into()),
        }
    }
    match last {
        Some(fault) if fault.code == fault::STALE => {
            let message = "A record was changed by somebody else three times while we were changing it.";
            Err(PluginError::retry(Reason::Other("conflict".to_owned()), "stale_record", message))
        }
        Some(fault) => Err(fault.into()),
        None => Err(malformed()),
    }
}
