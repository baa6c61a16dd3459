//! The names, labels and meanings of the metrics. This table is the documentation; names exist nowhere else.

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// The name in the exposition.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its label keys. Label values are always words of the program, never of a caller.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn seconds(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(SECONDS), labels, help }
}

/// From 50 us, a warm sandbox call, to a minute, the longest send.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// Up to the size of a write group.
const GROUP: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

macro_rules! table {
    ($($(#[$doc:meta])* $constant:ident = $metric:expr;)*) => {
        $($(#[$doc])* pub const $constant: Metric = $metric;)*

        /// Every metric, in the order of an event's path.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

table! {
    /// Connections now open.
    CONNECTIONS = gauge("switchyard_edge_connections", &[], "Connections now open at the listener");
    /// Connections that the listener ended.
    CONNECTIONS_CLOSED =
        counter("switchyard_edge_connections_closed_total", &["cause"], "Connections ended by a limit of the listener");
    /// Failed accepts.
    ACCEPT_ERRORS = counter("switchyard_edge_accept_errors_total", &[], "Times the listener could not accept");
    /// Refused bodies.
    BODIES_REFUSED = counter("switchyard_edge_bodies_refused_total", &["cause"], "Bodies refused or cut off");
    /// Callers over their rate.
    RATE_LIMITED = counter("switchyard_rate_limited_total", &["by"], "Requests over a rate, by ip or source");
    /// Answers.
    HTTP_REQUESTS =
        counter("switchyard_http_requests_total", &["surface", "status"], "Requests answered, by status class");
    /// Time to answer.
    HTTP_SECONDS = seconds("switchyard_http_request_seconds", &["surface"], "Time from a request's head to its answer");
    /// Accepted events.
    EVENTS_ACCEPTED = counter("switchyard_events_accepted_total", &["origin"], "Events accepted and durable");
    /// Duplicates.
    EVENTS_DUPLICATE = counter("switchyard_events_duplicate_total", &["origin"], "Events already known by a dedupe key");
    /// Rejections.
    REJECTIONS = counter("switchyard_rejections_total", &["cause"], "Inbound requests refused");
    /// Requests parked.
    PARKED = counter("switchyard_requests_parked_total", &["cause"], "Inbound requests that receive could not judge");
    /// Sources that fail now.
    SOURCES_FAILING = gauge("switchyard_sources_failing", &[], "Sources that refused half of at least 20 requests in 5 minutes");
    /// Events from apps for accounts that no installation uses.
    UNKNOWN_ACCOUNTS = counter("switchyard_unknown_accounts_total", &[], "Events from apps for accounts that no installation uses");
    /// Parked requests that fell off the cap.
    PARKED_DROPPED = counter("switchyard_parked_dropped_total", &[], "Parked requests given up because of the cap");
    /// Callers per write group.
    GROUP_CALLERS = Metric {
        name: "switchyard_write_group_callers",
        kind: Kind::Histogram(GROUP),
        labels: &[],
        help: "Callers that shared one write transaction",
    };
    /// Commit time.
    COMMIT_SECONDS = seconds("switchyard_commit_seconds", &[], "Time of one write transaction, sync included");
    /// Deliveries by state.
    QUEUE = gauge("switchyard_deliveries", &["state"], "Live and dead deliveries by state");
    /// Age of the oldest due delivery.
    QUEUE_AGE = gauge("switchyard_oldest_due_seconds", &[], "How long the oldest due delivery has been due");
    /// Work in flight.
    IN_FLIGHT = gauge("switchyard_in_flight", &["kind"], "Attempts under way, by run or send");
    /// Attempts.
    ATTEMPTS = counter("switchyard_attempts_total", &["target", "outcome"], "Attempts ended, by plugin or endpoint");
    /// Settled deliveries.
    DELIVERIES = counter("switchyard_deliveries_settled_total", &["outcome", "reason"], "Deliveries settled");
    /// Accept to delivered.
    DELIVERY_SECONDS = seconds("switchyard_delivery_seconds", &["target"], "Time from accept to delivered");
    /// Runs.
    RUNS = counter("switchyard_runs_total", &["call", "end"], "Plugin calls, by export and how they ended");
    /// CPU time of runs.
    RUN_CPU_SECONDS = seconds("switchyard_run_cpu_seconds", &["call"], "CPU time of a plugin call");
    /// Wall time of runs.
    RUN_WALL_SECONDS = seconds("switchyard_run_wall_seconds", &["call"], "Wall time of a plugin call");
    /// Shadow runs.
    SHADOWS = counter("switchyard_shadow_runs_total", &["outcome"], "Shadow runs, by how they compared, or dropped");
    /// Calls to providers.
    PROVIDER_CALLS = counter("switchyard_provider_calls_total", &["outcome"], "Calls to providers by status class");
    /// Time of calls to providers.
    PROVIDER_SECONDS = seconds("switchyard_provider_call_seconds", &[], "Time of a call to a provider");
    /// Fetches of issuers' key sets.
    KEY_SETS = counter("switchyard_key_sets_total", &["outcome"], "Fetches of the key sets that tokens are judged by");
    /// Connections by state.
    CONNECTION_STATES = gauge("switchyard_connections", &["state"], "Connections of tenants by state");
    /// Open breakers.
    BREAKERS_OPEN = gauge("switchyard_breakers_open", &["kind"], "Open breakers, by connection or endpoint");
    /// Sends to endpoints.
    SENDS = counter("switchyard_endpoint_sends_total", &["outcome"], "Sends to endpoints by status class or failure");
    /// Time of sends to endpoints.
    SEND_SECONDS = seconds("switchyard_endpoint_send_seconds", &[], "Time of a send to an endpoint, body included");
    /// Whether the broker is up.
    BROKER_UP = gauge("switchyard_broker_up", &[], "1 while bells can be relied upon, 0 while the database is polled instead");
    /// Bells rung or lost.
    BELLS = counter("switchyard_bells_total", &["outcome"], "Bells to other nodes: rung, or why they were lost");
    /// Bells heard.
    BELLS_HEARD = counter("switchyard_bells_heard_total", &["outcome"], "Bells that came: heard, given_up or garbage");
    /// Filters that failed.
    FILTER_ERRORS = counter("switchyard_filter_errors_total", &[], "Filters of endpoints and conditions of rules that failed on an event");
    /// Missed runs.
    SCHEDULE_MISSED = counter("switchyard_schedule_missed_total", &[], "Runs of schedules that were missed");
    /// Steps of traces given up.
    STEPS_DROPPED = counter("switchyard_trace_steps_dropped_total", &[], "Steps of traces that the collector was too slow for");
    /// Lost log lines.
    LOG_DROPPED = counter("switchyard_log_lines_dropped_total", &[], "Log lines given up because the sink was slow");
    /// Resident memory.
    RESIDENT_BYTES = gauge("process_resident_memory_bytes", &[], "Resident memory of the process");
    /// CPU time.
    CPU_SECONDS = gauge("process_cpu_seconds", &[], "CPU time of the process, user and system");
    /// Open files.
    OPEN_FDS = gauge("process_open_fds", &[], "Open file descriptors");
}
