use super::*;
use crate::plugin::model::{
    ConnectionKind, ConnectionSpec, EventKind, EventType, Idempotency, LimitsRequest, Method, MetricKind, MetricSpec,
    Schedule, SecretKind, SecretSpec, Trigger,
};

const EXPORTS: Exports = Exports { ingest: true, handler: true, poller: true, lifecycle: false };

fn event(name: &str) -> EventType {
    EventType {
        name: name.to_owned(),
        kind: EventKind::Event,
        ordering_key: None,
        description: "Something happened.".to_owned(),
        schema: None,
        example: None,
    }
}

fn connection() -> ConnectionSpec {
    ConnectionSpec {
        name: "billy".to_owned(),
        kind: ConnectionKind::Header("x-access-token".to_owned()),
        base_url: "https://api.billysbilling.com/v2".to_owned(),
        methods: vec![Method::Get, Method::Post],
        idempotency: Idempotency::None,
        required: true,
        description: "The account.".to_owned(),
        extensions: None,
    }
}

fn valid() -> Manifest {
    Manifest {
        id: "billy".to_owned(),
        version: "1.4.0".to_owned(),
        api: "0.1".to_owned(),
        description: "Invoices.".to_owned(),
        emits: vec![event("invoice.paid"), event("lead.*"), event("_billy.snapshot")],
        handles: vec![
            EventType { kind: EventKind::Command, ..event("invoice.create") },
            EventType { ordering_key: Some("data.calendar_id".to_owned()), ..event("calendar.*") },
        ],
        config_schema: r#"{"type":"object","properties":{"due":{"type":"integer"}}}"#.to_owned(),
        connections: vec![connection()],
        secrets: vec![SecretSpec {
            name: "inbound".to_owned(),
            kind: SecretKind::Token,
            required: false,
            description: "For webhooks.".to_owned(),
        }],
        schedules: vec![Schedule {
            name: "invoices".to_owned(),
            trigger: Trigger::Every(300_000),
            description: "Looks for payments.".to_owned(),
        }],
        limits: LimitsRequest::default(),
        metrics: vec![MetricSpec {
            name: "invoices_total".to_owned(),
            kind: MetricKind::Counter,
            unit: "1".to_owned(),
            labels: vec!["state".to_owned()],
            description: "Invoices made.".to_owned(),
        }],
        extensions: None,
    }
}

/// The fields that are found wrong after `change`.
#[track_caller]
fn fields(change: impl FnOnce(&mut Manifest)) -> Vec<String> {
    let mut manifest = valid();
    change(&mut manifest);
    let problems = validate(&manifest, EXPORTS).expect_err("the manifest should be refused").0;
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn a_complete_manifest_is_accepted() {
    validate(&valid(), EXPORTS).unwrap();
}

#[test]
fn identity_is_checked_field_by_field() {
    let found = fields(|manifest| {
        manifest.id = "Billy".to_owned();
        manifest.version = "1".to_owned();
        manifest.api = "0.2".to_owned();
        manifest.description = " ".to_owned();
    });
    assert_eq!(found, ["id", "version", "api", "description"]);
}

#[test]
fn exports_and_lists_must_agree() {
    let none = Exports::default();
    let problems = validate(&valid(), none).unwrap_err().0;
    assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), ["handles", "schedules"]);
    assert_eq!(fields(|manifest| manifest.handles.clear()), ["handles"]);
    assert_eq!(fields(|manifest| manifest.schedules.clear()), ["schedules"]);
}

#[test]
fn types_are_named_in_full_or_by_a_pattern() {
    for name in ["invoice", "Invoice.paid", "invoice..paid", "_x.*", "*.paid", "", "invoice.paid.", "a.*.b"] {
        assert_eq!(fields(|manifest| manifest.emits[0].name = name.to_owned()), ["emits[0].name"], "{name}");
    }
    assert_eq!(fields(|manifest| manifest.emits.push(event("invoice.paid"))), ["emits[3].name"]);
    assert_eq!(fields(|manifest| manifest.handles[0].name = "invoice.*".to_owned()), ["handles[0].name"]);
    assert_eq!(fields(|manifest| manifest.emits[2].kind = EventKind::Command), ["emits[2].kind"]);
}

