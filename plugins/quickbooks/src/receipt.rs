use serde_json::{Map, Value, json};
use switchyard_event_types::sales_receipt::CreateSalesReceipt;
use switchyard_sdk::prelude::*;

use crate::client::{malformed, post_text};
use crate::config::Config;
use crate::event::Events;
use crate::sale::{Sale, reference};
use crate::snapshot::Sight;
use crate::{customer, fault, invoice, model, write};

/// Books a sale that was paid on the spot.
pub fn create(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: CreateSalesReceipt = event.parse()?;
    let sale = |customer_id| Sale {
        customer_id,
        email: command.customer.email.as_deref(),
        lines: &command.lines,
        currency: command.currency.as_deref(),
        entry_date: command.entry_date.as_deref(),
        reference: command.reference.as_deref(),
    };
    sale("").body(ctx, json!({}))?;
    let (customer_id, mut events) = customer::find_or_create(ctx, &command.customer)?;
    let sale = sale(&customer_id);
    let mut more = Map::new();
    if let Some(account) = command.account_id.as_deref().or(ctx.config.deposit_account_id.as_deref()) {
        more.insert("DepositToAccountRef".to_owned(), reference(account));
    }
    if let Some(method) = command.method.as_deref().or(ctx.config.payment_method_id.as_deref()) {
        more.insert("PaymentMethodRef".to_owned(), reference(method));
    }
    let request = post_text(ctx, "/salesreceipt", sale.body(ctx, Value::Object(more))?);
    let record = match write::create(&request, "SalesReceipt", || sale.find(ctx, "SalesReceipt"))? {
        Ok(record) => record,
        Err(fault) if fault.code == fault::DUPLICATE_NUMBER => {
            invoice::numbered(ctx, "SalesReceipt", sale.number(&ctx.config), fault)?
        }
        Err(fault) => return Err(fault.into()),
    };
    let id = model::text(&record, "Id").ok_or_else(malformed)?;
    Sight::<bool>::load(ctx, "salesreceipt", &id)?.store(ctx, &true, &KvOptions::default())?;
    events.push(Events::new(ctx).receipt(&record).ok_or_else(malformed)?);
    Ok(events.into())
}
