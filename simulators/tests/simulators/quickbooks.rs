//! Starts a company in QuickBooks and calls it.

use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{ManualClock, TimeFactor},
    oauth::Client,
    quickbooks::{Handle, Options, QuickBooks},
};
use tokio_util::sync::CancellationToken;

use crate::support::{Got, NOW_MS, Running, call, listener};

pub const REALM: &str = "1185883450";
pub const VERIFIER: &str = "b5771f19b12ddb4bcdb9f08bdc50bc63878a";
pub const REDIRECT: &str = "http://127.0.0.1:8080/oauth/callback";

pub async fn quickbooks() -> Running<Handle> {
    let clock = ManualClock::starting_at(NOW_MS);
    let client = Client {
        id: "client-1".to_owned(),
        secret: "client-secret-1".to_owned(),
        redirect_uris: vec![REDIRECT.to_owned()],
    };
    let mut options = Options::new(REALM, client, VERIFIER, clock.clone());
    options.time_factor = TimeFactor::new(1000);
    let stop = CancellationToken::new();
    let handle = QuickBooks::start(listener().await, options, stop.clone()).unwrap();
    Running::new(handle, clock, stop)
}

/// A company, and a caller that has logged in.
pub struct Books {
    pub company: Running<Handle>,
    token: String,
}

impl Books {
    pub async fn open() -> Self {
        let company = quickbooks().await;
        let token = company.logged_in().access_token;
        Self { company, token }
    }

    /// `path` follows the company's own.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Got {
        let url = format!("{}/v3/company/{REALM}{path}", self.company.base_url());
        let bearer = format!("Bearer {}", self.token);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        call(method, &url, &[("authorization", &bearer), ("content-type", "application/json")], body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Got {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Got {
        self.call(Method::POST, path, body).await
    }

    pub async fn query(&self, text: &str) -> Got {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        self.get(&format!("/query?query={encoded}")).await
    }

    /// A customer's id.
    pub async fn customer(&self, name: &str) -> String {
        let made = self.post("/customer", &json!({"DisplayName": name})).await.expect(200);
        made["Customer"]["Id"].as_str().unwrap().to_owned()
    }

    /// An invoice over one line of 800.00 plus 25 % VAT.
    pub async fn invoice(&self, customer: &str) -> Value {
        self.post("/invoice", &invoice(customer)).await.expect(200)["Invoice"].clone()
    }
}

pub fn invoice(customer: &str) -> Value {
    json!({"CustomerRef": {"value": customer}, "Line": [line("2", "400.0", "800.0")]})
}

/// Numbers are given as text, so that a test reads as what is sent.
pub fn line(quantity: &str, price: &str, amount: &str) -> Value {
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    json!({"Amount": number(amount), "DetailType": "SalesItemLineDetail", "Description": "Work", "SalesItemLineDetail": {
        "ItemRef": {"value": "1"}, "Qty": number(quantity), "UnitPrice": number(price), "TaxCodeRef": {"value": "5"}}})
}

/// The code of the fault that an answer carries.
#[track_caller]
pub fn code(got: Got, status: u16) -> String {
    let fault = got.expect(status);
    fault["Fault"]["Error"][0]["code"].as_str().unwrap_or_else(|| panic!("no code in {fault}")).to_owned()
}
