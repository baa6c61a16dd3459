//! Every metric, by typed functions. Names, labels and meanings stand in [`super::metric_table`].
//!
//! The registry is one per process and needs no set-up; hubs that share a process, as in tests, share it. Label
//! values are `&'static str`, so that a caller's words can never become a label.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio_util::sync::CancellationToken;

use super::metric_table::{self as table, Kind, Metric};

struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut builder = PrometheusBuilder::new();
    for metric in table::ALL {
        if let Kind::Histogram(bounds) = metric.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
                .unwrap_or_else(|_| PrometheusBuilder::new());
        }
    }
    let recorder = builder.build_recorder();
    for metric in table::ALL {
        let (name, help) = (metric.name.into(), metric.help.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
        }
    }
    let handle = recorder.handle();
    Registry { recorder, handle }
});

const METADATA: Metadata<'static> = Metadata::new("switchyard", Level::INFO, None);

fn key(metric: &Metric, values: &[&'static str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{} takes {:?}", metric.name, metric.labels);
    if values.is_empty() {
        return Key::from_static_name(metric.name);
    }
    let labels: Vec<Label> =
        metric.labels.iter().zip(values).map(|(label, value)| Label::from_static_parts(label, value)).collect();
    Key::from_parts(metric.name, labels)
}

fn counter(metric: &Metric, values: &[&'static str]) -> Counter {
    REGISTRY.recorder.register_counter(&key(metric, values), &METADATA)
}

fn gauge(metric: &Metric, values: &[&'static str]) -> Gauge {
    REGISTRY.recorder.register_gauge(&key(metric, values), &METADATA)
}

fn histogram(metric: &Metric, values: &[&'static str]) -> Histogram {
    REGISTRY.recorder.register_histogram(&key(metric, values), &METADATA)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
fn set(metric: &Metric, values: &[&'static str], value: usize) {
    gauge(metric, values).set(value as f64);
}

/// The exposition for `/metrics`, with the process's memory, CPU time and files as of now.
#[must_use]
pub fn render() -> String {
    LOG_LINES_LOST.absolute(LOST.load(Ordering::Relaxed));
    process();
    REGISTRY.handle.render()
}

/// Folds recorded observations into their histograms until `shutdown`. Without it a registry that nobody scrapes
/// would keep every observation.
pub async fn keep(shutdown: CancellationToken) {
    while tokio::time::timeout(Duration::from_secs(5), shutdown.cancelled()).await.is_err() {
        REGISTRY.handle.run_upkeep();
    }
}

/// Why the listener ended a connection or did not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No first byte in time.
    Silent,
    /// No complete head in time.
    Header,
    /// A head that could be read in two ways.
    Framing,
    /// Too old.
    Lifetime,
    /// Still busy when its time to finish was over.
    Grace,
    /// Too many connections.
    Cap,
    /// Too many connections of one address.
    PerIpCap,
}

impl Closed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Header => "header",
            Self::Framing => "framing",
            Self::Lifetime => "lifetime",
            Self::Grace => "grace",
            Self::Cap => "cap",
            Self::PerIpCap => "per_ip_cap",
        }
    }
}

/// The part of the hub that answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/in`.
    Ingress,
    /// `/v1` and what stands beside it.
    Api,
}

/// `2xx` and so on, for a status code.
#[must_use]
pub const fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

/// Sets the number of connections now open.
pub fn connections(open: usize) {
    static OPEN: LazyLock<Gauge> = LazyLock::new(|| gauge(&table::CONNECTIONS, &[]));
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
    OPEN.set(open as f64);
}

/// Counts a connection that the listener ended.
pub fn connection_closed(cause: Closed) {
    counter(&table::CONNECTIONS_CLOSED, &[cause.as_str()]).increment(1);
}

/// Counts a failed accept.
pub fn accept_failed() {
    counter(&table::ACCEPT_ERRORS, &[]).increment(1);
}

/// Counts a refused body by its code.
pub fn body_refused(code: &'static str) {
    counter(&table::BODIES_REFUSED, &[code]).increment(1);
}

/// Counts a request over a rate; `by` is `ip` or `source`.
pub fn rate_limited(by: &'static str) {
    counter(&table::RATE_LIMITED, &[by]).increment(1);
}

/// Counts an answer and its time.
pub fn request_answered(surface: Surface, status: u16, took: Duration) {
    let surface = match surface {
        Surface::Ingress => "in",
        Surface::Api => "api",
    };
    counter(&table::HTTP_REQUESTS, &[surface, status_class(status)]).increment(1);
    histogram(&table::HTTP_SECONDS, &[surface]).record(took);
}

/// Counts accepted events; `origin` is `in`, `api`, `emit`, `schedule` or `host`.
pub fn events_accepted(origin: &'static str, count: u64) {
    counter(&table::EVENTS_ACCEPTED, &[origin]).increment(count);
}

/// Counts an event that was already known.
pub fn event_duplicate(origin: &'static str) {
    counter(&table::EVENTS_DUPLICATE, &[origin]).increment(1);
}

/// Counts a refused inbound request.
pub fn rejected(cause: &'static str) {
    counter(&table::REJECTIONS, &[cause]).increment(1);
}

/// Sets the number of sources that fail now.
pub fn sources_failing(count: usize) {
    set(&table::SOURCES_FAILING, &[], count);
}

/// Counts events from an app for accounts that nobody uses here.
pub fn unknown_accounts(count: u64) {
    counter(&table::UNKNOWN_ACCOUNTS, &[]).increment(count);
}

/// Counts a parked request.
pub fn parked(cause: &'static str) {
    counter(&table::PARKED, &[cause]).increment(1);
}

/// Counts parked requests given up because of the cap.
pub fn parked_dropped(count: u64) {
    counter(&table::PARKED_DROPPED, &[]).increment(count);
}

/// Records one write transaction.
pub fn group_committed(callers: u32, took: Duration) {
    static CALLERS: LazyLock<Histogram> = LazyLock::new(|| histogram(&table::GROUP_CALLERS, &[]));
    static TOOK: LazyLock<Histogram> = LazyLock::new(|| histogram(&table::COMMIT_SECONDS, &[]));
    CALLERS.record(f64::from(callers));
    TOOK.record(took);
}

/// Sets the number of deliveries in a state.
pub fn queue_depth(state: &'static str, deliveries: usize) {
    set(&table::QUEUE, &[state], deliveries);
}

/// Sets how long the oldest due delivery has been due.
pub fn queue_age(oldest: Duration) {
    gauge(&table::QUEUE_AGE, &[]).set(oldest.as_secs_f64());
}

/// Sets the number of attempts under way; `kind` is `run` or `send`.
pub fn in_flight(kind: &'static str, attempts: usize) {
    set(&table::IN_FLIGHT, &[kind], attempts);
}

/// Counts an ended attempt; `target` is `plugin` or `endpoint`.
pub fn attempt_ended(target: &'static str, outcome: &'static str) {
    counter(&table::ATTEMPTS, &[target, outcome]).increment(1);
}

/// Counts a settled delivery: the state it went to and the reason class, or `none`.
pub fn delivery_settled(outcome: &'static str, reason: &'static str) {
    counter(&table::DELIVERIES, &[outcome, reason]).increment(1);
}

/// Records the time from accept to delivered.
pub fn delivered_after(target: &'static str, took: Duration) {
    histogram(&table::DELIVERY_SECONDS, &[target]).record(took);
}

/// Records a plugin call: the export, how it ended, and what it took.
pub fn run_ended(call: &'static str, end: &'static str, cpu: Duration, wall: Duration) {
    counter(&table::RUNS, &[call, end]).increment(1);
    histogram(&table::RUN_CPU_SECONDS, &[call]).record(cpu);
    histogram(&table::RUN_WALL_SECONDS, &[call]).record(wall);
}

/// Counts a shadow run: how it compared, or `dropped`.
pub fn shadow_ended(outcome: &'static str) {
    counter(&table::SHADOWS, &[outcome]).increment(1);
}

/// A key set was asked for: `fetched` or `failed`.
pub fn key_set_fetched(outcome: &'static str) {
    counter(&table::KEY_SETS, &[outcome]).increment(1);
}

/// Records a call to a provider; `outcome` is a status class or a failure code.
pub fn provider_called(outcome: &'static str, took: Duration) {
    counter(&table::PROVIDER_CALLS, &[outcome]).increment(1);
    histogram(&table::PROVIDER_SECONDS, &[]).record(took);
}

/// Sets the number of connections in a state.
pub fn connections_in(state: &'static str, count: usize) {
    set(&table::CONNECTION_STATES, &[state], count);
}

/// Sets the number of open breakers; `kind` is `connection` or `endpoint`.
pub fn breakers_open(kind: &'static str, count: usize) {
    set(&table::BREAKERS_OPEN, &[kind], count);
}

/// Records a send to an endpoint; `outcome` is a status class or a failure code.
pub fn endpoint_sent(outcome: &'static str, took: Duration) {
    counter(&table::SENDS, &[outcome]).increment(1);
    histogram(&table::SEND_SECONDS, &[]).record(took);
}

/// Sets whether the broker is up.
pub fn broker_up(up: bool) {
    set(&table::BROKER_UP, &[], usize::from(up));
}

/// Why a bell was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BellLost {
    /// The broker was not up, so it was not even tried.
    NotUp,
    /// Too many bells waited already.
    Full,
    /// Nobody hears the bells of this partition.
    Unroutable,
    /// The broker took it and said no.
    Refused,
    /// The connection ended.
    Broken,
    /// The broker said nothing in time.
    Late,
}

