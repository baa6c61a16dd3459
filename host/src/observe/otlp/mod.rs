//! Export to a collector by OTLP: protobuf bodies over HTTP, to `/v1/traces` and `/v1/metrics` below its URL
//! (OpenTelemetry protocol 1.x). What a collector does not take in time is dropped: telemetry never holds up the hub.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::steps::Step;
use crate::{
    clock::{SharedClock, Timestamp},
    outbound::{
        client::{HttpClient, Outgoing},
        egress::{EgressGuard, EgressPolicy, SystemResolver, Target},
    },
};

/// The exposition as OTLP metrics.
mod metrics;

/// Steps as OTLP spans.
mod spans;

/// Steps in one request.
const BATCH: usize = 512;

/// How long a step waits for others.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// How often metrics are sent.
const METRICS_EVERY: Duration = Duration::from_secs(15);

/// Time for one request.
const ANSWER: Duration = Duration::from_secs(5);

/// How long what is under way, and then what is left, may take when the hub stops: a silent collector must not hold it up.
const LAST: Duration = Duration::from_secs(2);

/// Bytes of the collector's answer that are read.
const ANSWER_BYTES: usize = 16 << 10;

/// Sends to one collector.
pub struct Exporter {
    client: HttpClient,
    traces: Target,
    metrics: Target,
    resource: Resource,
    clock: SharedClock,
}

impl Exporter {
    /// An exporter to the collector at `url`. `node` tells this process from others.
    ///
    /// # Errors
    /// The client cannot be made, or the URL has no room for a path.
    pub fn new(url: &Url, node: &str, clock: SharedClock) -> anyhow::Result<Self> {
        // The operator's own choice, which is often on this machine: nothing to guard it from.
        let anywhere = EgressPolicy::new(vec!["0.0.0.0/0".parse()?, "::/0".parse()?], Vec::new());
        let base = url.as_str().trim_end_matches('/');
        Ok(Self {
            traces: anywhere.check_url(&format!("{base}/v1/traces"))?,
            metrics: anywhere.check_url(&format!("{base}/v1/metrics"))?,
            client: HttpClient::new(EgressGuard::new(anywhere, Arc::new(SystemResolver::new())))?,
            resource: Resource {
                attributes: vec![
                    attribute("service.name", "switchyard"),
                    attribute("service.version", env!("CARGO_PKG_VERSION")),
                    attribute("service.instance.id", node),
                ],
                ..Resource::default()
            },
            clock,
        })
    }

    /// Sends steps and metrics until `stop`, and then what is left.
    pub async fn run(self, mut steps: mpsc::Receiver<Step>, stop: CancellationToken) {
        let began = self.clock.now();
        let mut batch = Vec::new();
        let mut next_metrics = self.clock.monotonic() + METRICS_EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                received = steps.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    // Others follow soon, and one request for many is cheaper for everybody.
                    let more = async { while batch.len() < BATCH && steps.recv_many(&mut batch, BATCH).await > 0 {} };
                    // What came by then is sent, however many.
                    tokio::time::timeout(BATCH_EVERY, more).await.ok();
                    unless_over(&stop, self.send_steps(&mut batch)).await;
                }
                () = tokio::time::sleep(next_metrics.saturating_sub(self.clock.monotonic())) => {}
            }
            if self.clock.monotonic() >= next_metrics {
                next_metrics = self.clock.monotonic() + METRICS_EVERY;
                unless_over(&stop, self.send_metrics(began)).await;
            }
        }
        while let Ok(step) = steps.try_recv() {
            batch.push(step);
        }
        let last = async {
            self.send_steps(&mut batch).await;
            self.send_metrics(began).await;
        };
        unless_over(&stop, last).await;
    }

    async fn send_metrics(&self, began: Timestamp) {
        let exposition = super::metrics::render();
        self.send(&self.metrics, metrics::request(&self.resource, &exposition, began, self.clock.now())).await;
    }

    async fn send_steps(&self, batch: &mut Vec<Step>) {
        if !batch.is_empty() {
            self.send(&self.traces, spans::request(&self.resource, std::mem::take(batch))).await;
        }
    }

    async fn send(&self, to: &Target, message: impl Message) {
        let outgoing = Outgoing {
            method: Method::POST,
            target: to.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]),
            body: Bytes::from(message.encode_to_vec()),
            timeout: ANSWER,
            response_cap: ANSWER_BYTES,
        };
        match self.client.send(outgoing).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => tracing::warn!(status = answer.status.as_u16(), "the collector refused what it was sent"),
            Err(error) => tracing::warn!(%error, "the collector could not be reached"),
        }
    }
}

/// Gives up what is still under way a moment after `stop`.
async fn unless_over(stop: &CancellationToken, work: impl Future<Output = ()>) {
    let over = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST).await;
    };
    tokio::select! {
        () = work => {}
        () = over => {}
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "switchyard".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
