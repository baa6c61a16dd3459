//! Gmail: mail in and out.
//!
//! Gmail announces a change through Pub/Sub: the token of that push is verified ([`push`]) and makes the poll `sync` due,
//! which asks what changed since the id that it has stored ([`sync`], [`history`]), fetches new messages and makes events
//! of them ([`message`], [`mime`], [`event`]). The announcements are asked for anew every day ([`watch`]). The command
//! `email.send` ([`send`], [`compose`]) is sent once, also when its answer is lost ([`lookup`]).

use std::time::Duration;

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

/// The connection with the consent of the mailbox's owner.
const CONNECTION: &str = "gmail";

/// The connection of a service account that acts for the mailbox.
const SERVICE_CONNECTION: &str = "gmail-service";

/// Google's public keys, for the tokens of pushes.
const KEYS: &str = "pubsub";

/// Read, change labels, and send.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/gmail.modify", "https://www.googleapis.com/auth/gmail.send"];

/// The poll that looks for changes.
pub const SYNC: &str = "sync";

/// The poll that asks for announcements anew.
pub const WATCH: &str = "watch";

/// The plugin.
pub struct Gmail;

impl Plugin for Gmail {
    type Config = Config;

    fn manifest() -> Manifest {
        let scopes = || SCOPES.map(str::to_owned).to_vec();
        let oauth2 = ConnectionKind::Oauth2 {
            authorize_url: "https://accounts.google.com/o/oauth2/v2/auth".to_owned(),
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            scopes: scopes(),
        };
        let service = ConnectionKind::GoogleServiceAccount(scopes());
        let keys = SecretKind::Jwt {
            issuers: push::ISSUERS.map(str::to_owned).to_vec(),
            jwks_url: "https://www.googleapis.com/oauth2/v3/certs".to_owned(),
        };
        let manifest = Manifest::new("gmail", env!("CARGO_PKG_VERSION"), "Gmail: mail in and out.")
            .connection(api(CONNECTION, oauth2, "The mailbox, by the consent of its owner; bind this or gmail-service."))
            .connection(api(SERVICE_CONNECTION, service, "The mailbox, by a service account that acts for its owner."))
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

/// Both slots lead to the same API and are optional, since either one will do.
fn api(name: &str, kind: ConnectionKind, description: &str) -> Connection {
    Connection::new(name, kind, "https://gmail.googleapis.com", description).optional()
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
