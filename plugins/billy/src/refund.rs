use serde_json::{Value, json};
use switchyard_event_types::invoice_command::RefundInvoice;
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::date;

use crate::client::{found_if_unreadable, get, list, malformed, post, read, segment};
use crate::config::Config;
use crate::event::Events;
use crate::figure::added;
use crate::invoice::{approved, first};
use crate::line::{self, Line, lines_of};
use crate::model::{Invoice, State, records, text};
use crate::snapshot;

/// Credits a booked invoice by a credit note that names it, over the given lines or over all of its own.
///
/// The credit note carries our reference, so that one whose answer was lost is found among those of the invoice. What
/// was credited before counts: together it is never more than the invoice.
pub fn refund(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: RefundInvoice = event.parse()?;
    let (invoice, record) = original(ctx, &command.invoice_id)?;
    if invoice.state != State::Approved || invoice.is_credit_note {
        return Err(bad("not_refundable", "Only a booked invoice can be credited."));
    }
    let lines = match &command.lines {
        Some(lines) => lines.iter().map(|given| line::record(&ctx.config, given)).collect::<Result<Vec<_>, _>>()?,
        None => {
            let lines = lines_of(ctx, &invoice.id, &record)?.filter(|lines| !lines.is_empty());
            let unreadable =
                || bad("unreadable_lines", "The invoice's lines cannot be read; name the lines to credit.");
            lines.ok_or_else(unreadable)?.iter().map(Line::again).collect()
        }
    };
    let credited = credit_notes(ctx, &invoice.id)?;
    let ours = |note: &Invoice| note.contact_message.as_deref().is_some_and(|text| text.contains(ctx.reference()));
    // One of ours is this very command's, from an attempt whose end was lost.
    let before = added(credited.iter().filter(|note| !ours(note)).map(|note| base(&record, note)));
    let asked = added(lines.iter().filter_map(Line::read).map(|line| line.amount));
    // Each line may round by half a hundredth.
    let slack = i64::try_from(lines.len()).unwrap_or(0);
    if asked.saturating_add(before) > base(&record, &invoice).saturating_add(slack) {
        return Err(bad("more_than_invoiced", "Together with what was credited before this is more than the invoice."));
    }
    let body = note(ctx, &command, &invoice, &record, lines);
    let made = SendOnce::default()
        .run(
            ctx,
            || Ok(read(post(ctx, "/invoices", &body).send()?).and_then(|answer| first(&answer))),
            |_| Ok(credit_notes(ctx, &invoice.id)?.into_iter().find(ours).map(Ok)),
        )?
        .into_inner();
    let draft = found_if_unreadable(made, || Ok(credit_notes(ctx, &invoice.id)?.into_iter().find(ours)))?;
    let booked = if command.approve && draft.state == State::Draft { approved(ctx, &draft.id)? } else { draft };
    snapshot::own(ctx, &booked)?;
    Ok(Events::new(ctx).refunded(&invoice.id, Some(&invoice), &booked).into())
}

/// The invoice with its record, lines included where Billy embeds them.
fn original(ctx: &Ctx<Config>, id: &str) -> Result<(Invoice, Value), PluginError> {
    let response = get(ctx, &format!("/invoices/{}", segment(id))).query("include", "invoice.lines:embed").send()?;
    if response.status == 404 {
        return Err(bad("no_such_invoice", "Billy has no such invoice."));
    }
    let answer = read(response)?;
    let record =
        records(&answer, "invoice", "invoices").into_iter().find(|record| text(record, "id").as_deref() == Some(id));
    let read = record.and_then(|record| Some((Invoice::read(record)?, record.clone())));
    read.ok_or_else(|| malformed("Billy's answer has no readable invoice."))
}

/// The credit notes of an invoice that still count.
pub fn credit_notes(ctx: &Ctx<Config>, invoice_id: &str) -> Result<Vec<Invoice>, PluginError> {
    let answer = read(list(ctx, "/invoices").query("creditedInvoiceId", invoice_id).query("pageSize", "200").send()?)?;
    let of_it = |note: &Invoice| {
        note.is_credit_note && note.state != State::Voided && note.credited_invoice_id.as_deref() == Some(invoice_id)
    };
    Ok(records(&answer, "invoice", "invoices").into_iter().filter_map(Invoice::read).filter(of_it).collect())
}

/// What lines add up to: without VAT or with it, as the original's prices are.
fn base(original: &Value, invoice: &Invoice) -> i64 {
    if text(original, "taxMode").as_deref() == Some("incl") { invoice.total() } else { invoice.net }
}

fn note(ctx: &Ctx<Config>, command: &RefundInvoice, invoice: &Invoice, record: &Value, lines: Vec<Value>) -> Value {
    let ours = format!("Ref. {}", ctx.reference());
    let message = command.reason.as_ref().map_or(ours.clone(), |reason| format!("{reason}\n{ours}"));
    json!({ "invoice": {
        "type": "creditNote",
        "creditedInvoiceId": invoice.id,
        "organizationId": ctx.config.organization_id,
        "contactId": invoice.contact_id,
        "entryDate": command.entry_date.clone().unwrap_or_else(|| date(ctx.time())),
        "currencyId": invoice.currency.as_deref().unwrap_or(&ctx.config.currency),
        "taxMode": text(record, "taxMode").unwrap_or_else(|| ctx.config.tax_mode.as_str().to_owned()),
        "state": State::Draft.as_str(),
        "contactMessage": message,
        "lines": lines,
    } })
}

fn bad(code: &str, message: &str) -> PluginError {
    PluginError::reject(Reason::BadData, code, message)
}
