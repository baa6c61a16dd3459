//! Commands that found no handler: they may only be replayed where there is one now.

use super::{
    Api,
    problem::{Answer, Code, Problem},
};
use crate::{
    directory::view::TenantView,
    event::{Event, Target},
    plugin::model::EventKind,
    queue::state::State,
    route::route::routes,
    store::records::{DeliveryFilter, Page, Selection},
};

/// Dead letters without a handler that are looked at before a replay.
const MAX_UNROUTED: u32 = 1_000;

/// Whether the event would reach a target now.
fn has_route(api: &Api, tenant: &TenantView, event: &Event) -> bool {
    let catalogue = api.hub.catalogue.load();
    let kind = catalogue.get(event.event_type.as_str()).map_or(EventKind::Event, |definition| definition.kind);
    let data = serde_json::from_str(&event.data).unwrap_or_default();
    routes(tenant, event, kind, &data).iter().any(|route| route.dead.is_none())
}

/// Refuses a replay that would take commands for which there is still no handler: their dead letters would end as
/// cancelled and be seen no more.
pub(super) async fn refuse_without_handler(api: &Api, tenant: &TenantView, selection: &Selection) -> Answer<()> {
    let fingerprint = match selection {
        Selection::Target(Target::Unrouted, _) | Selection::AllDead | Selection::Deliveries(_) => None,
        Selection::Fingerprint(fingerprint) => Some(fingerprint.clone()),
        Selection::Target(Target::Endpoint(_) | Target::Plugin(_), _) | Selection::Window { .. } => return Ok(()),
    };
    let filter = DeliveryFilter {
        states: vec![State::Dead],
        target: Some(Target::Unrouted),
        fingerprint,
        ..DeliveryFilter::default()
    };
    let rows = api.hub.store.deliveries(&tenant.row.id, filter, Page { limit: MAX_UNROUTED, after: None }).await?;
    let mut judged: Vec<String> = Vec::new();
    for row in rows {
        let named = match selection {
            Selection::Deliveries(keys) => keys.contains(&row.key),
            Selection::Fingerprint(_) | Selection::Target(..) | Selection::Window { .. } | Selection::AllDead => true,
        };
        if !named || judged.contains(&row.event_type) {
            continue;
        }
        let event = api.hub.store.event(&tenant.row.id, &row.event_id).await?;
        if !has_route(api, tenant, &event) {
            let detail = format!(
                "no installed plugin handles {} ({}), or several do: install one or choose one in command_handlers first, \
                 or replay by target or fingerprint",
                row.event_type,
                row.key.with_prefix("dlv")
            );
            return Err(Problem::new(Code::Conflict, detail));
        }
        judged.push(row.event_type);
    }
    Ok(())
}
