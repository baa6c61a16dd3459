//! What a request turned out to be, and what is kept of it.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;

use super::{
    answers::{refused, replied, unavailable},
    client::Client,
};
use crate::{
    event::TenantId,
    hub::Hub,
    observe::metrics,
    plugin::{
        call::{CallEnd, Ended},
        model::{EmittedEvent, PluginError, Received, Reply},
    },
    queue::reason::{Failure, ReasonClass},
    run::end::failure_of,
    store::{
        StoreError,
        ledger::{ParkedRequest, RawRequest, Rejection},
    },
};

/// What became of a request.
pub(super) enum Verdict {
    /// Stored, or nothing to store: the provider's answer.
    Answered(Option<Reply>),
    /// Refused, with status, code and the admin's text.
    Refused(StatusCode, &'static str, String),
    /// It could not be judged.
    Neither(Failure),
}

/// What an authentic request had to say.
pub(super) struct Said {
    pub(super) events: Vec<EmittedEvent>,
    pub(super) reply: Option<Reply>,
    pub(super) poll_now: Vec<String>,
}

/// What a call of `receive` came to: something to accept, or the verdict at once.
pub(super) fn said(ended: Ended<Received>) -> Result<Said, Verdict> {
    let sentence = ended.failure().unwrap_or_default();
    Err(match ended.result {
        Ok(Received::Accepted { events, reply, poll_now }) => return Ok(Said { events, reply, poll_now }),
        Ok(Received::Handled(reply)) => Verdict::Answered(Some(reply)),
        Ok(Received::Unauthenticated(reason)) => Verdict::Refused(StatusCode::UNAUTHORIZED, "unauthenticated", reason),
        Err(CallEnd::Error(PluginError::Reject(detail))) => {
            let reason = format!("{}: {}", detail.code, detail.message);
            Verdict::Refused(StatusCode::BAD_REQUEST, "rejected", reason)
        }
        Err(CallEnd::Error(error)) => Verdict::Neither(failure_of(&error)),
        Err(end) => Verdict::Neither(Failure::new(ReasonClass::PluginBug, end.code(), sentence)),
    })
}

impl Hub {
    /// Keeps what has to be kept of a judged request, and makes the answer.
    pub(super) async fn answer_verdict(
        self: &Arc<Self>,
        verdict: Result<Verdict, StoreError>,
        raw: RawRequest,
        plugin: String,
        client: Option<Client>,
    ) -> Response {
        match verdict {
            Ok(Verdict::Answered(reply)) => {
                self.watch_source(&raw.source_id, false);
                replied(reply)
            }
            Ok(Verdict::Refused(status, code, reason)) => {
                self.watch_source(&raw.source_id, true);
                let size = raw.body.len() as u64;
                self.note_rejection(&raw.tenant, &raw.source_id, status, code, reason, size, client).await;
                refused(status)
            }
            Ok(Verdict::Neither(failure)) => {
                tracing::warn!(source.id = %raw.source_id, reason = %failure.reason, code = %failure.code, "a request is parked");
                metrics::parked(failure.reason.as_str());
                match self.store.park(ParkedRequest { request: raw, plugin, failure, tries: 1 }).await {
                    Ok(dropped) => metrics::parked_dropped(dropped),
                    Err(error) => tracing::error!(%error, "a request could not be parked"),
                }
                unavailable()
            }
            Err(error) => {
                tracing::error!(%error, "a request could not be stored");
                unavailable()
            }
        }
    }

    /// Notes how a request was judged. A source that begins to refuse most of what it gets is told of once.
    pub(super) fn watch_source(&self, source_id: &str, refused: bool) {
        if let Some(share) = self.alarms.note(source_id, refused, self.clock.monotonic()) {
            tracing::warn!(
                source.id = source_id,
                refused = share.refused,
                judged = share.judged,
                "a source refuses most of what it gets; was its secret changed on one side only?"
            );
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a rejection")]
    pub(super) async fn note_rejection(
        &self,
        owner: &TenantId,
        source_id: &str,
        status: StatusCode,
        code: &'static str,
        mut reason: String,
        bytes: u64,
        client: Option<Client>,
    ) {
        metrics::rejected(code);
        while reason.len() > 256 {
            reason.pop();
        }
        let key = self.ids.next();
        let rejection = Rejection {
            key,
            tenant: owner.clone(),
            source_id: source_id.to_owned(),
            at: self.clock.now(),
            status: status.as_u16(),
            code: code.to_owned(),
            reason,
            bytes,
            remote_addr: client.map(|client| client.ip.to_string()),
            correlation_id: key.to_string().into(),
        };
        if let Err(error) = self.store.reject(vec![rejection]).await {
            tracing::warn!(%error, "a rejection could not be kept");
        }
    }
}
