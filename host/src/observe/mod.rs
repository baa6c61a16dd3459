//! What the hub says about itself: logs without secrets, metrics with bounded labels, identifiers that link calls.

/// Log output: level, format, and a writer that never stalls the hub.
pub mod logging;

/// Every metric, by typed functions.
pub mod metrics;

/// The names, labels and meanings of the metrics.
pub mod metric_table;

/// The last net under the rule that no secret is logged.
pub mod redact;

/// Metrics that plugins report.
pub mod plugin_metrics;

/// Steps of traces.
pub mod steps;

/// Export to a collector.
pub mod otlp;

/// Correlation ids and W3C trace context.
pub mod trace;
