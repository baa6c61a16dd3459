use switchyard_chaos::{chance::Chance, checker, load::Load, rounds, world::World};
use switchyard_tests::hub::Hub;

/// How often the hub is killed.
const ROUNDS: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a13_two_hundred_kills_lose_and_double_nothing() {
    let mut chance = Chance::from_environment();
    let mut world = World::start(Hub::builder()).await;
    let load = Load::begin(&world);
    rounds::kill(&mut world, ROUNDS, &mut chance).await;
    let verdict = checker::conclude(&mut world, load).await;
    assert!(verdict.accepted > ROUNDS as usize, "hardly anything was accepted: {verdict}");
    verdict.must_be_clean();
}
