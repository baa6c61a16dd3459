//! Reads what a caller gives of an invoice, and refuses what Billy would refuse.

use jiff::{ToSpan, civil::Date};
use serde_json::Value;

use super::{
    answer::{CONTACT, PRODUCT},
    company::{Books, Company, Record, text},
    errors::ApiError,
    invoice::{Invoice, InvoiceState, Line, TaxMode},
    money::{Decimal, Ore},
};
use crate::clock::date_utc;

const MOST_LINES: usize = 1000;

/// An empty draft dated today.
pub(crate) fn blank(company: &Company) -> Invoice {
    let now = company.clock.now_ms();
    Invoice {
        id: company.ids.base62(),
        kind: "invoice".to_owned(),
        contact_id: String::new(),
        contact_person_id: None,
        created_ms: now,
        approved_ms: None,
        entry_date: date_utc(now),
        terms_mode: "net".to_owned(),
        terms_days: 8,
        due_date: String::new(),
        state: InvoiceState::Draft,
        sent: false,
        number: None,
        tax_mode: TaxMode::Excl,
        currency: "DKK".to_owned(),
        contact_message: None,
        line_description: None,
        external_id: None,
        lines: Vec::new(),
        credited_invoice_id: None,
        paid: Ore::default(),
        set_off: Ore::default(),
        distortion: Ore::default(),
    }
}

/// Lays the given attributes over `invoice`; read-only ones are ignored, as Billy does. Lines are replaced if given.
pub(crate) fn apply(company: &Company, books: &Books, invoice: &mut Invoice, given: &Record) -> Result<(), ApiError> {
    company.own_organization(given)?;
    if let Some(contact) = given.get("contactId") {
        let id = contact.as_str().unwrap_or_default();
        if books.find(CONTACT, id).is_none() {
            return Err(ApiError::invalid("contactId", "This contact does not exist."));
        }
        invoice.contact_id = id.to_owned();
    }
    let string = |name: &str| text(given, name).map(str::to_owned);
    if let Some(kind) = string("type") {
        if !matches!(kind.as_str(), "invoice" | "creditNote") {
            return Err(ApiError::invalid("type", "This must be invoice or creditNote."));
        }
        invoice.kind = kind;
    }
    if let Some(credited) = string("creditedInvoiceId") {
        let original = books.invoices.iter().find(|original| original.id == credited);
        let fits = |original: &&Invoice| {
            original.state == InvoiceState::Approved && original.kind == "invoice" && invoice.kind == "creditNote"
        };
        if original.filter(fits).is_none_or(|original| original.contact_id != invoice.contact_id) {
            let message = "Only a credit note can credit, and only an approved invoice of the same contact.";
            return Err(ApiError::invalid("creditedInvoiceId", message));
        }
        invoice.credited_invoice_id = Some(credited);
    }
    match string("taxMode").as_deref() {
        None => {}
        Some("excl") => invoice.tax_mode = TaxMode::Excl,
        Some("incl") => invoice.tax_mode = TaxMode::Incl,
        Some(_) => return Err(ApiError::invalid("taxMode", "This must be excl or incl.")),
    }
    invoice.contact_person_id = string("attContactPersonId").or(invoice.contact_person_id.take());
    invoice.currency = string("currencyId").unwrap_or_else(|| invoice.currency.clone());
    invoice.number = string("invoiceNo").or(invoice.number.take());
    invoice.contact_message = string("contactMessage").or(invoice.contact_message.take());
    invoice.line_description = string("lineDescription").or(invoice.line_description.take());
    if books.behaviour.external_id_sticks {
        invoice.external_id = string("externalId").or(invoice.external_id.take());
    }
    if let Some(lines) = given.get("lines") {
        invoice.lines = read_lines(company, books, lines)?;
    }
    apply_dates(invoice, given)?;
    invoice.recalculate();
    Ok(())
}

fn apply_dates(invoice: &mut Invoice, given: &Record) -> Result<(), ApiError> {
    if let Some(date) = text(given, "entryDate") {
        date.parse::<Date>().map_err(|_| ApiError::invalid("entryDate", "This is not a date such as 2026-11-20."))?;
        invoice.entry_date = date.to_owned();
    }
    if let Some(mode) = text(given, "paymentTermsMode") {
        invoice.terms_mode = mode.to_owned();
    }
    if let Some(days) = given.get("paymentTermsDays").filter(|days| !days.is_null()) {
        let days = days.as_i64().filter(|days| (0..=3650).contains(days));
        invoice.terms_days =
            days.ok_or_else(|| ApiError::invalid("paymentTermsDays", "This is not a number of days."))?;
    }
    let entry: Date = invoice.entry_date.parse().map_err(|_| ApiError::blank("entryDate"))?;
    invoice.due_date = match entry.checked_add(invoice.terms_days.days()) {
        Ok(due) => due.to_string(),
        Err(_) => invoice.entry_date.clone(),
    };
    Ok(())
}

fn read_lines(company: &Company, books: &Books, given: &Value) -> Result<Vec<Line>, ApiError> {
    let Value::Array(given) = given else { return Err(ApiError::invalid("lines", "This must be a list.")) };
    if given.len() > MOST_LINES {
        return Err(ApiError::invalid("lines", "These are too many lines."));
    }
    given.iter().map(|line| read_line(company, books, line)).collect()
}

fn read_line(company: &Company, books: &Books, given: &Value) -> Result<Line, ApiError> {
    let Value::Object(given) = given else { return Err(ApiError::invalid("lines", "Each must be an object.")) };
    let product_id = text(given, "productId").ok_or_else(|| ApiError::blank("productId"))?;
    let product = books
        .find(PRODUCT, product_id)
        .ok_or_else(|| ApiError::invalid("productId", "This product does not exist."))?;
    let number = |name: &str, default: Decimal| match given.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => Decimal::read(value).ok_or_else(|| ApiError::invalid(name, "This is not a number.")),
    };
    Ok(Line {
        id: company.ids.base62(),
        product_id: product_id.to_owned(),
        description: text(given, "description").map(str::to_owned),
        quantity: number("quantity", Decimal::ONE)?,
        unit_price: number("unitPrice", Books::price_of(product))?,
        amount: Ore::default(),
        tax: Ore::default(),
        tax_rate: books.tax_of(product),
    })
}
