use serde_json::Value;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::{SortedMap, SortedSet};

use crate::client;
use crate::config::Config;
use crate::event::Events;
use crate::model::{Invoice, Meta, Payment};
use crate::snapshot::{self, ContactEntry, Entry, PaymentEntry, Sight, is_newer, marker, short_hash};

/// How many payments of an invoice are looked at to tell when it was paid.
const PAYMENTS_READ: usize = 5;

/// How many invoices one query asks for by their ids.
const IDS_AT_ONCE: usize = 50;

/// What happened to an invoice since it was last seen. One never seen that is younger than the installation is reported
/// from its creation on; an older one only by what the installation could have seen.
pub fn invoice(ctx: &Ctx<Config>, record: &Value) -> Result<Vec<Emit>, PluginError> {
    look(ctx, record, false)
}

/// The same of an invoice that a command of ours has made, whatever QuickBooks' clock says of its age.
pub fn made_invoice(ctx: &Ctx<Config>, record: &Value) -> Result<Vec<Emit>, PluginError> {
    look(ctx, record, true)
}

fn look(ctx: &Ctx<Config>, record: &Value, is_ours: bool) -> Result<Vec<Emit>, PluginError> {
    let Some(invoice) = Invoice::read(record) else {
        ctx.warn("an invoice without id or amounts was left out", &[]);
        return Ok(Vec::new());
    };
    if invoice.meta.is_deleted {
        return deleted_invoice(ctx, &invoice.meta.id);
    }
    let sight: Sight<Entry> = Sight::load(ctx, "invoice", &invoice.meta.id)?;
    if sight.before.as_ref().is_some_and(|before| before.is_newer_than(&invoice.meta)) {
        return Ok(Vec::new());
    }
    let events = Events::new(ctx);
    let now = Entry::of(&invoice, sight.before.as_ref());
    let found = match &sight.before {
        Some(before) => changes(&events, before, &now, &invoice),
        None => first_sight(ctx, &events, &now, &invoice, is_ours)?,
    };
    sight.store(ctx, &now, &KvOptions::default())?;
    Ok(found)
}

/// Between two sights.
fn changes(events: &Events, before: &Entry, now: &Entry, invoice: &Invoice) -> Vec<Emit> {
    let mut found = Vec::new();
    if let Some(marker) = now.sent.as_deref().filter(|_| before.sent != now.sent) {
        found.push(events.sent(invoice, marker));
    }
    let (paid, voided) = (now.paid && !before.paid, now.void && !before.void);
    if !voided {
        let mut changed = Vec::new();
        if before.hash != now.hash {
            changed.push("details");
        }
        // A balance that moved because it was paid in full is told by that.
        if before.balance != now.balance && !paid {
            changed.push("balance");
        }
        if !changed.is_empty() {
            found.push(events.updated(invoice, &changed, &version(now)));
        }
    }
    if paid {
        found.push(events.paid(invoice, now.times_paid));
    }
    if voided {
        found.push(events.voided(invoice));
    }
    found
}

fn first_sight(
    ctx: &Ctx<Config>,
    events: &Events,
    now: &Entry,
    invoice: &Invoice,
    is_ours: bool,
) -> Result<Vec<Emit>, PluginError> {
    let began = snapshot::begin(ctx)?;
    let is_young = is_ours || invoice.meta.created >= began;
    let mut found = Vec::new();
    if is_young {
        found.push(events.created(invoice));
    }
    let sent_lately = || invoice.sent_at.as_deref().and_then(crate::instant::parse).is_some_and(|at| at >= began);
    if let Some(marker) = marker(invoice).filter(|_| is_young || sent_lately()) {
        found.push(events.sent(invoice, &marker));
    }
    let paid = invoice.is_paid() && (is_young || paid_since(ctx, invoice, began)?);
    if paid {
        found.push(events.paid(invoice, now.times_paid));
    }
    let changed_lately = invoice.meta.updated >= began;
    if invoice.is_void && (is_young || changed_lately) {
        found.push(events.voided(invoice));
    }
    if found.is_empty() && changed_lately {
        found.push(events.updated(invoice, &["details"], &version(now)));
    }
    Ok(found)
}

