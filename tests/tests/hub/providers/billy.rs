//! Commands whose effects happen once, books that add up, and what is still answered while Billy is down.

use serde_json::{Value, json};
use switchyard_simulators::billy;
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::{Builder, Hub},
    world::{billy, billy_connection, bundled},
};

/// Answers that are lost, and a hub that dies at every step of a journal.
mod crashes;

/// Payments in part and taken back, credit notes, VAT, and sums done again.
mod money;

/// What is answered while Billy is down, and what waits.
mod outage;

const TARGET: &str = "plugin:billy";

/// A hub with one tenant that has Billy.
struct Office {
    hub: Hub,
    tenant: Tenant,
    billy: billy::Handle,
}

impl Office {
    async fn open() -> Self {
        Self::open_at(Hub::builder()).await
    }

    /// Polls run once a second at 60 times the pace of life, once a minute at its own.
    async fn open_at(builder: Builder) -> Self {
        let (hub, billy) = (builder.start().await, billy().await);
        let _ = hub.push(bundled("billy")).await.expect(201);
        let tenant = hub.tenant("acme").await;
        let connection = tenant.connection(&billy_connection(&format!("{}/v2", billy.base_url()))).await;
        let config = json!({
            "organization_id": billy.organization_id(), "product_id": billy.product_id(),
            "payment_account_id": billy.bank_account_id(), "tax_products": {"exempt": billy.tax_free_product_id()},
        });
        let wanted = json!({"grants": ["emits:*"], "connections": {"billy": connection}, "config": config});
        let _ = tenant.install("billy", &wanted).await;
        Self { hub, tenant, billy }
    }

    /// Gives a command; answers its id.
    async fn give(&self, command: &str, data: Value) -> String {
        text(&self.tenant.publish(&json!({"type": command, "data": data})).await, "id")
    }

    /// Waits until a command's delivery is in a state, and answers it with its attempts and journal.
    async fn ended(&self, event: &str, state: &str) -> Value {
        let of_it = |delivery: &Value| delivery["event_id"] == event && delivery["state"] == state;
        let found = self.tenant.delivery(TARGET, &format!("{event} {state}"), of_it).await;
        self.tenant.get(&format!("/deliveries/{}", text(&found, "id"))).await.expect(200)
    }

    /// Gives a command and waits until it is done.
    async fn done(&self, command: &str, data: Value) -> Value {
        let event = self.give(command, data).await;
        self.ended(&event, "delivered").await
    }

    /// An invoice of 1,000.00 kroner; answers its id.
    async fn invoice(&self) -> String {
        let _ = self.done("invoice.create", order(json!([line("400.00", 2, None)]))).await;
        self.billy.invoices().last().expect("an invoice").id.clone()
    }

    /// All events of a type about a subject.
    async fn events(&self, event_type: &str, subject: &str) -> Vec<Value> {
        self.tenant.list(&format!("/events?type={event_type}&subject={subject}&limit=200")).await
    }

    /// Waits for an event of a type about a subject, and answers the newest.
    async fn event(&self, event_type: &str, subject: &str) -> Value {
        until(&format!("{event_type} of {subject}"), async || {
            let found = self.events(event_type, subject).await;
            match found.first() {
                Some(event) => Ok(event.clone()),
                None => Err(json!(self.tenant.list("/events?limit=50").await).to_string()),
            }
        })
        .await
    }
}

fn line(price: &str, quantity: u32, tax_code: Option<&str>) -> Value {
    let mut line = json!({"description": "Work", "quantity": quantity, "unit_price": price});
    if let Some(code) = tax_code {
        line["tax_code"] = json!(code);
    }
    line
}

fn order(lines: Value) -> Value {
    json!({"customer": {"name": "Kunde ApS", "email": "a@example.test"}, "lines": lines})
}

fn dkk(amount: &str) -> Value {
    json!({"amount": amount, "currency": "DKK"})
}
