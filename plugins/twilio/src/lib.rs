//! Twilio: text messages and telephone calls in and out.
//!
//! A signed webhook is verified ([`signature`], over the addresses of [`url`]) and becomes `sms.received`, `sms.opt_out`
//! or `sms.opt_in` ([`inbound`]); a status callback becomes a private event, whose handler lets a message's status only
//! rise ([`status`]). The command `sms.send` is sent once, also when its answer is lost ([`send`], [`lookup`]), and not at
//! all to somebody who does not want it ([`suppress`]). A call is answered with a document that the config describes
//! ([`voice`]); what is heard of it becomes transitions that never go back, and `call.create` places one ([`call`]).

use switchyard_sdk::compact_json;
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

/// Calls as they come in.
pub mod voice;

/// Text messages out.
mod send;

/// People who want no messages.
mod suppress;

/// What Twilio refuses.
mod refusal;

/// Finds a message whose answer was lost.
mod lookup;

/// The status of a message, which only rises.
mod status;

/// Calls: where each stands, and placing one.
pub mod call;

pub use config::Config;

/// The connection to Twilio; its password is the auth token, which also signs webhooks.
const CONNECTION: &str = "twilio";

/// The plugin.
pub struct Twilio;

impl Plugin for Twilio {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let manifest = Manifest::new("twilio", env!("CARGO_PKG_VERSION"), "Twilio: text messages and calls.")
            .connection(
                Connection::new(
                    CONNECTION,
                    ConnectionKind::Basic,
                    "https://api.twilio.com",
                    "Twilio's API: the AccountSid as user name, the primary auth token as password.",
                )
                .probe("/2010-04-01/Accounts/{config.account_sid}.json"),
            )
            .secret(
                Secret::new(
                    signature::SHARED_KEY_SLOT,
                    switchyard_sdk::manifest::SecretKind::MacKey(switchyard_sdk::manifest::KeyEncoding::Text),
                    "The shared key that signs webhooks, where a webhook rule of Twilio says so.",
                )
                .optional(),
            );
        let manifest = manifest.schedule(Schedule::every(
            call::reconcile::CALLS,
            call::reconcile::PERIOD,
            "Asks about calls whose end was not heard.",
        ));
        catalogue::declare(manifest)
    }
}

impl Ingest for Twilio {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        match signature::verify(ctx, &request)? {
            Ok(authentic) => inbound::receive(ctx, &request, &authentic),
            Err(refusal) => Ok(Received::unauthenticated(refusal.to_string())),
        }
    }
}

impl Handler for Twilio {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        match event.event_type.as_str() {
            catalogue::SEND => send::send(ctx, &event),
            catalogue::CALLBACK => status::callback(ctx, &event),
            call::report::CALL => call::track::report(ctx, &event),
            catalogue::CALL => call::create::create(ctx, &event),
            suppress::OUT | suppress::IN => suppress::wish(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

impl Poller for Twilio {
    fn poll(ctx: &Ctx<Config>, _schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError> {
        call::reconcile::poll(ctx, cursor)
    }
}

switchyard_sdk::register!(Twilio: ingest, handler, poller);
