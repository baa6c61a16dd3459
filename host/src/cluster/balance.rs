//! How many partitions each node should have: all as many, the first ones in the order of ids one more.

use crate::{
    id::Key,
    queue::partition::{PARTITIONS, PartitionSet},
    store::cluster::{Lease, NodeRow},
};

/// The role whose nodes own partitions.
pub(super) const WORKER: &str = "worker";

/// What a node should do about its partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be taken: they have no living owner, and this node has too few.
    pub(super) take: PartitionSet,
    /// To be given away: another node has too few.
    pub(super) give: PartitionSet,
}

/// The fair share of a node among the workers that live.
pub(super) fn share(nodes: &[NodeRow], me: Key) -> usize {
    let mut workers: Vec<Key> = nodes.iter().filter(|node| node.has(WORKER)).map(|node| node.id).collect();
    workers.sort_unstable();
    let Some(rank) = workers.iter().position(|id| *id == me) else { return 0 };
    let all = usize::from(PARTITIONS);
    all / workers.len() + usize::from(rank < all % workers.len())
}

/// What `me` should take or give. All nodes plan by the same rule, so that together they have every partition once.
pub(super) fn plan(nodes: &[NodeRow], leases: &[Lease], me: Key) -> Plan {
    let share = share(nodes, me);
    let lives = |id: Key| nodes.iter().any(|node| node.id == id && node.has(WORKER));
    let mine: Vec<_> = leases.iter().filter(|lease| lease.node == Some(me)).map(|lease| lease.partition).collect();
    let free = leases.iter().filter(|lease| lease.node.is_none_or(|node| !lives(node))).map(|lease| lease.partition);
    // Nodes begin at different places, so that two that look at once seldom want the same.
    let start = leases.len() * usize::from(me.0[15]) / 256;
    let mut free: Vec<_> = free.collect();
    let turn = free.iter().position(|partition| usize::from(partition.number()) >= start).unwrap_or(0);
    free.rotate_left(turn);
    Plan {
        take: free.into_iter().take(share.saturating_sub(mine.len())).collect(),
        give: mine.iter().rev().take(mine.len().saturating_sub(share)).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queue::partition::Partition;

    fn node(number: u8, roles: &[&str]) -> NodeRow {
        NodeRow {
            id: Key([number; 16]),
            name: String::new(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            version: String::new(),
        }
    }

    fn leases(owner: impl Fn(u8) -> Option<u8>) -> Vec<Lease> {
        let lease = |number| {
            let partition = Partition::new(number).unwrap();
            Lease { partition, node: owner(number).map(|number| Key([number; 16])), epoch: 1 }
        };
        (0..PARTITIONS).map(lease).collect()
    }

    /// Lets all nodes act in turn until nobody wants anything.
    fn settle(nodes: &[NodeRow], leases: &mut [Lease]) -> usize {
        for round in 0..10 {
            let mut moved = false;
            for me in nodes {
                let Plan { take, give } = plan(nodes, leases, me.id);
                for lease in leases.iter_mut() {
                    if take.contains(lease.partition) {
                        lease.node = Some(me.id);
                    } else if give.contains(lease.partition) {
                        lease.node = None;
                    }
                }
                moved |= !take.is_empty() || !give.is_empty();
            }
            if !moved {
                return round;
            }
        }
        panic!("the nodes never came to rest");
    }

    proptest! {
        #[test]
        fn whatever_was_before_all_partitions_end_with_the_workers_that_live_and_none_has_two_more_than_another(
            alive in proptest::collection::btree_set(1_u8..20, 1..9),
            before in proptest::collection::vec(proptest::option::of(1_u8..20), PARTITIONS as usize),
        ) {
            let mut nodes: Vec<_> = alive.iter().map(|number| node(*number, &["worker"])).collect();
            nodes.push(node(50, &["api", "scheduler"]));
            let mut leases = leases(|number| before[usize::from(number)]);
            let rounds = settle(&nodes, &mut leases);
            prop_assert!(rounds <= 4, "{rounds} rounds");
            let counts: Vec<usize> = alive.iter().map(|number| {
                leases.iter().filter(|lease| lease.node == Some(Key([*number; 16]))).count()
            }).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), usize::from(PARTITIONS));
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }

    #[test]
    fn a_node_without_the_role_of_a_worker_takes_nothing_and_gives_what_it_had() {
        let nodes = [node(1, &["api"]), node(2, &["worker"])];
        let plan = plan(&nodes, &leases(|number| (number < 3).then_some(1)), Key([1; 16]));
        assert_eq!((plan.take.len(), plan.give.len()), (0, 3));
    }
}
