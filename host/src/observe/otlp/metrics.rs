//! The exposition as OTLP metrics: one source for both, so that they never say different things.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
    resource::v1::Resource,
};

use super::{attribute, scope};
use crate::clock::Timestamp;

/// Label pairs in the order of the exposition.
type Labels = Vec<(String, String)>;

/// One family of the exposition.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    /// Of counters and gauges.
    values: Vec<(Labels, f64)>,
    /// Of histograms.
    buckets: BTreeMap<Labels, Buckets>,
}

#[derive(Default)]
struct Buckets {
    /// Upper bound and the number of observations up to it, in order; the last bound is infinite.
    cumulative: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

/// One request with everything that the exposition says. Sums count from `began` on.
pub(super) fn request(
    resource: &Resource,
    exposition: &str,
    began: Timestamp,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let metrics = read(exposition).into_iter().filter_map(|(name, family)| metric(name, family, ns(began), ns(now)));
    let scoped = ScopeMetrics { scope: Some(scope()), metrics: metrics.collect(), ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![scoped],
            ..ResourceMetrics::default()
        }],
    }
}

fn ns(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000_000)
}

fn read(exposition: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, labels, value)) = sample(line) {
            take(&mut families, name, labels, value);
        }
    }
    families
}

/// Puts a sample where it belongs: those of a histogram go by the name without their ending.
fn take(families: &mut BTreeMap<String, Family>, name: &str, mut labels: Labels, value: f64) {
    let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|ending| {
        let base = name.strip_suffix(ending)?;
        families.get(base).filter(|family| family.kind == "histogram").map(|_| (base, ending))
    });
    let Some((base, ending)) = histogram else {
        return families.entry(name.to_owned()).or_default().values.push((labels, value));
    };
    let bound = labels.iter().position(|(key, _)| key == "le").map(|at| labels.remove(at).1);
    let buckets = families.entry(base.to_owned()).or_default().buckets.entry(labels).or_default();
    match (ending, bound) {
        ("_bucket", Some(bound)) => {
            buckets.cumulative.push((bound.parse().unwrap_or(f64::INFINITY), whole(value)));
        }
        ("_sum", _) => buckets.sum = value,
        _ => buckets.count = whole(value),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the exposition writes counts as floats")]
const fn whole(value: f64) -> u64 {
    value as u64
}

/// `name{key="value",...} 1.5`.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else { return Some((head, Labels::new(), value)) };
    let mut rest = labels.strip_suffix('}')?;
    let mut pairs = Labels::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        let (text, after) = quoted(after)?;
        pairs.push((key.trim_start_matches(',').to_owned(), text));
        rest = after;
    }
    Some((name, pairs, value))
}

/// Text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut read = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((read, &text[at + 1..])),
            '\\' => read.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => read.push(other),
        }
    }
    None
}

fn metric(name: String, family: Family, began: u64, now: u64) -> Option<Metric> {
    let points = || family.values.iter().map(|(labels, value)| number(labels, *value, began, now)).collect();
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match &*family.kind {
        "counter" => Data::Sum(Sum { data_points: points(), aggregation_temporality: cumulative, is_monotonic: true }),
        "histogram" => Data::Histogram(Histogram {
            data_points: family.buckets.iter().map(|(labels, buckets)| spread(labels, buckets, began, now)).collect(),
            aggregation_temporality: cumulative,
        }),
        "gauge" => Data::Gauge(Gauge { data_points: points() }),
        _ => return None,
    };
    Some(Metric { name, description: family.help, data: Some(data), ..Metric::default() })
}

fn number(labels: &Labels, value: f64, began: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: began,
        time_unix_nano: now,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn spread(labels: &Labels, buckets: &Buckets, began: u64, now: u64) -> HistogramDataPoint {
    let mut before = 0;
    let mut counts = Vec::with_capacity(buckets.cumulative.len());
    for (_, up_to) in &buckets.cumulative {
        counts.push(up_to.saturating_sub(before));
        before = *up_to;
    }
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: began,
        time_unix_nano: now,
        count: buckets.count,
        sum: Some(buckets.sum),
        bucket_counts: counts,
        explicit_bounds: buckets.cumulative.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| attribute(key, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPOSITION: &str = "\
# HELP a_total What a says
# TYPE a_total counter
a_total{by=\"ip\",odd=\"a \\\"b\\\" \\\\ c\"} 3

# TYPE g gauge
g 1.5

# TYPE h histogram
h_bucket{call=\"x\",le=\"0.1\"} 2
h_bucket{call=\"x\",le=\"1\"} 5
h_bucket{call=\"x\",le=\"+Inf\"} 6
h_sum{call=\"x\"} 4.25
h_count{call=\"x\"} 6
";

    fn sent() -> Vec<Metric> {
        let request = request(&Resource::default(), EXPOSITION, Timestamp(1_000), Timestamp(2_000));
        request.resource_metrics[0].scope_metrics[0].metrics.clone()
    }

    #[test]
    fn counters_gauges_and_histograms_arrive_with_their_labels_and_times() {
        let metrics = sent();
        assert_eq!(metrics.iter().map(|metric| &*metric.name).collect::<Vec<_>>(), ["a_total", "g", "h"]);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        let point = &sum.data_points[0];
        assert!(sum.is_monotonic && metrics[0].description == "What a says");
        assert_eq!(point.attributes, [attribute("by", "ip"), attribute("odd", "a \"b\" \\ c")]);
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1_000_000_000, 2_000_000_000));
        assert_eq!(point.value, Some(Value::AsDouble(3.0)));
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(1.5)));
    }

    #[test]
    fn a_histogram_counts_each_observation_in_one_bucket() {
        let metrics = sent();
        let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("{metrics:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((&*point.bucket_counts, &*point.explicit_bounds), (&[2, 3, 1][..], &[0.1, 1.0][..]));
        assert_eq!((point.count, point.sum), (6, Some(4.25)));
    }

    #[test]
    fn all_that_the_hub_exposes_is_sent() {
        let exposition = crate::observe::metrics::render();
        let families = read(&exposition);
        let kinds = exposition.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(families.len(), kinds, "{exposition}");
    }
}
