//! The nodes of a hub, as the status shows them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{broker::BrokerStatus, cluster::Node, queue::partition::PARTITIONS, store::cluster::NodeRow};

/// Every role that some node must have, or work waits.
const ROLES: [&str; 3] = ["api", "worker", "scheduler"];

/// The nodes that share the database, as the node that answers saw them last.
#[derive(Serialize, ToSchema)]
pub(super) struct NodesStatus {
    /// The node that answers.
    node: String,
    /// Those that live.
    nodes: Vec<NodeStatus>,
    /// Partitions of the queue that no living node owns: what is in them waits.
    unowned_partitions: usize,
    /// Roles that no living node has: what needs them waits.
    missing_roles: Vec<&'static str>,
    /// Milliseconds by which the database's clock is ahead of this node's.
    clock_skew_ms: i64,
    /// How the nodes wake each other: `alone` (there is one), `broker`, `database`, or `polling` while nothing rings.
    bells: &'static str,
    /// How the broker is: `up`, `blocked` or `down`, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
}

/// One node.
#[derive(Serialize, ToSchema)]
struct NodeStatus {
    id: String,
    name: String,
    roles: Vec<String>,
    version: String,
    /// How many of the queue's 64 partitions it owns.
    partitions: usize,
}

impl NodesStatus {
    /// What a node sees.
    pub(super) fn seen_by(node: &Node) -> Self {
        let (seen, bells) = (node.seen(), node.bells());
        let alone = [node.row.clone()];
        let nodes: &[NodeRow] = if node.is_shared() { &seen.nodes } else { &alone };
        let owned = |row: &NodeRow| match node.is_shared() {
            true => seen.leases.iter().filter(|lease| lease.node == Some(row.id)).count(),
            false => node.owned().len() as usize,
        };
        let shown: Vec<NodeStatus> = nodes
            .iter()
            .map(|row| NodeStatus {
                id: row.id.with_prefix("node"),
                name: row.name.clone(),
                roles: row.roles.clone(),
                version: row.version.clone(),
                partitions: owned(row),
            })
            .collect();
        Self {
            node: node.id().with_prefix("node"),
            unowned_partitions: usize::from(PARTITIONS) - shown.iter().map(|row| row.partitions).sum::<usize>(),
            missing_roles: ROLES.into_iter().filter(|role| !nodes.iter().any(|row| row.has(role))).collect(),
            nodes: shown,
            clock_skew_ms: node.skew_ms(),
            bells: if node.is_shared() { bells.word() } else { "alone" },
            broker: bells.broker.as_ref().map(BrokerStatus::state).map(|state| match state.reason() {
                Some(reason) => format!("{}: {reason}", state.word()),
                None => state.word().to_owned(),
            }),
        }
    }

    /// Whether work waits for a node that is not there.
    pub(super) fn needs_attention(&self) -> bool {
        self.unowned_partitions > 0 || !self.missing_roles.is_empty()
    }
}
