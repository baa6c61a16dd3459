use serde_json::{Number, Value, json};
use switchyard_event_types::payment::{RecordPayment, VoidPayment};
use switchyard_sdk::money::{minor_of, parse_minor};
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::date;

use crate::client::{self, done, found_if_unreadable, get, list, malformed, post, put, read, segment};
use crate::config::Config;
use crate::event::Events;
use crate::model::{records, text, truth};

/// A bank payment as Billy lists it.
pub struct Payment {
    /// Billy's id.
    pub id: String,
    /// In hundredths.
    pub amount: i64,
    /// The currency, where Billy says it.
    pub currency: Option<String>,
    /// A date.
    pub entry_date: Option<String>,
    /// What it pays.
    pub invoice_ids: Vec<String>,
    /// What goes to each of them, in hundredths; none where Billy does not say.
    pub parts: Vec<Option<i64>>,
    /// Taken back.
    pub is_voided: bool,
}

impl Payment {
    /// Reads one record with its embedded associations; none without an id.
    pub fn read(record: &Value) -> Option<Self> {
        let paid =
            |association: &&Value| text(association, "subjectReference")?.strip_prefix("invoice:").map(str::to_owned);
        let associations = records(record, "association", "associations");
        let amount = record.get("cashAmount").and_then(minor_of).unwrap_or(0);
        let part = |association: &&Value| association.get("amount").and_then(minor_of);
        // A payment of one invoice goes to it as a whole.
        let parts = match associations.as_slice() {
            [only] => vec![part(only).or(Some(amount))],
            several => several.iter().filter(|one| paid(one).is_some()).map(part).collect(),
        };
        Some(Self {
            id: text(record, "id")?,
            amount,
            currency: text(record, "subjectCurrencyId"),
            entry_date: text(record, "entryDate"),
            invoice_ids: associations.iter().filter_map(paid).collect(),
            parts,
            is_voided: record.get("isVoided").is_some_and(truth),
        })
    }
}

impl Payment {
    /// What was paid.
    pub fn money(&self, config: &Config) -> Money {
        Money::from_minor(self.amount, self.currency.as_deref().unwrap_or(&config.currency))
    }
}

/// The newest payments, with what they pay. None where this token may not list payments.
pub fn newest(ctx: &Ctx<Config>, page: u32, page_size: usize) -> Result<Option<Vec<Payment>>, PluginError> {
    let response = list(ctx, "/bankPayments")
        .query("include", "bankPayment.associations:embed")
        .query("sortProperty", "createdTime")
        .query("sortDirection", "DESC")
        .query("pageSize", &page_size.to_string())
        .query("page", &page.to_string())
        .send()?;
    if matches!(response.status, 400 | 403 | 404) {
        return Ok(None);
    }
    let answer = read(response)?;
    Ok(Some(records(&answer, "bankPayment", "bankPayments").into_iter().filter_map(Payment::read).collect()))
}

/// Records a payment of all that is open, or of a given amount.
pub fn record(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: RecordPayment = event.parse()?;
    let account = command.account_id.as_deref().or(ctx.config.payment_account_id.as_deref());
    let account = account
        .ok_or_else(|| PluginError::bad_config("payment_account_id", "set an account, or name one in the command."))?;
    let bad = |code, message| PluginError::reject(Reason::BadData, code, message);
    let missing = || bad("no_such_invoice", "Billy has no such invoice.");
    let invoice = client::invoice(ctx, &command.invoice_id)?.ok_or_else(missing)?;
    let amount = match &command.amount {
        Some(text) => parse_minor(text).ok_or_else(|| bad("bad_amount", "The amount is no decimal number."))?,
        None => invoice.balance,
    };
    if amount <= 0 {
        return Err(bad("nothing_open", "There is nothing to pay."));
    }
    let before: Vec<String> = newest(ctx, 1, 100)?.into_iter().flatten().map(|payment| payment.id).collect();
    let entry_date = command.entry_date.clone().unwrap_or_else(|| date(ctx.time()));
    let body = json!({ "bankPayment": {
        "organizationId": ctx.config.organization_id,
        "entryDate": entry_date,
        "cashAmount": amount_number(amount),
        "cashSide": "debit",
        "cashAccountId": account,
        "associations": [{ "subjectReference": format!("invoice:{}", invoice.id) }],
    } });
    // A payment carries no reference: a lost one is a new payment of this invoice, of this amount and day.
    let ours = |payment: &Payment| {
        !before.contains(&payment.id)
            && !payment.is_voided
            && payment.amount == amount
            && payment.invoice_ids.contains(&invoice.id)
            && payment.entry_date.as_deref() == Some(&entry_date)
    };
    let find = || -> Result<Option<String>, PluginError> {
        let payments = newest(ctx, 1, 100)?.ok_or_else(unseen)?;
        Ok(payments.into_iter().find(ours).map(|payment| payment.id))
    };
    let made = SendOnce::default()
        .run(
            ctx,
            || Ok(read(post(ctx, "/bankPayments", &body).send()?).and_then(|answer| id_of(&answer))),
            |_| Ok(find()?.map(Ok)),
        )?
        .into_inner();
    let id = found_if_unreadable(made, find)?;
    let money = Money::from_minor(amount, invoice.currency.as_deref().unwrap_or(&ctx.config.currency));
    Ok(Events::new(ctx).payment(&id, money, &[invoice.id], Some(&entry_date)).into())
}

/// Hundredths as a JSON number.
#[expect(clippy::cast_precision_loss, reason = "no payment has more than 15 digits")]
fn amount_number(minor: i64) -> Option<Number> {
    Number::from_f64(minor as f64 / 100.0)
}

/// Takes a payment back. The PUT may be repeated; a payment that is taken back already is as good.
pub fn void(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: VoidPayment = event.parse()?;
    let path = format!("/bankPayments/{}", segment(&command.payment_id));
    let response = get(ctx, &path).query("include", "bankPayment.associations:embed").send()?;
    if response.status == 404 {
        return Err(PluginError::reject(Reason::BadData, "no_such_payment", "Billy has no such payment."));
    }
    let answer = read(response)?;
    let of_it = |payment: &Payment| payment.id == command.payment_id;
    let payment = records(&answer, "bankPayment", "bankPayments").into_iter().filter_map(Payment::read).find(of_it);
    let payment = payment.ok_or_else(|| malformed("Billy's answer has no readable payment."))?;
    if !payment.is_voided {
        done(put(ctx, &path, &json!({ "bankPayment": { "isVoided": true } })).send()?)?;
    }
    let money = payment.money(&ctx.config);
    Ok(Events::new(ctx).payment_voided(&payment.id, money, &payment.invoice_ids).into())
}

/// Where payments cannot be listed, a lost one is never sent again.
fn unseen() -> PluginError {
    let message = "A payment got no answer, and this token may not list payments.";
    PluginError::reject(Reason::UnknownOutcome, "unknown_outcome", message)
}

fn id_of(answer: &Value) -> Result<String, PluginError> {
    let payment = records(answer, "bankPayment", "bankPayments").into_iter().next();
    payment.and_then(|payment| text(payment, "id")).ok_or_else(|| malformed("Billy's answer has no readable payment."))
}
