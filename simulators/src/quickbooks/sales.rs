//! Invoices and sales receipts: making, changing, sending, voiding and deleting them.

use serde_json::{Map, Value, json};

use super::{
    amount::Cents,
    company::{Books, Company, keep, reference, text},
    errors::Fault,
    record::{Kind, Record},
    sale,
    webhook::Operation,
};
use crate::clock::date_utc;

/// How long a customer has when nothing says otherwise.
const DAYS_TO_PAY: i64 = 30;

/// Members that only QuickBooks sets.
const READ_ONLY: [&str; 9] =
    ["Id", "SyncToken", "MetaData", "TotalAmt", "Balance", "LinkedTxn", "TxnTaxDetail", "domain", "sparse"];

/// Makes an invoice or a sales receipt.
pub(crate) fn create(company: &Company, kind: Kind, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let mut sale = given.clone();
    READ_ONLY.iter().for_each(|name| {
        sale.remove(*name);
    });
    let total = sale::complete(&books, kind, None, &mut sale)?;
    if text(&sale, "DocNumber").is_none() {
        sale.insert("DocNumber".to_owned(), json!(books.number()));
    }
    if text(&sale, "TxnDate").is_none() {
        sale.insert("TxnDate".to_owned(), json!(date_utc(now)));
    }
    if kind == Kind::Invoice {
        if text(&sale, "DueDate").is_none() {
            sale.insert("DueDate".to_owned(), json!(date_utc(now + DAYS_TO_PAY * 86_400_000)));
        }
        sale.insert("Deposit".to_owned(), json!(0));
    }
    let open = if kind == Kind::Invoice { total } else { Cents::ZERO };
    sale.insert("Balance".to_owned(), open.to_json());
    sale.insert("LinkedTxn".to_owned(), json!([]));
    for (name, value) in [("EmailStatus", "NotSet"), ("PrintStatus", "NeedToPrint")] {
        sale.entry(name).or_insert_with(|| json!(value));
    }
    let record = books.insert(kind, now, sale)?;
    company.tell(&mut books, &record, Operation::Create);
    Ok(record)
}

/// Changes what is given (`sparse`), or everything that can be changed.
pub(crate) fn update(company: &Company, kind: Kind, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let before = current(&books, kind, given)?.clone();
    if is_void(&before) {
        return Err(Fault::business("A voided transaction cannot be changed."));
    }
    let mut sale = super::routes::merged(&before.body, given, &READ_ONLY);
    let total = sale::complete(&books, kind, Some(&before.id), &mut sale)?;
    let (was, open) = (amount(&before, "TotalAmt"), amount(&before, "Balance"));
    let balance = if kind == Kind::Invoice { total - (was - open) } else { Cents::ZERO };
    sale.insert("Balance".to_owned(), balance.to_json());
    let record = books.change(kind, &before.id, now, |body| *body = sale)?;
    company.tell(&mut books, &record, Operation::Update);
    Ok(record)
}

/// The record that a write names, if the write knows its latest version.
pub(crate) fn current<'a>(books: &'a Books, kind: Kind, given: &Map<String, Value>) -> Result<&'a Record, Fault> {
    let id = text(given, "Id").ok_or_else(|| Fault::missing("Id"))?;
    let token = text(given, "SyncToken").ok_or_else(|| Fault::missing("SyncToken"))?;
    let record = books.get(kind, id)?;
    if record.sync_token.to_string() == token { Ok(record) } else { Err(Fault::stale()) }
}

/// Mails an invoice or a receipt to the address that is given, or to the one that it carries.
pub(crate) fn send(company: &Company, kind: Kind, id: &str, to: Option<&str>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let record = books.get(kind, id)?;
    let own = record.body.get("BillEmail").and_then(|mail| mail["Address"].as_str());
    let to = to.or(own).filter(|to| to.contains('@')).map(str::to_owned);
    let to = to.ok_or_else(|| Fault::missing("BillEmail.Address"))?;
    let record = books.change(kind, id, now, |body| {
        body.insert("EmailStatus".to_owned(), json!("EmailSent"));
        body.insert("BillEmail".to_owned(), json!({"Address": to}));
        body.insert(
            "DeliveryInfo".to_owned(),
            json!({"DeliveryType": "Email", "DeliveryTime": super::company::pacific(now)}),
        );
    })?;
    keep(&mut books.mails, (id.to_owned(), to));
    company.tell(&mut books, &record, Operation::Emailed);
    Ok(record)
}

/// Voids it: amounts become nothing, the number stays, payments let go of it.
pub(crate) fn void(company: &Company, kind: Kind, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let before = current(&books, kind, given)?.clone();
    release_payments(&mut books, &before, now)?;
    let record = books.change(kind, &before.id, now, |body| {
        for line in body.get_mut("Line").and_then(Value::as_array_mut).into_iter().flatten() {
            line["Amount"] = json!(0);
            if let Some(detail) = line.get_mut("SalesItemLineDetail") {
                detail["Qty"] = json!(0);
            }
        }
        for name in ["TotalAmt", "Balance"] {
            body.insert(name.to_owned(), json!(0));
        }
        body.insert("TxnTaxDetail".to_owned(), json!({"TotalTax": 0}));
        body.insert("LinkedTxn".to_owned(), json!([]));
        let note = text(body, "PrivateNote").map_or_else(|| "Voided".to_owned(), |note| format!("Voided - {note}"));
        body.insert("PrivateNote".to_owned(), json!(note));
    })?;
    company.tell(&mut books, &record, Operation::Void);
    Ok(record)
}

/// Deletes it for good.
pub(crate) fn delete(company: &Company, kind: Kind, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let before = current(&books, kind, given)?.clone();
    release_payments(&mut books, &before, now)?;
    let record = books.delete(kind, &before.id, now)?;
    company.tell(&mut books, &record, Operation::Delete);
    Ok(record)
}

/// What payments had put on it is unapplied again.
fn release_payments(books: &mut Books, sale: &Record, now: i64) -> Result<(), Fault> {
    let links = sale.body.get("LinkedTxn").and_then(Value::as_array).cloned().unwrap_or_default();
    for link in links.iter().filter(|link| link["TxnType"] == "Payment") {
        let Some(id) = link["TxnId"].as_str() else { continue };
        if books.find(Kind::Payment, id).is_none() {
            continue;
        }
        books.change(Kind::Payment, id, now, |body| {
            let mut free = body.get("UnappliedAmt").and_then(Cents::read).unwrap_or_default();
            if let Some(lines) = body.get_mut("Line").and_then(Value::as_array_mut) {
                for line in lines.iter().filter(|line| line["LinkedTxn"][0]["TxnId"] == sale.id.as_str()) {
                    free += Cents::read(&line["Amount"]).unwrap_or_default();
                }
                lines.retain(|line| line["LinkedTxn"][0]["TxnId"] != sale.id.as_str());
            }
            body.insert("UnappliedAmt".to_owned(), free.to_json());
        })?;
    }
    Ok(())
}

/// An amount of a record; nothing where it has none.
pub(crate) fn amount(record: &Record, name: &str) -> Cents {
    record.body.get(name).and_then(Cents::read).unwrap_or_default()
}

pub(crate) fn is_void(record: &Record) -> bool {
    amount(record, "TotalAmt") == Cents::ZERO
        && text(&record.body, "PrivateNote").is_some_and(|note| note.starts_with("Voided"))
}

/// Whose it is.
pub(crate) fn customer_of(record: &Record) -> String {
    reference(&record.body, "CustomerRef").unwrap_or_default().to_owned()
}
