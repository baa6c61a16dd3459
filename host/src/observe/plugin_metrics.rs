//! Metrics that plugins report: declared names only, bounded labels, a bounded number of series.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use metrics::Label;

use super::metrics::{plugin_counter, plugin_histogram};
use crate::{
    directory::view::PluginVersion,
    event::TenantId,
    plugin::model::{MetricSample, MetricValue},
};

/// Combinations of label values that are kept of one metric of one tenant.
const COMBINATIONS: usize = 100;

/// Series of all plugins and tenants in this process.
const SERIES: usize = 10_000;

/// What has a series already.
#[derive(Default)]
struct Seen {
    combinations: HashMap<(TenantId, String, String), HashSet<Vec<String>>>,
    series: usize,
}

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

/// Counts one sample as `switchyard_plugin_<name>` with the labels `tenant` and `plugin`. A name or label that the
/// manifest does not declare, a combination of values beyond the hundredth, and a series beyond the ten thousandth of the
/// process are dropped.
pub fn note(tenant: &TenantId, version: &PluginVersion, sample: &MetricSample) {
    let Some(declared) = version.manifest.metrics.iter().find(|metric| metric.name == sample.name) else { return };
    let values: Vec<String> = declared
        .labels
        .iter()
        .map(|name| {
            sample.labels.iter().find(|label| label.name == *name).map_or_else(String::new, |label| label.value.clone())
        })
        .collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.keeps(tenant, &version.row.name, &sample.name, &values) {
        return;
    }
    drop(seen);
    let mut labels = vec![Label::new("tenant", tenant.to_string()), Label::new("plugin", version.row.name.clone())];
    labels.extend(declared.labels.iter().cloned().zip(values).map(|(name, value)| Label::new(name, value)));
    let name = format!("switchyard_plugin_{}", sample.name);
    match sample.value {
        MetricValue::Add(value) => plugin_counter(name, labels).increment(value),
        MetricValue::Record(value) => plugin_histogram(name, labels).record(value),
    }
}

impl Seen {
    fn keeps(&mut self, tenant: &TenantId, plugin: &str, metric: &str, values: &[String]) -> bool {
        let name = (tenant.clone(), plugin.to_owned(), metric.to_owned());
        let known = self.combinations.get(&name);
        if known.is_some_and(|known| known.contains(values)) {
            return true;
        }
        if self.series >= SERIES || known.is_some_and(|known| known.len() >= COMBINATIONS) {
            return false;
        }
        self.series += 1;
        self.combinations.entry(name).or_default().insert(values.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_counts_stands_beside_what_the_hub_counts() {
        let labels = vec![Label::new("tenant", "acme"), Label::new("plugin", "billy")];
        plugin_counter("switchyard_plugin_planted_total".to_owned(), labels).increment(2);
        let text = crate::observe::metrics::render();
        assert!(text.contains(r#"switchyard_plugin_planted_total{tenant="acme",plugin="billy"} 2"#), "{text}");
    }

    #[test]
    fn h85_no_number_of_tenants_or_label_values_makes_more_series_than_are_allowed() {
        let mut seen = Seen::default();
        let mut kept = 0;
        for tenant in 0..1_000 {
            let tenant: TenantId = format!("t{tenant}").parse().unwrap();
            for value in 0..COMBINATIONS + 50 {
                kept += usize::from(seen.keeps(&tenant, "billy", "invoices_total", &[value.to_string()]));
            }
        }
        assert_eq!((kept, seen.combinations.len()), (SERIES, SERIES / COMBINATIONS));
        let first: TenantId = "t0".parse().unwrap();
        assert!(seen.keeps(&first, "billy", "invoices_total", &["7".to_owned()]), "a known series is kept");
        assert!(!seen.keeps(&first, "billy", "invoices_total", &["140".to_owned()]));
    }
}
