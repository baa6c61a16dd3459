//! `metrics`: numbers for the operator.

use wasmtime::Result;

use crate::plugin::{
    bindings::imports::metrics::{Host, Label},
    convert,
    model::MetricValue,
    state::State,
};

impl State {
    fn sample(&mut self, name: String, value: MetricValue, labels: Vec<Label>) -> Result<()> {
        self.refuse_in_describe("metrics")?;
        let finite = !matches!(value, MetricValue::Record(number) if !number.is_finite());
        if self.admits_metric(finite) {
            self.host.metric(convert::metric_sample(name, value, labels));
        }
        Ok(())
    }
}

impl Host for State {
    fn counter_add(&mut self, name: String, value: u64, labels: Vec<Label>) -> Result<()> {
        self.sample(name, MetricValue::Add(value), labels)
    }

    fn histogram_record(&mut self, name: String, value: f64, labels: Vec<Label>) -> Result<()> {
        self.sample(name, MetricValue::Record(value), labels)
    }
}
