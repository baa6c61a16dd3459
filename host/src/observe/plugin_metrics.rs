//! Metrics that plugins report: declared names only, bounded labels.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use metrics::{Label, counter, histogram};

use crate::{
    directory::view::PluginVersion,
    event::TenantId,
    plugin::model::{MetricSample, MetricValue},
};

/// Combinations of label values that are kept of one metric of one tenant.
const COMBINATIONS: usize = 100;

type Seen = HashMap<(TenantId, String, String), HashSet<Vec<String>>>;

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

/// Counts one sample as `switchyard_plugin_<name>` with the labels `tenant` and `plugin`. A name or label that the
/// manifest does not declare, and a combination of values beyond the hundredth, are dropped.
pub fn note(tenant: &TenantId, version: &PluginVersion, sample: &MetricSample) {
    let Some(declared) = version.manifest.metrics.iter().find(|metric| metric.name == sample.name) else { return };
    let values: Vec<String> = declared
        .labels
        .iter()
        .map(|name| {
            sample.labels.iter().find(|label| label.name == *name).map_or_else(String::new, |label| label.value.clone())
        })
        .collect();
    if !is_kept(tenant, version, &sample.name, &values) {
        return;
    }
    let mut labels = vec![Label::new("tenant", tenant.to_string()), Label::new("plugin", version.row.name.clone())];
    labels.extend(declared.labels.iter().cloned().zip(values).map(|(name, value)| Label::new(name, value)));
    let name = format!("switchyard_plugin_{}", sample.name);
    match sample.value {
        MetricValue::Add(value) => counter!(name, labels).increment(value),
        MetricValue::Record(value) => histogram!(name, labels).record(value),
    }
}

fn is_kept(tenant: &TenantId, version: &PluginVersion, name: &str, values: &[String]) -> bool {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = seen.entry((tenant.clone(), version.row.name.clone(), name.to_owned())).or_default();
    known.contains(values) || (known.len() < COMBINATIONS && known.insert(values.to_vec()))
}
