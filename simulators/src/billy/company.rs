//! One company in Billy: its books, and the records that every company starts with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::{
    Behaviour, Options, TimeFormat,
    answer::{self, ACCOUNT, CONTACT, CONTACT_PERSON, Kind, PRODUCT, RULESET, TAX_RATE},
    errors::ApiError,
    invoice::Invoice,
    invoices::Mail,
    money::Decimal,
    payment::Payment,
};
use crate::{
    clock::{OffsetClock, format_utc},
    http::{Call, Reply},
    ids::Ids,
};

/// A record without behaviour of its own.
pub(crate) type Record = Map<String, Value>;

/// At most this many records of one kind; more are refused with 422, so that no test fills the memory.
pub(crate) const MOST_RECORDS: usize = 100_000;

/// The company with everything around it.
pub(crate) struct Company {
    pub(crate) token: String,
    pub(crate) clock: OffsetClock,
    pub(crate) ids: Ids,
    pub(crate) fixed: Fixed,
    books: Mutex<Books>,
}

/// Ids that exist from the start.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) organization: String,
    pub(crate) product: String,
    pub(crate) sales_account: String,
    pub(crate) bank_account: String,
    pub(crate) ruleset: String,
    pub(crate) tax_rate: String,
    pub(crate) free_product: String,
    pub(crate) free_ruleset: String,
    pub(crate) free_tax_rate: String,
}

/// Everything that changes, oldest first.
pub(crate) struct Books {
    pub(crate) behaviour: Behaviour,
    pub(crate) contacts: Vec<Record>,
    pub(crate) contact_persons: Vec<Record>,
    pub(crate) products: Vec<Record>,
    pub(crate) accounts: Vec<Record>,
    pub(crate) tax_rates: Vec<Record>,
    pub(crate) rulesets: Vec<Record>,
    pub(crate) invoices: Vec<Invoice>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) mails: Vec<Mail>,
    pub(crate) next_invoice_no: u64,
}

impl Books {
    pub(crate) fn table(&self, kind: Kind) -> &[Record] {
        match kind {
            CONTACT => &self.contacts,
            CONTACT_PERSON => &self.contact_persons,
            PRODUCT => &self.products,
            ACCOUNT => &self.accounts,
            TAX_RATE => &self.tax_rates,
            RULESET => &self.rulesets,
            _ => &[],
        }
    }

    pub(crate) fn find(&self, kind: Kind, id: &str) -> Option<&Record> {
        self.table(kind).iter().find(|record| text(record, "id") == Some(id))
    }

    pub(crate) fn invoice(&self, id: &str) -> Result<&Invoice, ApiError> {
        self.invoices.iter().find(|invoice| invoice.id == id).ok_or_else(|| ApiError::not_found("The invoice"))
    }

    pub(crate) fn invoice_mut(&mut self, id: &str) -> Result<&mut Invoice, ApiError> {
        self.invoices.iter_mut().find(|invoice| invoice.id == id).ok_or_else(|| ApiError::not_found("The invoice"))
    }

    /// The tax of a product in basis points, by its ruleset's fallback rate.
    pub(crate) fn tax_of(&self, product: &Record) -> i64 {
        text(product, "salesTaxRulesetId")
            .and_then(|id| self.find(RULESET, id))
            .and_then(|ruleset| text(ruleset, "fallbackTaxRateId"))
            .and_then(|id| self.find(TAX_RATE, id))
            .and_then(|rate| rate.get("rate").and_then(Value::as_f64))
            .map_or(0, |rate| (rate * 10_000.0).round() as i64)
    }

    /// The product's own price in kroner.
    pub(crate) fn price_of(product: &Record) -> Decimal {
        product
            .get("prices")
            .and_then(|prices| prices.get(0)?.get("unitPrice"))
            .and_then(Decimal::read)
            .unwrap_or(Decimal::ZERO)
    }
}

impl Company {
    pub(crate) fn new(options: Options, clock: OffsetClock) -> Arc<Self> {
        let ids = Ids::seeded(options.seed);
        let fixed = Fixed {
            organization: ids.base62(),
            product: ids.base62(),
            sales_account: ids.base62(),
            bank_account: ids.base62(),
            ruleset: ids.base62(),
            tax_rate: ids.base62(),
            free_product: ids.base62(),
            free_ruleset: ids.base62(),
            free_tax_rate: ids.base62(),
        };
        let mut company =
            Self { token: options.token, clock, ids, fixed, books: Mutex::new(empty_books(options.behaviour)) };
        company.open_books();
        Arc::new(company)
    }

