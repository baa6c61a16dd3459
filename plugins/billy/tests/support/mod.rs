//! A company at Billy with a memory, small enough to read.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};
use switchyard_sdk::host::{HttpRequest, HttpResponse};
use switchyard_sdk::testing::{MockHost, NOON};
use switchyard_sdk::{Emit, HttpError, UnknownOutcome};

/// The books, and how the company misbehaves.
#[derive(Default)]
pub struct Books {
    pub contacts: Vec<Value>,
    pub persons: Vec<Value>,
    pub invoices: Vec<Value>,
    pub payments: Vec<Value>,
    /// E-mails sent: the invoice and what was asked.
    pub mails: Vec<(String, Value)>,
    /// Lines by invoice.
    pub lines: Vec<(String, Value)>,
    /// Answers nothing but 503.
    pub down: bool,
    /// Paths of which the next POST is executed and answered with 200 and nothing that can be read.
    pub garble: Vec<String>,
    /// Answers with one record under its singular name.
    pub singular: bool,
    /// Drops persons given with a contact.
    pub forget_persons: bool,
    /// Paths of which the next POST is executed and its answer lost.
    pub lose_answer: Vec<String>,
    /// Paths of which the next POST is lost before it is executed.
    pub lose_request: Vec<String>,
}

pub type Company = Rc<RefCell<Books>>;

/// A host whose connection `billy` is this company.
pub fn host(company: &Company) -> MockHost {
    let company = Rc::clone(company);
    MockHost::new().provider("billy", move |request| company.borrow_mut().answer(request))
}

pub fn types(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

pub fn config() -> Value {
    json!({ "organization_id": "ORG", "product_id": "PROD", "payment_account_id": "BANK" })
}

fn ok(body: Value) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status: 200, headers: Vec::new(), body: body.to_string().into_bytes() })
}

fn status(status: u16, body: &Value) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status, headers: Vec::new(), body: body.to_string().into_bytes() })
}

fn take(paths: &mut Vec<String>, path: &str) -> bool {
    paths.iter().position(|lost| lost == path).map(|at| paths.remove(at)).is_some()
}

