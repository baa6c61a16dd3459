use serde_json::{Value, json};
use switchyard_event_types::{customer, invoice, payment, sales_receipt};
use switchyard_sdk::money::minor_of;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::config::Config;
use crate::model::{self, Invoice, Payment, text};

/// Builds the events of one company. Webhooks, polls and commands use the same keys, so that a fact is reported once.
pub struct Events<'a> {
    config: &'a Config,
    now: u64,
}

impl<'a> Events<'a> {
    /// Events that happen at the run's time, where QuickBooks does not say when.
    pub fn new(ctx: &'a Ctx<Config>) -> Self {
        Self { config: &ctx.config, now: ctx.time() }
    }

    /// `invoice.created`. QuickBooks knows no drafts: an invoice is booked when it is made.
    pub fn created(&self, invoice: &Invoice) -> Emit {
        let mut about = about(invoice);
        about.contact_id = Some(invoice.customer_id.clone().unwrap_or_default());
        let data = invoice::Created {
            about,
            total: self.money(invoice, invoice.total),
            tax: self.money(invoice, invoice.tax),
            due_date: invoice.due_date.clone(),
            state: if invoice.is_void { "voided" } else { "approved" }.to_owned(),
        };
        self.invoice(invoice::CREATED, &invoice.meta.id, "created", json!(data))
    }

    /// `invoice.sent`; `marker` tells one sending from another.
    pub fn sent(&self, invoice: &Invoice, marker: &str) -> Emit {
        let data = invoice::Sent {
            about: about(invoice),
            sent_state: "sent".to_owned(),
            to: invoice.email.clone(),
            sent_at: invoice.sent_at.clone(),
        };
        self.invoice(invoice::SENT, &invoice.meta.id, &format!("sent:{marker}"), json!(data))
    }

    /// `invoice.updated`, once per version and content.
    pub fn updated(&self, invoice: &Invoice, changed: &[&str], hash: &str) -> Emit {
        let data = invoice::Updated {
            about: about(invoice),
            changed: changed.iter().map(|name| (*name).to_owned()).collect(),
            total: self.money(invoice, invoice.total),
            balance: self.money(invoice, invoice.balance),
        };
        let transition = format!("updated:{}:{hash}", invoice.meta.token);
        self.invoice(invoice::UPDATED, &invoice.meta.id, &transition, json!(data))
    }

    /// `invoice.paid`; `times` counts payments in full, since a payment can be taken back.
    pub fn paid(&self, invoice: &Invoice, times: u32) -> Emit {
        let data = invoice::Paid {
            about: about(invoice),
            paid_at: self.moment(invoice.meta.updated),
            total: self.money(invoice, invoice.total),
            payment_ids: invoice.payment_ids.clone(),
        };
        let transition = if times <= 1 { "paid".to_owned() } else { format!("paid:{times}") };
        self.invoice(invoice::PAID, &invoice.meta.id, &transition, json!(data))
    }

    /// `invoice.voided`, also of one that was deleted.
    pub fn voided(&self, invoice: &Invoice) -> Emit {
        let data = invoice::Voided { about: about(invoice), voided_at: self.moment(invoice.meta.updated) };
        self.invoice(invoice::VOIDED, &invoice.meta.id, "voided", json!(data))
    }

    /// `invoice.voided` of an invoice of which only the id is left.
    pub fn gone(&self, id: &str) -> Emit {
        let about = invoice::About { invoice_id: id.to_owned(), ..invoice::About::default() };
        let data = invoice::Voided { about, voided_at: rfc3339(self.now) };
        self.invoice(invoice::VOIDED, id, "voided", json!(data))
    }

    /// `payment.recorded`.
    pub fn recorded(&self, payment: &Payment) -> Emit {
        let data = payment::Recorded {
            payment_id: payment.meta.id.clone(),
            amount: self.amount(payment.amount, payment.currency.as_deref()),
            invoice_ids: payment.invoice_ids.clone(),
            entry_date: payment.date.clone(),
            method: payment.method.clone(),
        };
        self.emit(payment::RECORDED, "payment", &payment.meta.id, "created", json!(data))
    }

