//! Stripe: subscriptions, their payments, and the plan that follows from them.
//!
//! A signed webhook is verified ([`signature`]) and its event read ([`notice`]). What it says becomes an event under
//! names of ours ([`inbound`]). What it says of a subscription also becomes a private event, whose handler keeps the
//! customer's plan: late and repeated webhooks never take it back ([`subscription`], [`plan`]).

use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{KeyEncoding, SecretKind};
use switchyard_sdk::prelude::*;

/// The installation's settings.
mod config;

/// The types of events that come and go, with their schemas.
mod catalogue;

/// Whether a request is from Stripe.
pub mod signature;

/// An event as Stripe writes it, read with tolerance.
mod notice;

/// Stripe's amounts.
mod amount;

/// What a request means.
mod inbound;

/// What Stripe says of one subscription, and which of two sayings is the later one.
mod subscription;

/// The plan of a customer, from all its subscriptions.
mod plan;

pub use config::Config;

/// Stripe's API; nothing is asked of it, but a connection says which account belongs to the tenant.
const CONNECTION: &str = "stripe";

/// The plugin.
pub struct Stripe;

impl Plugin for Stripe {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let key = SecretKind::MacKey(KeyEncoding::Text);
        let manifest = Manifest::new(
            "stripe",
            env!("CARGO_PKG_VERSION"),
            "Stripe: subscriptions, their payments, and the plan that follows from them.",
        )
        .connection(
            Connection::new(
                CONNECTION,
                ConnectionKind::Bearer,
                "https://api.stripe.com",
                "A restricted key. Nothing is asked of Stripe; with an app, its account says which tenant is meant.",
            )
            .methods([Method::Get])
            .optional(),
        )
        .secret(
            Secret::new(signature::SLOT, key.clone(), "The signing secret of the webhook endpoint, whole (whsec_..).")
                .optional(),
        )
        .secret(
            Secret::new(
                signature::APP_SLOT,
                key,
                "The operator's app, whose field webhook_secret is the signing secret that all tenants share.",
            )
            .optional(),
        );
        catalogue::declare(manifest)
    }
}

impl Ingest for Stripe {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        match signature::verify(ctx, &request)? {
            Ok(()) => inbound::receive(ctx, &request),
            Err(refusal) => Ok(Received::unauthenticated(refusal.to_string())),
        }
    }
}

impl Handler for Stripe {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        match event.event_type.as_str() {
            catalogue::SEEN => plan::seen(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

switchyard_sdk::register!(Stripe: ingest, handler);
