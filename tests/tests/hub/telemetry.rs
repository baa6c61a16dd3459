use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{Metric, metric::Data, number_data_point},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use serde_json::json;
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    hub::Hub,
    sink::{Act, Sink},
    world::{guest, subscriber},
};
use tokio::net::TcpListener;

/// What no export may hold.
const MARKER: &str = "MARKER-of-a-person";

/// The trace and the step that a caller says that it is in.
const TRACE: [u8; 16] = [0x4b; 16];
const CALLERS_STEP: [u8; 8] = [0x5c; 8];

/// A collector as the protocol has it: one path for each kind, protobuf bodies.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Taken>>);

/// What a collector was sent.
#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    services: Vec<String>,
    bytes: Vec<u8>,
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|media| media == "application/x-protobuf")
}

async fn take_traces(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    if !is_protobuf(&headers) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let mut taken = collector.taken();
    taken.bytes.extend_from_slice(&body);
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        taken.services.extend(text_of(&attributes, "service.name"));
        taken.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    StatusCode::OK
}

async fn take_metrics(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(request) = ExportMetricsServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    if !is_protobuf(&headers) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let mut taken = collector.taken();
    taken.bytes.extend_from_slice(&body);
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    taken.metrics.extend(scopes.flat_map(|scope| scope.metrics));
    StatusCode::OK
}

impl Collector {
    /// Serves at the listener as long as the test's runtime lives.
    fn serve(&self, listener: TcpListener) {
        let router = Router::new().route("/v1/traces", post(take_traces)).route("/v1/metrics", post(take_metrics));
        let router = router.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The steps of a trace.
    fn trace(&self, trace: &[u8]) -> Vec<Span> {
        self.taken().spans.iter().filter(|span| span.trace_id == trace).cloned().collect()
    }

    /// Waits for a step of the trace with this name and this end.
    async fn step(&self, name: &str, failed: bool) -> Span {
        until(name, async || {
            let all = self.trace(&TRACE);
            let ours = |span: &&Span| {
                let error = span.status.as_ref().is_some_and(|status| status.code == i32::from(SpanStatus::Error));
                span.name == name && error == failed
            };
            all.iter().find(ours).cloned().ok_or_else(|| format!("{all:?}"))
        })
        .await
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    (listener, url)
}

/// The sum of a counter over all its labels.
fn counted(metrics: &[Metric], name: &str) -> f64 {
    // Of several exports the last one says most.
    let Some(Data::Sum(sum)) =
        metrics.iter().rev().find(|metric| metric.name == name).and_then(|metric| metric.data.clone())
    else {
        return 0.0;
    };
    let value = |value: Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        _ => 0.0,
    };
    sum.data_points.into_iter().map(|point| value(point.value)).sum()
}

#[tokio::test]
async fn the_way_of_an_event_arrives_as_steps_of_its_callers_trace_and_the_metrics_with_it() {
    let (listener, url) = listener().await;
    let collector = Collector::default();
    collector.serve(listener);
    let (mut hub, at) = (Hub::builder().set("SWITCHYARD_OTLP_URL", &url).start().await, subscriber().await);
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let more = json!({"retry_schedule": [0, 30, 30]});
    let endpoint = tenant.endpoint(&at, "/hook", &["greeting.requested", "greeting.made"], more).await;
    at.set_script("/hook", Script::statuses(&[500, 200]));
    let _ = tenant.install("hello", &json!({"config": {"greeting": "Hej"}})).await;
    let traceparent = format!("00-{}-{}-01", hex::encode(TRACE), hex::encode(CALLERS_STEP));
    let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
    let event = json!({"type": "greeting.requested", "id": "e-1", "data": {"name": MARKER}});
    let _ = hub.raw("POST", &tenant.path("/events"), &headers, event.to_string()).await.expect(202);

    let run = collector.step("run hello", false).await;
    assert_eq!((run.parent_span_id.as_slice(), run.kind), (CALLERS_STEP.as_slice(), i32::from(SpanKind::Internal)));
    let (failed, sent) = (collector.step("send", true).await, collector.step("send", false).await);
    assert_eq!(failed.status.map(|status| status.message).as_deref(), Some("subscriber http_500"));
    for span in [&run, &sent] {
        assert_eq!(text_of(&span.attributes, "switchyard.tenant").as_deref(), Some("acme"));
        assert!(span.end_time_unix_nano > span.start_time_unix_nano && span.start_time_unix_nano > 0, "{span:?}");
    }
    assert_eq!(text_of(&sent.attributes, "switchyard.target").as_deref(), Some(&*endpoint));
    // What went out names the step that sent it, or one of the same trace.
    let arrived = at.wait_for("/hook", 2, SOON).await.expect("it arrives");
    let passed_on = arrived[0].header("traceparent").unwrap_or_default();
    assert!(passed_on.starts_with(&format!("00-{}-", hex::encode(TRACE))), "{passed_on}");
    assert!(hub.stop().await.success());
    let taken = collector.taken();
    assert!(taken.services.iter().all(|service| service == "switchyard"), "{:?}", taken.services);
    for name in ["switchyard_events_accepted_total", "switchyard_deliveries_settled_total"] {
        assert!(counted(&taken.metrics, name) >= 1.0, "{name} was not sent");
    }
    assert!(!String::from_utf8_lossy(&taken.bytes).contains(MARKER), "what an event carries was exported");
}

/// Publishes so many events, all of which arrive.
async fn works(tenant: &Tenant, at: &switchyard_simulators::subscriber::Handle, count: usize) {
    let before = at.requests("/hook").len();
    for n in 0..count {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
    }
    let _ = at.wait_for("/hook", before + count, SOON).await.expect("nothing waits for a collector");
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_costs_steps_and_nothing_else_and_is_found_again() {
    const EVENTS: usize = 150;
    let (listener, away) = listener().await;
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let silent = Sink::start(vec![Act::ReadRequest, Act::Hang]).await;
    for url in [away, silent.url("")] {
        let (mut hub, at) = (Hub::builder().set("SWITCHYARD_OTLP_URL", &url).start().await, subscriber().await);
        let tenant = hub.tenant("acme").await;
        let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
        at.set_script("/hook", Script::always(Step::status(200)));
        works(&tenant, &at, EVENTS).await;
        until("the hub to say so", async || {
            let log = hub.log();
            if log.contains("the collector could not be reached") {
                Ok(())
            } else {
                Err(log.lines().count().to_string())
            }
        })
        .await;
        let told = hub.log().matches("the collector could not be reached").count();
        assert!(told < 30, "{told} lines about a collector");
        let back = Collector::default();
        if url.ends_with(&address.port().to_string()) {
            back.serve(TcpListener::bind(address).await.expect("the port is free again"));
            works(&tenant, &at, 1).await;
            until("steps to arrive", async || match back.taken().spans.len() {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            })
            .await;
        }
        assert_eq!(text(&hub.get("/v1/status").await.expect(200), "state"), "ok");
        let stopped = tokio::time::timeout(Duration::from_secs(8), hub.stop()).await;
        assert!(stopped.expect("a silent collector is not waited for").success());
    }
}
