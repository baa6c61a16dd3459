//! Which request means which operation, who may make it, and what other processes may ask of the simulator.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Behaviour,
    answer::{self, CONTACT_PERSON, ORGANIZATION, PRODUCT},
    company::Company,
    contacts,
    errors::ApiError,
    invoices,
    money::Ore,
    payment,
};
use crate::{
    http::{Call, Reply},
    provider::{Provider, control_problem, unknown_command, with_body},
};

/// The company behind HTTP.
pub(crate) struct Api(pub(crate) Arc<Company>);

/// Resources whose operations have names of their own.
const NAMED: [&str; 11] = [
    "invoices",
    "invoiceLines",
    "contacts",
    "contactPersons",
    "products",
    "accounts",
    "taxRates",
    "salesTaxRulesets",
    "bankPayments",
    "balanceModifiers",
    "organization",
];

impl Api {
    fn dispatch(&self, call: &Call) -> Result<Reply, ApiError> {
        let company = &*self.0;
        let segments = call.segments();
        let ["v2", rest @ ..] = segments.as_slice() else { return Err(unknown_route(call)) };
        match (&call.method, rest) {
            (&Method::GET, ["organization"]) => {
                let shape = company.books().behaviour.read_shape;
                Ok(answer::one(shape, ORGANIZATION, company.organization(), Vec::new()))
            }
            (&Method::GET, ["user", "organizations"]) => answer::list(call, ORGANIZATION, vec![company.organization()]),
            (&Method::POST, ["contacts"]) => contacts::create(company, call),
            (&Method::GET, ["contacts"]) => contacts::list(company, call),
            (&Method::GET, ["contacts", id]) => contacts::fetch(company, call, id),
            (&Method::PUT, ["contacts", id]) => contacts::update(company, call, id),
            (&Method::DELETE, ["contacts", id]) => contacts::delete(company, id),
            (&Method::POST, ["contactPersons"]) => contacts::create_person(company, call),
            (&Method::GET, ["contactPersons"]) => contacts::list_persons(company, call),
            (&Method::GET, ["contactPersons", id]) => company.fetch_record(CONTACT_PERSON, id),
            (&Method::POST, ["products"]) => contacts::create_product(company, call),
            (&Method::GET, ["products"]) => contacts::list_products(company, call),
            (&Method::GET, ["products", id]) => company.fetch_record(PRODUCT, id),
            (&Method::POST, ["bankPayments"]) => payment::create(company, call),
            (&Method::GET, ["bankPayments"]) => payment::list(company, call),
            (&Method::GET, ["bankPayments", id]) => payment::fetch(company, call, id),
            (&Method::PUT, ["bankPayments", id]) => payment::update(company, call, id),
            (&Method::GET, ["balanceModifiers"]) => payment::list_modifiers(company, call),
            (&Method::GET, ["invoiceLines"]) => invoices::list_lines(company, call),
            (_, ["invoices", rest @ ..]) => self.invoices(call, rest),
            (&Method::GET, [plural]) => self.read_only(call, plural, None),
            (&Method::GET, [plural, id]) => self.read_only(call, plural, Some(id)),
            _ => Err(unknown_route(call)),
        }
    }

    fn invoices(&self, call: &Call, rest: &[&str]) -> Result<Reply, ApiError> {
        let company = &*self.0;
        match (&call.method, rest) {
            (&Method::POST, []) => invoices::create(company, call),
            (&Method::GET, []) => invoices::list(company, call),
            (&Method::GET, [id]) => invoices::fetch(company, call, id),
            (&Method::PUT, [id]) => invoices::update(company, call, id),
            (&Method::DELETE, [id]) => invoices::delete(company, id),
            (&Method::POST, [id, "emails"]) => invoices::email(company, call, id),
            _ => Err(unknown_route(call)),
        }
    }

    fn read_only(&self, call: &Call, plural: &str, id: Option<&str>) -> Result<Reply, ApiError> {
        let kind = contacts::READ_ONLY.into_iter().find(|kind| kind.plural == plural);
        let kind = kind.ok_or_else(|| unknown_route(call))?;
        match id {
            Some(id) => self.0.fetch_record(kind, id),
            None => self.0.list_records(call, kind),
        }
    }

