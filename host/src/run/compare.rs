//! Where two runs of one event differ. Differences are named by place and never by value, so that what is kept of them
//! holds no personal data.

use serde_json::{Value, json};

use super::{
    run::Left,
    shadow_calls::{Diverged, KvWrites, ShadowCalls},
};
use crate::{
    plugin::{
        call::CallEnd,
        model::{EmittedEvent, PluginError, PollOutput},
    },
    queue::reason::Failure,
    store::shadow::ShadowOutcome,
};

/// At most so many differences are named.
const MOST: usize = 50;

/// A place that is longer is cut.
const PLACE_BYTES: usize = 200;

/// How a live run ended, as far as another one can end likewise.
#[derive(Clone, Debug)]
pub(super) enum LiveEnd {
    /// It left this.
    Left(Vec<EmittedEvent>, Option<PollOutput>),
    /// It returned an error.
    Refused(PluginError),
    /// It trapped, passed a limit or emitted what it may not: the code.
    Broke(String),
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    places: Vec<String>,
    more: bool,
}

impl Differences {
    fn note(&mut self, place: String) {
        if self.places.len() >= MOST {
            self.more = true;
        } else {
            self.places.push(cut(place));
        }
    }

    fn unless<T: PartialEq>(&mut self, live: &T, shadow: &T, place: impl FnOnce() -> String) {
        if live != shadow {
            self.note(place());
        }
    }
}

