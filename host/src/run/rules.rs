//! What the plugin of rules gets beside an event: the rules that match it, with what they emit.

use serde_json::{Map, Value};

use super::run::private;
use crate::{
    event::{Event, Target},
    hub::Hub,
    route::filter::EventFacts,
    rule::{
        self,
        evaluate::{Matched, evaluate, evaluate_scheduled},
        facts::RuleFacts,
        set::RuleSet,
    },
    store::ledger::Claimed,
};

impl Hub {
    /// The attributes that the event has for the plugin of rules; none for any other plugin. `config` is that of the run's
    /// record, so that every execution of a record sees the same rules.
    pub(super) fn matched_rules(&self, claimed: &Claimed, config: &str) -> Option<String> {
        if !matches!(&claimed.lane.target, Target::Plugin(name) if **name == *rule::PLUGIN) {
            return None;
        }
        let event = &claimed.event;
        let view = self.directory.view();
        let tenant = view.tenants.get(&event.tenant)?;
        let cached = tenant.installations.get(rule::PLUGIN).and_then(|installation| installation.rules.as_deref());
        let compiled;
        let set = match cached.filter(|set| set.config() == config) {
            Some(set) => set,
            None => {
                compiled = RuleSet::of_config(config).0;
                &compiled
            }
        };
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let matched = self.matching(set, event, &RuleFacts::new(&EventFacts::new(event, &data), &tenant.row), &data);
        Some(with_matched(event, &matched))
    }

    fn matching(&self, set: &RuleSet, event: &Event, facts: &RuleFacts<'_>, data: &Value) -> Vec<Matched> {
        let catalogue = self.catalogue.load();
        if event.event_type.as_str() == private::SCHEDULE_DUE {
            let schedule = data.get("schedule").and_then(Value::as_str).unwrap_or_default();
            return evaluate_scheduled(set, schedule, facts, &catalogue);
        }
        evaluate(set, &event.event_type, facts, &catalogue)
    }
}

/// The event's own attributes and the matches. Nobody else can give an event that attribute for the plugin.
fn with_matched(event: &Event, matched: &[Matched]) -> String {
    let own = event.extensions.as_deref().and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let mut attributes = own.unwrap_or_default();
    attributes.insert(rule::MATCHED.to_owned(), serde_json::to_value(matched).unwrap_or_default());
    Value::Object(attributes).to_string()
}
