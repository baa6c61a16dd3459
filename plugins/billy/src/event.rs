use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use switchyard_event_types::invoice::{About, Refunded};
use switchyard_event_types::payment;
use switchyard_event_types::reconcile::Mismatch;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::config::Config;
use crate::model::{Invoice, SENT_STATES, State};

/// Builds the events of one company. Commands and polls use the same keys, so that a fact is reported once.
pub struct Events<'a> {
    config: &'a Config,
    now: u64,
}

impl<'a> Events<'a> {
    /// Events that happen at the run's time, where Billy does not say when.
    pub fn new(ctx: &'a Ctx<Config>) -> Self {
        Self { config: &ctx.config, now: ctx.time() }
    }

    /// `invoice.created`.
    pub fn created(&self, invoice: &Invoice) -> Emit {
        let mut data = self.about(invoice);
        data.insert("contact_id".to_owned(), json!(invoice.contact_id.as_deref().unwrap_or_default()));
        data.insert("total".to_owned(), self.money(invoice, invoice.total()));
        data.insert("tax".to_owned(), self.money(invoice, invoice.tax));
        data.insert("state".to_owned(), json!(invoice.state.as_str()));
        if let Some(due) = &invoice.due_date {
            data.insert("due_date".to_owned(), json!(due));
        }
        self.emit("invoice.created", invoice, "created", data)
    }

    /// `invoice.approved`.
    pub fn approved(&self, invoice: &Invoice) -> Emit {
        let mut data = self.about(invoice);
        let approved_at = invoice.approved_at.clone().unwrap_or_else(|| rfc3339(self.now));
        data.insert("approved_at".to_owned(), json!(approved_at));
        data.insert("total".to_owned(), self.money(invoice, invoice.total()));
        self.emit("invoice.approved", invoice, "approved", data)
    }

    /// `invoice.sent`.
    pub fn sent(&self, invoice: &Invoice) -> Emit {
        let mut data = self.about(invoice);
        data.insert("sent_state".to_owned(), json!(SENT_STATES[usize::from(invoice.sent).min(SENT_STATES.len() - 1)]));
        self.emit("invoice.sent", invoice, "sent", data)
    }

    /// `invoice.sent` to an address; `again` is the reference of the command that sent it once more.
    pub fn sent_to(&self, invoice: &Invoice, to: &str, again: Option<&str>) -> Emit {
        let mut data = self.about(invoice);
        data.insert("sent_state".to_owned(), json!("sent"));
        data.insert("to".to_owned(), json!(to));
        data.insert("sent_at".to_owned(), json!(rfc3339(self.now)));
        let transition = again.map_or_else(|| "sent".to_owned(), |reference| format!("sent:{reference}"));
        self.emit("invoice.sent", invoice, &transition, data)
    }

    /// `invoice.refunded`: a credit note took back a part of an invoice, or all of it.
    pub fn refunded(&self, invoice_id: &str, invoice: Option<&Invoice>, note: &Invoice) -> Emit {
        let about = About {
            invoice_id: invoice_id.to_owned(),
            number: invoice.and_then(|invoice| invoice.number.clone()),
            contact_id: note.contact_id.clone(),
            ..About::default()
        };
        let money = |minor: i64| Money::from_minor(minor, note.currency.as_deref().unwrap_or(&self.config.currency));
        let data = Refunded {
            about,
            credit_note_id: note.id.clone(),
            credit_note_number: note.number.clone(),
            total: money(note.total()),
            tax: money(note.tax),
            state: note.state.as_str().to_owned(),
            refunded_at: note.approved_at.clone().unwrap_or_else(|| rfc3339(self.now)),
        };
        let key = format!("billy:{}:invoice:{invoice_id}", self.config.organization_id);
        let state = if note.state == State::Approved { "refunded" } else { "refund_drafted" };
        Emit::new("invoice.refunded", json!(data))
            .subject(invoice_id)
            .dedupe(format!("{key}:{state}:{}", note.id))
            .ordering(key)
    }

