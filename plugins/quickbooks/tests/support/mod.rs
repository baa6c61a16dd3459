//! A company at QuickBooks with a memory, small enough to read.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use quickbooks::QuickBooks;
use serde_json::{Map, Value, json};
use switchyard_sdk::host::{HttpRequest, HttpResponse};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, Event, HttpError, Output, PluginError};

pub const REALM: &str = "1185883450";

/// The books, and how the company misbehaves.
#[derive(Default)]
pub struct Books {
    pub records: Vec<(String, Value)>,
    /// Names that a vendor has.
    pub vendors: Vec<String>,
    /// What the next writes to a path are answered, in place of or after being carried out.
    pub spoilt: VecDeque<(String, bool, u16, Vec<u8>)>,
    /// What the next reads of anything are answered.
    pub spoilt_reads: VecDeque<(u16, Vec<u8>)>,
    /// The bodies of all writes.
    pub written: Vec<String>,
    next_id: u64,
    pub clock: u64,
}

pub type Company = Rc<RefCell<Books>>;

/// A host whose connection is this company.
pub fn host(company: &Company) -> MockHost {
    let company = Rc::clone(company);
    MockHost::new().provider("quickbooks", move |request| company.borrow_mut().answer(request))
}

pub fn config() -> Value {
    json!({ "realm_id": REALM, "item_id": "1", "tax_code": "5", "deposit_account_id": "35" })
}

pub fn run(host: &MockHost, name: &str, data: Value) -> Result<Output, PluginError> {
    host.handle::<QuickBooks>(config(), Event::new(name, data))
}

/// The handler's answer to the private event about one entity.
pub fn hint(host: &MockHost, entity: &str, id: &str, operation: &str) -> Vec<Emit> {
    let key = format!("{entity}:{id}");
    let data = json!({ "key": key, "entity": entity, "id": id, "operation": operation });
    run(host, "_quickbooks.changed", data).unwrap().events
}

pub fn types(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

pub fn keys(events: &[Emit]) -> Vec<String> {
    let own = |key: &str| key.strip_prefix(&format!("quickbooks:{REALM}:")).unwrap_or(key).to_owned();
    events.iter().map(|event| own(event.dedupe_key.as_deref().unwrap_or_default())).collect()
}

pub fn order() -> Value {
    json!({
        "customer": { "name": "Kunde ApS", "email": "a@kunde.test", "registration_no": "12345678" },
        "lines": [{ "description": "Emergency call", "quantity": 2, "unit_price": "400.00" }],
        "reference": "Job 4711"
    })
}

pub fn fault(code: &str, message: &str) -> Vec<u8> {
    let error = json!([{ "Message": message, "Detail": "in detail", "code": code }]);
    json!({ "Fault": { "Error": error, "type": "ValidationFault" }, "time": "x" }).to_string().into_bytes()
}

fn reply(status: u16, body: &Value) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status, headers: Vec::new(), body: body.to_string().into_bytes() })
}

fn refusal(code: &str) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status: 400, headers: Vec::new(), body: fault(code, "No.") })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn minor(value: &Value) -> i64 {
    (value.as_f64().unwrap_or(0.0) * 100.0).round() as i64
}

fn major(minor: i64) -> Value {
    json!(minor as f64 / 100.0)
}

impl Books {
    pub fn add(&mut self, entity: &str, record: Value) -> String {
        self.next_id += 1;
        self.clock += 1;
        let id = self.next_id.to_string();
        let mut record = record;
        record["Id"] = json!(id);
        record["SyncToken"] = json!("0");
        record["MetaData"] = json!({ "CreateTime": self.time(), "LastUpdatedTime": self.time() });
        self.records.push((entity.to_owned(), record));
        id
    }

    /// Noon, and a second for every change.
    pub fn time(&self) -> String {
        switchyard_sdk::time::rfc3339(switchyard_sdk::testing::NOON + self.clock * 1000)
    }

    pub fn find(&mut self, entity: &str, id: &str) -> Option<&mut Value> {
        self.records.iter_mut().find(|(kind, record)| kind == entity && record["Id"] == id).map(|(_, record)| record)
    }

    pub fn change(&mut self, entity: &str, id: &str, change: Value) {
        self.clock += 1;
        let time = self.time();
        let record = self.find(entity, id).unwrap();
        for (name, value) in change.as_object().unwrap() {
            record[name] = value.clone();
        }
        let token: u64 = record["SyncToken"].as_str().unwrap().parse().unwrap();
        record["SyncToken"] = json!((token + 1).to_string());
        record["MetaData"]["LastUpdatedTime"] = json!(time);
    }

