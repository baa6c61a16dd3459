//! QuickBooks Online: customers, invoices, sales receipts and payments.
//!
//! A webhook says only what changed: [`receive`](webhook) proves it and makes a private event of each entity, whose
//! handler fetches the entity ([`hint`]) and compares it with what was last seen ([`observe`]). A poll asks for all
//! changes since the last one ([`poll`]), and once a day the sums are checked ([`reconcile`]). Commands write
//! ([`customer`], [`invoice`], [`receipt`], [`payment`]) through [`client`], each effect once by its request id. All of
//! them build the same events ([`event`]) under the same deduplication keys, so that whoever sees a fact first reports it.

use std::time::Duration;

use switchyard_event_types::{customer as customer_types, invoice_command, payment as payment_types, sales_receipt};
use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{KeyEncoding, SecretKind};
use switchyard_sdk::prelude::*;

/// The installation's settings.
mod config;

/// The types of events that come and go.
mod catalogue;

/// Whether a webhook is Intuit's, and what it says.
mod webhook;

/// QuickBooks' faults, and what to do about each.
mod fault;

/// Calls to QuickBooks.
mod client;

/// Writes whose answer says nothing, and versions that somebody else has changed.
mod write;

/// Decimal numbers, exact to the last place.
mod decimal;

/// Moments as QuickBooks writes them.
mod instant;

/// QuickBooks' records, read with tolerance.
mod model;

/// The events, the same from webhooks, polls and commands.
mod event;

/// What was last seen of every record.
mod snapshot;

/// What happened between two sights of a record.
mod observe;

/// Fetches what a webhook named.
mod hint;

/// Looks for changes.
mod poll;

/// Whether the sums are right.
mod reconcile;

/// Finds, creates and updates customers.
mod customer;

/// The lines of what is sold.
mod sale;

/// Creates and sends invoices, and says how they stand.
mod invoice;

/// Books sales that were paid on the spot.
mod receipt;

/// Records payments and takes them back.
mod payment;

pub use config::Config;

/// The connection to QuickBooks.
const CONNECTION: &str = "quickbooks";

/// Intuit takes 500 requests a minute from a company, which is less than its ten a second.
const REQUESTS_PER_S: f64 = 8.0;

/// The slot of the verifier token, for webhooks to the installation's own source.
const WEBHOOK_SECRET: &str = "webhook.secret";

/// The same for webhooks to an app's source.
const APP_SECRET: &str = "app.verifier_token";

/// The plugin.
pub struct QuickBooks;

impl Plugin for QuickBooks {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let login = ConnectionKind::Oauth2 {
            authorize_url: "https://appcenter.intuit.com/connect/oauth2".to_owned(),
            token_url: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer".to_owned(),
            scopes: vec!["com.intuit.quickbooks.accounting".to_owned()],
        };
        let connection = Connection::new(
            CONNECTION,
            login,
            "https://quickbooks.api.intuit.com",
            "The company in QuickBooks Online, by a login of somebody who may administer it.",
        );
        let limits =
            Limits { cpu: Some(Duration::from_secs(1)), response_bytes: Some(4 * 1024 * 1024), ..Limits::default() };
        let manifest = Manifest::new(
            "quickbooks",
            env!("CARGO_PKG_VERSION"),
            "QuickBooks Online: customers, invoices, sales receipts and payments.",
        )
        .connection(
            connection
                .idempotency(Idempotency::Query("requestid".to_owned()))
                .rate_per_s(REQUESTS_PER_S)
                .probe("/v3/company/{config.realm_id}/companyinfo/{config.realm_id}"),
        )
        .secret(
            Secret::new(
                "webhook",
                SecretKind::MacKey(KeyEncoding::Text),
                "The webhooks' verifier token, where webhooks come to this installation and not to an app.",
            )
            .optional(),
        )
        .schedule(Schedule::every(
            poll::SCHEDULE,
            Duration::from_secs(300),
            "Asks QuickBooks for everything that changed, so that a lost webhook loses nothing.",
        ))
        .schedule(Schedule::cron(
            reconcile::SCHEDULE,
            "17 3 * * *",
            "Compares all invoices with what was last seen and with our own calculation.",
        ))
        .limits(limits);
        catalogue::declare(manifest)
    }
}

impl Ingest for QuickBooks {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        webhook::receive(ctx, &request)
    }
}

impl Handler for QuickBooks {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        ctx.config.check()?;
        match event.event_type.as_str() {
            catalogue::CHANGED => hint::handle(ctx, &event),
            customer_types::UPSERT_CUSTOMER => customer::upsert(ctx, &event),
            invoice_command::CREATE_INVOICE => invoice::create(ctx, &event),
            invoice_command::SEND_INVOICE => invoice::send(ctx, &event),
            invoice_command::QUERY_INVOICE => invoice::query(ctx, &event),
            sales_receipt::CREATE_SALES_RECEIPT => receipt::create(ctx, &event),
            payment_types::RECORD_PAYMENT => payment::record(ctx, &event),
            payment_types::VOID_PAYMENT => payment::void(ctx, &event),
            other => {
                let message = format!("This plugin does not handle `{other}`.");
                Err(PluginError::reject(Reason::PluginBug, "unexpected_type", message))
            }
        }
    }
}

impl Poller for QuickBooks {
    fn poll(ctx: &Ctx<Config>, schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError> {
        ctx.config.check()?;
        match schedule {
            reconcile::SCHEDULE => reconcile::poll(ctx, cursor.as_deref()),
            _ => poll::poll(ctx, cursor.as_deref()),
        }
    }
}

impl Lifecycle for QuickBooks {
    /// Asks for the company, so that a wrong realm or a missing right shows at once; what is there from now on is new.
    fn install(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        ctx.config.check()?;
        client::company_info(ctx)?;
        snapshot::begin(ctx)?;
        Ok(Output::none())
    }
}

switchyard_sdk::register!(QuickBooks: ingest, handler, poller, lifecycle);