/// At most [`PLACE_BYTES`] of a text, ending at a character's edge.
fn cut(mut text: String) -> String {
    let edge = (0..=PLACE_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(edge);
    text
}

/// The judgement over a shadow run, and its detail for the page. `refused` is why the host would not have accepted what
/// the shadow emitted.
pub(super) fn judge(
    live: &LiveEnd,
    live_kv: &KvWrites,
    result: Result<&Left, &CallEnd>,
    calls: &ShadowCalls,
    refused: Option<Failure>,
    sentence: &str,
) -> (ShadowOutcome, Value) {
    let end = match result {
        Ok(left) => match (refused, live) {
            (Some(failure), _) => return (ShadowOutcome::Failed, failed(&failure.code, &failure.message)),
            (None, LiveEnd::Left(events, poll)) => {
                let mut differences = Differences::default();
                compare_events(&mut differences, events, &left.events);
                compare_polls(&mut differences, poll.as_ref(), left.poll.as_ref());
                compare_kv(&mut differences, live_kv, calls.writes());
                return ended(differences, calls.not_made());
            }
            (None, LiveEnd::Refused(_) | LiveEnd::Broke(_)) => return differs_in_result(live, "it ended well"),
        },
        Err(end) => end,
    };
    match (end, live) {
        (CallEnd::Stopped(stop), _) if stop.0.is::<Diverged>() => {
            let call = stop.0.downcast_ref::<Diverged>().map(|diverged| cut(diverged.0.clone()));
            (ShadowOutcome::Diverged, json!({"call": call}))
        }
        (CallEnd::Error(shadow), LiveEnd::Refused(live)) => {
            let facts =
                |error: &PluginError| (error.disposition(), error.detail().reason.clone(), error.detail().code.clone());
            if facts(live) == facts(shadow) {
                return (ShadowOutcome::Same, json!({}));
            }
            differs_in_result(&LiveEnd::Refused(live.clone()), &shadow.detail().code)
        }
        (CallEnd::Error(shadow), LiveEnd::Broke(_)) => differs_in_result(live, &shadow.detail().code),
        (end, LiveEnd::Broke(code)) if end.code() == code => (ShadowOutcome::Same, json!({})),
        (end, _) => (ShadowOutcome::Failed, failed(end.code(), sentence)),
    }
}

fn failed(code: &str, message: &str) -> Value {
    let failure = Failure::new(crate::queue::reason::ReasonClass::PluginBug, code, message);
    json!({"failure": {"code": failure.code, "message": failure.message}})
}

fn differs_in_result(live: &LiveEnd, shadow: &str) -> (ShadowOutcome, Value) {
    let live = match live {
        LiveEnd::Left(..) => "it ended well",
        LiveEnd::Refused(error) => &error.detail().code,
        LiveEnd::Broke(code) => code,
    };
    (ShadowOutcome::Differs, json!({"differences": ["result"], "live": live, "shadow": shadow}))
}

fn ended(differences: Differences, not_made: Vec<String>) -> (ShadowOutcome, Value) {
    if differences.places.is_empty() && not_made.is_empty() {
        return (ShadowOutcome::Same, json!({}));
    }
    let not_made: Vec<_> = not_made.into_iter().take(MOST).map(cut).collect();
    let detail = json!({"differences": differences.places, "more": differences.more, "not_made": not_made});
    (ShadowOutcome::Differs, detail)
}

fn compare_events(found: &mut Differences, live: &[EmittedEvent], shadow: &[EmittedEvent]) {
    found.unless(&live.len(), &shadow.len(), || format!("events: {} live, {} shadow", live.len(), shadow.len()));
    for (nth, (live, shadow)) in live.iter().zip(shadow).enumerate() {
        let at = |field: &str| format!("events[{nth}].{field}");
        found.unless(&live.type_, &shadow.type_, || at("type"));
        found.unless(&live.subject, &shadow.subject, || at("subject"));
        found.unless(&live.time_ms, &shadow.time_ms, || at("time"));
        found.unless(&live.ordering_key, &shadow.ordering_key, || at("ordering_key"));
        found.unless(&live.dedupe_key, &shadow.dedupe_key, || at("dedupe_key"));
        found.unless(&live.expires_at_ms, &shadow.expires_at_ms, || at("expires_at"));
        found.unless(&live.emergency, &shadow.emergency, || at("urgency"));
        found.unless(&live.extensions, &shadow.extensions, || at("extensions"));
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        compare_values(found, &parse(&live.data), &parse(&shadow.data), &at("data"));
    }
}

/// Depth and nodes are bounded by what an event's data may be; how many places are named is bounded here.
fn compare_values(found: &mut Differences, live: &Value, shadow: &Value, place: &str) {
    if found.more || live == shadow {
        return;
    }
    match (live, shadow) {
        (Value::Object(live), Value::Object(shadow)) => {
            for (name, value) in live {
                let other = shadow.get(name).unwrap_or(&Value::Null);
                compare_values(found, value, other, &format!("{place}/{name}"));
            }
            for name in shadow.keys().filter(|name| !live.contains_key(*name)) {
                found.note(format!("{place}/{name}"));
            }
        }
        (Value::Array(live), Value::Array(shadow)) if live.len() == shadow.len() => {
            for (nth, (live, shadow)) in live.iter().zip(shadow).enumerate() {
                compare_values(found, live, shadow, &format!("{place}/{nth}"));
            }
        }
        _ => found.note(place.to_owned()),
    }
}

fn compare_polls(found: &mut Differences, live: Option<&PollOutput>, shadow: Option<&PollOutput>) {
    let (Some(live), Some(shadow)) = (live, shadow) else { return };
    found.unless(&live.cursor, &shadow.cursor, || "cursor".to_owned());
    found.unless(&live.has_more, &shadow.has_more, || "has_more".to_owned());
    found.unless(&live.next_in_ms, &shadow.next_in_ms, || "next_in".to_owned());
}

fn compare_kv(found: &mut Differences, live: &KvWrites, shadow: &KvWrites) {
    for (key, print) in live {
        match shadow.get(key) {
            Some(other) if other == print => {}
            Some(_) => found.note(format!("kv {key}")),
            None => found.note(format!("kv {key}: live only")),
        }
    }
    for key in shadow.keys().filter(|key| !live.contains_key(*key)) {
        found.note(format!("kv {key}: shadow only"));
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
