use serde_json::Value;
use switchyard_sdk::money::minor_of;
use switchyard_sdk::prelude::*;

use crate::instant;

/// What stands before our reference in a note.
const REFERENCE: &str = "Ref. ";

/// What QuickBooks knows of every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// QuickBooks' id.
    pub id: String,
    /// Its version.
    pub token: String,
    /// Milliseconds since 1970; nothing where QuickBooks does not say it.
    pub created: u64,
    /// When it was changed last; the same.
    pub updated: u64,
    /// It is gone: what change data capture says of it is only that.
    pub is_deleted: bool,
}

impl Meta {
    /// None without an id.
    pub fn read(record: &Value) -> Option<Self> {
        let at = |name: &str| {
            record.get("MetaData").and_then(|meta| text(meta, name)).and_then(|text| instant::parse(&text)).unwrap_or(0)
        };
        Some(Self {
            id: text(record, "Id")?,
            token: text(record, "SyncToken").unwrap_or_default(),
            created: at("CreateTime"),
            updated: at("LastUpdatedTime"),
            is_deleted: record.get("status").and_then(Value::as_str) == Some("Deleted"),
        })
    }
}

/// An invoice. Amounts are in hundredths of its currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Id, version, times.
    pub meta: Meta,
    /// The number that the customer sees.
    pub number: Option<String>,
    /// Whom it is for.
    pub customer_id: Option<String>,
    /// With tax.
    pub total: i64,
    /// The tax in it.
    pub tax: i64,
    /// What is open.
    pub balance: i64,
    /// ISO 4217 code, where QuickBooks says it.
    pub currency: Option<String>,
    /// A date.
    pub due_date: Option<String>,
    /// It was mailed.
    pub is_sent: bool,
    /// When it was mailed, where QuickBooks says it.
    pub sent_at: Option<String>,
    /// Where it was mailed to.
    pub email: Option<String>,
    /// It was voided: nothing of its amounts is left, and its note says so.
    pub is_void: bool,
    /// The payments that are linked to it.
    pub payment_ids: Vec<String>,
    /// Our reference, from its note.
    pub hub_ref: Option<String>,
    /// The caller's own, which a command left in the memo.
    pub reference: Option<String>,
}

impl Invoice {
    /// Reads one record; none without an id, or without the amounts by which everything is judged.
    pub fn read(record: &Value) -> Option<Self> {
        let meta = Meta::read(record)?;
        let amount = |name: &str| record.get(name).and_then(minor_of);
        let (total, balance) = if meta.is_deleted { (0, 0) } else { (amount("TotalAmt")?, amount("Balance")?) };
        let note = text(record, "PrivateNote");
        let hub_ref = note.as_deref().and_then(reference_in);
        let memo = record.get("CustomerMemo").and_then(|memo| text(memo, "value"));
        let void_note = note.as_deref().is_some_and(|note| note.trim_start().starts_with("Voided"));
        Some(Self {
            number: text(record, "DocNumber"),
            customer_id: reference(record, "CustomerRef"),
            total,
            tax: record.get("TxnTaxDetail").and_then(|tax| tax.get("TotalTax")).and_then(minor_of).unwrap_or(0),
            balance,
            currency: reference(record, "CurrencyRef"),
            due_date: text(record, "DueDate").and_then(|date| date.get(..10).map(str::to_owned)),
            is_sent: text(record, "EmailStatus").as_deref() == Some("EmailSent"),
            sent_at: record
                .get("DeliveryInfo")
                .and_then(|info| text(info, "DeliveryTime"))
                .and_then(|time| instant::parse(&time))
                .map(switchyard_sdk::time::rfc3339),
            email: record.get("BillEmail").and_then(|mail| text(mail, "Address")),
            is_void: total == 0 && void_note,
            payment_ids: linked(record, "Payment"),
            reference: memo.filter(|_| hub_ref.is_some()),
            hub_ref,
            meta,
        })
    }

    /// Nothing is open, of something that was.
    pub fn is_paid(&self) -> bool {
        !self.is_void && self.total > 0 && self.balance == 0
    }
}

/// A payment. Its amount is in hundredths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Id, version, times.
    pub meta: Meta,
    /// All of it.
    pub amount: i64,
    /// ISO 4217 code, where QuickBooks says it.
    pub currency: Option<String>,
    /// A date.
    pub date: Option<String>,
    /// What it pays.
    pub invoice_ids: Vec<String>,
    /// The way of paying.
    pub method: Option<String>,
    /// It was voided.
    pub is_void: bool,
}

impl Payment {
    /// Reads one record; none without an id or amount.
    pub fn read(record: &Value) -> Option<Self> {
        let meta = Meta::read(record)?;
        let amount = record.get("TotalAmt").and_then(minor_of);
        let lines = record.get("Line").and_then(Value::as_array);
        let mut invoice_ids: Vec<String> = Vec::new();
        for id in lines.into_iter().flatten().flat_map(|line| linked(line, "Invoice")) {
            if !invoice_ids.contains(&id) {
                invoice_ids.push(id);
            }
        }
        let void_note = text(record, "PrivateNote").is_some_and(|note| note.trim_start().starts_with("Voided"));
        let amount = if meta.is_deleted { 0 } else { amount? };
        Some(Self {
            amount,
            currency: reference(record, "CurrencyRef"),
            date: text(record, "TxnDate").and_then(|date| date.get(..10).map(str::to_owned)),
            invoice_ids,
            method: reference(record, "PaymentMethodRef"),
            is_void: amount == 0 && void_note,
            meta,
        })
    }
}

/// The ids of the transactions of a kind that a record or line is linked to.
fn linked(record: &Value, kind: &str) -> Vec<String> {
    let links = record.get("LinkedTxn").and_then(Value::as_array).into_iter().flatten();
    links.filter(|link| text(link, "TxnType").as_deref() == Some(kind)).filter_map(|link| text(link, "TxnId")).collect()
}

/// Text that is not blank; a number is text where an identifier should be.
pub fn text(record: &Value, name: &str) -> Option<String> {
    match record.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The value of a reference such as `CustomerRef`.
pub fn reference(record: &Value, name: &str) -> Option<String> {
    text(record.get(name)?, "value")
}

/// A note that carries our reference.
pub fn note(reference: &str) -> String {
    format!("{REFERENCE}{reference}")
}

/// Our reference in a note that people may have written more into.
pub fn reference_in(note: &str) -> Option<String> {
    let found = note.split(REFERENCE).nth(1)?.get(..32)?;
    found.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| found.to_owned())
}

/// Whether a record carries this run's reference.
pub fn is_ours<C>(ctx: &Ctx<C>, record: &Value) -> bool {
    text(record, "PrivateNote").and_then(|note| reference_in(&note)).as_deref() == Some(ctx.reference())
}
