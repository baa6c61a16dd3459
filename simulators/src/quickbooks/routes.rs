//! Which request means which operation, and who may make it.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    company::{Company, pacific},
    control, customers,
    errors::Fault,
    payments, query,
    record::{Kind, Record},
    sales, webhook,
};
use crate::{
    http::{Call, Reply},
    oauth::{Grants, Refusal},
    provider::Provider,
};

/// The only scope that this API has.
pub(crate) const SCOPE: &str = "com.intuit.quickbooks.accounting";

/// The longest request id.
const LONGEST_REQUEST_ID: usize = 50;

const AUTHORIZE: &str = "/connect/oauth2";
const TOKEN: &str = "/oauth2/v1/tokens/bearer";
const REVOKE: &str = "/v2/oauth2/tokens/revoke";

/// The company behind HTTP, with the server that its tokens come from.
pub(crate) struct Api {
    pub(crate) company: Arc<Company>,
    pub(crate) grants: Arc<Grants>,
}

impl Api {
    fn dispatch(&self, call: &Call) -> Result<Reply, Fault> {
        let company = &*self.company;
        let segments = call.segments();
        let ["v3", "company", realm, rest @ ..] = segments.as_slice() else {
            return Err(Fault::unsupported(&call.path));
        };
        let bearer = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let grant = self.grants.check(bearer, &[SCOPE]).map_err(|refusal| match refusal {
            Refusal::Scope => Fault::wrong_company(),
            Refusal::Missing | Refusal::Unknown | Refusal::Expired => Fault::unauthenticated(),
        })?;
        if *realm != company.options.realm_id || grant.realm.as_deref().is_some_and(|granted| granted != *realm) {
            return Err(Fault::wrong_company());
        }
        company.throttle()?;
        match (&call.method, rest) {
            (&Method::GET, ["query"]) => {
                self.ok(query::answer(company, &call.query_value("query").unwrap_or_default())?)
            }
            (&Method::POST, ["query"]) => self.ok(query::answer(company, &String::from_utf8_lossy(&call.body))?),
            (&Method::GET, ["cdc"]) => {
                let asked = |name: &str| call.query_value(name).ok_or_else(|| Fault::missing(name));
                self.ok(query::changes(company, &asked("entities")?, &asked("changedSince")?)?)
            }
            (&Method::GET, ["companyinfo", id]) if id == realm => self.ok(company.info()),
            (&Method::GET, [resource, id]) => {
                let kind = Kind::at(resource).ok_or_else(|| Fault::unsupported(resource))?;
                self.ok(company.books().get(kind, id)?.answer(company.clock.now_ms()))
            }
            (&Method::POST, [resource, rest @ ..]) => {
                let kind = Kind::at(resource).ok_or_else(|| Fault::unsupported(resource))?;
                self.once(call, || self.write(call, kind, rest))
            }
            _ => Err(Fault::unsupported(&call.path)),
        }
    }

    fn ok(&self, body: Value) -> Result<Reply, Fault> {
        Ok(Reply::json(200, &body))
    }

    /// Answers a repeat under one request id as the first time, refusals included.
    fn once(&self, call: &Call, write: impl FnOnce() -> Result<Value, Fault>) -> Result<Reply, Fault> {
        let Some(request_id) = call.query_value("requestid") else { return self.ok(write()?) };
        if request_id.is_empty() || request_id.chars().count() > LONGEST_REQUEST_ID {
            let detail = "requestid has more than 50 characters.";
            return Err(Fault::invalid("2050", "String length is either shorter or longer than supported", detail));
        }
        if let Some((status, body)) = self.company.books().answer_of(&request_id) {
            return Ok(Reply::json(status, &body));
        }
        match write() {
            Ok(body) => {
                self.company.books().remember(&request_id, 200, body.clone());
                self.ok(body)
            }
            Err(fault) => {
                let reply = fault.reply(self.company.clock.now_ms());
                if let crate::body::AnswerBody::Whole(Some(bytes)) = &reply.body {
                    let body = serde_json::from_slice(bytes).unwrap_or_default();
                    self.company.books().remember(&request_id, fault.status, body);
                }
                Ok(reply)
            }
        }
    }

    fn write(&self, call: &Call, kind: Kind, rest: &[&str]) -> Result<Value, Fault> {
        let company = &*self.company;
        let now = company.clock.now_ms();
        if let [id, "send"] = rest {
            if !matches!(kind, Kind::Invoice | Kind::SalesReceipt) {
                return Err(Fault::unsupported("send"));
            }
            return Ok(sales::send(company, kind, id, call.query_value("sendTo").as_deref())?.answer(now));
        }
        let ([], Ok(given)) = (rest, call.json::<Map<String, Value>>()) else {
            let detail = "An error occurred while converting the JSON stream to an object.";
            return Err(Fault::invalid("2010", "Request has invalid or unsupported property", detail));
        };
        let is_update = given.contains_key("Id");
        let operation = call.query_value("operation");
        let record: Record = match (kind, operation.as_deref(), is_update) {
            (Kind::Customer, None, false) => customers::create(company, &given)?,
            (Kind::Customer, None | Some("update"), true) => customers::update(company, &given)?,
            (Kind::Invoice | Kind::SalesReceipt, None, false) => sales::create(company, kind, &given)?,
            (Kind::Invoice | Kind::SalesReceipt, None | Some("update"), true) => sales::update(company, kind, &given)?,
            (Kind::Invoice | Kind::SalesReceipt, Some("void"), true) => sales::void(company, kind, &given)?,
            (Kind::Invoice | Kind::SalesReceipt, Some("delete"), true) => {
                return Ok(deleted(&sales::delete(company, kind, &given)?, now));
            }
            (Kind::Payment, None, false) => payments::create(company, &given)?,
            (Kind::Payment, Some("void"), true) => payments::void(company, &given)?,
            (Kind::Payment, Some("delete"), true) => return Ok(deleted(&payments::delete(company, &given)?, now)),
            _ => return Err(Fault::unsupported(operation.as_deref().unwrap_or("update"))),
        };
        Ok(record.answer(now))
    }
}

