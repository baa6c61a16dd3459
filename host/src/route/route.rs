//! Targets of an event: pure, over the event and the tenant's cached view.

use std::sync::Arc;

use serde_json::Value;

use super::{filter::EventFacts, pattern::TypePattern};
use crate::{
    directory::view::{EndpointView, InstallationView, TenantView},
    event::{Event, Target},
    plugin::model::{EventKind, EventType},
    queue::reason::{Failure, ReasonClass},
    rule::{facts::RuleFacts, set::RuleSet},
};

/// One target of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where.
    pub target: Target,
    /// The event's ordering key, if the target keeps order.
    pub ordering_key: Option<String>,
    /// Why the delivery is dead at once.
    pub dead: Option<Failure>,
}

impl Route {
    const fn to(target: Target, ordering_key: Option<String>) -> Self {
        Self { target, ordering_key, dead: None }
    }
}

/// All targets of `event`. A command goes to exactly one installation, or is `unrouted` and dead.
#[must_use]
pub fn routes(tenant: &TenantView, event: &Event, kind: EventKind, data: &Value) -> Vec<Route> {
    if let Some(plugin) = &event.private_to {
        return vec![to_plugin(tenant, plugin, event, data)];
    }
    let (mut routes, facts) = (Vec::new(), EventFacts::new(event, data));
    match kind {
        EventKind::Command => routes.push(command_route(tenant, event, data)),
        EventKind::Event => {
            let wanting = tenant.installations.values().filter(|installation| handles(installation, event));
            let wanting = wanting.filter(|installation| rules_want(tenant, installation, event, &facts));
            routes.extend(wanting.map(|installation| to_plugin(tenant, &installation.row.plugin, event, data)));
        }
    }
    let wanting = tenant.endpoints.values().filter(|endpoint| wants(endpoint, event, kind, &facts));
    routes.extend(wanting.map(|endpoint| to_endpoint(endpoint, event)));
    routes
}

/// The route to an endpoint, whatever its patterns say.
#[must_use]
pub fn to_endpoint(endpoint: &EndpointView, event: &Event) -> Route {
    let ordering_key = event.ordering_key.clone().filter(|_| endpoint.row.ordered);
    Route::to(Target::Endpoint(endpoint.row.key), ordering_key)
}

fn to_plugin(tenant: &TenantView, plugin: &str, event: &Event, data: &Value) -> Route {
    let version = tenant.installations.get(plugin).and_then(|installation| installation.version.as_ref());
    let handles = version.map(|version| version.manifest.handles.as_slice()).unwrap_or_default();
    // The exact name says more than a pattern that covers it.
    let exact = handles.iter().find(|handled| handled.name == event.event_type.as_str());
    let covers = |handled: &&EventType| {
        handled.kind == EventKind::Event
            && handled.ordering_key.is_some()
            && handled.name.parse().is_ok_and(|pattern: TypePattern| pattern.matches(&event.event_type))
    };
    let handled = exact.or_else(|| handles.iter().find(covers));
    let path = handled.and_then(|handled| handled.ordering_key.as_deref());
    let ordering_key = path.and_then(|path| at_path(data, path));
    Route::to(Target::Plugin(Arc::from(plugin)), ordering_key)
}

/// The text at a path such as `data.calendar_id`; numbers and booleans count as their JSON text.
fn at_path(data: &Value, path: &str) -> Option<String> {
    let inner = path.strip_prefix("data.")?;
    match inner.split('.').try_fold(data, |value, name| value.get(name))? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

fn command_route(tenant: &TenantView, event: &Event, data: &Value) -> Route {
    let name = event.event_type.as_str();
    let claims = |installation: &&Arc<InstallationView>| {
        installation.version.as_ref().is_some_and(|version| {
            version.manifest.handles.iter().any(|handled| handled.kind == EventKind::Command && handled.name == name)
        })
    };
    let mut handlers = tenant.installations.values().filter(claims);
    let chosen = match tenant.row.command_handlers.get(name) {
        Some(chosen) => handlers.find(|installation| installation.row.plugin == *chosen).ok_or_else(|| {
            let text = format!(
                "command_handlers names {chosen} for {name}, but that plugin is not installed or does not handle it"
            );
            Failure::new(ReasonClass::Config, "handler_missing", text)
        }),
        None => match (handlers.next(), handlers.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => {
                let text = format!("no installed plugin handles {name}: install one, then replay");
                Err(Failure::new(ReasonClass::Config, "no_handler", text))
            }
            (Some(_), Some(_)) => {
                let text = format!(
                    "several installed plugins handle {name}: choose one in the tenant's command_handlers, then replay"
                );
                Err(Failure::new(ReasonClass::Config, "several_handlers", text))
            }
        },
    };
    match chosen {
        Ok(installation) => to_plugin(tenant, &installation.row.plugin, event, data),
        Err(failure) => Route { target: Target::Unrouted, ordering_key: None, dead: Some(failure) },
    }
}

fn handles(installation: &InstallationView, event: &Event) -> bool {
    installation.handles.iter().any(|pattern| pattern.matches(&event.event_type))
}

/// Whether any rule wants the event, where the installation is the one of rules.
fn rules_want(tenant: &TenantView, installation: &InstallationView, event: &Event, facts: &EventFacts<'_>) -> bool {
    let wants = |rules: &Arc<RuleSet>| rules.wants(&event.event_type, &RuleFacts::new(facts, &tenant.row));
    installation.rules.as_ref().is_none_or(wants)
}

fn wants(endpoint: &EndpointView, event: &Event, kind: EventKind, facts: &EventFacts<'_>) -> bool {
    let named = endpoint
        .patterns
        .iter()
        .any(|pattern| pattern.matches(&event.event_type) && (kind == EventKind::Event || pattern.is_exact()));
    named && endpoint.filter.as_ref().is_none_or(|filter| filter.matches(facts))
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