impl Books {
    fn answer(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.down {
            return Ok(HttpResponse { status: 503, headers: Vec::new(), body: b"<html>".to_vec() });
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let query: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%20", " ").replace("%40", "@").replace("%3A", ":")))
            .collect();
        let body: Value = request.body.as_deref().map_or(Value::Null, |body| serde_json::from_slice(body).unwrap());
        if request.method.as_str() != "POST" {
            return self.route(request.method.as_str(), path, &query, &body);
        }
        let lost = HttpError::Unknown(UnknownOutcome { sent_at: NOON - 60_000, message: "no answer".to_owned() });
        if take(&mut self.lose_request, path) {
            return Err(lost);
        }
        let answer = self.route("POST", path, &query, &body);
        if take(&mut self.garble, path) {
            return Ok(HttpResponse { status: 200, headers: Vec::new(), body: b"<html>".to_vec() });
        }
        if take(&mut self.lose_answer, path) { Err(lost) } else { answer }
    }

    fn route(
        &mut self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        body: &Value,
    ) -> Result<HttpResponse, HttpError> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (method, parts.as_slice()) {
            ("GET", ["contacts"]) => {
                let q = asked("q").unwrap_or_default().to_lowercase();
                let of =
                    |id: &Value| self.persons.iter().filter(|person| person["contactId"] == *id).cloned().collect();
                let speaks = |contact: &&Value| {
                    let persons: Vec<Value> = of(&contact["id"]);
                    format!("{contact}{}", json!(persons)).to_lowercase().contains(&q)
                };
                ok(json!({ "contacts": self.contacts.iter().filter(speaks).collect::<Vec<_>>() }))
            }
            ("GET", ["contacts", id]) => self.one(&self.contacts, id, "contact", "contacts"),
            ("POST", ["contacts"]) => self.create_contact(&body["contact"]),
            ("PUT", ["contacts", id]) => {
                let contact = self.contacts.iter_mut().find(|contact| contact["id"] == *id).unwrap();
                merge(contact, &body["contact"]);
                ok(json!({ "contacts": [contact] }))
            }
            ("GET", ["contactPersons"]) => {
                let contact = asked("contactId").unwrap();
                let persons: Vec<&Value> =
                    self.persons.iter().filter(|person| person["contactId"] == contact).collect();
                ok(json!({ "contactPersons": persons }))
            }
            ("POST", ["contactPersons"]) => {
                let mut person = body["contactPerson"].clone();
                person["id"] = json!(format!("per{}", self.persons.len() + 1));
                self.persons.push(person.clone());
                ok(json!({ "contactPersons": [person] }))
            }
            ("GET", ["invoices"]) => self.list_invoices(query),
            ("GET", ["invoices", id]) => self.one(&self.invoices, id, "invoice", "invoices"),
            ("POST", ["invoices"]) => self.create_invoice(&body["invoice"]),
            ("PUT", ["invoices", id]) => self.approve(id),
            ("POST", ["invoices", id, "emails"]) => {
                self.mails.push(((*id).to_owned(), body["email"].clone()));
                let invoice = self.invoices.iter_mut().find(|invoice| invoice["id"] == *id).unwrap();
                invoice["sentState"] = json!("sent");
                ok(json!({ "invoices": [invoice] }))
            }
            ("GET", ["invoiceLines"]) => {
                let of = asked("invoiceId").unwrap();
                let lines = self.lines.iter().filter(|(invoice, _)| invoice == of).map(|(_, line)| line);
                ok(json!({ "invoiceLines": lines.collect::<Vec<_>>() }))
            }
            ("GET", ["taxRates"]) => {
                ok(json!({ "taxRates": [{ "id": "full", "rate": 0.25 }, { "id": "none", "rate": 0 }] }))
            }
            ("GET", ["salesTaxRulesets"]) => ok(json!({ "salesTaxRulesets": [
                { "id": "R25", "fallbackTaxRateId": "full" }, { "id": "R0", "fallbackTaxRateId": "none" }
            ] })),
            ("GET", ["products", id]) => {
                let ruleset = if *id == "FREE" { "R0" } else { "R25" };
                ok(json!({ "product": { "id": id, "salesTaxRulesetId": ruleset } }))
            }
            ("GET", ["bankPayments", id]) => self.one(&self.payments, id, "bankPayment", "bankPayments"),
            ("PUT", ["bankPayments", id]) => {
                self.take_back(id);
                self.one(&self.payments, id, "bankPayment", "bankPayments")
            }
            ("GET", ["bankPayments"]) => ok(json!({ "bankPayments": self.payments.iter().rev().collect::<Vec<_>>() })),
            ("POST", ["bankPayments"]) => {
                let invoice = body["bankPayment"]["associations"][0]["subjectReference"].as_str().unwrap();
                let id =
                    self.pay(invoice.strip_prefix("invoice:").unwrap(), body["bankPayment"]["cashAmount"].as_f64());
                ok(json!({ "bankPayments": [{ "id": id }] }))
            }
            _ => status(404, &json!({ "errorMessage": "no route" })),
        }
    }

    fn one(&self, table: &[Value], id: &str, singular: &str, plural: &str) -> Result<HttpResponse, HttpError> {
        match table.iter().find(|record| record["id"] == id) {
            Some(record) if self.singular => ok(json!({ singular: record })),
            Some(record) => ok(json!({ plural: [record] })),
            None => status(404, &json!({})),
        }
    }

    fn create_contact(&mut self, given: &Value) -> Result<HttpResponse, HttpError> {
        let mut contact = given.clone();
        contact["id"] = json!(format!("con{}", self.contacts.len() + 1));
        let persons = contact.as_object_mut().unwrap().remove("contactPersons");
        let mut answer = json!({ "contacts": [contact] });
        if let Some(Value::Array(mut persons)) = persons.filter(|_| !self.forget_persons) {
            for (index, person) in persons.iter_mut().enumerate() {
                person["contactId"] = contact["id"].clone();
                person["id"] = json!(format!("per{}", self.persons.len() + index + 1));
            }
            answer["contactPersons"] = json!(persons);
            self.persons.extend(persons);
        }
        self.contacts.push(contact);
        ok(answer)
    }

