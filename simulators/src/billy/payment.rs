//! Bank payments: what the customer pays, and what that does to the invoices.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Behaviour,
    answer::{self, BALANCE_MODIFIER, BANK_PAYMENT, INVOICE, Include},
    company::{Books, Company, Record, room, text},
    errors::ApiError,
    invoice::InvoiceState,
    money::Ore,
};
use crate::{
    clock::date_utc,
    http::{Call, Reply},
};

/// A payment and the invoices it covers.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    id: String,
    created_ms: i64,
    entry_date: String,
    amount: Ore,
    account_id: String,
    /// Money that came in, or that was paid out for credit notes.
    side: Side,
    parts: Vec<Part>,
    voided: bool,
}

/// Which way the money went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Debit,
    Credit,
}

impl Side {
    fn read(name: Option<&str>) -> Option<Self> {
        match name? {
            "debit" => Some(Self::Debit),
            "credit" => Some(Self::Credit),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }

    /// The type of invoice that is settled on this side.
    const fn settles(self) -> &'static str {
        match self {
            Self::Debit => "invoice",
            Self::Credit => "creditNote",
        }
    }
}

/// The part of a payment that goes to one invoice.
#[derive(Clone, Debug)]
struct Part {
    id: String,
    invoice_id: String,
    amount: Ore,
}

/// What the customer has paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paid {
    /// The bank payment.
    pub payment_id: String,
    /// The amount in øre.
    pub amount_ore: i64,
    /// What is still open, in øre.
    pub balance_ore: i64,
}

/// Why a customer cannot pay.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// There is no such invoice.
    #[error("no invoice with the id {0}")]
    Unknown(String),
    /// Only approved invoices with something open can be paid.
    #[error("the invoice is {0} with {1} øre open and cannot take this payment")]
    NotPayable(&'static str, i64),
}

impl Payment {
    fn to_json(&self, company: &Company, behaviour: &Behaviour) -> Value {
        json!({
            "id": self.id, "organizationId": company.fixed.organization,
            "createdTime": company.time(behaviour, self.created_ms), "entryDate": self.entry_date,
            "cashAmount": self.amount.to_json(), "cashSide": self.side.name(), "cashAccountId": self.account_id,
            "cashExchangeRate": 1, "subjectCurrencyId": "DKK", "feeAmount": 0, "feeAccountId": null,
            "isVoided": self.voided,
        })
    }

    fn parts_json(&self) -> Vec<Value> {
        let part = |part: &Part| {
            json!({
                "id": part.id, "modifierReference": format!("bankPayment:{}", self.id), "isVoided": self.voided,
                "subjectReference": format!("invoice:{}", part.invoice_id), "amount": part.amount.to_json(),
            })
        };
        self.parts.iter().map(part).collect()
    }
}

/// `POST /bankPayments`.
pub(crate) fn create(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let given = answer::body(call, BANK_PAYMENT)?;
    company.own_organization(&given)?;
    let mut books = company.books();
    room(books.payments.len())?;
    let amount = given.get("cashAmount").and_then(Ore::read).filter(|amount| amount.0 > 0);
    let amount = amount.ok_or_else(|| ApiError::invalid("cashAmount", "This must be a positive amount."))?;
    let side = Side::read(text(&given, "cashSide"));
    let side = side.ok_or_else(|| ApiError::invalid("cashSide", "This must be debit or credit."))?;
    let account = text(&given, "cashAccountId").ok_or_else(|| ApiError::blank("cashAccountId"))?.to_owned();
    let enabled = |account: &Record| account.get("isPaymentEnabled") == Some(&Value::from(true));
    if !books.find(answer::ACCOUNT, &account).is_some_and(enabled) {
        return Err(ApiError::invalid("cashAccountId", "This account cannot be used for payments."));
    }
    let date = text(&given, "entryDate").map_or_else(|| date_utc(company.clock.now_ms()), str::to_owned);
    let invoices = subjects(&given)?;
    let payment = book(company, &mut books, &invoices, amount, account, (side, date))?;
    Ok(written(company, &books, &payment))
}

fn subjects(given: &Record) -> Result<Vec<String>, ApiError> {
    let Some(Value::Array(associations)) = given.get("associations") else {
        return Err(ApiError::blank("associations"));
    };
    let invoice = |association: &Value| {
        let reference = association["subjectReference"].as_str()?;
        reference.strip_prefix("invoice:").map(str::to_owned)
    };
    let invoices: Option<Vec<String>> = associations.iter().map(invoice).collect();
    invoices
        .filter(|invoices| !invoices.is_empty())
        .ok_or_else(|| ApiError::invalid("subjectReference", "This must name an invoice, as in invoice:ID."))
}

/// Spreads `amount` over the invoices in order; refuses to overpay the last one.
fn book(
    company: &Company,
    books: &mut Books,
    invoices: &[String],
    amount: Ore,
    account_id: String,
    (side, entry_date): (Side, String),
) -> Result<Payment, ApiError> {
    let mut left = amount;
    let mut parts: Vec<Part> = Vec::new();
    for id in invoices {
        let invoice = books.invoice(id).map_err(|_| ApiError::invalid("subjectReference", "It does not exist."))?;
        if invoice.state != InvoiceState::Approved {
            return Err(ApiError::invalid("subjectReference", "Only an approved invoice can be paid."));
        }
        if invoice.kind != side.settles() {
            return Err(ApiError::invalid(
                "cashSide",
                "Invoices are paid on the debit side, credit notes on the other.",
            ));
        }
        if parts.iter().any(|part| part.invoice_id == *id) {
            return Err(ApiError::invalid("subjectReference", "An invoice can be named once only."));
        }
        let part = left.min(invoice.balance());
        left -= part;
        parts.push(Part { id: company.ids.base62(), invoice_id: id.clone(), amount: part });
    }
    if left.0 > 0 {
        return Err(ApiError::invalid("cashAmount", "This is more than is open."));
    }
    for part in &parts {
        books.invoice_mut(&part.invoice_id)?.paid += part.amount;
    }
    let created_ms = company.clock.now_ms();
    let id = company.ids.base62();
    let payment = Payment { id, created_ms, entry_date, amount, account_id, side, parts, voided: false };
    books.payments.push(payment.clone());
    Ok(payment)
}

