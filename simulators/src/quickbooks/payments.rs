//! Money that came in, and the invoices that it closes.

use serde_json::{Map, Value, json};

use super::{
    amount::Cents,
    company::{Books, Company, reference, text},
    errors::Fault,
    record::{Kind, Record},
    sales::{amount, current, customer_of},
    webhook::Operation,
};
use crate::clock::date_utc;

/// The part of a payment that goes to one invoice.
struct Part {
    invoice: String,
    amount: Cents,
}

/// `POST /payment`.
pub(crate) fn create(company: &Company, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let customer = reference(given, "CustomerRef").ok_or_else(|| Fault::missing("CustomerRef"))?.to_owned();
    books.find(Kind::Customer, &customer).ok_or_else(|| Fault::no_reference("CustomerRef", &customer))?;
    for (name, kind) in [("DepositToAccountRef", Kind::Account), ("PaymentMethodRef", Kind::PaymentMethod)] {
        if let Some(id) = reference(given, name) {
            books.find(kind, id).ok_or_else(|| Fault::no_reference(name, id))?;
        }
    }
    let total = given.get("TotalAmt").and_then(Cents::read).ok_or_else(|| Fault::missing("TotalAmt"))?;
    if total < Cents::ZERO {
        return Err(Fault::business("The amount of a payment cannot be negative."));
    }
    let parts = parts(&books, given, &customer)?;
    let applied = parts.iter().fold(Cents::ZERO, |sum, part| sum + part.amount);
    if applied > total {
        return Err(Fault::business("You can't apply more than the payment's amount."));
    }
    let mut payment = given.clone();
    for name in ["Id", "SyncToken", "MetaData", "domain", "sparse"] {
        payment.remove(name);
    }
    payment.insert("UnappliedAmt".to_owned(), (total - applied).to_json());
    payment.insert("TotalAmt".to_owned(), total.to_json());
    payment.insert("CurrencyRef".to_owned(), json!({"value": super::sale::CURRENCY}));
    payment.entry("TxnDate").or_insert_with(|| json!(date_utc(now)));
    payment.entry("Line").or_insert_with(|| json!([]));
    let record = books.insert(Kind::Payment, now, payment)?;
    for part in &parts {
        apply(&mut books, part, &record.id, now)?;
    }
    company.tell(&mut books, &record, Operation::Create);
    Ok(record)
}

fn parts(books: &Books, given: &Map<String, Value>, customer: &str) -> Result<Vec<Part>, Fault> {
    let mut parts = Vec::new();
    for line in given.get("Line").and_then(Value::as_array).into_iter().flatten() {
        let sum = line.get("Amount").and_then(Cents::read).ok_or_else(|| Fault::missing("Line.Amount"))?;
        for link in line["LinkedTxn"].as_array().into_iter().flatten() {
            if link["TxnType"] != "Invoice" {
                return Err(Fault::bad_enum("LinkedTxn.TxnType"));
            }
            let id = link["TxnId"].as_str().ok_or_else(|| Fault::missing("LinkedTxn.TxnId"))?;
            let invoice = books.find(Kind::Invoice, id).ok_or_else(|| Fault::no_reference("LinkedTxn.TxnId", id))?;
            if customer_of(invoice) != customer {
                return Err(Fault::business("The linked transaction belongs to another customer."));
            }
            if sum > amount(invoice, "Balance") || sum <= Cents::ZERO {
                return Err(Fault::business("The amount applied is more than the invoice's open balance."));
            }
            parts.push(Part { invoice: id.to_owned(), amount: sum });
        }
    }
    Ok(parts)
}

/// The invoice changes too, but no webhook tells of that.
fn apply(books: &mut Books, part: &Part, payment: &str, now: i64) -> Result<(), Fault> {
    let open = amount(books.get(Kind::Invoice, &part.invoice)?, "Balance") - part.amount;
    books.change(Kind::Invoice, &part.invoice, now, |body| {
        body.insert("Balance".to_owned(), open.to_json());
        if let Some(links) = body.get_mut("LinkedTxn").and_then(Value::as_array_mut) {
            links.push(json!({"TxnId": payment, "TxnType": "Payment"}));
        }
    })?;
    Ok(())
}

/// `POST /payment?operation=void`: what it had paid is open again.
pub(crate) fn void(company: &Company, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let before = current(&books, Kind::Payment, given)?.clone();
    take_back(&mut books, &before, now)?;
    let record = books.change(Kind::Payment, &before.id, now, |body| {
        body.insert("TotalAmt".to_owned(), json!(0));
        body.insert("UnappliedAmt".to_owned(), json!(0));
        body.insert("Line".to_owned(), json!([]));
        body.insert("PrivateNote".to_owned(), json!("Voided"));
    })?;
    company.tell(&mut books, &record, Operation::Void);
    Ok(record)
}

/// `POST /payment?operation=delete`.
pub(crate) fn delete(company: &Company, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let before = current(&books, Kind::Payment, given)?.clone();
    take_back(&mut books, &before, now)?;
    let record = books.delete(Kind::Payment, &before.id, now)?;
    company.tell(&mut books, &record, Operation::Delete);
    Ok(record)
}

fn take_back(books: &mut Books, payment: &Record, now: i64) -> Result<(), Fault> {
    for line in payment.body.get("Line").and_then(Value::as_array).cloned().unwrap_or_default() {
        let (sum, id) = (Cents::read(&line["Amount"]).unwrap_or_default(), line["LinkedTxn"][0]["TxnId"].clone());
        let Some(invoice) = id.as_str().and_then(|id| books.find(Kind::Invoice, id)) else { continue };
        let (id, open) = (invoice.id.clone(), amount(invoice, "Balance") + sum);
        books.change(Kind::Invoice, &id, now, |body| {
            body.insert("Balance".to_owned(), open.to_json());
            if let Some(links) = body.get_mut("LinkedTxn").and_then(Value::as_array_mut) {
                links.retain(|link| link["TxnId"] != payment.id.as_str());
            }
        })?;
    }
    Ok(())
}

/// The customer pays: this amount, or all that is open.
pub(crate) fn pay(company: &Company, invoice: &str, part: Option<Cents>) -> Result<Record, Fault> {
    let (customer, open) = {
        let books = company.books();
        let record = books.get(Kind::Invoice, invoice)?;
        (customer_of(record), amount(record, "Balance"))
    };
    let sum = part.unwrap_or(open).to_json();
    let given = json!({
        "CustomerRef": {"value": customer}, "TotalAmt": sum,
        "Line": [{"Amount": sum, "LinkedTxn": [{"TxnId": invoice, "TxnType": "Invoice"}]}],
    });
    create(company, &super::company::object(given))
}

/// Who pays, for the overview.
pub(crate) fn invoices_of(payment: &Record) -> Vec<String> {
    let lines = payment.body.get("Line").and_then(Value::as_array).into_iter().flatten();
    lines.filter_map(|line| line["LinkedTxn"][0]["TxnId"].as_str().map(str::to_owned)).collect()
}

/// The note, for the overview.
pub(crate) fn note(record: &Record) -> Option<String> {
    text(&record.body, "PrivateNote").map(str::to_owned)
}
