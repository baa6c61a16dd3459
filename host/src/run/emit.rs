//! Events that a plugin emits: grants, schemas and identity are the host's.

use std::sync::Arc;

use crate::{
    accept::{Prepared, content_hash, default_expiry},
    clock::Timestamp,
    directory::view::{InstallationView, PluginVersion, TenantView},
    event::{Event, EventType, Urgency, catalogue::SchemaFault, json_limits::check_json_limits},
    hub::Hub,
    id::Key,
    plugin::model::EmittedEvent,
    queue::reason::{Failure, ReasonClass},
    store::ledger::{Claimed, DedupeKey},
};

/// Where emitted events come from.
pub struct Origin<'a> {
    /// Correlation id of the cause.
    pub correlation_id: Arc<str>,
    /// Trace context of the cause.
    pub traceparent: Arc<str>,
    /// The delivery whose run emits.
    pub cause: Option<Key>,
    /// The inbound request.
    pub request: Option<Key>,
    /// Hops of the new events.
    pub hop: u8,
    /// The default of their time.
    pub time: Timestamp,
    /// The version that emits.
    pub version: &'a PluginVersion,
}

impl<'a> Origin<'a> {
    fn of_run(hub: &Hub, version: &'a PluginVersion, claimed: &Claimed) -> Self {
        Self {
            correlation_id: claimed.event.correlation_id.clone(),
            traceparent: claimed.event.traceparent.clone(),
            cause: Some(claimed.delivery),
            request: None,
            hop: claimed.event.hop + 1,
            time: hub.clock.now(),
            version,
        }
    }
}

/// Prepares what a run emitted.
///
/// # Errors
/// An event is not covered by manifest and grants, or breaks its schema: `plugin_bug`, nothing is emitted.
pub async fn prepare(
    hub: &Arc<Hub>,
    tenant: &Arc<TenantView>,
    installation: &InstallationView,
    version: &PluginVersion,
    claimed: &Claimed,
    emitted: Vec<EmittedEvent>,
) -> Result<Vec<Prepared>, Failure> {
    let origin = Origin::of_run(hub, version, claimed);
    let mut prepared = Vec::with_capacity(emitted.len());
    for event in emitted {
        prepared.push(prepare_one(hub, tenant, installation, &origin, event).await?);
    }
    Ok(prepared)
}

/// Whether what a run emitted could be accepted. Nothing is routed.
///
/// # Errors
/// As [`prepare`].
pub fn check(
    hub: &Arc<Hub>,
    tenant: &Arc<TenantView>,
    installation: &InstallationView,
    version: &PluginVersion,
    claimed: &Claimed,
    emitted: &[EmittedEvent],
) -> Result<(), Failure> {
    let origin = Origin::of_run(hub, version, claimed);
    emitted.iter().try_for_each(|event| build(hub, tenant, installation, &origin, event.clone()).map(drop))
}

/// Prepares one emitted event.
///
/// # Errors
/// As [`prepare`].
pub async fn prepare_one(
    hub: &Arc<Hub>,
    tenant: &Arc<TenantView>,
    installation: &InstallationView,
    origin: &Origin<'_>,
    emitted: EmittedEvent,
) -> Result<Prepared, Failure> {
    let (event, data, dedupe) = build(hub, tenant, installation, origin, emitted)?;
    // An early refusal only: if the database does not answer, it is asked when the attempt starts.
    let standing = hub.standing(tenant, &event, &data).await.unwrap_or_default();
    Ok(hub.prepare(tenant, event, &data, dedupe, None, &standing))
}

/// The event with its parsed data and its dedupe key.
fn build(
    hub: &Arc<Hub>,
    tenant: &TenantView,
    installation: &InstallationView,
    origin: &Origin<'_>,
    emitted: EmittedEvent,
) -> Result<(Event, serde_json::Value, Option<DedupeKey>), Failure> {
    let bug = |code: &str, text: String| Failure::new(ReasonClass::PluginBug, code, text);
    let name = &origin.version.row.name;
    let event_type: EventType = emitted
        .type_
        .parse()
        .map_err(|error| bug("emit_type", format!("{name} emitted `{}`: {error}", emitted.type_)))?;
    if !event_type.is_private()
        && let Err(denied) = installation.grants.may_emit(event_type.as_str())
    {
        return Err(bug("emit_not_granted", denied.to_string()));
    }
    if emitted.emergency
        && let Err(denied) = installation.grants.may_raise_emergency()
    {
        return Err(bug("emit_emergency", denied.to_string()));
    }
    if emitted.account.is_some() {
        return Err(bug("emit_account", format!("{name} named an account; only an app's receive may")));
    }
    if emitted.dedupe_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 255) {
        return Err(bug(
            "emit_dedupe_key",
            format!("{name} emitted {event_type} with a dedupe key of more than 255 bytes"),
        ));
    }
    // A plugin hands on what a stranger sent, so that its events are held to what the interface holds callers to.
    check_json_limits(emitted.data.as_bytes()).map_err(|limit| {
        bug("emit_schema", format!("{name} emitted {event_type} with data that is not taken: {limit}"))
    })?;
    let data = hub.parse_data(&event_type, &emitted.data).map_err(|SchemaFault { path, message }| {
        bug("emit_schema", format!("{name} emitted {event_type} that breaks its schema at data{path}: {message}"))
    })?;
    let hash = content_hash(&event_type, &emitted.data);
    let dedupe = emitted.dedupe_key.map(|key| DedupeKey { scope: format!("plugin:{name}"), key, hash });
    let (key, now) = (hub.ids.next(), hub.clock.now());
    let stamp = |ms: u64| Timestamp(i64::try_from(ms).unwrap_or(i64::MAX));
    let event = Event {
        key,
        id: key.with_prefix("evt").into(),
        tenant: tenant.row.id.clone(),
        expires_at: emitted.expires_at_ms.map(stamp).or_else(|| default_expiry(tenant, &event_type, now)),
        private_to: event_type.is_private().then(|| name.clone()),
        event_type,
        source: format!("switchyard:plugin/{name}").into(),
        subject: emitted.subject,
        time: emitted.time_ms.map_or(origin.time, stamp),
        accepted_at: now,
        ordering_key: emitted.ordering_key,
        correlation_id: origin.correlation_id.clone(),
        traceparent: origin.traceparent.clone(),
        cause: origin.cause,
        request: origin.request,
        hop: origin.hop,
        urgency: if emitted.emergency { Urgency::Emergency } else { Urgency::Normal },
        extensions: emitted.extensions,
        data: emitted.data.into(),
    };
    Ok((event, data, dedupe))
}
