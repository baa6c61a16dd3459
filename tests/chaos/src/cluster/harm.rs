use std::{collections::BTreeMap, time::Duration};

use switchyard::clock::SystemClock;
use switchyard_tests::proxy::{Direction, Fault};

use super::Cluster;
use crate::{chance::Chance, process};

/// Longer than a lease lasts, so that another node takes over.
const ASLEEP: (u64, u64) = (11_000, 14_000);

/// One piece of harm, chosen by chance, and its end. All nodes run afterwards. Answers what it was.
///
/// # Panics
/// A node does not start again, or does not stop when it is told to.
pub async fn one(cluster: &mut Cluster, chance: &mut Chance) -> &'static str {
    let victim = usize::try_from(chance.below(cluster.nodes.hubs.len() as u64)).unwrap_or(0);
    match chance.below(10) {
        0..=4 => {
            kill(cluster, victim).await;
            "kill -9"
        }
        5 => {
            let hub = &mut cluster.nodes.hubs[victim];
            let status = hub.stop().await;
            assert!(status.success(), "{status}: {}", hub.log());
            hub.restart().await;
            "told to stop"
        }
        6 => {
            let process = cluster.nodes.hubs[victim].pid();
            process::freeze(process);
            tokio::time::sleep(chance.between_ms(ASLEEP.0, ASLEEP.1)).await;
            process::thaw(process);
            "asleep for longer than its lease"
        }
        7 => {
            cluster.networks[victim].cut_all();
            "its connections to the database cut"
        }
        8 => {
            let network = &cluster.networks[victim];
            network.set(Direction::ToServer, Fault::CutAnswerTo("commit"));
            tokio::time::sleep(chance.between_ms(200, 1_500)).await;
            network.heal();
            "the answers to its commits lost"
        }
        _ => {
            let network = &cluster.networks[victim];
            for direction in [Direction::ToServer, Direction::ToClient] {
                network.set(direction, Fault::Blackhole);
            }
            tokio::time::sleep(chance.between_ms(ASLEEP.0, ASLEEP.1)).await;
            network.cut_all();
            network.heal();
            "parted from the database for longer than its lease"
        }
    }
}

/// Kills a node and starts it again.
///
/// # Panics
/// It does not start.
pub async fn kill(cluster: &mut Cluster, victim: usize) {
    cluster.nodes.hubs[victim].kill().await;
    cluster.nodes.hubs[victim].restart().await;
}

/// Harm after harm for so long. Answers how often each was done.
///
/// # Panics
/// As [`one`].
pub async fn go_on(cluster: &mut Cluster, chance: &mut Chance, how_long: Duration) -> BTreeMap<&'static str, u32> {
    let clock = SystemClock::shared();
    let mut done = BTreeMap::new();
    while clock.monotonic() < how_long {
        *done.entry(one(cluster, chance).await).or_default() += 1;
        tokio::time::sleep(chance.between_ms(100, 2_000)).await;
    }
    done
}
