//! One company in QuickBooks: its books, what was answered under each request id, and the records that it starts with.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Behaviour, Options,
    errors::Fault,
    record::{Kind, Record},
    webhook::{Change, Operation, SentWebhook},
};
use crate::{clock::OffsetClock, faults::Faults, ids::Ids};

/// At most this many records of one kind, so that no test fills the memory.
const MOST_RECORDS: usize = 100_000;

/// Answers under request ids, sent webhooks and waiting changes that are kept; the oldest go.
const KEPT: usize = 20_000;

/// The company with everything around it.
pub(crate) struct Company {
    pub(crate) options: Options,
    pub(crate) clock: OffsetClock,
    pub(crate) ids: Ids,
    pub(crate) faults: Arc<Faults>,
    pub(crate) shutdown: CancellationToken,
    /// Wakes the sender of webhooks.
    pub(crate) news: Notify,
    /// How many webhooks have ended.
    pub(crate) ended: watch::Sender<usize>,
    books: Mutex<Books>,
}

/// Everything that changes.
pub(crate) struct Books {
    pub(crate) behaviour: Behaviour,
    pub(crate) webhook_url: Option<String>,
    records: BTreeMap<Kind, Vec<Record>>,
    next_id: u64,
    next_number: u64,
    /// Status and body by request id.
    answered: BTreeMap<String, (u16, Value)>,
    answered_order: VecDeque<String>,
    /// Changes that no webhook has told yet, oldest first.
    pub(crate) untold: VecDeque<Change>,
    pub(crate) webhooks: VecDeque<SentWebhook>,
    /// When the requests of the last minute came.
    requests: VecDeque<i64>,
    /// How many requests were refused for their token, so that both spellings occur.
    pub(crate) refused: u64,
    /// To whom each invoice was mailed, oldest first.
    pub(crate) mails: VecDeque<(String, String)>,
}

impl Company {
    pub(crate) fn new(
        options: Options,
        faults: Arc<Faults>,
        clock: OffsetClock,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let books = Books {
            behaviour: options.behaviour,
            webhook_url: options.webhook_url.clone(),
            records: BTreeMap::new(),
            next_id: 1,
            next_number: 1001,
            answered: BTreeMap::new(),
            answered_order: VecDeque::new(),
            untold: VecDeque::new(),
            webhooks: VecDeque::new(),
            requests: VecDeque::new(),
            refused: 0,
            mails: VecDeque::new(),
        };
        let ids = Ids::seeded(options.seed);
        let company = Self {
            options,
            clock,
            ids,
            faults,
            shutdown,
            news: Notify::new(),
            ended: watch::Sender::new(0),
            books: Mutex::new(books),
        };
        company.open_books();
        Arc::new(company)
    }

