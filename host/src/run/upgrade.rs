//! Installations follow their plugin's versions: a version with a `lifecycle` takes over once its `upgrade` succeeded.
//! Until then the installation's events are held; if it is refused, the version before it stays and works on.

use std::sync::Arc;

use serde_json::json;

use super::run::{data_field, private};
use crate::{
    directory::view::{InstallationView, TenantView},
    event::TenantId,
    hub::Hub,
    store::{
        StoreError,
        ledger::Claimed,
        registry::{InstallState, UpgradeChange},
    },
};

impl Hub {
    /// Calls `lifecycle.upgrade` where an installation wants another version than it was set up for and was not told so
    /// yet, and notes the version where there is nothing to call. It is called at least once: a crash between the call and
    /// its note repeats it.
    ///
    /// # Errors
    /// The database failed; call it again.
    pub async fn call_upgrades(self: &Arc<Self>, tenant: &TenantId) -> Result<(), StoreError> {
        let Some(view) = self.directory.tenant(tenant) else { return Ok(()) };
        let mut changed = false;
        for installation in view.installations.values() {
            changed |= self.call_upgrade(&view, installation).await?;
        }
        if changed {
            self.refresh(tenant).await;
        }
        Ok(())
    }

    async fn call_upgrade(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &Arc<InstallationView>,
    ) -> Result<bool, StoreError> {
        let row = &installation.row;
        let Some(wanted) = &installation.wanted else { return Ok(false) };
        let (to, from) = (wanted.row.version.clone(), row.in_force.clone());
        if row.state != InstallState::Ready || from.as_ref() == Some(&to) {
            return Ok(false);
        }
        if !installation.is_upgrading() {
            let change = UpgradeChange::InForce(to);
            return self.store.set_upgrade(&tenant.row.id, &row.plugin, from, change).await;
        }
        if row.upgrade.as_ref().is_some_and(|upgrade| upgrade.to == to) {
            return Ok(false);
        }
        let data = json!({"from_version": from, "to_version": to});
        self.call_lifecycle(&tenant.row.id, &row.plugin, private::UPGRADE, &data).await?;
        self.store.set_upgrade(&tenant.row.id, &row.plugin, from, UpgradeChange::Called(to)).await
    }

    /// Calls the upgrades of all tenants; what fails is logged and called at the next sweep.
    pub async fn call_all_upgrades(self: &Arc<Self>) {
        let tenants: Vec<TenantId> = self.directory.view().tenants.keys().cloned().collect();
        for tenant in tenants {
            self.try_upgrades(&tenant).await;
        }
    }

    /// Calls the upgrades of a tenant; a failure is logged.
    pub async fn try_upgrades(self: &Arc<Self>, tenant: &TenantId) {
        if let Err(error) = self.call_upgrades(tenant).await {
            tracing::warn!(%error, tenant = %tenant, "upgrades could not be called; they are called again");
        }
    }

    /// The installation as the run of `claimed` sees it: `upgrade` is called on the version that is to take over.
    pub(super) fn running_for(&self, installation: &Arc<InstallationView>, claimed: &Claimed) -> Arc<InstallationView> {
        if claimed.event.event_type.as_str() != private::UPGRADE {
            return installation.clone();
        }
        let view = self.directory.view();
        let to = data_field(claimed, "to_version");
        let version = to.and_then(|to| view.version(&installation.row.plugin, &to).cloned());
        version.map_or_else(|| installation.clone(), |version| Arc::new(installation.on(&version)))
    }
}
