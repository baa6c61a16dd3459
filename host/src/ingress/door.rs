//! Where a request to `/in/{source_id}` leads: to a tenant's installation, or to an app.

use crate::{
    directory::view::{AppSourceView, SourceView, View},
    event::TenantId,
};

/// A known source.
#[derive(Clone)]
pub(super) enum Door {
    /// Of an installation.
    Tenant(SourceView),
    /// Of an app, whose requests may be for several tenants.
    App(AppSourceView),
}

impl Door {
    /// The source of this id.
    pub(super) fn of(view: &View, source_id: &str) -> Option<Self> {
        let app = || view.app_sources.get(source_id).cloned().map(Self::App);
        view.sources.get(source_id).cloned().map(Self::Tenant).or_else(app)
    }

    /// Whether it is a public URL, and not the name of what a queue brings.
    pub(super) const fn takes_http(&self) -> bool {
        match self {
            Self::Tenant(source) => !source.fed,
            Self::App(_) => true,
        }
    }

    /// Under whose name its requests are kept.
    pub(super) fn owner(&self) -> TenantId {
        match self {
            Self::Tenant(source) => source.tenant.clone(),
            Self::App(source) => TenantId::of_app(source.app),
        }
    }
}
