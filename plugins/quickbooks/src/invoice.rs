use serde_json::{Value, json};
use switchyard_event_types::invoice::{FOUND, Found, Standing};
use switchyard_event_types::invoice_command::{CreateInvoice, QueryInvoice, SendInvoice};
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::client::{self, order, post_text, query as ask, quoted, segment};
use crate::config::Config;
use crate::event::{Events, about};
use crate::fault::{self, Fault};
use crate::instant::days_after;
use crate::model::{self, Invoice};
use crate::sale::Sale;
use crate::snapshot::{Entry, Sight, marker};
use crate::write::{self, Written};
use crate::{customer, observe};

/// Creates an invoice for a customer that is found or created. It is booked at once: QuickBooks knows no drafts.
pub fn create(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: CreateInvoice = event.parse()?;
    if !command.approve {
        let message = "QuickBooks knows no drafts: leave out `approve`, or create the invoice when it is to be booked.";
        return Err(PluginError::reject(Reason::BadData, "no_drafts", message));
    }
    let sale = |customer_id| Sale {
        customer_id,
        email: command.customer.email.as_deref(),
        lines: &command.lines,
        currency: command.currency.as_deref(),
        entry_date: command.entry_date.as_deref(),
        reference: command.reference.as_deref(),
    };
    // What cannot be sent is refused before a customer is made for it.
    sale("").body(ctx, json!({}))?;
    let (customer_id, mut events) = customer::find_or_create(ctx, &command.customer)?;
    let sale = sale(&customer_id);
    let due = days_after(&sale.date(ctx), command.due_days.unwrap_or(ctx.config.payment_terms_days));
    let body = sale.body(ctx, due.map_or_else(|| json!({}), |due| json!({ "DueDate": due })))?;
    let request = post_text(ctx, "/invoice", body);
    let record = match write::create(&request, "Invoice", || sale.find(ctx, "Invoice"))? {
        Ok(record) => record,
        Err(fault) if fault.code == fault::DUPLICATE_NUMBER => {
            numbered(ctx, "Invoice", sale.number(&ctx.config), fault)?
        }
        Err(fault) => return Err(fault.into()),
    };
    // Reported as any other news, so that the webhook about it says nothing new.
    events.extend(observe::made_invoice(ctx, &record)?);
    Ok(events.into())
}

/// Whose number it is that is taken: ours, if it carries our reference.
pub fn numbered(ctx: &Ctx<Config>, entity: &str, number: Option<&str>, fault: Fault) -> Result<Value, PluginError> {
    let Some(number) = number else { return Err(fault.into()) };
    let found = ask(ctx, entity, &format!("where DocNumber = {} maxresults 10", quoted(number)))?;
    found.into_iter().find(|record| model::is_ours(ctx, record)).ok_or_else(|| fault.into())
}

/// Mails an invoice. One that was mailed is not mailed again unless the command says so.
pub fn send(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: SendInvoice = event.parse()?;
    let bad = |code: &str, message: &str| PluginError::reject(Reason::BadData, code, message);
    let record = client::fetch(ctx, "Invoice", &command.invoice_id)?
        .ok_or_else(|| bad("no_such_invoice", "QuickBooks has no such invoice."))?;
    let invoice = Invoice::read(&record).ok_or_else(client::malformed)?;
    if invoice.is_void {
        return Err(bad("invoice_voided", "The invoice was voided."));
    }
    if invoice.is_sent && !command.again {
        return Ok(observe::invoice(ctx, &record)?.into());
    }
    let address = command.to.as_deref().or(invoice.email.as_deref());
    let address =
        address.ok_or_else(|| bad("no_address", "Neither the command nor the invoice has an e-mail address."))?;
    if command.subject.is_some() || command.message.is_some() {
        ctx.warn(
            "QuickBooks takes subject and message from the company's settings; those of the command were left out",
            &[],
        );
    }
    let path = format!("/invoice/{}/send", segment(&command.invoice_id));
    let sent = match write::send(&order(ctx, &path).query("sendTo", address), "Invoice")? {
        Written::Done(record) => record,
        // The next look shows whether it was sent; if not, that is for a person, since a second mail may be one too many.
        Written::Unreadable => fetch_sent(ctx, &invoice)?,
        Written::Refused(fault) if fault.is_hidden() => match fetch_sent(ctx, &invoice) {
            Ok(record) => record,
            Err(_) => return Err(fault.into()),
        },
        Written::Refused(fault) => return Err(fault.into()),
    };
    let now = Invoice::read(&sent).ok_or_else(client::malformed)?;
    let mut events = observe::invoice(ctx, &sent)?;
    // Where it had never been seen the observation may not tell of the sending, which is what was asked for.
    if let Some(marker) = marker(&now)
        && !events.iter().any(|event| event.event_type == switchyard_event_types::invoice::SENT)
    {
        events.push(Events::new(ctx).sent(&now, &marker));
    }
    Ok(events.into())
}