    /// An invoice of 1,000.00 that was made so long before noon.
    pub fn old_invoice(&mut self, seconds: u64) -> String {
        let id = self.add("Invoice", json!({ "TotalAmt": 1000.0, "Balance": 1000.0, "CustomerRef": { "value": "7" } }));
        let time = switchyard_sdk::time::rfc3339(switchyard_sdk::testing::NOON - seconds * 1000);
        self.find("Invoice", &id).unwrap()["MetaData"] = json!({ "CreateTime": time, "LastUpdatedTime": time });
        id
    }

    /// The customer pays this much, or all.
    pub fn pay(&mut self, invoice: &str, amount: Option<i64>) -> String {
        let open = minor(&self.find("Invoice", invoice).unwrap()["Balance"]);
        let amount = amount.unwrap_or(open);
        let line = json!([{ "Amount": major(amount), "LinkedTxn": [{ "TxnId": invoice, "TxnType": "Invoice" }] }]);
        let id = self.add("Payment", json!({ "TotalAmt": major(amount), "Line": line, "TxnDate": "2026-11-20" }));
        let mut links = self.find("Invoice", invoice).unwrap()["LinkedTxn"].as_array().cloned().unwrap_or_default();
        links.push(json!({ "TxnId": id, "TxnType": "Payment" }));
        self.change("Invoice", invoice, json!({ "Balance": major(open - amount), "LinkedTxn": links }));
        id
    }

