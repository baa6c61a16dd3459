//! What people do in the books while nobody looks, and what other processes may ask of the simulator.
//!
//! Acts, as `POST /_sim/act` and [`Handle::act`](super::Handle::act) take them:
//! `{"do":"create","kind":"Invoice","record":{..}}`, `{"do":"change","kind":"Invoice","id":"101","record":{..}}`,
//! `{"do":"void","kind":"Invoice","id":"101"}`, `{"do":"delete","kind":"Payment","id":"102"}`,
//! `{"do":"send","id":"101","to":"a@b.test"}`, `{"do":"pay","id":"101","amount":250.0}`.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Behaviour,
    amount::Cents,
    company::{Company, text},
    customers,
    errors::Fault,
    payments,
    record::{Kind, Record},
    sales,
    webhook::{self, Attempt, Forgery},
};
use crate::{
    body::AnswerBody,
    http::{Call, Reply},
    provider::{control_problem, unknown_command, with_body},
};

/// Why a person cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The act itself is not understood.
    #[error("{0}")]
    Malformed(String),
    /// QuickBooks refuses it, in its own words.
    #[error("QuickBooks refuses it: {0}")]
    Refused(String),
}

/// An invoice as a test or the demo looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvoiceView {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: String,
    /// Whom it is for.
    pub customer_id: String,
    /// With tax, in hundredths.
    pub total: i64,
    /// The tax in it, in hundredths.
    pub tax: i64,
    /// What is open, in hundredths.
    pub balance: i64,
    /// Whether it was mailed.
    pub sent: bool,
    /// Whether it was voided.
    pub void: bool,
    /// The note that carries the caller's reference.
    pub note: Option<String>,
}

/// A payment as a test or the demo looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PaymentView {
    /// Its id.
    pub id: String,
    /// In hundredths.
    pub amount: i64,
    /// What it pays.
    pub invoices: Vec<String>,
    /// The note that carries the caller's reference.
    pub note: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Act {
    Create { kind: String, record: Map<String, Value> },
    Change { kind: String, id: String, record: Map<String, Value> },
    Void { kind: String, id: String },
    Delete { kind: String, id: String },
    Send { id: String, to: Option<String> },
    Pay { id: String, amount: Option<Value> },
}

/// Does what a person would do, and answers the record.
pub(crate) fn act(company: &Company, act: Value) -> Result<Value, ActError> {
    let act: Act = serde_json::from_value(act).map_err(|error| ActError::Malformed(error.to_string()))?;
    let done = match act {
        Act::Create { kind, record } => match named(&kind)? {
            Kind::Customer => customers::create(company, &record),
            Kind::Payment => payments::create(company, &record),
            kind => sales::create(company, kind, &record),
        },
        Act::Change { kind, id, record } => {
            let kind = named(&kind)?;
            let mut given = record;
            given.extend(latest(company, kind, &id).map_err(|fault| refused(&fault, company))?);
            given.insert("sparse".to_owned(), json!(true));
            if kind == Kind::Customer {
                customers::update(company, &given)
            } else {
                sales::update(company, kind, &given)
            }
        }
        Act::Void { kind, id } | Act::Delete { kind, id } if named(&kind)? == Kind::Customer => {
            Err(Fault::unsupported(&format!("voiding customer {id}")))
        }
        Act::Void { kind, id } => {
            let kind = named(&kind)?;
            latest(company, kind, &id).and_then(|given| match kind {
                Kind::Payment => payments::void(company, &given),
                kind => sales::void(company, kind, &given),
            })
        }
        Act::Delete { kind, id } => {
            let kind = named(&kind)?;
            latest(company, kind, &id).and_then(|given| match kind {
                Kind::Payment => payments::delete(company, &given),
                kind => sales::delete(company, kind, &given),
            })
        }
        Act::Send { id, to } => sales::send(company, Kind::Invoice, &id, to.as_deref()),
        Act::Pay { id, amount } => payments::pay(company, &id, amount.as_ref().and_then(Cents::read)),
    };
    done.map(|record| record.to_json()).map_err(|fault| refused(&fault, company))
}

fn named(kind: &str) -> Result<Kind, ActError> {
    Kind::named(kind)
        .filter(|kind| matches!(kind, Kind::Customer | Kind::Invoice | Kind::SalesReceipt | Kind::Payment))
        .ok_or_else(|| {
            ActError::Malformed(format!("kind {kind:?} is none of Customer, Invoice, SalesReceipt, Payment"))
        })
}

/// Id and latest version of a record, as writes need them.
fn latest(company: &Company, kind: Kind, id: &str) -> Result<Map<String, Value>, Fault> {
    let books = company.books();
    let token = books.get(kind, id)?.sync_token.to_string();
    Ok(super::company::object(json!({"Id": id, "SyncToken": token})))
}