/// `PUT /bankPayments/{id}` with `isVoided: true`; the invoices are open again.
pub(crate) fn update(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let given = answer::body(call, BANK_PAYMENT)?;
    let mut books = company.books();
    let at = books.payments.iter().position(|payment| payment.id == id);
    let at = at.ok_or_else(|| ApiError::not_found("The payment"))?;
    match given.get("isVoided").and_then(Value::as_bool) {
        Some(true) if !books.payments[at].voided => {
            books.payments[at].voided = true;
            for part in books.payments[at].parts.clone() {
                books.invoice_mut(&part.invoice_id)?.paid -= part.amount;
            }
        }
        Some(true) => {}
        _ => return Err(ApiError::invalid("isVoided", "A payment can only be voided.")),
    }
    let payment = books.payments[at].clone();
    Ok(written(company, &books, &payment))
}

/// A write answers with the payment, what it moved, and the invoices whose balance changed.
fn written(company: &Company, books: &Books, payment: &Payment) -> Reply {
    let invoice = |part: &Part| books.invoice(&part.invoice_id).ok();
    let invoices = payment.parts.iter().filter_map(invoice);
    let invoices = invoices.map(|invoice| invoice.to_json(company, &books.behaviour)).collect();
    let beside = vec![(INVOICE, invoices), (BALANCE_MODIFIER, payment.parts_json())];
    answer::one(books.behaviour.write_shape, BANK_PAYMENT, payment.to_json(company, &books.behaviour), beside)
}

/// `GET /bankPayments/{id}`.
pub(crate) fn fetch(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let books = company.books();
    let payment = books.payments.iter().find(|payment| payment.id == id);
    let payment = payment.ok_or_else(|| ApiError::not_found("The payment"))?;
    let mut record = payment.to_json(company, &books.behaviour);
    if answer::include(call, "bankPayment.associations") == Some(Include::Embed) {
        record["associations"] = Value::Array(payment.parts_json());
    }
    Ok(answer::one(books.behaviour.read_shape, BANK_PAYMENT, record, Vec::new()))
}

/// `GET /bankPayments`.
pub(crate) fn list(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let books = company.books();
    let embed = answer::include(call, "bankPayment.associations") == Some(Include::Embed);
    let records = books.payments.iter().map(|payment| {
        let mut record = payment.to_json(company, &books.behaviour);
        if embed {
            record["associations"] = Value::Array(payment.parts_json());
        }
        record
    });
    let records = records.collect();
    answer::list(call, BANK_PAYMENT, records)
}

/// `GET /balanceModifiers`, with the filters `subjectReference` and `modifierReference`.
pub(crate) fn list_modifiers(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let filters = ["subjectReference", "modifierReference"].map(|name| (name, call.query_value(name)));
    let wanted = |modifier: &Value| {
        filters.iter().all(|(name, value)| value.as_deref().is_none_or(|value| modifier[*name] == value))
    };
    let books = company.books();
    let modifiers = books.payments.iter().flat_map(Payment::parts_json).filter(wanted).collect();
    answer::list(call, BALANCE_MODIFIER, modifiers)
}

/// Somebody takes a payment back at Billy itself.
pub(crate) fn take_back(company: &Company, id: &str) -> bool {
    let mut books = company.books();
    let Some(at) = books.payments.iter().position(|payment| payment.id == id && !payment.voided) else { return false };
    books.payments[at].voided = true;
    for part in books.payments[at].parts.clone() {
        if let Ok(invoice) = books.invoice_mut(&part.invoice_id) {
            invoice.paid -= part.amount;
        }
    }
    true
}

/// Every payment: its id, its amount, and whether it was taken back.
pub(crate) fn views(company: &Company) -> Vec<(String, Ore, bool)> {
    company.books().payments.iter().map(|payment| (payment.id.clone(), payment.amount, payment.voided)).collect()
}

/// The customer pays into the bank account: this amount, or all that is open.
pub(crate) fn pay(company: &Company, invoice_id: &str, amount: Option<Ore>) -> Result<Paid, PayError> {
    let mut books = company.books();
    let invoice = books.invoice(invoice_id).map_err(|_| PayError::Unknown(invoice_id.to_owned()))?;
    let (state, open) = (invoice.state, invoice.balance());
    let amount = amount.unwrap_or(open);
    let refused = PayError::NotPayable(state.name(), open.0);
    if amount.0 <= 0 {
        return Err(refused);
    }
    let date = date_utc(company.clock.now_ms());
    let account = company.fixed.bank_account.clone();
    let payment = book(company, &mut books, &[invoice_id.to_owned()], amount, account, (Side::Debit, date))
        .map_err(|_| refused)?;
    Ok(Paid { payment_id: payment.id, amount_ore: amount.0, balance_ore: (open - amount).0 })
}