    fn answer(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = path.strip_prefix(&format!("/v3/company/{REALM}/")).expect("a path of the company").to_owned();
        let query: Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(decoded(value))))
            .collect();
        assert_eq!(query["minorversion"], "75");
        if request.method.as_str() == "GET" {
            if let Some((status, body)) = self.spoilt_reads.pop_front() {
                return Ok(HttpResponse { status, headers: Vec::new(), body });
            }
            return self.read(&path, &query);
        }
        let text = String::from_utf8(request.body.clone().unwrap_or_default()).unwrap();
        self.written.push(text.clone());
        let spoilt = self.spoilt.iter().position(|(at, ..)| *at == path).and_then(|at| self.spoilt.remove(at));
        match spoilt {
            Some((_, false, status, body)) => Ok(HttpResponse { status, headers: Vec::new(), body }),
            Some((_, true, status, body)) => {
                self.write(&path, &query, &text)?;
                Ok(HttpResponse { status, headers: Vec::new(), body })
            }
            None => self.write(&path, &query, &text),
        }
    }

    fn read(&mut self, path: &str, query: &Map<String, Value>) -> Result<HttpResponse, HttpError> {
        if let Some(id) = path.strip_prefix("companyinfo/") {
            return reply(200, &json!({ "CompanyInfo": { "CompanyName": "Sim", "Id": id } }));
        }
        if path == "cdc" {
            let since = query["changedSince"].as_str().unwrap().to_owned();
            let entities = query["entities"].as_str().unwrap().split(',').map(str::to_owned);
            let of = |entity: String| {
                let mine = self.records.iter().filter(|(kind, _)| *kind == entity);
                let changed = mine
                    .filter(|(_, record)| record["MetaData"]["LastUpdatedTime"].as_str().unwrap() >= since.as_str());
                let list: Vec<Value> = changed.map(|(_, record)| record.clone()).collect();
                if list.is_empty() { json!({}) } else { json!({ entity: list }) }
            };
            let responses: Vec<Value> = entities.map(of).collect();
            return reply(200, &json!({ "CDCResponse": [{ "QueryResponse": responses }], "time": self.time() }));
        }
        if path == "query" {
            return self.query(query["query"].as_str().unwrap());
        }
        let (entity, id) = path.split_once('/').unwrap();
        let name = ["Customer", "Invoice", "Payment", "SalesReceipt"]
            .into_iter()
            .find(|name| name.eq_ignore_ascii_case(entity));
        match self.find(name.unwrap(), id) {
            Some(record) if record["status"] != "Deleted" => {
                let record = record.clone();
                reply(200, &json!({ name.unwrap(): record }))
            }
            _ => refusal("610"),
        }
    }

    fn query(&self, text: &str) -> Result<HttpResponse, HttpError> {
        let entity = text.strip_prefix("select * from ").unwrap().split(' ').next().unwrap();
        let asked = |name: &str| {
            text.split(&format!("{name} = '")).nth(1).map(|rest| rest.split('\'').next().unwrap().to_owned())
        };
        let wanted = |record: &&Value| {
            ["DisplayName", "DocNumber", "TxnDate"]
                .iter()
                .all(|name| asked(name).is_none_or(|value| record[*name] == value))
                && asked("CustomerRef").is_none_or(|id| record["CustomerRef"]["value"] == id)
                && (!text.contains("Id in (") || text.contains(&format!("'{}'", record["Id"].as_str().unwrap())))
        };
        let number =
            |name: &str| text.split(name).nth(1).map(|rest| rest.trim().split(' ').next().unwrap().parse().unwrap());
        let start: usize = number("startposition").unwrap_or(1);
        let most: usize = number("maxresults").unwrap_or(100);
        let records = self.records.iter().filter(|(kind, record)| kind == entity && record["status"] != "Deleted");
        let found: Vec<&Value> = records.map(|(_, record)| record).filter(wanted).skip(start - 1).take(most).collect();
        let response = if found.is_empty() { json!({}) } else { json!({ entity: found }) };
        reply(200, &json!({ "QueryResponse": response, "time": self.time() }))
    }

    fn write(&mut self, path: &str, query: &Map<String, Value>, text: &str) -> Result<HttpResponse, HttpError> {
        if let Some(id) = path.strip_prefix("invoice/").and_then(|rest| rest.strip_suffix("/send")) {
            let to = query["sendTo"].clone();
            let sent = json!({ "EmailStatus": "EmailSent", "BillEmail": { "Address": to }, "DeliveryInfo": { "DeliveryTime": self.time() } });
            self.change("Invoice", id, sent);
            let record = self.find("Invoice", id).cloned();
            return reply(200, &json!({ "Invoice": record }));
        }
        let mut body: Value = serde_json::from_str(text).unwrap();
        let entity = match path {
            "customer" => "Customer",
            "invoice" => "Invoice",
            "salesreceipt" => "SalesReceipt",
            "payment" => "Payment",
            other => panic!("no path {other}"),
        };
        if let Some(id) = body["Id"].as_str().map(str::to_owned) {
            let there = self.find(entity, &id).unwrap();
            if there["SyncToken"] != body["SyncToken"] {
                return refusal("5010");
            }
            if query.get("operation") == Some(&json!("void")) {
                body = json!({ "TotalAmt": 0, "Line": [], "PrivateNote": "Voided" });
            }
            for name in ["Id", "SyncToken", "sparse"] {
                body.as_object_mut().unwrap().remove(name);
            }
            self.change(entity, &id, body);
            let record = self.find(entity, &id).cloned();
            return reply(200, &json!({ entity: record }));
        }
        if let Some(name) = body["DisplayName"].as_str() {
            let taken = self.records.iter().any(|(_, record)| record["DisplayName"] == name);
            if taken || self.vendors.iter().any(|vendor| vendor == name) {
                return refusal("6240");
            }
        }
        let number = body["DocNumber"].clone();
        if number.is_string() && self.records.iter().any(|(_, record)| record["DocNumber"] == number) {
            return refusal("6140");
        }
        if matches!(entity, "Invoice" | "SalesReceipt") {
            let net: i64 = body["Line"].as_array().unwrap().iter().map(|line| minor(&line["Amount"])).sum();
            body["TxnTaxDetail"] = json!({ "TotalTax": major(net / 4) });
            body["TotalAmt"] = major(net + net / 4);
            body["Balance"] = major(net + net / 4);
            if number.is_null() {
                body["DocNumber"] = json!((1000 + self.next_id).to_string());
            }
        }
        if entity == "Payment" {
            let invoice = body["Line"][0]["LinkedTxn"][0]["TxnId"].as_str().unwrap().to_owned();
            let id = self.pay(&invoice, Some(minor(&body["TotalAmt"])));
            self.find("Payment", &id).unwrap()["PrivateNote"] = body["PrivateNote"].clone();
            self.find("Payment", &id).unwrap()["CustomerRef"] = body["CustomerRef"].clone();
            self.find("Payment", &id).unwrap()["TxnDate"] = body["TxnDate"].clone();
            let record = self.find("Payment", &id).cloned();
            return reply(200, &json!({ "Payment": record }));
        }
        let id = self.add(entity, body);
        let record = self.find(entity, &id).cloned();
        reply(200, &json!({ entity: record }))
    }
}
