use serde::Deserialize;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;

use crate::client;
use crate::config::Config;
use crate::observe;

#[derive(Deserialize)]
struct Changed {
    entity: String,
    id: String,
    operation: String,
}

/// Fetches what a webhook named and reports what happened to it. The fetch tells what is now, so hints that come twice,
/// late or in another order come to the same.
pub fn handle(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let hint: Changed = event.parse()?;
    let gone = hint.operation == "deleted";
    let found = match hint.entity.as_str() {
        "invoice" => invoice(ctx, &hint.id)?,
        "payment" => {
            let (mut found, touched) = match client::fetch(ctx, "Payment", &hint.id)? {
                Some(record) => observe::payment(ctx, &record)?,
                None => observe::voided_payment(ctx, &hint.id)?,
            };
            found.extend(observe::invoices(ctx, &touched, &SortedMap::new())?);
            found
        }
        "customer" => match client::fetch(ctx, "Customer", &hint.id)? {
            Some(record) => observe::customer(ctx, &record)?,
            None => Vec::new(),
        },
        "salesreceipt" if !gone => match client::fetch(ctx, "SalesReceipt", &hint.id)? {
            Some(record) => observe::receipt(ctx, &record)?,
            None => Vec::new(),
        },
        _ => Vec::new(),
    };
    Ok(found.into())
}

/// What an invoice is now, and what happened to it since it was last seen.
pub fn invoice(ctx: &Ctx<Config>, id: &str) -> Result<Vec<Emit>, PluginError> {
    match client::fetch(ctx, "Invoice", id)? {
        Some(record) => observe::invoice(ctx, &record),
        None => observe::deleted_invoice(ctx, id),
    }
}
