use serde_json::Value;
use switchyard_sdk::json;
use switchyard_sdk::money::minor_of;
use switchyard_sdk::time::normalise;

/// Where an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not booked yet.
    Draft,
    /// Booked, with a number.
    Approved,
    /// Booked and taken back.
    Voided,
}

impl State {
    /// As Billy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Voided => "voided",
        }
    }
}

/// How far the sending of an invoice came, in Billy's order.
pub const SENT_STATES: [&str; 5] = ["unsent", "printed", "sent", "opened", "viewed"];

/// The index of `sent` in it.
pub const SENT: u8 = 2;

/// An invoice as Billy lists it. Amounts are in hundredths of its currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Billy's id.
    pub id: String,
    /// Whom it is for.
    pub contact_id: Option<String>,
    /// Given at approval.
    pub number: Option<String>,
    /// Where it stands.
    pub state: State,
    /// An index of [`SENT_STATES`].
    pub sent: u8,
    /// RFC 3339, once it is approved.
    pub approved_at: Option<String>,
    /// A date.
    pub due_date: Option<String>,
    /// ISO 4217 code, where Billy says it.
    pub currency: Option<String>,
    /// Without tax.
    pub net: i64,
    /// The tax.
    pub tax: i64,
    /// What is open.
    pub balance: i64,
    /// Approved, and nothing is open.
    pub is_paid: bool,
    /// Where our reference stands.
    pub contact_message: Option<String>,
    /// It takes something back. Its amounts are positive here, whatever their sign at Billy.
    pub is_credit_note: bool,
    /// What a credit note takes back.
    pub credited_invoice_id: Option<String>,
    /// The person whom it is addressed to.
    pub contact_person_id: Option<String>,
    /// A date.
    pub entry_date: Option<String>,
}

impl Invoice {
    /// Reads one record. None if it has no id or a state that is not known, since nothing true could be said of it.
    pub fn read(record: &Value) -> Option<Self> {
        let state = match record.get("state").and_then(Value::as_str)? {
            "draft" => State::Draft,
            "approved" => State::Approved,
            "voided" => State::Voided,
            _ => return None,
        };
        let is_credit_note = record.get("type").and_then(Value::as_str) == Some("creditNote");
        let amount = |name: &str| {
            let amount = record.get(name).and_then(minor_of).unwrap_or(0);
            if is_credit_note { amount.saturating_abs() } else { amount }
        };
        let sent = text(record, "sentState").and_then(|sent| SENT_STATES.iter().position(|name| *name == sent));
        let paid = record.get("isPaid").map_or(amount("balance") == 0, truth);
        Some(Self {
            id: text(record, "id")?,
            contact_id: text(record, "contactId"),
            number: text(record, "invoiceNo"),
            state,
            sent: sent.and_then(|sent| u8::try_from(sent).ok()).unwrap_or(0),
            approved_at: text(record, "approvedTime").and_then(|time| normalise(&time)),
            due_date: text(record, "dueDate").and_then(|date| date.get(..10).map(str::to_owned)),
            currency: text(record, "currencyId"),
            net: amount("amount"),
            tax: amount("tax"),
            balance: amount("balance"),
            is_paid: state == State::Approved && paid,
            contact_message: text(record, "contactMessage"),
            is_credit_note,
            credited_invoice_id: text(record, "creditedInvoiceId"),
            contact_person_id: text(record, "attContactPersonId"),
            entry_date: text(record, "entryDate").and_then(|date| date.get(..10).map(str::to_owned)),
        })
    }

    /// With tax.
    pub fn total(&self) -> i64 {
        self.net.saturating_add(self.tax)
    }
}

/// Text that is not blank; a number is text where Billy writes one for an identifier.
pub fn text(record: &Value, name: &str) -> Option<String> {
    match record.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A truth value, also as 0 and 1.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => matches!(text.as_str(), "1" | "true"),
        _ => false,
    }
}

/// The records of a kind in an answer, whether it has one under its singular name or many under the plural.
pub fn records<'a>(answer: &'a Value, singular: &str, plural: &str) -> Vec<&'a Value> {
    let under = |name: &str| match answer.get(name) {
        Some(Value::Array(records)) => records.iter().collect(),
        Some(record @ Value::Object(_)) => vec![record],
        _ => Vec::new(),
    };
    let mut found = under(singular);
    found.extend(under(plural));
    found
}

/// A body as JSON, also where a line of a log stands before it.
pub fn parse(body: &[u8]) -> Option<Value> {
    if let Ok(value) = json::parse(body) {
        return Some(value);
    }
    let start = body.iter().position(|byte| *byte == b'{')?;
    json::parse(body.get(start..)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_invoice_is_read_from_floats_and_either_form_of_time() {
        for time in ["2026-11-20 13:31:25", "2026-11-20T13:31:25", "2026-11-20T13:31:25+00:00"] {
            let record = json!({
                "id": "i", "state": "approved", "sentState": "opened", "amount": 100.1, "tax": 25.03, "balance": 125.13,
                "isPaid": false, "approvedTime": time, "dueDate": "2026-11-28", "invoiceNo": 1001, "contactId": "c"
            });
            let invoice = Invoice::read(&record).unwrap();
            assert_eq!((invoice.total(), invoice.balance, invoice.sent), (12_513, 12_513, 3));
            assert_eq!(invoice.approved_at.as_deref(), Some("2026-11-20T13:31:25Z"));
            assert_eq!(invoice.number.as_deref(), Some("1001"));
        }
        assert_eq!(Invoice::read(&json!({ "id": "i", "state": "sublime" })), None);
    }

    #[test]
    fn a_draft_with_nothing_open_is_not_paid() {
        let draft = Invoice::read(&json!({ "id": "i", "state": "draft", "balance": 0 })).unwrap();
        assert!(!draft.is_paid);
        let approved = Invoice::read(&json!({ "id": "i", "state": "approved", "balance": 0, "isPaid": 1 })).unwrap();
        assert!(approved.is_paid);
    }

    #[test]
    fn records_are_found_in_the_singular_and_in_the_plural() {
        for answer in
            [json!({ "invoice": { "id": "i" } }), json!({ "invoices": [{ "id": "i" }], "invoiceLines": [{}] })]
        {
            assert_eq!(records(&answer, "invoice", "invoices").len(), 1);
        }
        assert!(records(&json!({ "meta": {} }), "invoice", "invoices").is_empty());
    }

    #[test]
    fn json_behind_a_line_of_log_is_found() {
        assert_eq!(parse(b"Notice: cache miss\n{\"a\":1}"), Some(json!({ "a": 1 })));
        assert_eq!(parse(b"<html>"), None);
    }
}
