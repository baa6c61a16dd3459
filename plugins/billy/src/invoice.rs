use serde_json::{Value, json};
use switchyard_event_types::invoice_command::{ApproveInvoice, CreateInvoice};
use switchyard_sdk::UnknownOutcome;
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::date;

use crate::client::{self, found_if_unreadable, invoices, list, malformed, post, put, read, segment};
use crate::config::Config;
use crate::contact;
use crate::event::Events;
use crate::line;
use crate::model::{Invoice, State};
use crate::snapshot;

/// How many invoices of one contact and day are read one by one where the list does not show our reference.
const READ_ONE_BY_ONE: usize = 10;

/// Finds or creates the contact, creates a draft that carries our reference, and approves it. Approval is its own
/// step, because it cannot be taken back.
pub fn create(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: CreateInvoice = event.parse()?;
    let lines = command.lines.iter().map(|line| line::record(&ctx.config, line)).collect::<Result<Vec<_>, _>>()?;
    let (contact_id, mut events) = contact::find_or_create(ctx, &command.customer)?;
    let entry_date = command.entry_date.clone().unwrap_or_else(|| date(ctx.time()));
    let record = record(ctx, &command, &contact_id, &entry_date, lines);
    let made = SendOnce::default()
        .run(
            ctx,
            || Ok(read(post(ctx, "/invoices", &record).send()?).and_then(|answer| first(&answer))),
            |_: &UnknownOutcome| Ok(find(ctx, &contact_id, &entry_date)?.map(Ok)),
        )?
        .into_inner();
    let draft = found_if_unreadable(made, || find(ctx, &contact_id, &entry_date))?;
    snapshot::own_unpaid(ctx, &draft)?;
    let build = Events::new(ctx);
    events.push(named(ctx, &command, build.created(&draft)));
    // What was adopted may have been approved by somebody since.
    if command.approve && draft.state != State::Voided {
        let approved = if draft.state == State::Approved { draft } else { approved(ctx, &draft.id)? };
        snapshot::own_unpaid(ctx, &approved)?;
        events.push(named(ctx, &command, build.approved(&approved)));
    }
    Ok(events.into())
}

/// Approves a draft; one that is approved already is as good.
pub fn approve(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: ApproveInvoice = event.parse()?;
    let invoice = approved(ctx, &command.invoice_id)?;
    Ok(Events::new(ctx).approved(&invoice).into())
}

/// A PUT may be repeated; after a refusal the state says whether it was refused because it is already so.
pub fn approved(ctx: &Ctx<Config>, id: &str) -> Result<Invoice, PluginError> {
    let change = json!({ "invoice": { "state": State::Approved.as_str() } });
    let response = put(ctx, &format!("/invoices/{}", segment(id)), &change).send()?;
    let answer = read(response);
    if let Ok(answer) = &answer {
        let complete =
            |invoice: &Invoice| invoice.id == id && invoice.state == State::Approved && invoice.number.is_some();
        if let Some(invoice) = invoices(answer).into_iter().find(complete) {
            return Ok(invoice);
        }
    } else if let Err(error) = &answer
        && matches!(error, PluginError::Retry { .. } | PluginError::NeedsAttention(_))
        && error.detail().code != client::MALFORMED
    {
        return Err(error.clone());
    }
    match client::invoice(ctx, id)? {
        Some(invoice) if invoice.state == State::Approved => Ok(invoice),
        _ => Err(answer.err().unwrap_or_else(|| {
            PluginError::retry(Reason::ProviderDown, "not_approved", "Billy took the approval and did not approve.")
        })),
    }
}

/// The draft that a lost sending made: of the same contact and day, with our reference in its message.
fn find(ctx: &Ctx<Config>, contact_id: &str, entry_date: &str) -> Result<Option<Invoice>, PluginError> {
    let request = list(ctx, "/invoices")
        .query("contactId", contact_id)
        .query("minEntryDate", entry_date)
        .query("maxEntryDate", entry_date)
        .query("pageSize", "200");
    let ours =
        |invoice: &Invoice| invoice.contact_message.as_deref().is_some_and(|message| message.contains(ctx.reference()));
    let listed = invoices(&read(request.send()?)?);
    if let Some(invoice) = listed.iter().find(|invoice| ours(invoice)) {
        return Ok(Some(invoice.clone()));
    }
    let silent = listed.iter().filter(|invoice| invoice.contact_message.is_none()).take(READ_ONE_BY_ONE);
    for invoice in silent {
        if let Some(invoice) = client::invoice(ctx, &invoice.id)?.filter(ours) {
            return Ok(Some(invoice));
        }
    }
    Ok(None)
}

/// The invoice that a write answers with.
pub fn first(answer: &Value) -> Result<Invoice, PluginError> {
    invoices(answer).into_iter().next().ok_or_else(|| malformed("Billy's answer has no readable invoice."))
}

fn record(ctx: &Ctx<Config>, command: &CreateInvoice, contact_id: &str, entry_date: &str, lines: Vec<Value>) -> Value {
    let ours = format!("Ref. {}", ctx.reference());
    let message = match &command.reference {
        Some(theirs) => format!("{theirs}\n{ours}"),
        None => ours,
    };
    json!({ "invoice": {
        "type": "invoice",
        "organizationId": ctx.config.organization_id,
        "contactId": contact_id,
        "entryDate": entry_date,
        "paymentTermsMode": "net",
        "paymentTermsDays": command.due_days.unwrap_or(ctx.config.payment_terms_days),
        "currencyId": command.currency.as_deref().unwrap_or(&ctx.config.currency),
        "taxMode": ctx.config.tax_mode.as_str(),
        "state": State::Draft.as_str(),
        "contactMessage": message,
        "lines": lines,
    } })
}

/// The event with the references by which the caller knows the invoice again.
fn named(ctx: &Ctx<Config>, command: &CreateInvoice, mut event: Emit) -> Emit {
    event.data["hub_ref"] = json!(ctx.reference());
    if let Some(reference) = &command.reference {
        event.data["reference"] = json!(reference);
    }
    event
}
