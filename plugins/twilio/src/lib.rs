//! Twilio: text messages in and out.
//!
//! A signed webhook is verified ([`signature`], over the addresses of [`url`]) and becomes `sms.received`, `sms.opt_out`
//! or `sms.opt_in` ([`inbound`]); a status callback becomes a private event, whose handler lets a message's status only
//! rise ([`status`]). The command `sms.send` is sent once, also when its answer is lost ([`send`], [`lookup`]).

use switchyard_sdk::prelude::*;

/// The installation's settings.
pub mod config;

/// The types of events that come and go, with their schemas.
mod catalogue;

/// The addresses that a signature may have been made over.
pub mod url;

/// Whether a request is from Twilio.
pub mod signature;

/// What a request means.
mod inbound;

/// Text messages out.
mod send;

/// Finds a message whose answer was lost.
mod lookup;

/// The status of a message, which only rises.
mod status;

pub use config::Config;

/// The connection to Twilio; its password is the auth token, which also signs webhooks.
const CONNECTION: &str = "twilio";

/// The plugin.
pub struct Twilio;

impl Plugin for Twilio {
    type Config = Config;

    fn manifest() -> Manifest {
        let manifest = Manifest::new("twilio", env!("CARGO_PKG_VERSION"), "Twilio: text messages in and out.")
            .connection(Connection::new(
                CONNECTION,
                ConnectionKind::Basic,
                "https://api.twilio.com",
                "Twilio's API: the AccountSid as user name, the primary auth token as password.",
            ))
            .secret(
                Secret::new(
                    signature::SHARED_KEY_SLOT,
                    switchyard_sdk::manifest::SecretKind::MacKey(switchyard_sdk::manifest::KeyEncoding::Text),
                    "The shared key that signs webhooks, where a webhook rule of Twilio says so.",
                )
                .optional(),
            );
        catalogue::declare(manifest)
    }
}

impl Ingest for Twilio {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        match signature::verify(ctx, &request)? {
            Ok(authentic) => inbound::receive(ctx, &request, authentic),
            Err(refusal) => Ok(Received::unauthenticated(refusal.to_string())),
        }
    }
}

impl Handler for Twilio {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        match event.event_type.as_str() {
            catalogue::SEND => send::send(ctx, &event),
            catalogue::CALLBACK => status::callback(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

switchyard_sdk::register!(Twilio: ingest, handler);
