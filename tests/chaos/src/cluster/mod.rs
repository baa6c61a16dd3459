//! Several nodes on one database under load, while nodes, their database and their broker come to harm.
//!
//! [`Cluster`] sets them up with what they deliver to, [`load`] publishes through whichever node answers, [`harm`] does
//! harm, and [`verdict`] compares what was answered with what arrived.

use std::sync::Arc;

use serde_json::json;
use switchyard_simulators::{billy, clock::SystemClock, subscriber};
use switchyard_tests::{
    api::{Tenant, until},
    hub::Hub,
    nodes::Nodes,
    proxy::Proxy,
    world::{bundled, subscriber},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What is published all the time.
pub mod load;

/// What goes wrong.
pub mod harm;

/// How long a single event takes meanwhile.
pub mod probe;

/// What must hold afterwards.
pub mod verdict;

const BILLY_TOKEN: &str = "SECRET-token-of-billy-0002";

/// Tenants with plain events, so that lanes are in many partitions.
pub const TENANTS: usize = 8;

/// The tenant whose events keep order, and which makes invoices.
pub const BUSY: &str = "busy";

/// Where the plain events of a tenant arrive. Each endpoint has a secret of its own, so each has a path.
fn plain(tenant: usize) -> String {
    format!("/plain-{tenant}")
}

/// Nodes, each with a network to the database that may fail, and what they deliver to.
pub struct Cluster {
    /// The nodes.
    pub nodes: Nodes,
    /// Between each node and the database.
    pub networks: Vec<Proxy>,
    /// Where everything is delivered.
    pub at: subscriber::Handle,
    /// The bookkeeper.
    pub billy: billy::Handle,
    /// All tenants, as the first node showed them.
    pub tenants: Vec<Tenant>,
    shutdown: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Retries often for longer than any fault lasts. The nodes run 60 times as fast.
fn patient() -> serde_json::Value {
    let mut waits = vec![0];
    waits.resize(48, 30);
    json!(waits)
}

impl Cluster {
    /// Starts so many nodes and all around them.
    ///
    /// # Panics
    /// Something of it cannot be started.
    pub async fn start(count: usize, broker: Option<&str>) -> Self {
        Self::build(Nodes::none().await, count, broker, &[]).await
    }

    /// The same with more in the nodes' environment.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(count: usize, broker: Option<&str>, environment: &[(&str, &str)]) -> Self {
        Self::build(Nodes::none().await, count, broker, environment).await
    }

    /// The same on this database.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_on(nodes: Nodes, count: usize, broker: Option<&str>) -> Self {
        Self::build(nodes, count, broker, &[]).await
    }

    async fn build(mut nodes: Nodes, count: usize, broker: Option<&str>, environment: &[(&str, &str)]) -> Self {
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let options = billy::Options::new(BILLY_TOKEN, Arc::new(SystemClock));
        let billy = billy::Billy::start(listener, options, shutdown.clone()).expect("Billy");
        let at = subscriber().await;
        let mut networks = Vec::new();
        for _ in 0..count {
            let network = Proxy::before(nodes.database.address().await).await;
            let url = nodes.database.url_through(network.address());
            let mut builder = nodes.prepared(Hub::builder()).set("SWITCHYARD_DATABASE_URL", &url);
            for (name, value) in environment {
                builder = builder.set(name, value);
            }
            if let Some(broker) = broker {
                builder = builder.set("SWITCHYARD_BROKER_URL", broker);
            }
            nodes.hubs.push(builder.start().await);
            networks.push(network);
        }
        nodes.settled().await;
        let mut cluster = Self { nodes, networks, at, billy, tenants: Vec::new(), shutdown };
        cluster.subscribe().await;
        cluster.known_everywhere().await;
        cluster
    }

    async fn subscribe(&mut self) {
        let first = &self.nodes.hubs[0];
        let _ = first.push(bundled("billy")).await.expect(201);
        for number in 0..TENANTS {
            let tenant = first.tenant(&format!("t{number}")).await;
            let more = json!({"retry_schedule": patient()});
            let _ = tenant.endpoint(&self.at, &plain(number), &["plain.made"], more).await;
            self.tenants.push(tenant);
        }
        let busy = first.tenant(BUSY).await;
        let more = json!({"retry_schedule": patient(), "ordered": true, "concurrency": 3});
        let _ = busy.endpoint(&self.at, "/ordered", &["step.done"], more).await;
        let base = format!("{}/v2", self.billy.base_url());
        let billy = json!({"provider": "billy", "name": "billy", "kind": "header", "base_url": base,
            "secret": {"name": "X-Access-Token", "value": BILLY_TOKEN}});
        let billy = busy.connection(&billy).await;
        let config = json!({"organization_id": self.billy.organization_id(), "product_id": self.billy.product_id()});
        let wanted = json!({"config": config, "connections": {"billy": billy}, "retry_schedule": patient()});
        let _ = busy.install("billy", &wanted).await;
        self.tenants.push(busy);
    }

    /// Every node knows the last thing that was made.
    async fn known_everywhere(&self) {
        for hub in &self.nodes.hubs {
            until("a node to know everything", async || {
                let seen = hub.get(&format!("/v1/tenants/{BUSY}/plugins/billy")).await;
                if seen.status == 200 && seen.json()["state"] == "ready" { Ok(()) } else { Err(seen.text) }
            })
            .await;
        }
    }
}
