//! Provider calls as steps of traces.

use crate::{
    observe::steps::{Ended, StepKind},
    outbound::client::Outgoing,
};

/// A call: its method and where it went, without path and query, which may name persons.
pub(super) fn of_call(outgoing: &Outgoing, outcome: &'static str) -> Ended {
    let host = outgoing.target.uri().host().unwrap_or_default().to_owned();
    Ended {
        name: format!("{} {host}", outgoing.method),
        kind: StepKind::Client,
        attributes: vec![("server.address", host), ("http.request.method", outgoing.method.to_string())],
        failed: matches!(outcome, "failed" | "unknown").then(|| outcome.to_owned()),
    }
}