fn deleted(record: &Record, now: i64) -> Value {
    json!({record.kind.name(): {"domain": "QBO", "status": "Deleted", "Id": record.id}, "time": pacific(now)})
}

/// What is there with what is given over it (`sparse`), or what is given in place of it, without what only QuickBooks sets.
pub(crate) fn merged(there: &Map<String, Value>, given: &Map<String, Value>, read_only: &[&str]) -> Map<String, Value> {
    let sparse = given.get("sparse") == Some(&Value::Bool(true));
    let mut merged = there.clone();
    if !sparse {
        merged.retain(|name, _| {
            read_only.contains(&name.as_str()) || matches!(name.as_str(), "Active" | "DocNumber" | "EmailStatus")
        });
    }
    for (name, value) in given.iter().filter(|(name, _)| !read_only.contains(&name.as_str())) {
        merged.insert(name.clone(), value.clone());
    }
    merged
}

#[async_trait]
impl Provider for Api {
    /// `invoice.create`, `customer.fetch` and so on, `query`, `cdc`, `companyinfo.fetch`, `oauth.token`.
    fn operation(&self, call: &Call) -> String {
        match call.path.as_str() {
            AUTHORIZE => return "oauth.authorize".to_owned(),
            TOKEN => return "oauth.token".to_owned(),
            REVOKE => return "oauth.revoke".to_owned(),
            _ => {}
        }
        let segments = call.segments();
        let ["v3", "company", _, resource, rest @ ..] = segments.as_slice() else { return "unknown".to_owned() };
        if matches!(*resource, "query" | "cdc") {
            return (*resource).to_owned();
        }
        if Kind::at(resource).is_none() && *resource != "companyinfo" {
            return "unknown".to_owned();
        }
        let asked = call.query_value("operation");
        let verb = match (&call.method, rest) {
            (&Method::GET, _) => "fetch",
            (_, [_, "send"]) => "send",
            _ => match asked.as_deref() {
                Some("void") => "void",
                Some("delete") => "delete",
                _ if call.json::<Map<String, Value>>().is_ok_and(|given| given.contains_key("Id")) => "update",
                _ => "create",
            },
        };
        format!("{resource}.{verb}")
    }

    fn execute(&self, call: &Call) -> Reply {
        match (&call.method, call.path.as_str()) {
            (&Method::GET, AUTHORIZE) => self.grants.authorize(call),
            (&Method::POST, TOKEN) => self.grants.token(call),
            (&Method::POST, REVOKE) => self.grants.revoke_by_json(call),
            _ => match self.dispatch(call) {
                Ok(reply) => reply,
                Err(fault) if fault.status == 401 => self.unauthenticated(),
                Err(fault) => fault.reply(self.company.clock.now_ms()),
            },
        }
    }

    fn failure(&self, status: u16) -> Reply {
        if status == 401 { self.unauthenticated() } else { Fault::injected(status).reply(self.company.clock.now_ms()) }
    }

    /// In one spelling, then in the other.
    fn unauthenticated(&self) -> Reply {
        let now = self.company.clock.now_ms();
        let mut books = self.company.books();
        books.refused += 1;
        if books.refused % 2 == 1 {
            Fault::unauthenticated().lower_case_reply(now)
        } else {
            Fault::unauthenticated().reply(now)
        }
    }

    fn expire_token(&self, call: &Call) {
        self.grants.expire_bearer(call.header("authorization"));
    }

    fn operations(&self) -> Vec<String> {
        let verbs_of = |resource: &str, verbs: &[&str]| -> Vec<String> {
            verbs.iter().map(|verb| format!("{resource}.{verb}")).collect()
        };
        let mut all: Vec<String> =
            Kind::ALL.iter().map(|kind| format!("{}.fetch", kind.name().to_lowercase())).collect();
        all.extend(verbs_of("customer", &["create", "update"]));
        for resource in ["invoice", "salesreceipt"] {
            all.extend(verbs_of(resource, &["create", "update", "send", "void", "delete"]));
        }
        all.extend(verbs_of("payment", &["create", "void", "delete"]));
        let others =
            ["companyinfo.fetch", "query", "cdc", "oauth.authorize", "oauth.token", "oauth.revoke", webhook::OPERATION];
        all.extend(others.map(str::to_owned));
        all
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        match self.grants.control(command, call) {
            Some(reply) => reply,
            None => control::answer(&self.company, command, call).await,
        }
    }
}
