use std::time::Duration;

use switchyard_simulators::{
    faults::{Fault, FaultBody},
    subscriber::{Script, Step},
};

use crate::{chance::Chance, process, world::World};

/// Where the subscriber may fail. What refuses by intent stays as it is.
const PATHS: [&str; 5] = ["/plain", "/ordered", "/books", "/texts", "/hooks"];

/// Calls to providers that may go wrong.
const CALLS: [(bool, &str); 3] = [(true, "invoices.create"), (true, "invoices.approve"), (false, "messages.create")];

/// One piece of harm, chosen by chance, and its end. The hub runs afterwards. Answers what it was.
///
/// # Panics
/// The hub does not start again, or does not stop when it is told to.
pub async fn one(world: &mut World, chance: &mut Chance) -> &'static str {
    match chance.below(8) {
        0 | 1 => {
            world.hub.kill().await;
            world.hub.restart().await;
            "kill -9"
        }
        2 => {
            process::freeze(world.hub.pid());
            pause(chance, 50, 3000).await;
            process::thaw(world.hub.pid());
            "frozen"
        }
        3 => {
            let status = world.hub.stop().await;
            assert!(status.success(), "{status}: {}", world.hub.log());
            world.hub.restart().await;
            "told to stop"
        }
        4 => at_subscriber(world, chance, Step::status(503)).await,
        5 => at_subscriber(world, chance, Step::Hang).await,
        6 => at_provider(world, chance),
        // A release has no fail points to be slow at.
        _ if cfg!(debug_assertions) => slow_disk(world, chance).await,
        _ => at_provider(world, chance),
    }
}

async fn pause(chance: &mut Chance, least: u64, most: u64) {
    tokio::time::sleep(chance.between_ms(least, most)).await;
}

async fn at_subscriber(world: &World, chance: &mut Chance, step: Step) -> &'static str {
    let word = if step == Step::Hang { "a subscriber hangs" } else { "a subscriber fails" };
    let place = usize::try_from(chance.below(PATHS.len() as u64)).unwrap_or(0);
    world.at.set_script(PATHS[place], Script::always(step));
    pause(chance, 500, 3000).await;
    world.at.set_script(PATHS[place], Script::default());
    word
}

fn at_provider(world: &World, chance: &mut Chance) -> &'static str {
    let place = usize::try_from(chance.below(CALLS.len() as u64)).unwrap_or(0);
    let (at_billy, call) = CALLS[place];
    let (fault, word) = match chance.below(4) {
        0 => (Fault::DropAfter, "a provider's answer is lost"),
        1 => (Fault::FailAfter { status: 500, body: FaultBody::Html }, "a provider fails after the work"),
        2 => (Fault::FailBefore { status: 503, body: FaultBody::Provider }, "a provider fails before the work"),
        _ => (Fault::RateLimit { retry_after_s: Some(1) }, "a provider limits the rate"),
    };
    let faults = if at_billy { world.billy.faults() } else { world.twilio.faults() };
    faults.arm(call, fault, 2);
    word
}

async fn slow_disk(world: &mut World, chance: &mut Chance) -> &'static str {
    world.hub.kill().await;
    world.hub.set("SWITCHYARD_FAILPOINTS", "group.sync=*:100ms");
    world.hub.restart().await;
    pause(chance, 1000, 4000).await;
    world.hub.kill().await;
    world.hub.unset("SWITCHYARD_FAILPOINTS");
    world.hub.restart().await;
    "kill -9, slow disk, kill -9"
}

/// Harm after harm, with a little time between, for so long. Answers how often each was done.
///
/// # Panics
/// As [`one`].
pub async fn go_on(
    world: &mut World,
    chance: &mut Chance,
    how_long: Duration,
) -> std::collections::BTreeMap<&'static str, u32> {
    let clock = switchyard::clock::SystemClock::shared();
    let mut done = std::collections::BTreeMap::new();
    while clock.monotonic() < how_long {
        *done.entry(one(world, chance).await).or_default() += 1;
        pause(chance, 20, 800).await;
    }
    world.billy.faults().clear();
    world.twilio.faults().clear();
    done
}
