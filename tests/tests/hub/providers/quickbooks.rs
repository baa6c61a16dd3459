//! Accounting at QuickBooks: logins, webhooks, lost webhooks, commands.

mod commands;
mod webhooks;

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    oauth::Client,
    quickbooks::{BANK_ACCOUNT, Handle, ITEM, Options, QuickBooks, TAX_25},
};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::{Builder, Hub},
    world::bundled,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const REALM: &str = "1185883450";
const VERIFIER: &str = "b5771f19b12ddb4bcdb9f08bdc50bc63878a";
const PLUGIN: &str = "plugin:quickbooks";

fn client(redirect_uris: Vec<String>) -> Client {
    Client { id: "client-1".to_owned(), secret: "MARKER-client-secret-0002".to_owned(), redirect_uris }
}

/// A company whose ladder of tries begins with some milliseconds; it lives as long as the test's runtime.
async fn company() -> Handle {
    let mut options = Options::new(REALM, client(Vec::new()), VERIFIER, Arc::new(SystemClock));
    options.time_factor = TimeFactor::new(600);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    QuickBooks::start(listener, options, CancellationToken::new()).expect("a company")
}

/// A hub that finds Intuit's three hosts here.
fn hub_beside(company: &Handle) -> Builder {
    let hosts = ["appcenter.intuit.com", "oauth.platform.intuit.com", "quickbooks.api.intuit.com"];
    let origins: Vec<String> = hosts.iter().map(|host| format!("https://{host}={}", company.base_url())).collect();
    Hub::builder().set("SWITCHYARD_PROVIDER_ORIGINS", &origins.join(","))
}

/// A hub with the plugin, an app, and a tenant whose connection is not yet made.
struct World {
    hub: Hub,
    company: Handle,
    tenant: Tenant,
    app: Value,
}

impl World {
    async fn start() -> Self {
        let company = company().await;
        let hub = hub_beside(&company).start().await;
        let _ = hub.push(bundled("quickbooks")).await.expect(201);
        let Client { id, secret, .. } = client(Vec::new());
        let app = json!({"provider": "quickbooks", "name": "intuit", "plugin": "quickbooks", "client_id": id,
            "client_secret": secret, "secrets": {"verifier_token": VERIFIER}});
        let app = hub.post("/v1/apps", &app).await.expect(201);
        company.grants().register(client(vec![text(&app, "redirect_uri")]));
        let tenant = hub.tenant("acme").await;
        Self { hub, company, tenant, app }
    }

    /// One that is logged in, whose webhooks come to the installation's own source.
    async fn ready() -> Self {
        let world = Self::start().await;
        let refresh_token = world.company.logged_in().refresh_token;
        let secret = json!({"app": text(&world.app, "id"), "refresh_token": refresh_token});
        let connection = world.connection(secret).await;
        let verifier =
            json!({"provider": "quickbooks", "name": "verifier", "kind": "hmac", "secret": {"secret": VERIFIER}});
        let verifier = world.tenant.connection(&verifier).await;
        let installed = world.install(json!({"quickbooks": connection, "webhook": verifier})).await;
        world.company.set_webhook_url(text(&installed["sources"][0], "url"));
        world
    }

    async fn connection(&self, secret: Value) -> String {
        let wanted = json!({"provider": "quickbooks", "name": "books", "kind": "oauth2", "secret": secret});
        self.tenant.connection(&wanted).await
    }

    async fn install(&self, connections: Value) -> Value {
        let config =
            json!({"realm_id": REALM, "item_id": ITEM, "tax_code": TAX_25, "deposit_account_id": BANK_ACCOUNT});
        self.tenant.install("quickbooks", &json!({"config": config, "connections": connections})).await
    }

    /// Waits until the installation is ready, so that what happens now is new to it.
    async fn settled(&self) {
        until("the installation to be ready", async || {
            let shown = self.tenant.get("/plugins/quickbooks").await.expect(200);
            if shown["state"] == "ready" { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    }

    /// Somebody makes an invoice of 1,000.00 in QuickBooks; answers its id.
    fn invoice(&self, customer: &str) -> String {
        let customer = json!({"do": "create", "kind": "Customer", "record": {"DisplayName": customer}});
        let customer = text(&self.company.act(customer).expect("a customer"), "Id");
        let line = json!({"Amount": 800.0, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {
            "ItemRef": {"value": ITEM}, "Qty": 2, "UnitPrice": 400.0, "TaxCodeRef": {"value": TAX_25}}});
        let record = json!({"CustomerRef": {"value": customer}, "Line": [line]});
        let invoice = json!({"do": "create", "kind": "Invoice", "record": record});
        text(&self.company.act(invoice).expect("an invoice"), "Id")
    }

    fn act(&self, act: Value) -> Value {
        self.company.act(act).expect("QuickBooks takes it")
    }

    /// The events of a type.
    async fn told(&self, event_type: &str) -> Vec<Value> {
        self.tenant.all(&format!("/events?type={event_type}")).await
    }

    /// Waits until there are so many events of a type, and answers them.
    async fn wait(&self, event_type: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} of {event_type}"), async || {
            let told = self.told(event_type).await;
            if told.len() >= count { Ok(told) } else { Err(json!(told).to_string()) }
        })
        .await
    }

    /// Waits until nothing is under way any more.
    async fn quiet(&self) {
        until("the hub to be quiet", async || {
            let live = self.tenant.list("/deliveries?state=queued,running,waiting,held").await;
            if live.is_empty() && self.company.untold() == 0 { Ok(()) } else { Err(json!(live).to_string()) }
        })
        .await;
    }

    /// Types and subjects of all public events, sorted.
    async fn story(&self) -> Vec<String> {
        let all = self.tenant.all("/events").await;
        // When the books are done again depends on time alone.
        let told = |kind: &str| !kind.starts_with('_') && kind != "books.reconciled";
        let public = all.iter().filter(|event| told(&text(event, "type")));
        let mut story: Vec<String> =
            public.map(|event| format!("{} {}", text(event, "type"), event["subject"])).collect();
        story.sort();
        story
    }
}

/// The command for an invoice of 1,000.00.
fn order(customer: &str) -> Value {
    json!({"type": "invoice.create", "data": {
        "customer": {"name": customer, "email": format!("{}@kunde.test", customer.to_lowercase().replace(' ', "."))},
        "lines": [{"description": "Emergency call", "quantity": 2, "unit_price": "400.00"}], "reference": customer}})
}
