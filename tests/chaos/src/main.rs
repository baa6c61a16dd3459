//! The long run: episodes of load and random harm until the time is over, each checked. `MINUTES` says how long, `SEED`
//! repeats a run, `NODES` makes it so many nodes on PostgreSQL. The exit code says whether every set was empty.

use std::{process::ExitCode, time::Duration};

use switchyard::clock::SystemClock;
use switchyard_chaos::{
    acts::Person,
    chance::Chance,
    checker,
    cluster::{self, Cluster},
    faults,
    load::Load,
    world::World,
};
use switchyard_tests::hub::Hub;

/// How long the harm of one episode lasts. Each has its own hub, so that the checker reads all that ever arrived.
const EPISODE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    let minutes = std::env::var("MINUTES").ok().filter(|text| !text.is_empty());
    let minutes: u64 = minutes.map_or(5, |text| text.parse().expect("MINUTES is a number"));
    let mut chance = Chance::from_environment();
    let nodes = std::env::var("NODES").ok().filter(|text| !text.is_empty());
    if let Some(nodes) = nodes {
        return on_nodes(nodes.parse().expect("NODES is a number"), minutes, &mut chance).await;
    }
    let clock = SystemClock::shared();
    let (mut episode, mut good) = (0, true);
    while episode == 0 || clock.monotonic() < Duration::from_secs(minutes * 60) {
        episode += 1;
        let mut world = World::start(Hub::builder()).await;
        let (load, person) = (Load::begin(&world), Person::begin(&world));
        let done = faults::go_on(&mut world, &mut chance, EPISODE).await;
        person.end().await;
        let verdict = checker::conclude(&mut world, load).await;
        println!("episode {episode}: {done:?}\n{verdict}");
        good &= verdict.is_clean();
    }
    println!("SEED={} {}", chance.seed, if good { "every set is empty" } else { "something was found" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same with nodes that share a database.
async fn on_nodes(count: usize, minutes: u64, chance: &mut Chance) -> ExitCode {
    let clock = SystemClock::shared();
    let (mut episode, mut good) = (0, true);
    while episode == 0 || clock.monotonic() < Duration::from_secs(minutes * 60) {
        episode += 1;
        let mut cluster = Cluster::start(count, None).await;
        let load = cluster::load::Load::begin(&cluster);
        let done = cluster::harm::go_on(&mut cluster, chance, EPISODE).await;
        let accepted = load.end().await;
        let verdict = cluster::verdict::conclude(&cluster, &accepted).await;
        println!("episode {episode}: {done:?}\n{verdict}");
        good &= verdict.is_clean();
    }
    println!("SEED={} {}", chance.seed, if good { "every set is empty" } else { "something was found" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
