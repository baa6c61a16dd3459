//! What an event changes for the policy: consents and plans, stored in the transaction that stores the event.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    directory::{places, view::TenantView},
    event::Event,
    hub::Hub,
    policy::{consent, plan},
    store::policy::{ConsentSaid, PolicyChange},
};

impl Hub {
    /// What an event says of persons and plans.
    pub(super) fn changes_of(&self, tenant: &TenantView, event: &Event, data: &Value) -> Vec<PolicyChange> {
        if event.private_to.is_some() {
            return Vec::new();
        }
        let consent = consent::said_by(event, data).and_then(|saying| self.consent_said(tenant, event, &saying));
        let plan = plan::told_by(event, data).map(PolicyChange::Plan);
        consent.map(PolicyChange::Consent).into_iter().chain(plan).collect()
    }

    fn consent_said(&self, tenant: &TenantView, event: &Event, saying: &consent::Saying) -> Option<ConsentSaid> {
        let person = tenant.key.person_hash(saying.channel.person_kind(), &saying.address)?;
        let place = places::consent(&tenant.row.id, &person);
        let sealed = self.vault.seal(&tenant.key, place, saying.address.as_bytes());
        // An opt-out counts also if its address cannot be shown.
        let address = sealed.inspect_err(|error| tracing::error!(%error, "an address could not be sealed"));
        Some(ConsentSaid {
            tenant: tenant.row.id.clone(),
            channel: saying.channel,
            person,
            address: address.unwrap_or_default(),
            state: saying.state,
            source: saying.source,
            at: saying.at,
            event: Some(event.key),
            now: event.accepted_at,
        })
    }

    /// Brings the plans into force that a stored event changed.
    pub(super) fn plans_changed(self: &Arc<Self>, changes: &[PolicyChange]) {
        let told = changes.iter().filter_map(|change| match change {
            PolicyChange::Plan(telling) => Some(telling.clone()),
            PolicyChange::Consent(_) => None,
        });
        for telling in told {
            let hub = self.clone();
            self.tasks.spawn(async move {
                let view = hub.directory.view();
                let follows = |tenant: &&Arc<TenantView>| {
                    let follows = tenant.policy.plan.as_ref().and_then(|plan| plan.follows.as_ref());
                    follows.is_some_and(|follows| {
                        follows.tenant == telling.tenant && follows.customer_id == telling.customer_id
                    })
                };
                for tenant in view.tenants.values().filter(follows) {
                    hub.refresh(&tenant.row.id).await;
                }
            });
        }
    }
}
