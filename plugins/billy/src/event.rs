use serde_json::{Map, Value, json};
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::config::Config;
use crate::model::{Invoice, SENT_STATES};

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
