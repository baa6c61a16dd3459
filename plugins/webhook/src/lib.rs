//! Generic signed webhooks: HMAC schemes and Standard Webhooks.
//!
//! The config says how a sender signs ([`config`]). A request is verified ([`verify`]), and only a verified one is
//! looked into ([`event`]): its type from a fixed name, the body or a header, its data from the body, its identity for
//! deduplication from signed bytes alone.

use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{KeyEncoding, SecretKind};
use switchyard_sdk::prelude::*;

/// How a sender signs, and what its requests mean.
pub mod config;

/// The text over which a signature is made.
mod template;

/// Whether a request is from the sender.
pub mod verify;

/// Bodies that are JSON.
mod json;

/// What a verified request means.
mod event;

pub use config::Config;

/// The slot of a key whose text is the key.
const TEXT_KEY: &str = "inbound";

/// The slot of a key in base64, with or without `whsec_`, as Standard Webhooks has it.
const BASE64_KEY: &str = "inbound-base64";

/// The slot of a key in hex digits.
const HEX_KEY: &str = "inbound-hex";

/// The plugin.
pub struct Webhook;

impl Plugin for Webhook {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let secret = |name: &str, encoding: KeyEncoding, description: &str| {
            Secret::new(name, SecretKind::MacKey(encoding), description).optional()
        };
        Manifest::new(
            "webhook",
            env!("CARGO_PKG_VERSION"),
            "Generic signed webhooks: HMAC schemes and Standard Webhooks.",
        )
        .secret(secret(TEXT_KEY, KeyEncoding::Text, "The sender's signing secret, where its text is the key."))
        .secret(secret(BASE64_KEY, KeyEncoding::Base64, "The sender's signing secret in base64, as in whsec_..."))
        .secret(secret(HEX_KEY, KeyEncoding::Hex, "The sender's signing secret in hex digits."))
        .emits(EventType::event("*", "Whatever the config makes of a request; the grant emits:* allows it."))
    }
}

impl Ingest for Webhook {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        match verify::verify(ctx, &request)? {
            Ok(verified) => event::received(ctx, &request, &verified),
            Err(refusal) => Ok(Received::unauthenticated(refusal.to_string())),
        }
    }
}

switchyard_sdk::register!(Webhook: ingest);
