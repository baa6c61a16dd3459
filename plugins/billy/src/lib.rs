//! Billy: contacts, invoices and payments.
//!
//! Commands write ([`contact`], [`invoice`], [`send`], [`refund`], [`payment`]) through [`client`], each effect once
//! although Billy knows no idempotency; [`query`] only asks. Billy has no webhooks either, so [`poll`] compares what it lists with a [`snapshot`] and turns every
//! difference into an event ([`change`]). Commands and polls build the same events ([`event`]) under the same
//! deduplication keys, so that whoever sees a fact first reports it. [`reconcile`] does Billy's sums again ([`figure`],
//! [`vat`]) and tells where they differ.

use std::time::Duration;

use switchyard_event_types::customer::{UPSERT_CONTACT, UPSERT_CUSTOMER};
use switchyard_event_types::invoice_command::{
    APPROVE_INVOICE, CREATE_INVOICE, QUERY_INVOICE, REFUND_INVOICE, SEND_INVOICE,
};
use switchyard_event_types::payment::{RECORD_PAYMENT, VOID_PAYMENT};
use switchyard_sdk::compact_json;
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

/// Sums, products and shares without a float.
mod figure;

/// The lines of invoices, as commands ask for them and as Billy keeps them.
mod line;

/// Creates and approves invoices.
mod invoice;

/// Sends invoices by e-mail.
mod send;

/// Credits invoices.
mod refund;

/// Says how an invoice stands, also while Billy is down.
mod query;

/// Records payments and takes them back.
mod payment;

/// What was last seen of every invoice.
mod snapshot;

/// What happened between two sights of an invoice.
mod change;

/// Looks for news.
mod poll;

/// The VAT of products.
mod vat;

/// Compares Billy's figures with our own calculation.
mod reconcile;

pub use config::Config;

/// The connection to Billy.
const CONNECTION: &str = "billy";

/// The plugin.
pub struct Billy;

impl Plugin for Billy {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

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
            .connection(connection.methods([Method::Get, Method::Post, Method::Put]).probe("/organization"))
            .schedule(Schedule::every(
                poll::SCHEDULE,
                Duration::from_secs(60),
                "Compares Billy's invoices and payments with what was last seen.",
            ))
            .schedule(Schedule::every(
                reconcile::SCHEDULE,
                Duration::from_secs(6 * 3_600),
                "Calculates recent and unpaid invoices anew and compares the figures with Billy's.",
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
            SEND_INVOICE => send::send(ctx, &event),
            REFUND_INVOICE => refund::refund(ctx, &event),
            QUERY_INVOICE => query::query(ctx, &event),
            RECORD_PAYMENT => payment::record(ctx, &event),
            VOID_PAYMENT => payment::void(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

impl Poller for Billy {
    fn poll(ctx: &Ctx<Config>, schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError> {
        match schedule {
            reconcile::SCHEDULE => reconcile::reconcile(ctx, cursor.as_deref()),
            _ => poll::poll(ctx, cursor.as_deref()),
        }
    }
}

switchyard_sdk::register!(Billy: handler, poller);
