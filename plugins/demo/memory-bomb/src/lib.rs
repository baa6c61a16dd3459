//! Takes all the memory it can get. The demo installs it to show that the limit ends its own attempts only.

use std::hint::black_box;

use switchyard_sdk::prelude::*;

/// It has no settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Config {}

/// The plugin.
pub struct MemoryBomb;

impl Plugin for MemoryBomb {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("memory-bomb", env!("CARGO_PKG_VERSION"), "Takes all memory it can get.")
            .handles(EventType::event("demo.bombed", "Makes the plugin allocate."))
    }
}

impl Handler for MemoryBomb {
    fn handle(_: &Ctx<Config>, _: Event) -> Result<Output, PluginError> {
        let mut held: Vec<Vec<u8>> = Vec::new();
        while black_box(true) {
            held.push(black_box(vec![1; 1 << 20]));
        }
        Ok(Output::none())
    }
}

switchyard_sdk::register!(MemoryBomb: handler);
