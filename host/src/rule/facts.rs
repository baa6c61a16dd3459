//! What expressions see: the event with its data, the tenant with its settings, and the local time of the event.

use std::sync::OnceLock;

use cel::{
    Value,
    common::value::{CowVal, Val},
    context::VariableResolver,
};

use crate::{
    clock::Timestamp,
    route::{
        expression::{map, of_json, text, variable},
        filter::EventFacts,
    },
    store::registry::TenantRow,
};

/// The facts of one event for the rules of one tenant. What no expression asks for is not converted.
pub struct RuleFacts<'a> {
    event: &'a EventFacts<'a>,
    tenant: &'a TenantRow,
    settings: OnceLock<Box<dyn Val>>,
    named: OnceLock<Box<dyn Val>>,
    local: OnceLock<Box<dyn Val>>,
}

impl<'a> RuleFacts<'a> {
    /// The facts of an event for a tenant.
    #[must_use]
    pub const fn new(event: &'a EventFacts<'a>, tenant: &'a TenantRow) -> Self {
        Self { event, tenant, settings: OnceLock::new(), named: OnceLock::new(), local: OnceLock::new() }
    }
}

impl VariableResolver for RuleFacts<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let tenant = self.tenant;
        let value = match name {
            "settings" => self.settings.get_or_init(|| variable(settings(tenant))),
            "tenant" => self.named.get_or_init(|| {
                let fields = [
                    ("id", text(tenant.id.as_str())),
                    ("name", text(&tenant.name)),
                    ("time_zone", text(&tenant.time_zone)),
                ];
                variable(map(fields.into_iter().map(|(name, value)| (name.to_owned(), value))))
            }),
            "local" => self.local.get_or_init(|| variable(local(self.event.event().time, &tenant.time_zone))),
            _ => return self.event.resolve(name),
        };
        Some(CowVal::Borrowed(value.as_ref()))
    }
}

fn settings(tenant: &TenantRow) -> Value {
    of_json(&serde_json::from_str(&tenant.settings).unwrap_or_default())
}

/// A moment as the tenant's clock shows it; Monday is 1. A zone that is not known shows UTC.
fn local(time: Timestamp, zone: &str) -> Value {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let shown = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default().to_zoned(zone);
    let number = |value: i8| Value::Int(i64::from(value));
    let fields = [
        ("date", text(&shown.date().to_string())),
        ("time", text(&format!("{:02}:{:02}", shown.hour(), shown.minute()))),
        ("hour", number(shown.hour())),
        ("minute", number(shown.minute())),
        ("weekday", number(shown.weekday().to_monday_one_offset())),
    ];
    map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)))
}
