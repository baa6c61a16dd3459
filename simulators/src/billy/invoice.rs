//! An invoice as the books keep it, its arithmetic, and its form in bodies.

use serde_json::{Value, json};

use super::{
    Behaviour,
    company::Company,
    money::{Decimal, Ore},
};

/// Where an invoice stands: draft, then approved, then perhaps voided; there is no way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceState {
    /// Can still change or be deleted.
    Draft,
    /// Booked, with a number.
    Approved,
    /// Booked and cancelled.
    Voided,
}

impl InvoiceState {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Voided => "voided",
        }
    }

    pub(crate) fn read(name: &str) -> Option<Self> {
        [Self::Draft, Self::Approved, Self::Voided].into_iter().find(|state| state.name() == name)
    }
}

/// Whether unit prices contain the tax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaxMode {
    Excl,
    Incl,
}

impl TaxMode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Excl => "excl",
            Self::Incl => "incl",
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) product_id: String,
    pub(crate) description: Option<String>,
    pub(crate) quantity: Decimal,
    pub(crate) unit_price: Decimal,
    /// Net.
    pub(crate) amount: Ore,
    pub(crate) tax: Ore,
    /// In basis points.
    pub(crate) tax_rate: i64,
}

impl Line {
    /// Computes net and tax from quantity, price, mode and rate.
    pub(crate) fn calculate(&mut self, mode: TaxMode) {
        let total = self.quantity.times(self.unit_price);
        match mode {
            TaxMode::Excl => {
                self.amount = total;
                self.tax = total.share(self.tax_rate);
            }
            TaxMode::Incl => {
                self.amount = total.net_of(self.tax_rate);
                self.tax = total - self.amount;
            }
        }
    }

    pub(crate) fn to_json(&self, invoice: &str, position: usize) -> Value {
        json!({
            "id": self.id, "invoiceId": invoice, "productId": self.product_id, "description": self.description,
            "quantity": self.quantity.to_json(), "unitPrice": self.unit_price.to_json(),
            "amount": self.amount.to_json(), "tax": self.tax.to_json(), "taxRate": self.tax_rate as f64 / 10_000.0,
            "discountText": null, "discountMode": null, "discountValue": null, "priority": position + 1,
        })
    }
}

/// An invoice with its lines.
#[derive(Clone, Debug)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) contact_id: String,
    pub(crate) contact_person_id: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) approved_ms: Option<i64>,
    pub(crate) entry_date: String,
    pub(crate) terms_mode: String,
    pub(crate) terms_days: i64,
    pub(crate) due_date: String,
    pub(crate) state: InvoiceState,
    pub(crate) sent: bool,
    pub(crate) number: Option<String>,
    pub(crate) tax_mode: TaxMode,
    pub(crate) currency: String,
    pub(crate) contact_message: Option<String>,
    pub(crate) line_description: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) lines: Vec<Line>,
    /// Of a credit note: what it credits.
    pub(crate) credited_invoice_id: Option<String>,
    /// What payments that are not voided have covered.
    pub(crate) paid: Ore,
    /// What invoice and credit notes have taken off each other.
    pub(crate) set_off: Ore,
    /// By how much the tax is wrong on purpose.
    pub(crate) distortion: Ore,
}

impl Invoice {
    pub(crate) fn amount(&self) -> Ore {
        self.lines.iter().fold(Ore::default(), |sum, line| sum + line.amount)
    }

    pub(crate) fn tax(&self) -> Ore {
        self.lines.iter().fold(self.distortion, |sum, line| sum + line.tax)
    }

    pub(crate) fn gross(&self) -> Ore {
        self.amount() + self.tax()
    }

    /// What is still open; nothing once voided.
    pub(crate) fn balance(&self) -> Ore {
        if self.state == InvoiceState::Voided { Ore::default() } else { self.gross() - self.paid - self.set_off }
    }

    pub(crate) fn is_paid(&self) -> bool {
        self.state == InvoiceState::Approved && self.balance() == Ore::default()
    }

    pub(crate) fn recalculate(&mut self) {
        let mode = self.tax_mode;
        for line in &mut self.lines {
            line.calculate(mode);
        }
    }

    pub(crate) fn lines_json(&self) -> Vec<Value> {
        self.lines.iter().enumerate().map(|(position, line)| line.to_json(&self.id, position)).collect()
    }

    /// The body without lines. The download URL is another one every time it is read.
    pub(crate) fn to_json(&self, company: &Company, behaviour: &Behaviour) -> Value {
        let time = |ms: i64| company.time(behaviour, ms);
        json!({
            "id": self.id, "organizationId": company.fixed.organization, "type": self.kind,
            "createdTime": time(self.created_ms), "approvedTime": self.approved_ms.map(time),
            "contactId": self.contact_id, "attContactPersonId": self.contact_person_id,
            "entryDate": self.entry_date, "paymentTermsMode": self.terms_mode, "paymentTermsDays": self.terms_days,
            "dueDate": self.due_date, "state": self.state.name(),
            "sentState": if self.sent { "sent" } else { "unsent" }, "invoiceNo": self.number,
            "taxMode": self.tax_mode.name(), "amount": self.amount().to_json(), "tax": self.tax().to_json(),
            "currencyId": self.currency, "exchangeRate": 1, "balance": self.balance().to_json(),
            "isPaid": self.is_paid(), "creditedInvoiceId": self.credited_invoice_id, "contactMessage": self.contact_message,
            "lineDescription": self.line_description, "externalId": self.external_id,
            "downloadUrl": format!("https://download.billy.test/{}/{}.pdf", self.id, company.ids.base62()),
        })
    }
}
