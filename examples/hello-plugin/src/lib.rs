//! The smallest plugin: it greets whoever asks for it.

use serde_json::json;
use switchyard_sdk::prelude::*;

/// The installation's settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Config {
    /// How to begin.
    pub greeting: String,
}

/// The plugin.
pub struct Hello;

impl Plugin for Hello {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("hello", env!("CARGO_PKG_VERSION"), "Greets whoever asks for it.")
            .handles(EventType::event("greeting.requested", "Somebody wants to be greeted."))
            .emits(EventType::event("greeting.made", "Somebody was greeted."))
    }
}

impl Handler for Hello {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        let name: String = event.field("name")?;
        Ok(Emit::new("greeting.made", json!({ "text": format!("{}, {name}!", ctx.config.greeting) })).into())
    }
}

switchyard_sdk::register!(Hello: handler);
