//! Several nodes on one PostgreSQL database: nothing lost, nothing sent twice, whoever dies.

/// Partitions move: a node joins, stops, dies, or sleeps.
mod handover;

/// Nodes with some of the roles.
mod roles;

/// Beside a newer version.
mod versions;

/// What an admin changes on one node is in force on the others.
mod changes;

use std::collections::BTreeMap;

use switchyard_simulators::subscriber;

/// How often each event came to a path.
fn arrivals(at: &subscriber::Handle, path: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in at.requests(path) {
        *counts.entry(request.webhook_id().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}
