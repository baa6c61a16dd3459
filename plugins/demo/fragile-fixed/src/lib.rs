//! Version 0.1.1 of `fragile`. A reading without a value counts as zero, so parked ones become events.

use serde_json::json;
use switchyard_sdk::{manifest::SecretKind, prelude::*};

/// It has no settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Config {}

/// The plugin.
pub struct Fragile;

impl Plugin for Fragile {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("fragile", "0.1.1", "Receives readings such as `temperature=21`.")
            .secret(Secret::new("inbound", SecretKind::Token, "The token that the sender puts into `x-demo-token`."))
            .emits(EventType::event("reading.received", "A sensor sent a reading."))
    }
}

impl Ingest for Fragile {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        let token = request.header("x-demo-token").unwrap_or_default();
        match ctx.verify_token("inbound.secret", token) {
            Ok(true) => {}
            Ok(false) => return Ok(Received::unauthenticated("the token does not fit")),
            Err(error) => return Err(error.into()),
        }
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let (name, value) = text.split_once('=').unwrap_or((text.as_str(), "0"));
        let event = Emit::new("reading.received", json!({ "name": name, "value": value }));
        Ok(Received::accepted(vec![event.dedupe(text.clone())]))
    }
}

switchyard_sdk::register!(Fragile: ingest);
