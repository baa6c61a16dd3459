//! Version 0.1.0 of `fragile`. Its parser panics on a reading without a value, which parks the request.

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
        Manifest::new("fragile", "0.1.0", "Receives readings such as `temperature=21`.")
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
        let mut parts = text.split('=');
        let name = parts.next().expect("a reading has a name");
        let value = parts.next().expect("a reading has a value");
        let event = Emit::new("reading.received", json!({ "name": name, "value": value }));
        Ok(Received::accepted(vec![event.dedupe(text.clone())]))
    }
}

switchyard_sdk::register!(Fragile: ingest);
