//! A hub with tenants and endpoints, as the scenarios need them.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Reply, Tenant, text},
    database::Database,
    hub::{Builder, Hub},
};

use crate::{Bench, message::Publications, process::Watched, sink::Sink};

/// The event that most scenarios send.
pub(crate) const SENT: &str = "bench.sent";

/// Connections of a closed loop.
pub(crate) const CONNECTIONS: usize = 32;

/// After so long without an arrival nothing more is expected.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the real binary in real time, without the limits on how often one caller may call.
pub(crate) async fn hub(bench: &Bench, bundled: bool) -> Stage {
    let database = if bench.postgres { Some(Database::fresh().await) } else { None };
    let mut builder = unlimited(Hub::builder());
    if let Some(database) = &database {
        builder = builder.on(database);
    }
    if bundled {
        builder = builder.with_bundled_plugins();
    }
    Stage { hub: builder.start().await, database }
}

/// In real time, without the limits on how often one caller may call.
pub(crate) fn unlimited(builder: Builder) -> Builder {
    let rates = ["IP_PER_SECOND", "IP_BURST", "SOURCE_PER_SECOND", "SOURCE_BURST"];
    rates.iter().fold(builder.time_factor(1), |builder, rate| builder.set(&format!("SWITCHYARD_RATES__{rate}"), "0"))
}

/// A hub with the database that it may need.
pub(crate) struct Stage {
    hub: Hub,
    database: Option<Database>,
}

impl Stage {
    /// Where it keeps everything: a URL, or a file's path.
    pub(crate) fn place(&self) -> String {
        let file = || self.hub.database().to_string_lossy().into_owned();
        self.database.as_ref().map_or_else(file, Database::url)
    }
}

impl Deref for Stage {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }
}

/// Where a hub listens.
pub(crate) fn address(hub: &Hub) -> anyhow::Result<SocketAddr> {
    hub.url().strip_prefix("http://").context("a plain address")?.parse().context("an address")
}

/// The process of a hub that runs.
pub(crate) fn watched(hub: &Hub) -> anyhow::Result<Watched> {
    hub.process_id().map(Watched::new).context("the hub does not run")
}

/// A tenant with what is sent to it and where it arrives.
pub(crate) struct Client {
    /// The tenant, with the operator's key.
    pub(crate) tenant: Tenant,
    key: String,
    address: SocketAddr,
}

impl Client {
    /// Makes a tenant and a key that may publish its events.
    pub(crate) async fn new(hub: &Hub, tenant: &str) -> anyhow::Result<Self> {
        let key = json!({"tenant": tenant, "scope": "publisher"});
        let tenant = hub.tenant(tenant).await;
        Ok(Self { tenant, key: hub.key(&key).await, address: address(hub)? })
    }

    /// Makes an endpoint at a path of the sink; answers its id.
    pub(crate) async fn endpoint(&self, sink: &Sink, path: u16, event_type: &str) -> anyhow::Result<String> {
        let wanted = json!({"url": sink.url(path), "event_types": [event_type]});
        Ok(text(&good(self.tenant.post("/endpoints", &wanted).await)?, "id"))
    }

    /// `pause` or `resume` of an endpoint.
    pub(crate) async fn endpoint_do(&self, endpoint: &str, action: &str) -> anyhow::Result<()> {
        good(self.tenant.post(&format!("/endpoints/{endpoint}/{action}"), &json!({})).await).map(|_| ())
    }

    /// Switches a plugin on; answers the installation.
    pub(crate) async fn install(&self, plugin: &str, wanted: &Value) -> anyhow::Result<Value> {
        good(self.tenant.api.put(&self.tenant.path(&format!("/plugins/{plugin}")), wanted).await)
    }

    /// Where its requests go.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `count` publications.
    pub(crate) fn publications(&self, count: u64) -> anyhow::Result<Publications> {
        self.publications_of(SENT, "", count)
    }

    /// `count` publications through the node at an address.
    pub(crate) fn publications_at(&self, address: SocketAddr, count: u64) -> anyhow::Result<Publications> {
        Publications::new(address, &self.tenant.id, &self.key, SENT, "", count)
    }

    /// `count` publications of a type, with more members of the payload.
    pub(crate) fn publications_of(&self, event_type: &str, data: &str, count: u64) -> anyhow::Result<Publications> {
        Publications::new(self.address, &self.tenant.id, &self.key, event_type, data, count)
    }
}

fn good(reply: Reply) -> anyhow::Result<Value> {
    ensure!((200..300).contains(&reply.status), "the hub answered {}: {}", reply.status, reply.text);
    Ok(reply.json())
}