impl BellLost {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotUp => "not_up",
            Self::Full => "full",
            Self::Unroutable => "unroutable",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Late => "late",
        }
    }
}

/// Counts a bell that the broker has.
pub fn bell_rung() {
    counter(&table::BELLS, &["rung"]).increment(1);
}

/// Counts a bell that was lost.
pub fn bell_lost(why: BellLost) {
    counter(&table::BELLS, &[why.as_str()]).increment(1);
}

/// Counts a bell that came: `heard`, `given_up` or `garbage`.
pub fn bell_heard(outcome: &'static str) {
    counter(&table::BELLS_HEARD, &[outcome]).increment(1);
}

/// Counts runs of a schedule that were missed.
pub fn schedule_missed(runs: u32) {
    counter(&table::SCHEDULE_MISSED, &[]).increment(runs.into());
}

/// Counts a filter or a rule's condition that failed on an event.
pub fn filter_failed() {
    counter(&table::FILTER_ERRORS, &[]).increment(1);
}

/// Counts a step of a trace that was dropped, since the collector is slower than the hub.
pub fn step_dropped() {
    counter(&table::STEPS_DROPPED, &[]).increment(1);
}

/// A counter of a plugin, in the same exposition as the hub's own. The caller bounds names and labels.
pub(super) fn plugin_counter(name: String, labels: Vec<Label>) -> Counter {
    REGISTRY.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
}

