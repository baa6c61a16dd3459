//! A mailbox beside the Google that issues its tokens.

use std::sync::Arc;

use http::Method;
use serde_json::Value;
use switchyard_simulators::{
    clock::{ManualClock, TimeFactor},
    gmail::{self, Gmail},
    google::{self, Google},
    oauth::{Consent, Decision},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Got, NOW_MS, call, listener};

pub const MAILBOX: &str = "office@firma.test";
pub const MODIFY: &str = "https://www.googleapis.com/auth/gmail.modify";
pub const READ: &str = "https://www.googleapis.com/auth/gmail.readonly";
pub const SEND: &str = "https://www.googleapis.com/auth/gmail.send";

pub struct World {
    pub gmail: gmail::Handle,
    pub google: google::Handle,
    pub clock: Arc<ManualClock>,
    token: String,
    _stop: DropGuard,
}

pub async fn world_with(change: impl FnOnce(&mut gmail::Options)) -> World {
    let clock = ManualClock::starting_at(NOW_MS);
    let stop = CancellationToken::new();
    let google = Google::start(listener().await, google::Options::new(clock.clone()), stop.clone()).unwrap();
    let mut options = gmail::Options::new(MAILBOX, google.grants(), google.signing_keys(), clock.clone());
    options.time_factor = TimeFactor::new(1000);
    change(&mut options);
    let gmail = Gmail::start(listener().await, options, stop.clone()).unwrap();
    let mut world = World { gmail, google, clock, token: String::new(), _stop: stop.drop_guard() };
    world.token = world.token(MAILBOX, &[MODIFY]);
    world
}

pub async fn world() -> World {
    world_with(|_| {}).await
}

impl World {
    pub fn token(&self, account: &str, scopes: &[&str]) -> String {
        let consent = Consent { account: account.to_owned(), realm: None, decision: Decision::Allow };
        self.google.grants().issue("client-1", &consent, scopes).access_token
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub async fn call_with(&self, token: &str, method: Method, path: &str, body: &Value) -> Got {
        let url = format!("{}/gmail/v1/users/me{path}", self.gmail.base_url());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let bearer = format!("Bearer {token}");
        call(method, &url, &[("authorization", &bearer), ("content-type", "application/json")], body).await.unwrap()
    }

    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Got {
        self.call_with(&self.token, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Got {
        self.call(Method::GET, path, &Value::Null).await
    }
}

/// A plain message from a customer.
pub fn mail(subject: &str, id: &str, text: &str) -> String {
    format!(
        "From: Kunde <kunde@example.test>\r\nTo: {MAILBOX}\r\nSubject: {subject}\r\nMessage-ID: {id}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    )
}