    fn pay(&self, call: &Call) -> Reply {
        with_body(call, |order: PayOrder| {
            let amount = match order.amount.as_ref().map(Ore::read) {
                Some(None) => return control_problem(400, "amount must be a number of kroner"),
                Some(amount) => amount,
                None => None,
            };
            match payment::pay(&self.0, &order.invoice_id, amount) {
                Ok(paid) => Reply::json(200, &json!(paid)),
                Err(error) => control_problem(409, &error.to_string()),
            }
        })
    }
}

/// There are no webhooks, so asking for them ends here too.
fn unknown_route(call: &Call) -> ApiError {
    ApiError::not_found(&format!("The route {} {}", call.method, call.path))
}

/// The customer pays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayOrder {
    invoice_id: String,
    /// Kroner; all that is open when absent.
    #[serde(default)]
    amount: Option<Value>,
}

/// Somebody takes a payment back at Billy itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeBackOrder {
    payment_id: String,
}

/// The tax of an invoice becomes wrong by this much.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DistortOrder {
    invoice_id: String,
    tax_ore: i64,
}

#[async_trait]
impl Provider for Api {
    /// `invoices.create`, `contacts.list` and so on; an update that moves the state is `invoices.approve` or
    /// `invoices.void`, so that faults can tell them apart.
    fn operation(&self, call: &Call) -> String {
        let segments = call.segments();
        let ["v2", resource, rest @ ..] = segments.as_slice() else { return "unknown".to_owned() };
        if !NAMED.contains(resource) {
            return "unknown".to_owned();
        }
        let verb = match (&call.method, rest) {
            (&Method::POST, [_, "emails"]) => "email",
            (&Method::POST, _) => "create",
            (&Method::GET, []) if *resource != "organization" => "list",
            (&Method::GET, _) => "fetch",
            (&Method::DELETE, _) => "delete",
            (&Method::PUT, _) => match call.json::<Value>().unwrap_or_default()["invoice"]["state"].as_str() {
                Some("approved") => "approve",
                Some("voided") => "void",
                _ => "update",
            },
            _ => return "unknown".to_owned(),
        };
        format!("{resource}.{verb}")
    }

    fn execute(&self, call: &Call) -> Reply {
        if call.header("x-access-token") != Some(self.0.token.as_str()) {
            return self.unauthenticated();
        }
        self.dispatch(call).unwrap_or_else(Reply::from)
    }

    fn failure(&self, status: u16) -> Reply {
        ApiError::injected(status).into()
    }

    fn unauthenticated(&self) -> Reply {
        ApiError::injected(401).into()
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        match (&call.method, command) {
            (&Method::GET, "info") => {
                let fixed = &self.0.fixed;
                let info = json!({
                    "organization_id": fixed.organization, "product_id": fixed.product,
                    "sales_account_id": fixed.sales_account, "bank_account_id": fixed.bank_account,
                    "tax_free_product_id": fixed.free_product,
                });
                Reply::json(200, &info)
            }
            (&Method::GET, "invoices") => Reply::json(200, &invoices::overview(&self.0)),
            (&Method::POST, "pay") => self.pay(call),
            (&Method::POST, "take_back") => {
                with_body(call, |order: TakeBackOrder| match payment::take_back(&self.0, &order.payment_id) {
                    true => Reply::json(200, &json!({"payment_id": order.payment_id})),
                    false => control_problem(409, "no such payment, or it was taken back before"),
                })
            }
            (&Method::POST, "distort") => {
                with_body(call, |order: DistortOrder| match self.0.books().invoice_mut(&order.invoice_id) {
                    Ok(invoice) => {
                        invoice.distortion = Ore(order.tax_ore);
                        Reply::json(200, &json!({"invoice_id": order.invoice_id}))
                    }
                    Err(_) => control_problem(409, "no such invoice"),
                })
            }
            (&Method::GET, "mails") => Reply::json(200, &json!({"mails": self.0.books().mails})),
            (&Method::GET, "behaviour") => Reply::json(200, &json!(self.0.books().behaviour)),
            (&Method::POST, "behaviour") => with_body(call, |behaviour: Behaviour| {
                self.0.books().behaviour = behaviour;
                Reply::json(200, &json!(behaviour))
            }),
            _ => unknown_command(command),
        }
    }
}