/// A histogram of a plugin.
pub(super) fn plugin_histogram(name: String, labels: Vec<Label>) -> Histogram {
    REGISTRY.recorder.register_histogram(&Key::from_parts(name, labels), &METADATA)
}

static LOST: AtomicU64 = AtomicU64::new(0);
static LOG_LINES_LOST: LazyLock<Counter> = LazyLock::new(|| counter(&table::LOG_DROPPED, &[]));

/// Counts a log line given up. Touches no lock, since it is called while logging.
pub(super) fn log_line_dropped() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// Reads what Linux says about this process; elsewhere the three gauges are absent.
fn process() {
    if let Some(kib) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_kib) {
        gauge(&table::RESIDENT_BYTES, &[]).set(kib * 1024.0);
    }
    if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
        // The kernel reports in hundredths of a second on every Linux there is.
        gauge(&table::CPU_SECONDS, &[]).set(ticks / 100.0);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        set(&table::OPEN_FDS, &[], files.count());
    }
}

fn resident_kib(status: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// User and system time: fields 14 and 15, counted behind the command name, which may contain anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_its_help() {
        delivery_settled("delivered", "none");
        run_ended("handle", "ok", Duration::from_micros(80), Duration::from_micros(90));
        let text = render();
        assert!(text.contains("# HELP switchyard_deliveries_settled_total Deliveries settled"), "{text}");
        assert!(text.contains(r#"switchyard_deliveries_settled_total{outcome="delivered",reason="none"}"#), "{text}");
        assert!(text.contains(r#"switchyard_run_cpu_seconds_bucket{call="handle",le="0.0001"}"#), "{text}");
    }

    #[test]
    fn the_process_is_measured() {
        let text = render();
        let line = text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
        let bytes: f64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(bytes > 1_000_000.0, "{line}");
        assert!(text.contains("process_open_fds "));
        assert!(text.contains("process_cpu_seconds "));
    }

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(cpu_ticks("1 (a) b) S 1 1 1 0 -1 4 100 0 0 0 70 30 0 0 20"), Some(100.0));
    }

    #[test]
    fn names_are_unique_and_end_in_their_unit() {
        let names: HashSet<_> = table::ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), table::ALL.len());
        for metric in table::ALL {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.is_empty());
        }
    }
}
