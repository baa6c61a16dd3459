//! Steps of traces, for export: what the hub did for an event, when, for how long, and how it ended.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{metrics, trace::TraceParent};
use crate::{clock::Timestamp, hub::Hub};

/// Steps that wait to be exported; what comes beyond is dropped and counted.
const WAITING: usize = 8_192;

/// What kind of step it is, as OpenTelemetry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Something was asked of the hub.
    Server,
    /// The hub asked somebody else.
    Client,
    /// The hub worked for itself.
    Internal,
}

/// A step that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// `send`, `run billy`.
    pub name: String,
    /// What kind it is.
    pub kind: StepKind,
    /// Its trace, and itself.
    pub at: TraceParent,
    /// The step that caused it.
    pub parent: Option<[u8; 8]>,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What else is known: names of the program, never payload.
    pub attributes: Vec<(&'static str, String)>,
    /// How it failed, if it did.
    pub failed: Option<String>,
}

/// Where steps go. Without a collector nothing is recorded.
#[derive(Clone, Debug, Default)]
pub struct Steps(Option<mpsc::Sender<Step>>);

impl Steps {
    /// Steps that somebody takes.
    #[must_use]
    pub fn taken() -> (Self, mpsc::Receiver<Step>) {
        let (steps, taken) = mpsc::channel(WAITING);
        (Self(Some(steps)), taken)
    }

    /// Takes a step that has ended.
    fn record(&self, step: Step) {
        if let Some(steps) = &self.0
            && steps.try_send(step).is_err()
        {
            metrics::step_dropped();
        }
    }
}

/// A step under way.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    at: TraceParent,
    parent: [u8; 8],
    began: Timestamp,
    from: Duration,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What was done: `send`, `run billy`.
    pub name: String,
    /// What kind of step it was.
    pub kind: StepKind,
    /// What else is known: names of the program, never payload.
    pub attributes: Vec<(&'static str, String)>,
    /// How it failed, if it did.
    pub failed: Option<String>,
}

impl Hub {
    /// Begins a step below the one that `traceparent` names, if steps are exported and that trace is recorded.
    #[must_use]
    pub fn begin_step(&self, traceparent: &str) -> Option<Begun> {
        self.steps.0.as_ref()?;
        let parent: TraceParent = traceparent.parse().ok().filter(|parent: &TraceParent| parent.sampled)?;
        let (began, from) = (self.clock.now(), self.clock.monotonic());
        Some(Begun { at: parent.child(&self.ids), parent: parent.span_id, began, from })
    }

    /// Ends a step. `ended` is asked only if there is one.
    pub fn end_step(&self, begun: Option<Begun>, ended: impl FnOnce() -> Ended) {
        let Some(Begun { at, parent, began, from }) = begun else { return };
        let took = self.clock.monotonic().saturating_sub(from);
        let Ended { name, kind, attributes, failed } = ended();
        self.steps.record(Step { name, kind, at, parent: Some(parent), began, took, attributes, failed });
    }
}