/// The invoice, if it was sent since it was last looked at.
fn fetch_sent(ctx: &Ctx<Config>, before: &Invoice) -> Result<Value, PluginError> {
    let record = client::fetch(ctx, "Invoice", &before.meta.id)?;
    let is_news = |record: &Value| {
        Invoice::read(record).is_some_and(|now| now.is_sent && (marker(&now) != marker(before) || !before.is_sent))
    };
    record.filter(is_news).ok_or_else(|| {
        let message = "QuickBooks took the order to send an invoice, and the invoice does not show that it was sent.";
        PluginError::retry(Reason::UnknownOutcome, "not_seen_yet", message)
    })
}

/// How an invoice stands: by QuickBooks, or by what was last seen while QuickBooks cannot be asked.
pub fn query(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: QueryInvoice = event.parse()?;
    let found = match client::fetch(ctx, "Invoice", &command.invoice_id) {
        Ok(record) => {
            let invoice = record.as_ref().and_then(Invoice::read);
            standing(ctx, &command.invoice_id, invoice.as_ref())
        }
        Err(error @ PluginError::Retry { .. }) => {
            let sight: Sight<Entry> = Sight::load(ctx, "invoice", &command.invoice_id)?;
            let Some(entry) = sight.before else { return Err(error) };
            last_seen(ctx, &command.invoice_id, &entry)
        }
        Err(error) => return Err(error),
    };
    Ok(Emit::new(FOUND, json!(found)).subject(&event.id).into())
}

fn standing(ctx: &Ctx<Config>, id: &str, invoice: Option<&Invoice>) -> Found {
    let events = Events::new(ctx);
    let shown = invoice.map(|invoice| Standing {
        state: if invoice.is_void { "voided" } else { "approved" }.to_owned(),
        is_paid: invoice.is_paid(),
        sent_state: if invoice.is_sent { "sent" } else { "unsent" }.to_owned(),
        total: events.money(invoice, invoice.total),
        tax: events.money(invoice, invoice.tax),
        balance: events.money(invoice, invoice.balance),
        due_date: invoice.due_date.clone(),
    });
    let mut about = invoice.map(about).unwrap_or_default();
    about.invoice_id = id.to_owned();
    Found { about, found: invoice.is_some(), stale: false, as_of: rfc3339(ctx.time()), standing: shown }
}

fn last_seen(ctx: &Ctx<Config>, id: &str, entry: &Entry) -> Found {
    let events = Events::new(ctx);
    let money = |minor: i64| events.amount(minor, entry.currency.as_deref());
    let shown = Standing {
        state: if entry.void { "voided" } else { "approved" }.to_owned(),
        is_paid: entry.paid,
        sent_state: if entry.sent.is_some() { "sent" } else { "unsent" }.to_owned(),
        total: money(entry.total),
        tax: money(entry.tax),
        balance: money(entry.balance),
        due_date: entry.due_date.clone(),
    };
    let about = switchyard_event_types::invoice::About {
        invoice_id: id.to_owned(),
        number: entry.number.clone(),
        ..Default::default()
    };
    Found { about, found: true, stale: true, as_of: rfc3339(entry.updated), standing: Some(shown) }
}