fn refused(fault: &Fault, company: &Company) -> ActError {
    let words = match fault.reply(company.clock.now_ms()).body {
        AnswerBody::Whole(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    ActError::Refused(words)
}

pub(crate) fn invoices(company: &Company) -> Vec<InvoiceView> {
    let view = |record: &Record| InvoiceView {
        id: record.id.clone(),
        number: text(&record.body, "DocNumber").unwrap_or_default().to_owned(),
        customer_id: sales::customer_of(record),
        total: sales::amount(record, "TotalAmt").0,
        tax: record.body.get("TxnTaxDetail").and_then(|tax| Cents::read(&tax["TotalTax"])).unwrap_or_default().0,
        balance: sales::amount(record, "Balance").0,
        sent: text(&record.body, "EmailStatus") == Some("EmailSent"),
        void: sales::is_void(record),
        note: payments::note(record),
    };
    company.books().table(Kind::Invoice).iter().filter(|record| !record.deleted).map(view).collect()
}

pub(crate) fn payments(company: &Company) -> Vec<PaymentView> {
    let view = |record: &Record| PaymentView {
        id: record.id.clone(),
        amount: sales::amount(record, "TotalAmt").0,
        invoices: payments::invoices_of(record),
        note: payments::note(record),
    };
    company.books().table(Kind::Payment).iter().filter(|record| !record.deleted).map(view).collect()
}

pub(crate) fn records(company: &Company, kind: Kind) -> Vec<Value> {
    company.books().table(kind).iter().filter(|record| !record.deleted).map(Record::to_json).collect()
}

pub(crate) async fn replay(company: &Company, index: usize) -> Option<Attempt> {
    let (url, sent) = {
        let books = company.books();
        (books.webhook_url.clone()?, books.webhooks.get(index)?.clone())
    };
    Some(webhook::post(company, &url, &sent.headers, &sent.body).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    webhook_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forge {
    body: Value,
    #[serde(default)]
    forgery: Forgery,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    index: usize,
}

/// A control request, its path without `/_sim/`.
pub(crate) async fn answer(company: &Company, command: &str, call: &Call) -> Reply {
    match (&call.method, command) {
        (&Method::GET, "info") => Reply::json(
            200,
            &json!({
                "realm_id": company.options.realm_id, "item_id": super::ITEM, "tax_code": super::TAX_25,
                "account_id": super::BANK_ACCOUNT,
            }),
        ),
        (&Method::GET, "invoices") => Reply::json(200, &json!({"invoices": invoices(company)})),
        (&Method::GET, "payments") => Reply::json(200, &json!({"payments": payments(company)})),
        (&Method::GET, "webhooks") => {
            let (sent, untold) = {
                let books = company.books();
                (json!(books.webhooks), books.untold.len())
            };
            Reply::json(200, &json!({"webhooks": sent, "untold": untold}))
        }
        (&Method::POST, "config") => with_body(call, |config: Config| {
            company.books().webhook_url = Some(config.webhook_url);
            company.news.notify_one();
            Reply::json(200, &json!({"ok": true}))
        }),
        (&Method::GET, "behaviour") => Reply::json(200, &json!(company.books().behaviour)),
        (&Method::POST, "behaviour") => with_body(call, |behaviour: Behaviour| {
            company.books().behaviour = behaviour;
            Reply::json(200, &json!(behaviour))
        }),
        (&Method::POST, "act") => with_body(call, |wanted: Value| match act(company, wanted) {
            Ok(record) => Reply::json(200, &record),
            Err(error @ ActError::Malformed(_)) => control_problem(400, &error.to_string()),
            Err(error @ ActError::Refused(_)) => control_problem(409, &error.to_string()),
        }),
        (&Method::POST, "replay") => match call.json::<Replay>() {
            Ok(wanted) => match replay(company, wanted.index).await {
                Some(attempt) => Reply::json(200, &json!(attempt)),
                None => control_problem(409, "there is no such webhook, or nowhere to send it"),
            },
            Err(error) => control_problem(400, &error.to_string()),
        },
        (&Method::POST, "forge") => match call.json::<Forge>() {
            Ok(wanted) => {
                let url = company.books().webhook_url.clone();
                match url {
                    Some(url) => {
                        let body = wanted.body.to_string().into_bytes();
                        Reply::json(200, &json!(webhook::forge(company, &url, body, wanted.forgery).await))
                    }
                    None => control_problem(409, "no webhook URL is configured for this company"),
                }
            }
            Err(error) => control_problem(400, &error.to_string()),
        },
        _ => unknown_command(command),
    }
}
