use serde_json::{Value, json};
use switchyard_event_types::payment::{RecordPayment, VoidPayment};
use switchyard_sdk::json::ObjectText;
use switchyard_sdk::money::parse_minor;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;
use switchyard_sdk::time::date;

use crate::client::{self, malformed, post_text};
use crate::config::Config;
use crate::decimal::Decimal;
use crate::event::Events;
use crate::model::{self, Invoice, Payment};
use crate::sale::{find, reference};
use crate::snapshot::{PaymentEntry, Sight};
use crate::{hint, observe, write};

/// Records a payment of all that is open, or of a given amount.
pub fn record(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: RecordPayment = event.parse()?;
    let bad = |code: &str, message: &str| PluginError::reject(Reason::BadData, code, message);
    let there = client::fetch(ctx, "Invoice", &command.invoice_id)?
        .ok_or_else(|| bad("no_such_invoice", "QuickBooks has no such invoice."))?;
    let invoice = Invoice::read(&there).ok_or_else(malformed)?;
    let amount = match &command.amount {
        Some(text) => parse_minor(text).ok_or_else(|| bad("bad_amount", "The amount is no decimal number."))?,
        None => invoice.balance,
    };
    if amount <= 0 {
        return Err(bad("nothing_open", "There is nothing to pay."));
    }
    if amount > invoice.balance {
        return Err(bad("more_than_open", "The amount is more than what is open."));
    }
    let customer = invoice.customer_id.as_deref().ok_or_else(malformed)?;
    let day = command.entry_date.clone().unwrap_or_else(|| date(ctx.time()));
    let body = body(ctx, &command, customer, &day, amount);
    let request = post_text(ctx, "/payment", body);
    let made = write::create(&request, "Payment", || find(ctx, "Payment", customer, &day))??;
    let payment = Payment::read(&made).ok_or_else(malformed)?;
    let sight: Sight<PaymentEntry> = Sight::load(ctx, "payment", &payment.meta.id)?;
    let mut events = if sight.before.is_none() { vec![Events::new(ctx).recorded(&payment)] } else { Vec::new() };
    let now = PaymentEntry {
        invoice_ids: payment.invoice_ids,
        amount: payment.amount,
        currency: payment.currency,
        void: false,
        updated: payment.meta.updated,
        token: payment.meta.token,
    };
    sight.store(ctx, &now, &KvOptions::default())?;
    events.extend(hint::invoice(ctx, &command.invoice_id)?);
    Ok(events.into())
}

/// A payment of one invoice as QuickBooks takes it.
fn body(ctx: &Ctx<Config>, command: &RecordPayment, customer: &str, day: &str, amount: i64) -> String {
    let mut body = ObjectText::new();
    let mut put = |name: &str, value: Value| body.member(name, &value);
    put("CustomerRef", reference(customer));
    put("TxnDate", json!(day));
    put("PrivateNote", json!(model::note(ctx.reference())));
    if let Some(account) = command.account_id.as_deref().or(ctx.config.deposit_account_id.as_deref()) {
        put("DepositToAccountRef", reference(account));
    }
    if let Some(method) = command.method.as_deref().or(ctx.config.payment_method_id.as_deref()) {
        put("PaymentMethodRef", reference(method));
    }
    let amount = Decimal::from_minor(amount).text();
    let mut line = ObjectText::new();
    line.verbatim("Amount", &amount);
    line.member("LinkedTxn", &json!([{ "TxnId": command.invoice_id, "TxnType": "Invoice" }]));
    body.verbatim("TotalAmt", &amount);
    body.verbatim("Line", &format!("[{}]", line.finish()));
    body.finish()
}

/// Takes a payment back; its invoices are open again.
pub fn void(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: VoidPayment = event.parse()?;
    // What it was is noted while QuickBooks still says it.
    let (mut events, _) = match client::fetch(ctx, "Payment", &command.payment_id)? {
        Some(record) => observe::payment(ctx, &record)?,
        None => return Err(PluginError::reject(Reason::BadData, "no_such_payment", "QuickBooks has no such payment.")),
    };
    let is_open = |there: &Value| Payment::read(there).is_some_and(|payment| !payment.is_void);
    let voiding = |there: &Value| is_open(there).then(|| json!({}));
    write::change(ctx, "Payment", &command.payment_id, "/payment?operation=void", voiding)?;
    let (voided, touched) = observe::voided_payment(ctx, &command.payment_id)?;
    events.extend(voided);
    events.extend(observe::invoices(ctx, &touched, &SortedMap::new())?);
    Ok(events.into())
}
