//! Google Calendar: appointments and availability.
//!
//! Google calls when a calendar changes ([`receive`]), on channels that end and are replaced ([`channel`]). The call says
//! nothing but that something changed, so the poll `sync` asks what ([`sync`]), compares with what was last seen
//! ([`snapshot`]) and makes events of the differences ([`event`]). Commands make, change and cancel appointments once
//! ([`create`], [`update`], [`cancel`]) and never two of one resource at a time ([`conflict`], [`busy`]). A query is
//! answered with free slots ([`availability`]), which are arithmetic ([`slots`]) on times ([`time`]) of a zone ([`zone`]).

use std::time::Duration;

use serde_json::Value;
use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::SecretKind;
use switchyard_sdk::prelude::*;

/// The installation's settings.
pub mod config;

/// Time zones by their rules.
pub mod zone;

/// Times, days and spans.
pub mod time;

/// Free slots.
pub mod slots;

/// The types of events that come and go, with their schemas.
mod catalogue;

/// Calls to Google, and what its refusals mean.
mod client;

/// An event as Google shows it.
mod model;

/// The events, the same from commands and polls.
mod event;

/// Whether a notification is Google's, and what it asks for.
mod receive;

/// Asks Google to call, again and again, and to stop.
mod channel;

/// What was last seen of every event.
mod snapshot;

/// The poll: changes become events.
mod sync;

/// What is taken in a window.
mod busy;

/// Whether a time is free, and whose it is.
mod conflict;

/// What commands have in common: times, people, calendars.
mod command;

/// Makes appointments.
mod create;

/// Changes appointments.
mod update;

/// Cancels appointments.
mod cancel;

/// Answers when there is time.
mod availability;

pub use channel::{Channel, Channels, KEY as CHANNELS};
pub use config::Config;

/// The connection with the consent of the calendars' owner.
const CONNECTION: &str = "calendar";

/// The connection of a service account.
const SERVICE_CONNECTION: &str = "calendar-service";

/// The secret that Google repeats in every notification.
const TOKEN: &str = "channel.secret";

/// Events, and when somebody is busy.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/calendar.events", "https://www.googleapis.com/auth/calendar.freebusy"];

const BASE_URL: &str = "https://www.googleapis.com/calendar/v3";

/// The plugin.
pub struct Calendar;

impl Plugin for Calendar {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let owner = ConnectionKind::Oauth2 {
            authorize_url: "https://accounts.google.com/o/oauth2/v2/auth".to_owned(),
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            scopes: SCOPES.map(str::to_owned).to_vec(),
        };
        let service = ConnectionKind::GoogleServiceAccount(SCOPES.map(str::to_owned).to_vec());
        let connection = |name: &str, kind, description: &str| {
            Connection::new(name, kind, BASE_URL, description)
                .methods([Method::Get, Method::Post, Method::Patch, Method::Delete])
                .probe("/calendars/primary/events?maxResults=1")
                // 600 requests a minute and user.
                .rate_per_s(8.0)
                .optional()
        };
        let limits =
            Limits { cpu: Some(Duration::from_secs(2)), response_bytes: Some(4 * 1024 * 1024), ..Limits::default() };
        let manifest =
            Manifest::new("calendar", env!("CARGO_PKG_VERSION"), "Google Calendar: appointments and availability.")
                .connection(connection(CONNECTION, owner, "Google Calendar, by the consent of the calendars' owner."))
                .connection(connection(SERVICE_CONNECTION, service, "Google Calendar, by a service account."))
                .secret(
                    Secret::new("channel", SecretKind::Generated, "What Google repeats in every notification.")
                        .optional(),
                )
                .schedule(Schedule::every(
                    sync::SCHEDULE,
                    Duration::from_secs(300),
                    "Asks what changed in the calendars; a notification makes it due at once.",
                ))
                .schedule(Schedule::every(
                    channel::SCHEDULE,
                    Duration::from_secs(6 * 3600),
                    "Replaces notification channels before they end.",
                ))
                .limits(limits);
        catalogue::declare(manifest)
    }
}

impl Ingest for Calendar {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        receive::receive(ctx, &request)
    }
}

impl Handler for Calendar {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        match event.event_type.as_str() {
            catalogue::CREATE => create::create(ctx, &event),
            catalogue::UPDATE => update::update(ctx, &event),
            catalogue::CANCEL => cancel::cancel(ctx, &event),
            catalogue::QUERY => availability::query(ctx, &event),
            catalogue::ORPHAN => {
                channel::stop(ctx, &event.field::<String>("channel_id")?, &event.field::<String>("resource_id")?)?;
                Ok(Output::none())
            }
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

impl Poller for Calendar {
    fn poll(ctx: &Ctx<Config>, schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError> {
        if schedule == channel::SCHEDULE {
            return channel::poll(ctx);
        }
        sync::poll(ctx, cursor.as_deref())
    }
}

impl Lifecycle for Calendar {
    /// Checks what an admin may have got wrong while the admin is there to read it, then asks Google to call.
    fn install(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        check(ctx)?;
        channel::ensure(ctx)?;
        Ok(Output::none())
    }

    fn upgrade(ctx: &Ctx<Config>, _from_version: &str) -> Result<Output, PluginError> {
        check(ctx)?;
        Ok(Output::none())
    }

    fn uninstall(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        channel::stop_all(ctx)?;
        Ok(Output::none())
    }
}

/// The settings make sense, and every calendar can be read.
fn check(ctx: &Ctx<Config>) -> Result<(), PluginError> {
    ctx.config.rules()?;
    for calendar in &ctx.config.calendars {
        let response = client::events(ctx, Method::Get, &calendar.id, "").query("maxResults", "1").send()?;
        if response.status == 404 {
            return Err(client::no_calendar(ctx, &calendar.id));
        }
        let _: Value = client::read(&response)?;
    }
    Ok(())
}

switchyard_sdk::register!(Calendar: ingest, handler, poller, lifecycle);
