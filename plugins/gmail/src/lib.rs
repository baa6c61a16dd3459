//! Gmail: mail in and out.
//!
//! Gmail announces a change through Pub/Sub: the token of that push is verified ([`push`]) and makes the poll `sync` due,
//! which asks what changed since the id that it has stored ([`sync`], [`history`]), fetches new messages and makes events
//! of them ([`message`], [`mime`], [`event`]). The announcements are asked for anew every day ([`watch`]). The command
//! `email.send` ([`send`], [`compose`]) is sent once, also when its answer is lost ([`lookup`]).

use std::time::Duration;

use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::SecretKind;
use switchyard_sdk::prelude::*;

/// The installation's settings.
pub mod config;

/// The types of events that come and go, with their schemas.
mod catalogue;

/// Whether a push is from our subscription, and what it asks for.
pub mod push;

/// Calls to Gmail, and what its refusals mean.
mod client;

/// Asks Gmail to announce changes, and to stop.
mod watch;

/// Where a poll goes on.
mod cursor;

/// What changed, as Gmail lists it.
mod history;

/// The poll: changes become events.
mod sync;

/// Header fields and charsets of mail.
pub mod mime;

/// A message as Gmail gives it.
pub mod message;

/// The events about a message.
mod event;

/// A message as it goes out.
pub mod compose;

/// The command that sends mail.
mod send;

/// Finds a message whose answer was lost, and the thread of a reply.
mod lookup;

pub use config::Config;

/// The connection to the mailbox: the consent of its owner, or a service account that acts for the owner.
const CONNECTION: &str = "gmail";

/// Google's public keys, for the tokens of pushes.
const KEYS: &str = "pubsub";

/// Read, change labels, and send.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/gmail.modify", "https://www.googleapis.com/auth/gmail.send"];

/// A mailbox has 6,000 units a minute, and reading a message costs 20 of them; the rest leaves room for a burst.
const CALLS_PER_S: f64 = 8.0;

/// The poll that looks for changes.
pub const SYNC: &str = "sync";

/// The poll that asks for announcements anew.
pub const WATCH: &str = "watch";

/// The plugin.
pub struct Gmail;

impl Plugin for Gmail {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let oauth2 = ConnectionKind::Oauth2 {
            authorize_url: "https://accounts.google.com/o/oauth2/v2/auth".to_owned(),
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            scopes: SCOPES.map(str::to_owned).to_vec(),
        };
        let keys = SecretKind::Jwt {
            issuers: push::ISSUERS.map(str::to_owned).to_vec(),
            jwks_url: "https://www.googleapis.com/oauth2/v3/certs".to_owned(),
        };
        let manifest = Manifest::new("gmail", env!("CARGO_PKG_VERSION"), "Gmail: mail in and out.")
            .connection(
                Connection::new(
                    CONNECTION,
                    oauth2,
                    "https://gmail.googleapis.com",
                    "The mailbox: the consent of its owner, or a google_service_account that acts for the owner.",
                )
                .probe("/gmail/v1/users/me/profile")
                .rate_per_s(CALLS_PER_S),
            )
            .secret(Secret::new(KEYS, keys, "Google's public keys, which prove the pushes of Pub/Sub.").optional())
            .schedule(Schedule::every(
                SYNC,
                Duration::from_secs(15 * 60),
                "Looks for changes in the mailbox: when Gmail announces some, and else every `poll_minutes`.",
            ))
            .schedule(Schedule::every(
                WATCH,
                Duration::from_secs(24 * 3600),
                "Asks Gmail to go on announcing changes, which it does for seven days.",
            ))
            .limits(Limits {
                cpu: Some(Duration::from_millis(1_000)),
                wall: Some(Duration::from_secs(60)),
                response_bytes: Some(4 << 20),
                ..Limits::default()
            });
        catalogue::declare(manifest)
    }
}

impl Ingest for Gmail {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        push::receive(ctx, &request)
    }
}

impl Handler for Gmail {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        match event.event_type.as_str() {
            catalogue::SEND => send::send(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

impl Poller for Gmail {
    fn poll(ctx: &Ctx<Config>, schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError> {
        match schedule {
            SYNC => sync::poll(ctx, cursor.as_deref()),
            WATCH => watch::poll(ctx),
            other => {
                let message = format!("This plugin has no schedule `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_schedule", message))
            }
        }
    }
}

impl Lifecycle for Gmail {
    fn install(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        watch::install(ctx)
    }

    fn uninstall(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        watch::uninstall(ctx)
    }
}

switchyard_sdk::register!(Gmail: ingest, handler, poller, lifecycle);
