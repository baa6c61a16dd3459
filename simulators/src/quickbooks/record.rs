//! What the books consist of.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::company::pacific;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Somebody who buys.
    Customer,
    /// Something that is sold.
    Item,
    /// A demand for money.
    Invoice,
    /// A sale that was paid at once.
    SalesReceipt,
    /// Money that came in.
    Payment,
    /// Which tax a line has.
    TaxCode,
    /// A rate of tax.
    TaxRate,
    /// An account of the ledger.
    Account,
    /// A way to pay.
    PaymentMethod,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Customer,
        Self::Item,
        Self::Invoice,
        Self::SalesReceipt,
        Self::Payment,
        Self::TaxCode,
        Self::TaxRate,
        Self::Account,
        Self::PaymentMethod,
    ];

    /// The name in bodies and queries, which is case-sensitive.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Customer => "Customer",
            Self::Item => "Item",
            Self::Invoice => "Invoice",
            Self::SalesReceipt => "SalesReceipt",
            Self::Payment => "Payment",
            Self::TaxCode => "TaxCode",
            Self::TaxRate => "TaxRate",
            Self::Account => "Account",
            Self::PaymentMethod => "PaymentMethod",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind that a part of a path means.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(path))
    }

    pub(crate) const fn has_webhooks(self) -> bool {
        matches!(self, Self::Customer | Self::Item | Self::Invoice | Self::SalesReceipt | Self::Payment)
    }

    /// Change data capture knows neither tax codes nor rates.
    pub(crate) const fn has_changes(self) -> bool {
        !matches!(self, Self::TaxCode | Self::TaxRate)
    }

    /// Whether it is listed by name, and hidden from queries once it is inactive.
    pub(crate) const fn is_list(self) -> bool {
        !matches!(self, Self::Invoice | Self::SalesReceipt | Self::Payment)
    }
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) sync_token: u64,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) deleted: bool,
    pub(crate) body: Map<String, Value>,
}

impl Record {
    pub(crate) fn new(kind: Kind, id: String, now: i64, body: Map<String, Value>) -> Self {
        Self { kind, id, sync_token: 0, created_ms: now, updated_ms: now, deleted: false, body }
    }

    fn meta(&self) -> Value {
        json!({"CreateTime": pacific(self.created_ms), "LastUpdatedTime": pacific(self.updated_ms)})
    }

    /// As answers carry it.
    pub(crate) fn to_json(&self) -> Value {
        let mut all = self.body.clone();
        all.insert("domain".to_owned(), json!("QBO"));
        all.insert("sparse".to_owned(), json!(false));
        all.insert("Id".to_owned(), json!(self.id));
        all.insert("SyncToken".to_owned(), json!(self.sync_token.to_string()));
        all.insert("MetaData".to_owned(), self.meta());
        Value::Object(all)
    }

    /// As change data capture tells of a record that is gone.
    pub(crate) fn tombstone(&self) -> Value {
        json!({"status": "Deleted", "domain": "QBO", "Id": self.id, "MetaData": self.meta()})
    }

    /// `{"Invoice":{..},"time":".."}`
    pub(crate) fn answer(&self, now: i64) -> Value {
        json!({self.kind.name(): self.to_json(), "time": pacific(now)})
    }
}
