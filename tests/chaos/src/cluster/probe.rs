use std::time::Duration;

use serde_json::json;
use switchyard_simulators::subscriber::Received;
use switchyard_tests::api::until;

use super::{Cluster, TENANTS};

/// Single events beside the load, which tell how long one takes while something is wrong.
pub struct Probes(());

fn path(tenant: usize) -> String {
    format!("/probe-{tenant}")
}

impl Probes {
    /// Gives the tenants an endpoint of its own for them.
    ///
    /// # Panics
    /// A node does not get to know it.
    pub async fn set_up(cluster: &Cluster) -> Self {
        for (number, tenant) in cluster.tenants.iter().take(TENANTS).enumerate() {
            let endpoint = tenant.endpoint(&cluster.at, &path(number), &["probe.made"], json!({})).await;
            for node in 0..cluster.nodes.hubs.len() {
                until("a node to know an endpoint", async || {
                    let seen = cluster.nodes.on(node, tenant).get(&format!("/endpoints/{endpoint}")).await;
                    if seen.status == 200 { Ok(()) } else { Err(seen.text) }
                })
                .await;
            }
        }
        Self(())
    }

    /// An event of each tenant, accepted on either node, is delivered within so long, whoever owns its lane.
    ///
    /// # Panics
    /// One is not.
    pub async fn are_delivered(&self, cluster: &Cluster, what: &str, within: Duration) {
        for (number, tenant) in cluster.tenants.iter().take(TENANTS).enumerate() {
            let id = format!("{what}-{number}");
            let event = json!({"type": "probe.made", "id": id, "data": {}});
            let node = cluster.nodes.on(number % cluster.nodes.hubs.len(), tenant);
            until("an event to be accepted", async || {
                let reply = node.post("/events", &event).await;
                if reply.status == 202 { Ok(()) } else { Err(reply.text) }
            })
            .await;
            let ours = |request: &Received| request.webhook_id() == Some(&*id);
            let arrived = cluster.at.wait_for_where(1, within, ours).await;
            assert!(arrived.is_ok(), "{id} was not delivered within {within:?}");
        }
    }
}