    /// `payment.voided`.
    pub fn payment_voided(&self, id: &str, amount: Money, invoice_ids: &[String]) -> Emit {
        let data = payment::Voided {
            payment_id: id.to_owned(),
            amount,
            invoice_ids: invoice_ids.to_vec(),
            voided_at: rfc3339(self.now),
        };
        Emit::new("payment.voided", json!(data))
            .subject(id)
            .dedupe(format!("billy:{}:payment:{id}:voided", self.config.organization_id))
    }

    /// `invoice.mismatched`; the figures make the key, so that the same mismatch is reported once.
    pub fn mismatched(&self, invoice: &Invoice, mismatches: Vec<Mismatch>) -> Emit {
        let figures = json::write(&json!(mismatches));
        let hash: String = hex::encode(Sha256::digest(figures)).chars().take(8).collect();
        let mut data = self.about(invoice);
        data.insert("mismatches".to_owned(), json!(mismatches));
        data.insert("checked_at".to_owned(), json!(rfc3339(self.now)));
        self.emit("invoice.mismatched", invoice, &format!("mismatched:{hash}"), data)
    }

    /// `invoice.paid`; `times` counts payments in full, since a payment can be taken back.
    pub fn paid(&self, invoice: &Invoice, times: u32, payment_ids: &[String]) -> Emit {
        let mut data = self.about(invoice);
        data.insert("paid_at".to_owned(), json!(rfc3339(self.now)));
        data.insert("total".to_owned(), self.money(invoice, invoice.total()));
        data.insert("payment_ids".to_owned(), json!(payment_ids));
        let transition = if times <= 1 { "paid".to_owned() } else { format!("paid:{times}") };
        self.emit("invoice.paid", invoice, &transition, data)
    }

    /// `invoice.voided`.
    pub fn voided(&self, invoice: &Invoice) -> Emit {
        let mut data = self.about(invoice);
        data.insert("voided_at".to_owned(), json!(rfc3339(self.now)));
        self.emit("invoice.voided", invoice, "voided", data)
    }

    /// `invoice.updated`; `version` counts updates, so that a value that comes back is reported again.
    pub fn updated(&self, invoice: &Invoice, changed: &[&str], version: u32, hash: &str) -> Emit {
        let mut data = self.about(invoice);
        data.insert("changed".to_owned(), json!(changed));
        data.insert("total".to_owned(), self.money(invoice, invoice.total()));
        data.insert("balance".to_owned(), self.money(invoice, invoice.balance));
        self.emit("invoice.updated", invoice, &format!("updated:{version}:{hash}"), data)
    }

    /// `payment.recorded`.
    pub fn payment(&self, id: &str, amount: Money, invoice_ids: &[String], entry_date: Option<&str>) -> Emit {
        let mut data = json!({ "payment_id": id, "amount": amount.to_json(), "invoice_ids": invoice_ids });
        if let Some(date) = entry_date {
            data["entry_date"] = json!(date);
        }
        Emit::new("payment.recorded", data)
            .subject(id)
            .dedupe(format!("billy:{}:payment:{id}:created", self.config.organization_id))
    }

    fn about(&self, invoice: &Invoice) -> Map<String, Value> {
        let mut data = Map::new();
        data.insert("invoice_id".to_owned(), json!(invoice.id));
        if let Some(number) = &invoice.number {
            data.insert("number".to_owned(), json!(number));
        }
        if let Some(contact) = &invoice.contact_id {
            data.insert("contact_id".to_owned(), json!(contact));
        }
        data
    }

    fn money(&self, invoice: &Invoice, minor: i64) -> Value {
        Money::from_minor(minor, invoice.currency.as_deref().unwrap_or(&self.config.currency)).to_json()
    }

    fn emit(&self, name: &str, invoice: &Invoice, transition: &str, data: Map<String, Value>) -> Emit {
        let key = format!("billy:{}:invoice:{}", self.config.organization_id, invoice.id);
        Emit::new(name, Value::Object(data)).subject(&invoice.id).dedupe(format!("{key}:{transition}")).ordering(key)
    }
}