#[test]
fn a_plugin_cannot_speak_as_the_host() {
    assert_eq!(fields(|manifest| manifest.emits[0].name = "plugin.broken".to_owned()), ["emits[0].name"]);
    assert_eq!(fields(|manifest| manifest.emits[0].name = "_poll.due".to_owned()), ["emits[0].name"]);
}

#[test]
fn an_ordering_key_is_a_path_and_only_in_handles() {
    assert_eq!(fields(|m| m.handles[1].ordering_key = Some("calendar_id".into())), ["handles[1].ordering-key"]);
    assert_eq!(fields(|m| m.emits[0].ordering_key = Some("data.id".into())), ["emits[0].ordering-key"]);
}

#[test]
fn schemas_must_compile_and_examples_conform() {
    assert_eq!(fields(|m| m.config_schema = "{".into()), ["config-schema"]);
    assert_eq!(fields(|m| m.config_schema = r#"{"type":"array"}"#.into()), ["config-schema"]);
    assert_eq!(fields(|m| m.config_schema = r#"{"type":"objekt"}"#.into()), ["config-schema", "config-schema"]);
    let remote = r#"{"type":"object","$ref":"https://example.com/s.json"}"#;
    assert_eq!(fields(|m| m.config_schema = remote.into()), ["config-schema"]);
    let found = fields(|m| {
        m.emits[0].schema = Some(r#"{"type":"object","required":["id"]}"#.into());
        m.emits[0].example = Some("{}".into());
    });
    assert_eq!(found, ["emits[0].example"]);
}

#[test]
fn slots_are_unique_among_connections_and_secrets() {
    assert_eq!(fields(|m| m.secrets[0].name = "billy".into()), ["secrets[0].name"]);
}

#[test]
fn unknown_kinds_are_refused() {
    assert_eq!(fields(|m| m.connections[0].kind = ConnectionKind::Other("mtls".into())), ["connections[0].kind"]);
    assert_eq!(fields(|m| m.secrets[0].kind = SecretKind::Other("pgp".into())), ["secrets[0].kind"]);
}

#[test]
fn a_base_url_is_https_and_bare() {
    for url in
        ["http://a.example", "https://u:p@a.example", "https://a.example/?x=1", "a.example", "https://a.example/"]
    {
        assert_eq!(fields(|m| m.connections[0].base_url = url.into()), ["connections[0].base-url"], "{url}");
    }
}

#[test]
fn methods_are_upper_case_tokens() {
    assert_eq!(fields(|m| m.connections[0].methods.clear()), ["connections[0].methods"]);
    assert_eq!(fields(|m| m.connections[0].methods = vec![Method::Other("get x".into())]), ["connections[0].methods"]);
}

#[test]
fn schedules_limits_and_metrics_are_in_range() {
    assert_eq!(fields(|m| m.schedules[0].trigger = Trigger::Every(59_999)), ["schedules[0].trigger.every"]);
    let cron = |expression: &str| Trigger::Cron { expression: expression.to_owned(), time_zone: None };
    assert_eq!(fields(|m| m.schedules[0].trigger = cron("0 7 * *")), ["schedules[0].trigger.cron.expression"]);
    assert_eq!(fields(|m| m.limits.cpu_ms = Some(0)), ["limits.cpu"]);
    assert_eq!(fields(|m| m.limits.response_bytes = Some(4_194_305)), ["limits.response-bytes"]);
    assert_eq!(
        fields(|m| m.metrics[0].labels = vec!["a".into(); 5]).first().map(String::as_str),
        Some("metrics[0].labels")
    );
}

#[test]
fn a_problem_names_the_field_and_the_fix() {
    let mut manifest = valid();
    manifest.api = "0.9".to_owned();
    let text = validate(&manifest, EXPORTS).unwrap_err().to_string();
    assert!(
        text.contains("`api`: the plugin is written for the line `0.9`; it needs a host >= 0.9; or build it with an SDK of the line 0.1"),
        "{text}"
    );
}
