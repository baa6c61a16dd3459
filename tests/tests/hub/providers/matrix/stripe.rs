use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    faults::Faults,
    stripe,
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Builder,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Side,
    rows::{Row, Where},
};

const SECRET: &str = "whsec_of-the-matrix-0123456789";

/// So many customers.
const CUSTOMERS: u32 = 3;

/// Stripe, whose customers subscribe and fall behind.
pub struct Plans {
    handle: stripe::Handle,
}

#[async_trait]
impl Side for Plans {
    const PLUGIN: &'static str = "stripe";

    /// Nothing is asked of Stripe.
    fn words(_status: u16) -> Option<&'static str> {
        None
    }

    type Shared = ();

    async fn share(hub: Builder) -> ((), Builder) {
        ((), hub)
    }

    async fn join((): &(), tenant: &Tenant) -> Self {
        // Three days of tries run in a moment.
        let mut options = stripe::Options::new("rk_of_the_matrix", SECRET, Arc::new(SystemClock));
        options.time_factor = TimeFactor::new(600);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let handle = stripe::Stripe::start(listener, options, CancellationToken::new()).expect("a Stripe");
        let secret = json!({"provider": "stripe", "name": "endpoint", "kind": "hmac", "secret": {"secret": SECRET}});
        let secret = tenant.connection(&secret).await;
        let installed = tenant.install("stripe", &json!({"config": {}, "connections": {"signing": secret}})).await;
        handle.set_url(text(&installed["sources"][0], "url"));
        Self { handle }
    }

    fn faults(&self) -> &Faults {
        self.handle.faults()
    }

    fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.handle.set_clock_offset_ms(offset_ms);
    }

    fn operations(&self, sort: Where) -> &'static [&'static str] {
        match sort {
            Where::Webhooks => &["webhook.*"],
            Where::Nowhere | Where::Writes | Where::Reads | Where::Tokens => &[],
        }
    }

    /// Nothing is asked of Stripe.
    fn commands(&self) -> Vec<Value> {
        Vec::new()
    }

    fn asked(&self, command: &Value) -> (String, Vec<String>) {
        (text(command, "id"), Vec::new())
    }

    /// Stripe tries again until an event is taken, so all of them arrive, also the one that was signed wrongly at first.
    async fn happen(&self, _row: &Row) -> Vec<String> {
        let mut expected = Vec::new();
        for n in 0..CUSTOMERS {
            let id = self.handle.subscribe(&format!("cus_{n}"), "active");
            self.handle.set_status(&id, "past_due").expect("it is there");
            expected.extend(["created", "updated", "past_due"].map(|what| format!("subscription.{what} {id}")));
        }
        assert!(self.handle.wait_until_taken(Duration::from_secs(30)).await, "{:?}", self.handle.attempts());
        expected
    }

    fn effects(&self) -> Vec<String> {
        Vec::new()
    }

    fn name(&self, event: &Value) -> Option<String> {
        let kind = event["type"].as_str().filter(|kind| kind.starts_with("subscription."))?;
        Some(format!("{kind} {}", text(&event["data"], "subscription_id")))
    }
}
