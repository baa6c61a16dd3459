//! Several hubs on one PostgreSQL database.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    api::{Tenant, until},
    database::Database,
    hub::{Builder, Hub},
};

/// The master key that all of them have.
pub const MASTER_KEYS: &str = "k1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// A killed node's partitions must have moved within so long.
pub const MOVED_WITHIN: Duration = Duration::from_secs(15);

/// Nodes of one hub.
pub struct Nodes {
    /// The nodes, in the order in which they were started.
    pub hubs: Vec<Hub>,
    /// Where they keep everything. Dropped after them.
    pub database: Database,
}

impl Nodes {
    /// No node yet.
    pub async fn none() -> Self {
        Self::none_on(Database::fresh().await)
    }

    /// No node yet, on this database.
    #[must_use]
    pub const fn none_on(database: Database) -> Self {
        Self { hubs: Vec::new(), database }
    }

    /// So many nodes with all roles, once they share the partitions.
    pub async fn start(count: usize) -> Self {
        let mut nodes = Self::none().await;
        for _ in 0..count {
            nodes.add(Hub::builder()).await;
        }
        nodes.settled().await;
        nodes
    }

    /// Starts one more on the same database.
    pub async fn add(&mut self, builder: Builder) -> &mut Hub {
        let hub = self.prepared(builder).start().await;
        self.hubs.push(hub);
        self.hubs.last_mut().expect("it was pushed")
    }

    /// What starts one more on the same database.
    pub fn prepared(&self, builder: Builder) -> Builder {
        builder
            .set("SWITCHYARD_DATABASE_URL", &self.database.url())
            .set("SWITCHYARD_MASTER_KEYS", MASTER_KEYS)
            .set("SWITCHYARD_POOL__DATABASE_READERS", "4")
    }

    /// A tenant as a node shows it.
    #[must_use]
    pub fn on(&self, number: usize, tenant: &Tenant) -> Tenant {
        Tenant { api: (*self.hubs[number]).clone(), id: tenant.id.clone() }
    }

    /// What a node sees of the others.
    ///
    /// # Errors
    /// The node does not answer: one that slept has closed its kept connections.
    pub async fn seen_by(&self, number: usize) -> Result<Value, String> {
        let answered = self.hubs[number].try_raw("GET", "/v1/status", &[], Bytes::new()).await;
        let reply = answered.map_err(|error| error.to_string())?;
        if reply.status == 200 { Ok(reply.json()["cluster"].clone()) } else { Err(reply.text) }
    }

    /// Waits until all partitions are owned, evenly, by the nodes that run.
    pub async fn settled(&self) {
        until("the nodes to share the partitions", async || {
            for number in 0..self.hubs.len() {
                let seen = self.seen_by(number).await?;
                let partitions = partitions(&seen);
                let even = partitions
                    .values()
                    .max()
                    .zip(partitions.values().min())
                    .is_some_and(|(most, least)| most - least <= 1);
                if partitions.len() != self.hubs.len() || seen["unowned_partitions"] != 0 || !even {
                    return Err(format!("node {number} sees {seen}"));
                }
            }
            Ok(())
        })
        .await;
    }
}

/// How many partitions each node that may own some has.
#[must_use]
pub fn partitions(seen: &Value) -> BTreeMap<String, u64> {
    let nodes = seen["nodes"].as_array().into_iter().flatten();
    let workers =
        nodes.filter(|node| node["roles"].as_array().is_some_and(|roles| roles.iter().any(|role| role == "worker")));
    workers.filter_map(|node| Some((node["id"].as_str()?.to_owned(), node["partitions"].as_u64()?))).collect()
}
