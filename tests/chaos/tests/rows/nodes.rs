/// B15 to B18, D37: their database goes away and comes back.
mod database;

/// C28 to C34: so does their broker.
mod broker;

/// A1 to A9: one of them dies at every place.
mod deaths;

/// D39: one of them has a wrong clock.
mod clock;

use std::time::Duration;

use switchyard_chaos::{
    chance::Chance,
    cluster::{Cluster, harm, load::Load, verdict},
};

/// Kills of a random node, so that the test stays short; `NODES=3 make chaos` goes on for longer.
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a13_a_random_node_of_three_is_killed_again_and_again_and_nothing_is_lost_or_doubled() {
    let mut chance = Chance::from_environment();
    let mut cluster = Cluster::start(3, None).await;
    let load = Load::begin(&cluster);
    for _ in 0..KILLS {
        tokio::time::sleep(chance.between_ms(2_000, 3_500)).await;
        harm::kill(&mut cluster, usize::try_from(chance.below(3)).unwrap_or(0)).await;
    }
    let accepted = load.end().await;
    let verdict = verdict::conclude(&cluster, &accepted).await;
    assert!(verdict.is_clean(), "SEED={}\n{verdict}", chance.seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d35_and_d38_nodes_that_sleep_or_are_parted_from_the_database_double_nothing() {
    let mut chance = Chance::from_environment();
    let mut cluster = Cluster::start(3, None).await;
    let load = Load::begin(&cluster);
    let done = harm::go_on(&mut cluster, &mut chance, Duration::from_secs(45)).await;
    let accepted = load.end().await;
    let verdict = verdict::conclude(&cluster, &accepted).await;
    assert!(verdict.is_clean(), "SEED={} {done:?}\n{verdict}", chance.seed);
}