    /// Danish VAT of 25 % and none, a product with each, an account for sales, and one for the bank.
    fn open_books(&mut self) {
        let Fixed { organization, product, sales_account, bank_account, ruleset, tax_rate, .. } = self.fixed.clone();
        let Fixed { free_product, free_ruleset, free_tax_rate, .. } = self.fixed.clone();
        let books = self.books.get_mut().unwrap_or_else(PoisonError::into_inner);
        books.tax_rates.push(record(json!({
            "id": tax_rate, "organizationId": organization, "name": "25%", "abbreviation": "25%", "rate": 0.25,
            "isActive": true,
        })));
        books.rulesets.push(record(json!({
            "id": ruleset, "organizationId": organization, "name": "Salg med moms", "abbreviation": "25%",
            "fallbackTaxRateId": tax_rate,
        })));
        books.tax_rates.push(record(json!({
            "id": free_tax_rate, "organizationId": organization, "name": "0%", "abbreviation": "0%", "rate": 0,
            "isActive": true,
        })));
        books.rulesets.push(record(json!({
            "id": free_ruleset, "organizationId": organization, "name": "Salg uden moms", "abbreviation": "0%",
            "fallbackTaxRateId": free_tax_rate,
        })));
        books.products.push(record(json!({
            "id": free_product, "organizationId": organization, "name": "Fritaget ydelse", "accountId": sales_account,
            "salesTaxRulesetId": free_ruleset, "isArchived": false,
            "prices": [{"unitPrice": 100, "currencyId": "DKK"}],
        })));
        books.accounts.push(record(json!({
            "id": sales_account, "organizationId": organization, "name": "Salg", "accountNo": 1110,
            "isPaymentEnabled": false,
        })));
        books.accounts.push(record(json!({
            "id": bank_account, "organizationId": organization, "name": "Bank", "accountNo": 5810,
            "isPaymentEnabled": true,
        })));
        books.products.push(record(json!({
            "id": product, "organizationId": organization, "name": "Service", "accountId": sales_account,
            "salesTaxRulesetId": ruleset, "isArchived": false,
            "prices": [{"unitPrice": 400, "currencyId": "DKK"}],
        })));
    }

    /// The company's own record.
    pub(crate) fn organization(&self) -> Value {
        json!({
            "id": self.fixed.organization, "name": "Simuleret ApS", "countryId": "DK", "baseCurrencyId": "DKK",
            "defaultSalesTaxRulesetId": self.fixed.ruleset, "defaultSalesAccountId": self.fixed.sales_account,
            "defaultTaxMode": "excl", "paymentTermsMode": "net", "paymentTermsDays": 8,
        })
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment as bodies carry it.
    pub(crate) fn time(&self, behaviour: &Behaviour, ms: i64) -> String {
        match behaviour.time_format {
            TimeFormat::T => format_utc(ms, "%Y-%m-%dT%H:%M:%S"),
            TimeFormat::TWithZone => format_utc(ms, "%Y-%m-%dT%H:%M:%S+00:00"),
            TimeFormat::Space => format_utc(ms, "%Y-%m-%d %H:%M:%S"),
        }
    }

    /// A company of its own is the only one that a token may write to.
    pub(crate) fn own_organization(&self, record: &Record) -> Result<(), ApiError> {
        match record.get("organizationId") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(id)) if *id == self.fixed.organization => Ok(()),
            Some(_) => Err(ApiError::invalid("organizationId", "This organization does not exist.")),
        }
    }

    /// `GET /{plural}/{id}` of a table without behaviour.
    pub(crate) fn fetch_record(&self, kind: Kind, id: &str) -> Result<Reply, ApiError> {
        let books = self.books();
        let record = books.find(kind, id).ok_or_else(|| ApiError::not_found(kind.singular))?;
        Ok(answer::one(books.behaviour.read_shape, kind, Value::Object(record.clone()), Vec::new()))
    }

    /// `GET /{plural}` of a table without behaviour.
    pub(crate) fn list_records(&self, call: &Call, kind: Kind) -> Result<Reply, ApiError> {
        let records = self.books().table(kind).iter().cloned().map(Value::Object).collect();
        answer::list(call, kind, records)
    }
}

fn empty_books(behaviour: Behaviour) -> Books {
    Books {
        behaviour,
        contacts: Vec::new(),
        contact_persons: Vec::new(),
        products: Vec::new(),
        accounts: Vec::new(),
        tax_rates: Vec::new(),
        rulesets: Vec::new(),
        invoices: Vec::new(),
        payments: Vec::new(),
        mails: Vec::new(),
        next_invoice_no: 1001,
    }
}

/// A JSON object as a record; anything else is an empty one.
pub(crate) fn record(value: Value) -> Record {
    match value {
        Value::Object(record) => record,
        _ => Record::new(),
    }
}

/// A text attribute that is not blank.
pub(crate) fn text<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

/// Refuses what would make a table too long.
pub(crate) fn room(count: usize) -> Result<(), ApiError> {
    if count < MOST_RECORDS { Ok(()) } else { Err(ApiError::new(422, "The simulator keeps no more records.")) }
}