    fn create_invoice(&mut self, given: &Value) -> Result<HttpResponse, HttpError> {
        if !self.contacts.iter().any(|contact| contact["id"] == given["contactId"]) {
            let attributes = json!({ "contactId": "This contact does not exist." });
            return status(422, &json!({ "validationErrors": { "record": { "attributes": attributes } } }));
        }
        let price = |line: &Value| line["quantity"].as_f64().unwrap() * line["unitPrice"].as_f64().unwrap();
        let net: f64 = given["lines"].as_array().unwrap().iter().map(price).sum();
        let number = self.invoices.len() + 1;
        for line in given["lines"].as_array().unwrap() {
            self.lines.push((format!("inv{number}"), line.clone()));
        }
        let mut invoice = given.clone();
        let read_only = json!({
            "id": format!("inv{number}"), "amount": net, "tax": net / 4.0, "balance": 0, "isPaid": false,
            "sentState": "unsent", "createdTime": format!("2026-11-20T12:00:{number:02}"), "approvedTime": null,
            "dueDate": "2026-11-28", "invoiceNo": null, "downloadUrl": format!("https://b.test/{number}")
        });
        merge(&mut invoice, &read_only);
        invoice.as_object_mut().unwrap().remove("lines");
        self.invoices.push(invoice.clone());
        if self.singular {
            ok(json!({ "invoice": invoice }))
        } else {
            ok(json!({ "invoices": [invoice], "invoiceLines": [] }))
        }
    }

    fn approve(&mut self, id: &str) -> Result<HttpResponse, HttpError> {
        let number = 1_000 + self.invoices.iter().filter(|invoice| !invoice["invoiceNo"].is_null()).count() + 1;
        let Some(invoice) = self.invoices.iter_mut().find(|invoice| invoice["id"] == id) else {
            return status(404, &json!({}));
        };
        if invoice["state"] != "draft" {
            return status(422, &json!({ "errorMessage": "It is approved already." }));
        }
        let gross = invoice["amount"].as_f64().unwrap() + invoice["tax"].as_f64().unwrap();
        let approved = json!({
            "state": "approved", "approvedTime": "2026-11-20 12:00:30", "invoiceNo": number.to_string(), "balance": gross
        });
        merge(invoice, &approved);
        ok(json!({ "invoices": [invoice] }))
    }

    /// The customer pays this much, or all.
    pub fn pay(&mut self, id: &str, amount: Option<f64>) -> String {
        let payment = format!("pay{}", self.payments.len() + 1);
        let invoice = self.invoices.iter_mut().find(|invoice| invoice["id"] == id).unwrap();
        let open = invoice["balance"].as_f64().unwrap();
        let amount = amount.unwrap_or(open);
        invoice["balance"] = json!(open - amount);
        invoice["isPaid"] = json!(open - amount < 0.005);
        self.payments.push(json!({
            "id": payment, "cashAmount": amount, "entryDate": "2026-11-20", "isVoided": false,
            "associations": [{ "subjectReference": format!("invoice:{id}") }]
        }));
        payment
    }

    /// Takes a payment back.
    pub fn take_back(&mut self, id: &str) {
        let payment = self.payments.iter_mut().find(|payment| payment["id"] == id).unwrap();
        payment["isVoided"] = json!(true);
        let amount = payment["cashAmount"].as_f64().unwrap();
        let invoice = payment["associations"][0]["subjectReference"].as_str().unwrap().replace("invoice:", "");
        let invoice = self.invoices.iter_mut().find(|found| found["id"] == invoice.as_str()).unwrap();
        invoice["balance"] = json!(invoice["balance"].as_f64().unwrap() + amount);
        invoice["isPaid"] = json!(false);
    }

    fn list_invoices(&self, query: &[(String, String)]) -> Result<HttpResponse, HttpError> {
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let wanted = |invoice: &&Value| {
            asked("contactId").is_none_or(|id| invoice["contactId"] == id)
                && asked("creditedInvoiceId").is_none_or(|id| invoice["creditedInvoiceId"] == id)
                && asked("minEntryDate").is_none_or(|date| invoice["entryDate"].as_str().unwrap() >= date)
                && asked("isPaid").is_none_or(|paid| invoice["isPaid"] == (paid == "true"))
                && asked("minApprovedTime")
                    .is_none_or(|since| invoice["approvedTime"].as_str().is_some_and(|at| at >= since))
        };
        let mut found: Vec<&Value> = self.invoices.iter().filter(wanted).collect();
        if asked("sortDirection") == Some("DESC") {
            found.reverse();
        }
        let size: usize = asked("pageSize").unwrap().parse().unwrap();
        let page: usize = asked("page").map_or(1, |page| page.parse().unwrap());
        let pages = found.len().div_ceil(size).max(1);
        let shown: Vec<&Value> = found.into_iter().skip((page - 1) * size).take(size).collect();
        ok(json!({ "meta": { "paging": { "page": page, "pageCount": pages } }, "invoices": shown }))
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        into[name] = value.clone();
    }
}
