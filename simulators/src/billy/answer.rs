//! The envelopes of answers: written records, one record, and pages of a list.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::{Shape, errors::ApiError};
use crate::http::{Call, Reply};

const LARGEST_PAGE: usize = 1000;

/// A resource's names in bodies and paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) singular: &'static str,
    pub(crate) plural: &'static str,
}

pub(crate) const INVOICE: Kind = Kind { singular: "invoice", plural: "invoices" };
pub(crate) const INVOICE_LINE: Kind = Kind { singular: "invoiceLine", plural: "invoiceLines" };
pub(crate) const CONTACT: Kind = Kind { singular: "contact", plural: "contacts" };
pub(crate) const CONTACT_PERSON: Kind = Kind { singular: "contactPerson", plural: "contactPersons" };
pub(crate) const PRODUCT: Kind = Kind { singular: "product", plural: "products" };
pub(crate) const ACCOUNT: Kind = Kind { singular: "account", plural: "accounts" };
pub(crate) const TAX_RATE: Kind = Kind { singular: "taxRate", plural: "taxRates" };
pub(crate) const RULESET: Kind = Kind { singular: "salesTaxRuleset", plural: "salesTaxRulesets" };
pub(crate) const BANK_PAYMENT: Kind = Kind { singular: "bankPayment", plural: "bankPayments" };
pub(crate) const BALANCE_MODIFIER: Kind = Kind { singular: "balanceModifier", plural: "balanceModifiers" };
pub(crate) const ORGANIZATION: Kind = Kind { singular: "organization", plural: "organizations" };

fn meta() -> Value {
    json!({"statusCode": 200, "success": true, "time": 0.012})
}

/// Answers one record, with further records that were asked for beside it.
pub(crate) fn one(shape: Shape, kind: Kind, record: Value, beside: Vec<(Kind, Vec<Value>)>) -> Reply {
    let mut document = Map::new();
    document.insert("meta".to_owned(), meta());
    match shape {
        Shape::Singular => document.insert(kind.singular.to_owned(), record),
        Shape::Plural => document.insert(kind.plural.to_owned(), Value::Array(vec![record])),
    };
    for (kind, records) in beside {
        document.insert(kind.plural.to_owned(), Value::Array(records));
    }
    Reply::json(200, &Value::Object(document))
}

/// Answers a DELETE, which succeeds also when there was nothing to delete.
pub(crate) fn deleted(kind: Kind, ids: &[&str]) -> Reply {
    let mut meta = meta();
    meta["deletedRecords"] = json!({kind.plural: ids});
    Reply::json(200, &json!({"meta": meta}))
}

/// Sorts, cuts and answers a list; `records` come oldest first.
pub(crate) fn list(call: &Call, kind: Kind, mut records: Vec<Value>) -> Result<Reply, ApiError> {
    if let Some(property) = call.query_value("sortProperty") {
        if records.iter().any(|record| record.get(&property).is_none()) {
            return Err(ApiError::new(400, format!("{property} is not a property to sort by.")));
        }
        records.sort_by(|a, b| compare(&a[&property], &b[&property]));
    }
    match call.query_value("sortDirection").as_deref() {
        // Turning the whole list keeps the later of two equal records first.
        Some("DESC") => records.reverse(),
        None | Some("ASC") => {}
        Some(_) => return Err(ApiError::new(400, "sortDirection must be ASC or DESC.")),
    }
    let number = |name: &str, default: usize| match call.query_value(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| *n >= 1)
            .ok_or_else(|| ApiError::new(400, format!("{name} must be a positive number."))),
    };
    let size = number("pageSize", LARGEST_PAGE)?.min(LARGEST_PAGE);
    let page = number("page", 1)?;
    let total = records.len();
    let pages = total.div_ceil(size).max(1);
    let shown: Vec<Value> = records.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
    let mut meta = meta();
    let url = |page: usize| page_url(call, page, size);
    meta["paging"] = json!({
        "page": page, "pageCount": pages, "pageSize": size, "total": total, "firstUrl": url(1),
        "previousUrl": (page > 1).then(|| url(page - 1)), "nextUrl": (page < pages).then(|| url(page + 1)),
        "lastUrl": url(pages),
    });
    Ok(Reply::json(200, &json!({"meta": meta, kind.plural: shown})))
}

fn page_url(call: &Call, page: usize, size: usize) -> String {
    let host = call.header("host").unwrap_or_default();
    let mut url = form_urlencoded::Serializer::new(format!("http://{host}{}?", call.path));
    for (name, value) in call.query_pairs().iter().filter(|(name, _)| name != "page" && name != "pageSize") {
        url.append_pair(name, value);
    }
    url.append_pair("page", &page.to_string()).append_pair("pageSize", &size.to_string());
    url.finish()
}

/// Nulls first, then numbers by size, then everything else by its text.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}

/// How related records are asked for in `include`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// Inside the record.
    Embed,
    /// Beside it, under their own root.
    Sideload,
}

/// Whether, and how, `include` names this relation; `invoice.lines` sideloads, `invoice.lines:embed` embeds.
pub(crate) fn include(call: &Call, relation: &str) -> Option<Include> {
    let asked = call.query_value("include")?;
    asked.split(',').find_map(|part| match part.trim().split_once(':') {
        None if part.trim() == relation => Some(Include::Sideload),
        Some((name, "sideload")) if name == relation => Some(Include::Sideload),
        Some((name, "embed")) if name == relation => Some(Include::Embed),
        _ => None,
    })
}

/// The record inside the request's root key.
pub(crate) fn body(call: &Call, kind: Kind) -> Result<Map<String, Value>, ApiError> {
    let document: Value =
        call.json().map_err(|error| ApiError::new(400, format!("The body is not valid JSON: {error}.")))?;
    match document.get(kind.singular) {
        Some(Value::Object(record)) => Ok(record.clone()),
        _ => Err(ApiError::new(400, format!("The body has no {} object.", kind.singular))),
    }
}
