use serde_json::json;
use switchyard_event_types::invoice::{About, FOUND, Found, Standing};
use switchyard_event_types::invoice_command::QueryInvoice;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::client;
use crate::config::Config;
use crate::snapshot::{self, Entry};

/// Says how an invoice stands. While Billy is down, the answer is what was last seen, marked as such; only what was
/// never seen has to wait until Billy is back.
pub fn query(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: QueryInvoice = event.parse()?;
    let found = match client::invoice(ctx, &command.invoice_id) {
        Ok(invoice) => {
            let entry = invoice.map(|invoice| Entry::of(&invoice, None));
            answer(ctx, &command.invoice_id, entry.as_ref(), false, rfc3339(ctx.time()))
        }
        Err(down @ (PluginError::Retry { .. } | PluginError::Other(_))) => {
            let (entry, seen_at) = snapshot::last_seen(ctx, &command.invoice_id)?.ok_or(down)?;
            ctx.info("answered from what was last seen, since Billy gives no answer", &[]);
            answer(ctx, &command.invoice_id, Some(&entry), true, rfc3339(seen_at))
        }
        Err(error) => return Err(error),
    };
    let emit = Emit::new(FOUND, json!(found)).subject(&event.id).dedupe(format!("billy:found:{}", event.id));
    Ok(emit.into())
}

fn answer(ctx: &Ctx<Config>, id: &str, entry: Option<&Entry>, stale: bool, as_of: String) -> Found {
    let standing = entry.map(|entry| {
        let money = |minor: i64| Money::from_minor(minor, entry.currency.as_deref().unwrap_or(&ctx.config.currency));
        Standing {
            state: entry.state_name().to_owned(),
            is_paid: entry.paid,
            sent_state: entry.sent_name().to_owned(),
            total: money(entry.total.unwrap_or(0)),
            tax: money(entry.tax.unwrap_or(0)),
            balance: money(entry.balance),
            due_date: entry.due_date.clone(),
        }
    });
    let about = About {
        invoice_id: id.to_owned(),
        number: entry.and_then(|entry| entry.number.clone()),
        contact_id: entry.and_then(|entry| entry.contact_id.clone()),
        ..About::default()
    };
    Found { about, found: standing.is_some(), stale, as_of, standing }
}
