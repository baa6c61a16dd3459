use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    faults::Faults,
    oauth::{Client, Consent, Decision},
    quickbooks::{self, BANK_ACCOUNT, ITEM, InvoiceView, TAX_25},
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Builder,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Side,
    billy::invoice,
    patient,
    rows::{Row, Where},
};

const VERIFIER: &str = "the-verifier-token-of-the-matrix";
const SCOPE: &str = "com.intuit.quickbooks.accounting";

/// So many invoices.
const INVOICES: u32 = 3;

/// QuickBooks, and a tenant that writes invoices, which their customers pay.
pub struct Company {
    handle: quickbooks::Handle,
}

fn client() -> Client {
    Client { id: "matrix".to_owned(), secret: "the-secret-of-the-matrix".to_owned(), redirect_uris: Vec::new() }
}

/// A company whose tokens are those of `tokens`, or its own.
pub async fn start(realm: &str, tokens: Option<&quickbooks::Handle>) -> quickbooks::Handle {
    let mut options = quickbooks::Options::new(realm, client(), VERIFIER, Arc::new(SystemClock));
    options.grants = tokens.map(|handle| Arc::clone(handle.grants()));
    // The ladder of tries begins with ten seconds and ends with six hours.
    options.time_factor = TimeFactor::new(600);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    quickbooks::QuickBooks::start(listener, options, CancellationToken::new()).expect("a company")
}

/// The setting by which a hub finds the tokens at a simulator.
pub fn origins(tokens: &quickbooks::Handle) -> (&'static str, String) {
    ("SWITCHYARD_PROVIDER_ORIGINS", format!("https://oauth.platform.intuit.com={}", tokens.base_url()))
}

/// Logs a tenant in at its company, with a grant of `tokens`, and switches the plugin on.
pub async fn install(tokens: &quickbooks::Handle, handle: &quickbooks::Handle, realm: &str, tenant: &Tenant) {
    let Client { id, secret, .. } = client();
    let app = json!({"provider": "quickbooks", "name": format!("quickbooks of {}", tenant.id), "plugin": "quickbooks",
        "client_id": id, "client_secret": secret});
    let app = text(&tenant.api.post("/v1/apps", &app).await.expect(201), "id");
    let consent = Consent {
        account: "owner@customer.example".to_owned(),
        realm: Some(realm.to_owned()),
        decision: Decision::Allow,
    };
    let issued = tokens.grants().issue(&id, &consent, &[SCOPE]);
    let connection = json!({"provider": "quickbooks", "name": "quickbooks", "kind": "oauth2", "account": realm,
        "base_url": handle.base_url(), "secret": {"app": app, "refresh_token": issued.refresh_token}});
    let connection = tenant.connection(&connection).await;
    let verifier =
        json!({"provider": "quickbooks", "name": "verifier", "kind": "hmac", "secret": {"secret": VERIFIER}});
    let verifier = tenant.connection(&verifier).await;
    let config = json!({"realm_id": realm, "item_id": ITEM, "tax_code": TAX_25, "deposit_account_id": BANK_ACCOUNT});
    let connections = json!({"quickbooks": connection, "webhook": verifier});
    let wanted = json!({"config": config, "connections": connections, "retry_schedule": patient()});
    let installed = tenant.install("quickbooks", &wanted).await;
    handle.set_webhook_url(text(&installed["sources"][0], "url"));
}

impl Company {
    /// The reference that the order of an invoice had, by its customer's name.
    fn reference(&self, invoice: &InvoiceView) -> String {
        reference(&self.handle, invoice)
    }
}

/// The reference that the order of an invoice had, by its customer's name.
pub fn reference(handle: &quickbooks::Handle, invoice: &InvoiceView) -> String {
    let customers = handle.records(quickbooks::Kind::Customer);
    let customer = customers.iter().find(|customer| customer["Id"] == invoice.customer_id.as_str());
    let name = customer.and_then(|customer| customer["DisplayName"].as_str()).unwrap_or_default();
    name.trim_start_matches("Customer of ").to_owned()
}

#[async_trait]
impl Side for Company {
    const PLUGIN: &'static str = "quickbooks";

    fn words(status: u16) -> Option<&'static str> {
        Some(if status == 429 { "ThrottleExceeded" } else { "An application error has occurred" })
    }

    /// Where all cells get their tokens.
    type Shared = quickbooks::Handle;

    async fn share(hub: Builder) -> (quickbooks::Handle, Builder) {
        let tokens = start("1", None).await;
        let (name, value) = origins(&tokens);
        (tokens, hub.set(name, &value))
    }

    async fn join(tokens: &quickbooks::Handle, tenant: &Tenant) -> Self {
        static REALMS: AtomicU32 = AtomicU32::new(1000);
        let realm = REALMS.fetch_add(1, Ordering::Relaxed).to_string();
        let handle = start(&realm, Some(tokens)).await;
        install(tokens, &handle, &realm, tenant).await;
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
            Where::Nowhere => &[],
            Where::Writes => &["customer.create", "invoice.create"],
            Where::Reads => &["query", "cdc", "invoice.fetch", "payment.fetch"],
            Where::Tokens => &["customer.create", "cdc"],
            Where::Webhooks => &["webhook.changes"],
        }
    }

    fn commands(&self) -> Vec<Value> {
        (0..INVOICES).map(|n| invoice(&format!("c-{n}"))).collect()
    }

    fn asked(&self, command: &Value) -> (String, Vec<String>) {
        let reference = text(command, "id");
        (reference.clone(), vec![format!("invoice.created {reference}")])
    }

    /// The customer pays each invoice. What was never made is not paid.
    async fn happen(&self, _row: &Row) -> Vec<String> {
        let mut paid = Vec::new();
        let paying = async {
            while paid.len() < INVOICES as usize {
                for invoice in self.handle.invoices() {
                    if invoice.balance > 0 {
                        self.handle.act(json!({"do": "pay", "id": invoice.id})).expect("it is open");
                        paid.push(format!("invoice.paid {}", self.reference(&invoice)));
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
        self.handle.invoices().iter().map(|invoice| self.reference(invoice)).collect()
    }

    fn name(&self, event: &Value) -> Option<String> {
        let kind = event["type"].as_str().filter(|kind| matches!(*kind, "invoice.created" | "invoice.paid"))?;
        let id = text(&event["data"], "invoice_id");
        let all = self.handle.invoices();
        let invoice = all.iter().find(|invoice| invoice.id == id);
        Some(format!("{kind} {}", invoice.map_or_else(|| "of nobody".to_owned(), |found| self.reference(found))))
    }
}
