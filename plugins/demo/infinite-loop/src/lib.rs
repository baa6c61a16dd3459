//! Never returns. The demo installs it to show that a loop ends its own attempts and nobody else's.

use std::hint::black_box;

use switchyard_sdk::prelude::*;

/// It has no settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Config {}

/// The plugin.
pub struct InfiniteLoop;

impl Plugin for InfiniteLoop {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("infinite-loop", env!("CARGO_PKG_VERSION"), "Never returns.")
            .handles(EventType::event("demo.looped", "Makes the plugin loop."))
    }
}

impl Handler for InfiniteLoop {
    fn handle(_: &Ctx<Config>, _: Event) -> Result<Output, PluginError> {
        let mut turns = 0_u64;
        while black_box(true) {
            turns = black_box(turns.wrapping_add(1));
        }
        Ok(Output::none())
    }
}

switchyard_sdk::register!(InfiniteLoop: handler);
