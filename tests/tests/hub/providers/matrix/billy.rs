use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{
    billy::{self, InvoiceState, InvoiceView},
    faults::Faults,
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Builder,
    world,
};

use super::{
    Side, patient,
    rows::{Row, Where},
};

/// So many invoices.
const INVOICES: u32 = 3;

/// Billy, and a tenant that writes invoices, which their customers pay.
pub struct Books {
    handle: billy::Handle,
}

/// Switches the plugin on for a tenant.
pub async fn install(handle: &billy::Handle, tenant: &Tenant) {
    let base = format!("{}/v2", handle.base_url());
    let connection = tenant.connection(&world::billy_connection(&base)).await;
    let config = json!({"organization_id": handle.organization_id(), "product_id": handle.product_id(),
        "payment_account_id": handle.bank_account_id()});
    let wanted = json!({"config": config, "connections": {"billy": connection}, "retry_schedule": patient()});
    let _ = tenant.install("billy", &wanted).await;
}

/// An order of one invoice under a reference, of a customer of its own.
pub fn invoice(reference: &str) -> Value {
    json!({"type": "invoice.create", "id": reference, "data": {"reference": reference,
        "customer": {"name": format!("Customer of {reference}"), "email": format!("{reference}@example.test")},
        "lines": [{"description": "Work", "quantity": 2, "unit_price": "400.00"}]}})
}

/// The reference that the order of an invoice had.
pub fn reference(invoice: &InvoiceView) -> String {
    let message = invoice.contact_message.as_deref().unwrap_or_default();
    message.lines().next().unwrap_or_default().to_owned()
}

#[async_trait]
impl Side for Books {
    const PLUGIN: &'static str = "billy";

    fn words(status: u16) -> Option<&'static str> {
        Some(if status == 429 { "Too many requests." } else { "An unexpected error happened." })
    }

    type Shared = ();

    async fn share(hub: Builder) -> ((), Builder) {
        ((), hub)
    }

    async fn join((): &(), tenant: &Tenant) -> Self {
        let handle = world::billy().await;
        install(&handle, tenant).await;
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
            Where::Nowhere | Where::Tokens | Where::Webhooks => &[],
            Where::Writes => &["contacts.create", "invoices.create", "invoices.approve"],
            Where::Reads => &["contacts.list", "invoices.list", "invoices.fetch", "bankPayments.list"],
        }
    }

    fn commands(&self) -> Vec<Value> {
        (0..INVOICES).map(|n| invoice(&format!("c-{n}"))).collect()
    }

    fn asked(&self, command: &Value) -> (String, Vec<String>) {
        let reference = text(command, "id");
        let events = vec![format!("invoice.created {reference}"), format!("invoice.approved {reference}")];
        (reference, events)
    }

    /// The customer pays each invoice once it is approved. What was never approved is not paid.
    async fn happen(&self, _row: &Row) -> Vec<String> {
        let mut paid = Vec::new();
        let paying = async {
            while paid.len() < INVOICES as usize {
                for invoice in self.handle.invoices() {
                    if invoice.state == InvoiceState::Approved && !invoice.is_paid {
                        self.handle.pay(&invoice.id, None).expect("it is open");
                        paid.push(format!("invoice.paid {}", reference(&invoice)));
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Where the hub may give an invoice up, it is not waited for beyond the ladder.
        let _ = tokio::time::timeout(Duration::from_secs(20), paying).await;
        paid
    }

    fn effects(&self) -> Vec<String> {
        self.handle.invoices().iter().map(reference).collect()
    }

    fn name(&self, event: &Value) -> Option<String> {
        let kind = event["type"].as_str()?;
        if !matches!(kind, "invoice.created" | "invoice.approved" | "invoice.paid") {
            return None;
        }
        let id = text(&event["data"], "invoice_id");
        let all = self.handle.invoices();
        let invoice = all.iter().find(|invoice| invoice.id == id);
        Some(format!("{kind} {}", invoice.map_or_else(|| "of nobody".to_owned(), reference)))
    }
}