    /// Danish VAT of 25 %, none, one service, a bank account and two ways to pay. Ids are the same in every company.
    fn open_books(&self) {
        let now = self.clock.now_ms();
        let mut books = self.books();
        let fixed = [
            (Kind::TaxRate, "25", json!({"Name": "DK Moms 25%", "RateValue": 25, "Active": true})),
            (Kind::TaxRate, "26", json!({"Name": "DK Moms 0%", "RateValue": 0, "Active": true})),
            (Kind::TaxCode, super::TAX_25, tax_code("Salgsmoms 25%", "25")),
            (Kind::TaxCode, super::TAX_0, tax_code("Momsfri", "26")),
            (Kind::Account, super::BANK_ACCOUNT, account("Bank", "Bank")),
            (Kind::Account, super::INCOME_ACCOUNT, account("Salg", "Income")),
            (Kind::PaymentMethod, "1", json!({"Name": "Cash", "Active": true, "Type": "NON_CREDIT_CARD"})),
            (Kind::PaymentMethod, "2", json!({"Name": "Dankort", "Active": true, "Type": "CREDIT_CARD"})),
            (
                Kind::Item,
                super::ITEM,
                json!({
                    "Name": "Service", "Active": true, "Type": "Service", "UnitPrice": 400.0, "Taxable": true,
                    "IncomeAccountRef": {"value": super::INCOME_ACCOUNT, "name": "Salg"},
                }),
            ),
        ];
        for (kind, id, body) in fixed {
            books.records.entry(kind).or_default().push(Record::new(kind, id.to_owned(), now, object(body)));
        }
        books.next_id = 101;
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what is over the limit of the company, if it has one.
    pub(crate) fn throttle(&self) -> Result<(), Fault> {
        let now = self.clock.now_ms();
        let mut books = self.books();
        let Some(limit) = books.behaviour.requests_per_minute else { return Ok(()) };
        while books.requests.front().is_some_and(|at| *at + 60_000 <= now) {
            books.requests.pop_front();
        }
        if books.requests.len() >= limit as usize {
            return Err(Fault::throttled());
        }
        books.requests.push_back(now);
        Ok(())
    }

    /// Tells of a change, unless webhooks are lost.
    pub(crate) fn tell(&self, books: &mut Books, record: &Record, operation: Operation) {
        if !books.behaviour.lose_webhooks && record.kind.has_webhooks() {
            let change = Change {
                kind: record.kind,
                id: record.id.clone(),
                operation,
                at_ms: self.clock.now_ms(),
                event_id: self.ids.uuid(),
            };
            keep(&mut books.untold, change);
            self.news.notify_one();
        }
    }

    /// The company's own record.
    pub(crate) fn info(&self) -> Value {
        json!({"CompanyInfo": {
            "CompanyName": "Simuleret ApS", "LegalName": "Simuleret ApS", "Country": "DK", "Id": "1", "SyncToken": "0",
            "domain": "QBO", "sparse": false, "DefaultTimeZone": "Europe/Copenhagen",
            "Email": {"Address": "bogholderi@simuleret.test"}, "FiscalYearStartMonth": "January",
            "MetaData": {"CreateTime": pacific(0), "LastUpdatedTime": pacific(0)},
        }, "time": pacific(self.clock.now_ms())})
    }
}

impl Books {
    pub(crate) fn table(&self, kind: Kind) -> &[Record] {
        self.records.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// A record that was not deleted.
    pub(crate) fn find(&self, kind: Kind, id: &str) -> Option<&Record> {
        self.table(kind).iter().find(|record| record.id == id && !record.deleted)
    }

    pub(crate) fn get(&self, kind: Kind, id: &str) -> Result<&Record, Fault> {
        self.find(kind, id).ok_or_else(|| Fault::not_found(&format!("{} {id}", kind.name())))
    }

    /// Changes a record that was not deleted, and answers it as it is then.
    pub(crate) fn change(
        &mut self,
        kind: Kind,
        id: &str,
        now: i64,
        act: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<Record, Fault> {
        let record = self.records.entry(kind).or_default().iter_mut().find(|record| record.id == id && !record.deleted);
        let record = record.ok_or_else(|| Fault::not_found(&format!("{} {id}", kind.name())))?;
        act(&mut record.body);
        record.sync_token += 1;
        record.updated_ms = now;
        Ok(record.clone())
    }

    /// Marks a record as deleted; the change data capture still tells of it.
    pub(crate) fn delete(&mut self, kind: Kind, id: &str, now: i64) -> Result<Record, Fault> {
        let record = self.records.entry(kind).or_default().iter_mut().find(|record| record.id == id && !record.deleted);
        let record = record.ok_or_else(|| Fault::not_found(&format!("{} {id}", kind.name())))?;
        record.deleted = true;
        record.sync_token += 1;
        record.updated_ms = now;
        Ok(record.clone())
    }

    pub(crate) fn insert(&mut self, kind: Kind, now: i64, body: Map<String, Value>) -> Result<Record, Fault> {
        if self.table(kind).len() >= MOST_RECORDS {
            return Err(Fault::business("The simulator keeps no more records."));
        }
        let record = Record::new(kind, self.next_id.to_string(), now, body);
        self.next_id += 1;
        self.records.entry(kind).or_default().push(record.clone());
        Ok(record)
    }

    /// The next number of a transaction that brings none.
    pub(crate) fn number(&mut self) -> String {
        let number = self.next_number;
        self.next_number += 1;
        number.to_string()
    }

    /// What was answered under this request id.
    pub(crate) fn answer_of(&self, request_id: &str) -> Option<(u16, Value)> {
        self.answered.get(request_id).cloned()
    }

    pub(crate) fn remember(&mut self, request_id: &str, status: u16, body: Value) {
        self.answered.insert(request_id.to_owned(), (status, body));
        self.answered_order.push_back(request_id.to_owned());
        if self.answered_order.len() > KEPT
            && let Some(oldest) = self.answered_order.pop_front()
        {
            self.answered.remove(&oldest);
        }
    }
}

/// Adds to a list that forgets its oldest.
pub(crate) fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(item);
}

/// A JSON object; anything else is an empty one.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A text attribute that is not blank.
pub(crate) fn text<'a>(record: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    record.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

/// The `value` of a reference such as `CustomerRef`.
pub(crate) fn reference<'a>(record: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    record.get(name)?.get("value")?.as_str().filter(|text| !text.is_empty())
}

/// Intuit's own zone, to the second, as `MetaData` has it. Winter time all year is close enough.
pub(crate) fn pacific(ms: i64) -> String {
    let shifted = jiff::Timestamp::from_millisecond(ms - 8 * 3_600_000).unwrap_or_default();
    shifted.strftime("%Y-%m-%dT%H:%M:%S-08:00").to_string()
}

fn tax_code(name: &str, rate: &str) -> Value {
    json!({
        "Name": name, "Active": true, "Taxable": true,
        "SalesTaxRateList": {"TaxRateDetail": [{"TaxRateRef": {"value": rate}, "TaxTypeApplicable": "TaxOnAmount"}]},
    })
}

fn account(name: &str, kind: &str) -> Value {
    json!({"Name": name, "Active": true, "AccountType": kind})
}