    /// `payment.voided`; what it was stands in no record any more.
    pub fn payment_voided(&self, id: &str, amount: i64, currency: Option<&str>, invoice_ids: &[String]) -> Emit {
        let data = payment::Voided {
            payment_id: id.to_owned(),
            amount: self.amount(amount, currency),
            invoice_ids: invoice_ids.to_vec(),
            voided_at: rfc3339(self.now),
        };
        self.emit(payment::VOIDED, "payment", id, "voided", json!(data))
    }

    /// `contact.created`, or `contact.updated` to a version; none for a customer without a name.
    pub fn contact(&self, record: &Value, is_new: bool) -> Option<Emit> {
        let meta = model::Meta::read(record)?;
        let inner = |outer: &str, name: &str| record.get(outer).and_then(|part| text(part, name));
        let data = customer::Contact {
            contact_id: meta.id.clone(),
            name: text(record, "DisplayName")?,
            email: inner("PrimaryEmailAddr", "Address"),
            phone: inner("PrimaryPhone", "FreeFormNumber"),
            org_no: text(record, "BusinessNumber"),
        };
        let (name, transition) = if is_new {
            (customer::CONTACT_CREATED, "created".to_owned())
        } else {
            (customer::CONTACT_UPDATED, format!("updated:{}", meta.token))
        };
        Some(self.emit(name, "contact", &meta.id, &transition, json!(data)))
    }

    /// `salesreceipt.created`; none for a record without id or amount.
    pub fn receipt(&self, record: &Value) -> Option<Emit> {
        let meta = model::Meta::read(record)?;
        let currency = model::reference(record, "CurrencyRef");
        let money = |minor: i64| self.amount(minor, currency.as_deref());
        let hub_ref = text(record, "PrivateNote").as_deref().and_then(model::reference_in);
        let memo = record.get("CustomerMemo").and_then(|memo| text(memo, "value"));
        let data = sales_receipt::Created {
            salesreceipt_id: meta.id.clone(),
            number: text(record, "DocNumber"),
            contact_id: model::reference(record, "CustomerRef"),
            total: money(record.get("TotalAmt").and_then(minor_of)?),
            tax: record.get("TxnTaxDetail").and_then(|tax| tax.get("TotalTax")).and_then(minor_of).map(money),
            entry_date: text(record, "TxnDate").and_then(|date| date.get(..10).map(str::to_owned)),
            reference: memo.filter(|_| hub_ref.is_some()),
            hub_ref,
        };
        Some(self.emit(sales_receipt::CREATED, "salesreceipt", &meta.id, "created", json!(data)))
    }

    /// What an invoice's amounts are in its currency.
    pub fn money(&self, invoice: &Invoice, minor: i64) -> Money {
        self.amount(minor, invoice.currency.as_deref())
    }

    /// An amount in a currency, that of the config where none is known.
    pub fn amount(&self, minor: i64, currency: Option<&str>) -> Money {
        Money::from_minor(minor, currency.unwrap_or(&self.config.currency))
    }

    /// An event about an invoice.
    pub fn invoice(&self, name: &str, id: &str, transition: &str, data: Value) -> Emit {
        self.emit(name, "invoice", id, transition, data)
    }

    fn emit(&self, name: &str, kind: &str, id: &str, transition: &str, data: Value) -> Emit {
        let key = format!("quickbooks:{}:{kind}:{id}", self.config.realm_id);
        Emit::new(name, data).subject(id).dedupe(format!("{key}:{transition}")).ordering(key)
    }

    fn moment(&self, at: u64) -> String {
        rfc3339(if at == 0 { self.now } else { at })
    }
}

/// What every event says of its invoice.
pub fn about(invoice: &Invoice) -> invoice::About {
    invoice::About {
        invoice_id: invoice.meta.id.clone(),
        number: invoice.number.clone(),
        contact_id: invoice.customer_id.clone(),
        hub_ref: invoice.hub_ref.clone(),
        reference: invoice.reference.clone(),
    }
}
