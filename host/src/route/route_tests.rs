use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    clock::{ManualClock, Timestamp},
    connection::vault::Vault,
    directory::view::PluginVersion,
    event::Urgency,
    id::{Ids, Key},
    plugin::{guest::Exports, model::Manifest},
    secret::keyring::MasterKeys,
    store::registry::{EndpointRow, EndpointState, InstallState, InstallationRow, Mode, PluginVersionRow, TenantRow},
};

/// `(name, command, ordering path)` of what a plugin handles.
type Handles<'a> = &'a [(&'a str, bool, Option<&'a str>)];

fn tenant(plugins: &[(&str, Handles<'_>)], endpoints: &[(u8, &[&str], bool)]) -> TenantView {
    let ids = Ids::seeded(ManualClock::starting_at(Timestamp(0)), [7; 32]);
    let keys = MasterKeys::parse("k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let vault = Vault::new(keys, ids);
    let data_key = vault.new_tenant_key("acme").unwrap();
    let key = vault.open_tenant_key("acme", &data_key).unwrap();
    let row = TenantRow {
        id: "acme".parse().unwrap(),
        name: "Acme".to_owned(),
        time_zone: "UTC".to_owned(),
        settings: "{}".to_owned(),
        lockdown: false,
        command_handlers: BTreeMap::new(),
        created_at: Timestamp(0),
        lockdown_since: None,
        data_key,
    };
    let installations =
        plugins.iter().map(|(name, handles)| ((*name).to_owned(), Arc::new(installation(name, handles))));
    let endpoints = endpoints.iter().map(|(number, types, ordered)| {
        let key = Key([*number; 16]);
        (key, Arc::new(endpoint(key, types, *ordered)))
    });
    TenantView {
        installations: installations.collect(),
        endpoints: endpoints.collect(),
        connections: BTreeMap::new(),
        policy: crate::policy::TenantPolicy::of(&row, None),
        key,
        row,
    }
}

fn installation(name: &str, handles: Handles<'_>) -> InstallationView {
    let handled = handles.iter().map(|(name, command, ordering_key)| {
        json!({"name": name, "kind": if *command { "command" } else { "event" }, "ordering_key": ordering_key, "description": ""})
    });
    let manifest: Manifest = serde_json::from_value(json!({
        "id": name, "version": "1.0.0", "api": "0.1", "description": "", "emits": [], "handles": handled.collect::<Vec<_>>(),
        "config_schema": "{}", "connections": [], "secrets": [], "schedules": [], "limits": {}, "metrics": [],
    }))
    .unwrap();
    let events = handles.iter().filter(|(_, command, _)| !command);
    let row = PluginVersionRow {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        sha256: [0; 32],
        manifest: String::new(),
        size: 0,
        created_at: Timestamp(0),
    };
    InstallationView {
        row: InstallationRow {
            tenant: "acme".parse().unwrap(),
            plugin: name.to_owned(),
            mode: Mode::Live,
            version: None,
            config: "{}".to_owned(),
            connections: BTreeMap::new(),
            grants: Vec::new(),
            retry_schedule: None,
            state: InstallState::Ready,
            state_reason: None,
            blocked: None,
            broken: None,
            updated_at: Timestamp(0),
            shadow_version: None,
            in_force: None,
            upgrade: None,
            sources: Vec::new(),
            schedules: Vec::new(),
        },
        version: Some(Arc::new(PluginVersion { row, manifest, exports: Exports::default() })),
        wanted: None,
        grants: crate::plugin::grant::Grants::default(),
        handles: events.map(|(name, ..)| name.parse().unwrap()).collect(),
        rules: None,
    }
}

fn endpoint(key: Key, types: &[&str], ordered: bool) -> EndpointView {
    let row = EndpointRow {
        key,
        tenant: "acme".parse().unwrap(),
        url: "https://example.com".to_owned(),
        amqp: None,
        event_types: types.iter().map(|text| (*text).to_owned()).collect(),
        filter: None,
        description: None,
        format: "standard".to_owned(),
        secrets: Vec::new(),
        state: EndpointState::Active,
        state_reason: None,
        retry_schedule: None,
        rate_per_s: None,
        concurrency: None,
        ordered,
        headers: None,
        timeout_ms: None,
        failing_since: None,
        last_success: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    };
    let patterns = types.iter().map(|text| text.parse().unwrap()).collect();
    EndpointView { row, patterns, filter: None, secrets: Vec::new(), headers: Vec::new(), exchange: None }
}

fn event(event_type: &str) -> Event {
    Event {
        key: Key::default(),
        id: "evt_1".into(),
        tenant: "acme".parse().unwrap(),
        event_type: event_type.parse().unwrap(),
        source: "api".into(),
        subject: None,
        time: Timestamp(0),
        accepted_at: Timestamp(0),
        ordering_key: Some("own".to_owned()),
        correlation_id: "c".into(),
        traceparent: "t".into(),
        cause: None,
        request: None,
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: "{}".into(),
    }
}

fn targets(routes: &[Route]) -> Vec<String> {
    let mut targets: Vec<String> = routes.iter().map(|route| route.target.to_string()).collect();
    targets.sort();
    targets
}

fn plugin(name: &str) -> String {
    format!("plugin:{name}")
}

#[track_caller]
fn unrouted(tenant: &TenantView, code: &str) {
    let routes = routes(tenant, &event("invoice.create"), EventKind::Command, &json!({}));
    assert_eq!(targets(&routes), ["unrouted"]);
    let failure = routes[0].dead.as_ref().unwrap();
    assert_eq!((failure.reason, failure.code.as_str()), (ReasonClass::Config, code));
}

const COMMAND: Handles<'_> = &[("invoice.create", true, None)];

#[test]
fn a_command_goes_to_the_one_plugin_that_handles_it() {
    let tenant = tenant(&[("billy", COMMAND), ("rules", &[("*", false, None)])], &[]);
    let routes = routes(&tenant, &event("invoice.create"), EventKind::Command, &json!({}));
    assert_eq!(targets(&routes), [plugin("billy")], "a wildcard never takes a command");
    assert!(routes[0].dead.is_none());
}

#[test]
fn a_command_without_one_handler_is_dead_with_the_way_out() {
    unrouted(&tenant(&[], &[]), "no_handler");
    unrouted(&tenant(&[("a", COMMAND), ("b", COMMAND)], &[]), "several_handlers");
    let mut chosen = tenant(&[("a", COMMAND), ("b", &[])], &[]);
    chosen.row.command_handlers.insert("invoice.create".to_owned(), "b".to_owned());
    unrouted(&chosen, "handler_missing");
}

#[test]
fn the_chosen_handler_takes_the_command() {
    let mut tenant = tenant(&[("a", COMMAND), ("b", COMMAND)], &[]);
    tenant.row.command_handlers.insert("invoice.create".to_owned(), "b".to_owned());
    let routes = routes(&tenant, &event("invoice.create"), EventKind::Command, &json!({}));
    assert_eq!(targets(&routes), [plugin("b")]);
}

#[test]
fn an_event_goes_to_everybody_whose_pattern_covers_it() {
    let plugins: [(&str, Handles<'_>); 4] = [
        ("exact", &[("invoice.paid", false, None)]),
        ("below", &[("invoice.*", false, None)]),
        ("all", &[("*", false, None)]),
        ("other", &[("invoice.paid.late", false, None), ("invoices.*", false, None)]),
    ];
    let tenant = tenant(&plugins, &[(1, &["invoice.*"], false), (2, &["contact.*"], false), (3, &["*"], false)]);
    let routes = routes(&tenant, &event("invoice.paid"), EventKind::Event, &json!({}));
    let (one, three) = (Key([1; 16]).with_prefix("ep"), Key([3; 16]).with_prefix("ep"));
    assert_eq!(targets(&routes), [one, three, plugin("all"), plugin("below"), plugin("exact")]);
}

#[test]
fn a_command_reaches_endpoints_by_its_exact_type_only() {
    let tenant = tenant(&[("billy", COMMAND)], &[(1, &["*", "invoice.*"], false), (2, &["invoice.create"], false)]);
    let routes = routes(&tenant, &event("invoice.create"), EventKind::Command, &json!({}));
    assert_eq!(targets(&routes), [Key([2; 16]).with_prefix("ep"), plugin("billy")]);
}

#[test]
fn a_private_event_goes_to_its_installation_alone() {
    let all: Handles<'_> = &[("*", false, None)];
    let tenant = tenant(&[("billy", &[]), ("rules", all)], &[(1, &["*"], false)]);
    let private = Event { private_to: Some("billy".to_owned()), ..event("_poll.due") };
    assert_eq!(targets(&routes(&tenant, &private, EventKind::Event, &json!({}))), [plugin("billy")]);
}

#[test]
fn a_plugin_orders_by_the_path_of_its_manifest() {
    let by_id: Handles<'_> = &[("event.*", false, Some("data.a.id")), ("event.moved", false, Some("data.b"))];
    let tenant = tenant(&[("calendar", by_id), ("plain", &[("event.*", false, None)])], &[]);
    let key = |event_type: &str, data: serde_json::Value| {
        let routes = routes(&tenant, &event(event_type), EventKind::Event, &data);
        let key = |name: &str| {
            routes.iter().find(|route| route.target.to_string() == plugin(name)).unwrap().ordering_key.clone()
        };
        assert_eq!(key("plain"), None, "it did not ask for order");
        key("calendar")
    };
    assert_eq!(
        key("event.moved", json!({"b": "x", "a": {"id": "y"}})).as_deref(),
        Some("x"),
        "the exact name comes first"
    );
    assert_eq!(key("event.made", json!({"a": {"id": "y"}})).as_deref(), Some("y"), "a pattern orders too");
    assert_eq!(key("event.made", json!({"a": {"id": 7}})).as_deref(), Some("7"));
    assert_eq!(key("event.made", json!({"a": {"id": {}}})), None);
    assert_eq!(key("event.made", json!({})), None);
}

#[test]
fn an_endpoint_keeps_order_where_it_asked_for_it() {
    let tenant = tenant(&[], &[(1, &["*"], true), (2, &["*"], false)]);
    let routes = routes(&tenant, &event("invoice.paid"), EventKind::Event, &json!({}));
    let keys: Vec<_> = routes.iter().map(|route| route.ordering_key.as_deref()).collect();
    assert_eq!(keys, [Some("own"), None]);
}
