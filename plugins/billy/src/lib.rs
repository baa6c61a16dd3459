//! Billy: contacts, invoices and payments.
//!
//! Commands write ([`contact`], [`invoice`], [`payment`]) through [`client`], each effect once although Billy knows no
//! idempotency. Billy has no webhooks either, so [`poll`] compares what it lists with a [`snapshot`] and turns every
//! difference into an event ([`change`]). Commands and polls build the same events ([`event`]) under the same
//! deduplication keys, so that whoever sees a fact first reports it.

use std::time::Duration;

use switchyard_event_types::customer::{UPSERT_CONTACT, UPSERT_CUSTOMER};
use switchyard_event_types::invoice_command::{APPROVE_INVOICE, CREATE_INVOICE};
use switchyard_event_types::payment::RECORD_PAYMENT;
use switchyard_sdk::prelude::*;

/// The installation's settings.
mod config;

/// Which types of events come and go.
mod catalogue;

/// Billy's answers, read with tolerance.
mod model;

/// Calls to Billy.
mod client;

/// The events, the same from commands and polls.
mod event;

/// Finds, creates and updates contacts.
mod contact;

/// Creates and approves invoices.
mod invoice;

/// Records payments.
mod payment;

/// What was last seen of every invoice.
mod snapshot;

/// What happened between two sights of an invoice.
mod change;

/// Looks for news.
mod poll;

pub use config::Config;

/// The connection to Billy.
const CONNECTION: &str = "billy";

/// The plugin.
pub struct Billy;

impl Plugin for Billy {
    type Config = Config;

    fn manifest() -> Manifest {
        let connection = Connection::new(
            CONNECTION,
            ConnectionKind::Header("x-access-token".to_owned()),
            "https://api.billysbilling.com/v2",
            "Billy's API: an access token of the company, from Settings, Access tokens.",
        );
        let limits =
            Limits { cpu: Some(Duration::from_secs(1)), response_bytes: Some(4 * 1024 * 1024), ..Limits::default() };
        let manifest = Manifest::new("billy", env!("CARGO_PKG_VERSION"), "Billy: contacts, invoices and payments.")
            .connection(connection.methods([Method::Get, Method::Post, Method::Put]))
            .schedule(Schedule::every(
                poll::SCHEDULE,
                Duration::from_secs(60),
                "Compares Billy's invoices and payments with what was last seen.",
            ))
            .limits(limits);
        catalogue::declare(manifest)
    }
}

impl Handler for Billy {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        match event.event_type.as_str() {
            UPSERT_CUSTOMER | UPSERT_CONTACT => contact::upsert(ctx, &event),
            CREATE_INVOICE => invoice::create(ctx, &event),
            APPROVE_INVOICE => invoice::approve(ctx, &event),
            RECORD_PAYMENT => payment::record(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

impl Poller for Billy {
    fn poll(ctx: &Ctx<Config>, _schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError> {
        poll::poll(ctx, cursor.as_deref())
    }
}

switchyard_sdk::register!(Billy: handler, poller);
