//! Commands that found no handler: a replay routes them anew, and ends their dead letters where there is one now.

use serde_json::json;

use super::{
    Api, Changing as _,
    auth::{In, Manage},
    problem::Answer,
};
use crate::{
    event::Target,
    queue::state::State,
    store::records::{DeliveryFilter, DeliveryRow, Page, Selection},
};

/// Events routed anew in one transaction; each is read for itself before it.
const STEP: u32 = 100;
/// And in one request.
const MOST: usize = 5_000;

/// What became of dead letters without a handler.
#[derive(Default)]
pub(super) struct RoutedAnew {
    /// They have a handler now and are cancelled; their events are on their way to it.
    pub(super) handled: Vec<DeliveryRow>,
    /// They stay dead, with the reason of today.
    pub(super) still_unrouted: usize,
    /// Whether there are more.
    pub(super) more: bool,
}

/// The dead letters without a handler that a selection has.
fn filter(selection: &Selection) -> Option<DeliveryFilter> {
    let fingerprint = match selection {
        Selection::Target(Target::Unrouted, _) | Selection::AllDead | Selection::Deliveries(_) => None,
        Selection::Fingerprint(fingerprint) => Some(fingerprint.clone()),
        Selection::Target(Target::Endpoint(_) | Target::Plugin(_), _) | Selection::Window { .. } => return None,
    };
    let since = if let Selection::Target(_, since) = selection { *since } else { None };
    let target = Some(Target::Unrouted);
    Some(DeliveryFilter { states: vec![State::Dead], target, fingerprint, since, ..DeliveryFilter::default() })
}

/// Routes the commands of a selection anew, a bounded part at a time.
pub(super) async fn route_anew(
    api: &Api,
    within: &In<Manage>,
    selection: &Selection,
    spacing_ms: u64,
) -> Answer<RoutedAnew> {
    let mut result = RoutedAnew::default();
    if let Selection::Deliveries(keys) = selection {
        let mut rows = Vec::new();
        for key in keys {
            let row = api.hub.store.delivery(within.id(), *key).await?;
            if row.target == Target::Unrouted && row.state == State::Dead {
                rows.push(row);
            }
        }
        for rows in rows.chunks(STEP as usize) {
            step(api, within, rows, spacing_ms, &mut result).await?;
        }
        return Ok(result);
    }
    let Some(filter) = filter(selection) else { return Ok(result) };
    let mut page = Page { limit: STEP, after: None };
    loop {
        let rows = api.hub.store.deliveries(within.id(), filter.clone(), page).await?;
        let Some(last) = rows.last() else { return Ok(result) };
        page.after = Some(last.key);
        step(api, within, &rows, spacing_ms, &mut result).await?;
        if rows.len() < STEP as usize {
            return Ok(result);
        }
        if result.handled.len() + result.still_unrouted >= MOST {
            result.more = true;
            return Ok(result);
        }
    }
}

async fn step(
    api: &Api,
    within: &In<Manage>,
    rows: &[DeliveryRow],
    spacing_ms: u64,
    result: &mut RoutedAnew,
) -> Answer<()> {
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        events.push(api.hub.store.event(within.id(), &row.event_id).await?);
    }
    let after = json!({"events": events.iter().map(|event| &event.id).collect::<Vec<_>>()});
    let audit = api.audit(&within.caller, Some(within.id()), "events.routed_anew", "dead-letters");
    let audit = audit.showing(None, Some(&after));
    let rerouted = api.hub.reroute(&within.tenant, &events, spacing_ms, audit).await?;
    for (row, rerouted) in rows.iter().zip(rerouted) {
        if rerouted.handled == Some(true) {
            result.handled.push(row.clone());
        } else {
            result.still_unrouted += 1;
        }
    }
    Ok(())
}
