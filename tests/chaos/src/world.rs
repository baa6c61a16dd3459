use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use switchyard_simulators::{
    billy,
    clock::{SystemClock, TimeFactor},
    google, oauth, subscriber, twilio,
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::{Builder, Hub},
    world::{ACCOUNT_SID, SENDER_SECRET, bundled, guest, sender_connection, subscriber},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::load::Kind;

/// What every event of the tenant `acme` carries, and no request of another tenant may.
pub const MARKER: &str = "MARKER-of-acme";
/// What every event of the tenant `other` carries.
pub const OTHER_MARKER: &str = "MARKER-of-other";

const TWILIO_TOKEN: &str = "SECRET-token-of-twilio-0001";
const BILLY_TOKEN: &str = "SECRET-token-of-billy-0002";
const CLIENT_SECRET: &str = "SECRET-client-of-google-0004";
const CLIENT_ID: &str = "client-1.apps.example";
const HEADER_SECRET: &str = "SECRET-header-of-an-endpoint-0003";

/// What may be read nowhere but in a request to its owner.
pub const SECRETS: [&str; 5] = [TWILIO_TOKEN, BILLY_TOKEN, CLIENT_SECRET, HEADER_SECRET, SENDER_SECRET];

/// The number that text messages leave from.
const NUMBER: &str = "+4570000001";

/// A subscription: a path of the subscriber and what goes there.
pub struct Subscription {
    /// Where at the subscriber.
    pub path: &'static str,
    /// The endpoint's id.
    pub endpoint: String,
    /// Whose it is.
    pub tenant: &'static str,
    /// Which kind of published events goes there; none where only plugins' events do.
    pub kind: Option<Kind>,
    /// Attempts at once.
    pub concurrency: usize,
}

/// A hub with two tenants, their subscriptions, Billy, Twilio and a sender of signed requests.
pub struct World {
    /// The hub.
    pub hub: Hub,
    /// Where everything is delivered.
    pub at: subscriber::Handle,
    /// The bookkeeper.
    pub billy: billy::Handle,
    /// The telephone company.
    pub twilio: twilio::Handle,
    /// Whose access tokens end every second.
    pub google: google::Handle,
    /// The busy tenant.
    pub acme: Tenant,
    /// The other one.
    pub other: Tenant,
    /// What goes where.
    pub subscriptions: Vec<Subscription>,
    /// Where the sender of a tenant sends its requests.
    pub sources: BTreeMap<&'static str, String>,
    /// How the plugin `webhook` of the tenant `other` is switched on.
    pub switch: Value,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Retries twice a second for longer than any fault lasts. The hub runs 60 times as fast.
fn patient() -> Value {
    let mut waits = vec![0];
    waits.resize(32, 30);
    json!(waits)
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

fn simulators(listeners: (TcpListener, TcpListener), shutdown: &CancellationToken) -> (billy::Handle, twilio::Handle) {
    let options = billy::Options::new(BILLY_TOKEN, Arc::new(SystemClock));
    let billy = billy::Billy::start(listeners.0, options, shutdown.clone()).expect("Billy");
    let mut options = twilio::Options::new(ACCOUNT_SID, TWILIO_TOKEN, Arc::new(SystemClock));
    (options.time_factor, options.status_step) = (TimeFactor::new(60), Duration::from_secs(6));
    let twilio = twilio::Twilio::start(listeners.1, options, shutdown.clone()).expect("Twilio");
    (billy, twilio)
}

/// A refresh that dies with the hub is asked for again, so its refresh token stays the same.
fn short_lived_google(listener: TcpListener, shutdown: &CancellationToken) -> google::Handle {
    let mut options = google::Options::new(Arc::new(SystemClock));
    options.rules.access_lifetime = Duration::from_secs(1);
    google::Google::start(listener, options, shutdown.clone()).expect("Google")
}

impl World {
    /// Starts all of it, on a hub that is started as `builder` says.
    ///
    /// # Panics
    /// Something of it cannot be started.
    pub async fn start(builder: Builder) -> Self {
        let shutdown = CancellationToken::new();
        let (billy, twilio) = simulators((listener().await, listener().await), &shutdown);
        let google = short_lived_google(listener().await, &shutdown);
        let origins = ["https://oauth2.googleapis.com", "https://www.googleapis.com"];
        let origins = origins.map(|origin| format!("{origin}={}", google.base_url())).join(",");
        let builder = builder.set("SWITCHYARD_PROVIDER_ORIGINS", &origins);
        let (hub, at) = (builder.start().await, subscriber().await);
        let _ = hub.push(guest("caller")).await.expect(201);
        for plugin in ["billy", "twilio", "webhook"] {
            let _ = hub.push(bundled(plugin)).await.expect(201);
        }
        let (acme, other) = (hub.tenant("acme").await, hub.tenant("other").await);
        let subscriptions = subscribe(&acme, &other, &at).await;
        let mut world = Self {
            hub,
            at,
            billy,
            twilio,
            google,
            acme,
            other,
            subscriptions,
            sources: BTreeMap::new(),
            switch: Value::Null,
            shutdown,
        };
        world.switch_on().await;
        world
    }

    async fn switch_on(&mut self) {
        let (acme, retry) = (&self.acme, patient());
        let base = format!("{}/v2", self.billy.base_url());
        let billy = json!({"provider": "billy", "name": "billy", "kind": "header", "base_url": base,
            "secret": {"name": "X-Access-Token", "value": BILLY_TOKEN}});
        let billy = acme.connection(&billy).await;
        let config = json!({"organization_id": self.billy.organization_id(), "product_id": self.billy.product_id()});
        let wanted = json!({"config": config, "connections": {"billy": billy}, "retry_schedule": retry});
        let _ = acme.install("billy", &wanted).await;
        let twilio = json!({"provider": "twilio", "name": "twilio", "kind": "basic",
            "base_url": self.twilio.base_url(),
            "secret": {"username": ACCOUNT_SID, "password": TWILIO_TOKEN}});
        let twilio = acme.connection(&twilio).await;
        let wanted = json!({"config": {"account_sid": ACCOUNT_SID, "from": NUMBER}, "connections": {"twilio": twilio},
            "retry_schedule": retry});
        let installed = acme.install("twilio", &wanted).await;
        self.twilio.set_sms_url(text(&installed["sources"][0], "url"), None);
        self.log_in().await;
        for tenant in [acme, &self.other] {
            let inbound = tenant.connection(&sender_connection()).await;
            let mut wanted = json!({"connections": {"inbound": inbound}, "grants": ["emits:*"], "config": {
                "scheme": {"kind": "hmac", "header": "x-signature"}, "dedupe": {"path": "id"},
                "event": {"from": "fixed", "type": "hook.arrived"}}});
            let installed = tenant.install("webhook", &wanted).await;
            let name = if tenant.id == "acme" { "acme" } else { "other" };
            self.sources.insert(name, text(&installed["sources"][0], "url"));
            wanted["mode"] = json!("live");
            self.switch = wanted;
        }
    }

    /// Lets the guest `caller` use a connection whose tokens the hub obtains.
    async fn log_in(&self) {
        let app = json!({"provider": "google", "name": "google", "plugin": "caller", "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET});
        let app = text(&self.hub.post("/v1/apps", &app).await.expect(201), "id");
        let client =
            oauth::Client { id: CLIENT_ID.to_owned(), secret: CLIENT_SECRET.to_owned(), redirect_uris: Vec::new() };
        self.google.grants().register(client);
        let owner = "owner@customer.example".to_owned();
        let consent = oauth::Consent { account: owner, realm: None, decision: oauth::Decision::Allow };
        let issued = self.google.grants().issue(CLIENT_ID, &consent, &["https://www.googleapis.com/auth/gmail.modify"]);
        let connection = json!({"provider": "google", "name": "google", "kind": "oauth2",
            "secret": {"app": app, "refresh_token": issued.refresh_token}});
        let connection = self.acme.connection(&connection).await;
        let wanted =
            json!({"connections": {"provider": connection}, "grants": ["emits:*"], "retry_schedule": patient()});
        let _ = self.acme.install("caller", &wanted).await;
    }

    /// The subscription at a path.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn at(&self, path: &str) -> &Subscription {
        self.subscriptions.iter().find(|subscription| subscription.path == path).expect("a subscription")
    }
}

async fn subscribe(acme: &Tenant, other: &Tenant, at: &subscriber::Handle) -> Vec<Subscription> {
    let rows = [
        ("/plain", "acme", "plain.made", Some(Kind::Plain), 4),
        ("/ordered", "acme", "step.done", Some(Kind::Step), 3),
        ("/refusing", "acme", "refused.made", Some(Kind::Refused), 8),
        ("/books", "acme", "invoice.*", None, 8),
        ("/texts", "acme", "sms.sent", None, 8),
        ("/hooks", "acme", "hook.arrived", Some(Kind::Hook), 8),
        ("/other", "other", "plain.made", Some(Kind::Other), 4),
        ("/other-hooks", "other", "hook.arrived", None, 4),
    ];
    let mut subscriptions = Vec::new();
    for (path, name, event_type, kind, concurrency) in rows {
        let tenant = if name == "acme" { acme } else { other };
        let schedule = if path == "/refusing" { json!([0]) } else { patient() };
        let more = json!({"concurrency": concurrency, "ordered": path == "/ordered", "retry_schedule": schedule,
            "headers": {"X-Own": HEADER_SECRET}});
        let endpoint = tenant.endpoint(at, path, &[event_type], more).await;
        subscriptions.push(Subscription { path, endpoint, tenant: name, kind, concurrency });
    }
    at.set_script("/refusing", subscriber::Script::always(subscriber::Step::status(400)));
    subscriptions
}
