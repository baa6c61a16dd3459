use std::time::Duration;

use crate::{chance::Chance, world::World};

/// Kills the hub again and again in the middle of its load, at random moments, sometimes before it is ready. It runs at
/// the end.
///
/// # Panics
/// The hub ends by itself.
pub async fn kill(world: &mut World, rounds: u32, chance: &mut Chance) {
    for round in 1..=rounds {
        let early = chance.below(8) == 0;
        let moment = if early { chance.between_ms(0, 150) } else { chance.between_ms(5, 90) };
        if !early && let Err(status) = world.hub.ready().await {
            panic!("round {round}: the hub ended with {status}:\n{}", world.hub.log());
        }
        // The moment of a power cut is nobody's signal.
        tokio::time::sleep(moment).await;
        world.hub.kill().await;
        world.hub.begin();
    }
    if let Err(status) = tokio::time::timeout(Duration::from_secs(60), world.hub.ready()).await.expect("it is ready") {
        panic!("after the last round the hub ended with {status}:\n{}", world.hub.log());
    }
}
