/// What a subscriber gets, and how it is signed.
mod endpoints;

/// What goes wrong, and where it is seen.
mod failures;

/// What is refused when an endpoint is saved.
mod settings;

/// Sources that are fed from a queue.
mod sources;

use lapin::{
    options::{ExchangeDeclareOptions, QueueBindOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text},
    broker::{Client, own_name, shared_url},
};

/// An exchange with one queue, on the broker that all tests share.
pub struct Place {
    pub client: Client,
    pub exchange: String,
    pub queue: String,
}

impl Place {
    /// A topic exchange whose queue takes everything.
    pub async fn new() -> Self {
        Self::bound("#").await
    }

    /// A topic exchange whose queue takes one pattern of keys.
    pub async fn bound(pattern: &str) -> Self {
        let client = Client::shared().await;
        let (exchange, queue) = (own_name("exchange"), own_name("queue"));
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let kind = lapin::ExchangeKind::Topic;
        let declaring = client.raw().exchange_declare(exchange.as_str().into(), kind, options, FieldTable::default());
        declaring.await.expect("the exchange can be declared");
        client.declare_queue(&queue, FieldTable::default()).await;
        let (to, from, key) = (queue.as_str().into(), exchange.as_str().into(), pattern.into());
        let binding = client.raw().queue_bind(to, from, key, QueueBindOptions::default(), FieldTable::default());
        binding.await.expect("it can be bound");
        Self { client, exchange, queue }
    }

    /// Makes an endpoint that publishes here; answers what the hub says.
    pub async fn endpoint(&self, tenant: &Tenant, types: &[&str], more: Value) -> Value {
        let mut wanted = json!({"kind": "amqp", "url": shared_url(), "exchange": self.exchange, "event_types": types});
        wanted.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        tenant.post("/endpoints", &wanted).await.expect(201)
    }

    pub async fn clear(self) {
        self.client.clear(&[&self.queue], &[&self.exchange]).await;
    }
}

/// A field of a message, as text.
pub fn field(message: &lapin::message::Delivery, name: &str) -> Option<String> {
    let value = message.properties.headers().as_ref()?.inner().get(name)?.as_long_string()?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The delivery of an endpoint, once it is in a state, with its attempts.
pub async fn delivery(tenant: &Tenant, endpoint: &Value, state: &str) -> Value {
    tenant.delivery_in(&text(endpoint, "id"), state).await
}