/// Whether one of its payments is younger than the installation, so that it was open when that began.
fn paid_since(ctx: &Ctx<Config>, invoice: &Invoice, began: u64) -> Result<bool, PluginError> {
    for id in invoice.payment_ids.iter().rev().take(PAYMENTS_READ) {
        let payment = client::fetch(ctx, "Payment", id)?.as_ref().and_then(Payment::read);
        if payment.is_some_and(|payment| payment.meta.created >= began) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Hash of all that is tracked, the balance included.
fn version(entry: &Entry) -> String {
    short_hash(&format!("{}|{}", entry.hash, entry.balance))
}

/// An invoice that is there no more counts as voided, once.
pub fn deleted_invoice(ctx: &Ctx<Config>, id: &str) -> Result<Vec<Emit>, PluginError> {
    let sight: Sight<Entry> = Sight::load(ctx, "invoice", id)?;
    let Some(before) = &sight.before else { return Ok(vec![Events::new(ctx).gone(id)]) };
    if before.void {
        return Ok(Vec::new());
    }
    let now = Entry { void: true, paid: false, balance: 0, ..before.clone() };
    sight.store(ctx, &now, &KvOptions::default())?;
    Ok(vec![Events::new(ctx).gone(id)])
}

/// What happened to a payment, and the invoices that it may have changed.
pub fn payment(ctx: &Ctx<Config>, record: &Value) -> Result<(Vec<Emit>, Vec<String>), PluginError> {
    let Some(payment) = Payment::read(record) else {
        ctx.warn("a payment without id or amount was left out", &[]);
        return Ok((Vec::new(), Vec::new()));
    };
    if payment.meta.is_deleted || payment.is_void {
        return voided_payment(ctx, &payment.meta.id);
    }
    let sight: Sight<PaymentEntry> = Sight::load(ctx, "payment", &payment.meta.id)?;
    if let Some(before) = &sight.before
        && is_newer(before.updated, &before.token, &payment.meta)
    {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut touched: SortedSet<String> = payment.invoice_ids.iter().cloned().collect();
    touched.extend(sight.before.iter().flat_map(|before| before.invoice_ids.clone()));
    let is_news = sight.before.is_none() && payment.meta.created >= snapshot::begin(ctx)?;
    let found = if is_news { vec![Events::new(ctx).recorded(&payment)] } else { Vec::new() };
    let now = PaymentEntry {
        invoice_ids: payment.invoice_ids,
        amount: payment.amount,
        currency: payment.currency,
        void: false,
        updated: payment.meta.updated,
        token: payment.meta.token,
    };
    sight.store(ctx, &now, &KvOptions::default())?;
    Ok((found, touched.into()))
}

/// A payment that was taken back. One never seen is not reported, since nothing can be said of it.
pub fn voided_payment(ctx: &Ctx<Config>, id: &str) -> Result<(Vec<Emit>, Vec<String>), PluginError> {
    let sight: Sight<PaymentEntry> = Sight::load(ctx, "payment", id)?;
    let Some(before) = sight.before.as_ref().filter(|before| !before.void) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let currency = before.currency.as_deref();
    let event = Events::new(ctx).payment_voided(id, before.amount, currency, &before.invoice_ids);
    let now = PaymentEntry { void: true, ..before.clone() };
    sight.store(ctx, &now, &KvOptions::default())?;
    Ok((vec![event], before.invoice_ids.clone()))
}

/// What happened to a customer.
pub fn customer(ctx: &Ctx<Config>, record: &Value) -> Result<Vec<Emit>, PluginError> {
    let events = Events::new(ctx);
    let (Some(meta), Some(update)) = (Meta::read(record), events.contact(record, false)) else { return Ok(Vec::new()) };
    let sight: Sight<ContactEntry> = Sight::load(ctx, "contact", &meta.id)?;
    let is_newer = sight.before.as_ref().is_some_and(|before| is_newer(before.updated, &before.token, &meta));
    if meta.is_deleted || is_newer {
        return Ok(Vec::new());
    }
    let person = update.data["email"].as_str().or(update.data["phone"].as_str()).map(str::to_owned);
    let hash = short_hash(&json::write(&update.data));
    let found = match &sight.before {
        Some(before) if before.hash == hash => None,
        Some(_) => Some(update),
        None if meta.created >= snapshot::begin(ctx)? => events.contact(record, true),
        None => Some(update),
    };
    let now = ContactEntry { hash, updated: meta.updated, token: meta.token };
    sight.store(ctx, &now, &KvOptions { ttl: None, person })?;
    Ok(found.into_iter().collect())
}

/// A sales receipt is reported once, when it is new.
pub fn receipt(ctx: &Ctx<Config>, record: &Value) -> Result<Vec<Emit>, PluginError> {
    let Some(meta) = Meta::read(record).filter(|meta| !meta.is_deleted) else { return Ok(Vec::new()) };
    let sight: Sight<bool> = Sight::load(ctx, "salesreceipt", &meta.id)?;
    if sight.before.is_some() || meta.created < snapshot::begin(ctx)? {
        return Ok(Vec::new());
    }
    sight.store(ctx, &true, &KvOptions::default())?;
    Ok(Events::new(ctx).receipt(record).into_iter().collect())
}

/// What happened to these invoices, of which some are known already.
pub fn invoices(ctx: &Ctx<Config>, ids: &[String], known: &SortedMap<String, Value>) -> Result<Vec<Emit>, PluginError> {
    let unknown: Vec<&String> = ids.iter().filter(|id| !known.contains_key(*id)).collect();
    let mut found = Vec::new();
    for part in unknown.chunks(IDS_AT_ONCE) {
        let list: Vec<String> = part.iter().map(|id| client::quoted(id)).collect();
        for record in client::query(ctx, "Invoice", &format!("where Id in ({}) maxresults 1000", list.join(", ")))? {
            found.extend(invoice(ctx, &record)?);
        }
    }
    for record in ids.iter().filter_map(|id| known.get(id)) {
        found.extend(invoice(ctx, record)?);
    }
    Ok(found)
}
