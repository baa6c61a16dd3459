use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Hub,
    world::{ACCOUNT_SID, bundled, sender_config, sender_connection},
};

/// The key behind [`STANDARD_SECRET`].
pub(super) const STANDARD_KEY: [u8; 32] = *b"thirty-two bytes of a shared key";

/// Twilio's auth token.
pub(super) const TOKEN: &str = "00112233445566778899aabbccddeeff";

pub(super) fn standard_secret(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// A tenant with one source.
pub(super) struct Sender {
    pub(super) tenant: Tenant,
    /// The whole URL of the source.
    pub(super) url: String,
    /// Its path.
    pub(super) path: String,
    pub(super) connection: String,
}

impl Sender {
    async fn new(hub: &Hub, name: &str, plugin: &str, slot: &str, connection: &Value, config: Value) -> Self {
        let tenant = hub.tenant(name).await;
        let connection = tenant.connection(connection).await;
        let wanted = json!({"config": config, "connections": {slot: connection}, "grants": ["emits:*"]});
        let installed = tenant.install(plugin, &wanted).await;
        let url = text(&installed["sources"][0], "url");
        let path = url.strip_prefix(&hub.url()).expect("a source of this hub").to_owned();
        Self { tenant, url, path, connection }
    }

    /// A sender of Standard Webhooks.
    pub(super) async fn standard(hub: &Hub, name: &str, key: &[u8], tolerance_s: u64) -> Self {
        let secret = json!({"secret": standard_secret(key)});
        let connection = json!({"provider": "sender", "name": "sender", "kind": "hmac", "secret": secret});
        let scheme = json!({"kind": "standard-webhooks", "tolerance_s": tolerance_s});
        let config = json!({"scheme": scheme, "event": {"from": "fixed", "type": "order.placed"}});
        Self::new(hub, name, "webhook", "inbound-base64", &connection, config).await
    }

    /// A sender that signs the body alone.
    pub(super) async fn plain(hub: &Hub, name: &str) -> Self {
        Self::new(hub, name, "webhook", "inbound", &sender_connection(), sender_config("order.placed")).await
    }

    /// A sender with Stripe's scheme, whose signed text is `t.body`.
    pub(super) async fn stamped(hub: &Hub, name: &str) -> Self {
        let config = json!({"scheme": {"kind": "stripe"}, "event": {"from": "fixed", "type": "order.placed"}});
        Self::new(hub, name, "webhook", "inbound", &sender_connection(), config).await
    }

    /// Twilio.
    pub(super) async fn twilio(hub: &Hub, name: &str) -> Self {
        let secret = json!({"username": ACCOUNT_SID, "password": TOKEN});
        let connection = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "secret": secret});
        let config = json!({"account_sid": ACCOUNT_SID, "from": "+4570000001"});
        Self::new(hub, name, "twilio", "twilio", &connection, config).await
    }

    /// How many events, parked requests and rejections it has. Polls are not its doing.
    pub(super) async fn counts(&self) -> (usize, usize, usize) {
        let (mut events, parked) = (self.tenant.list("/events?limit=200").await, self.tenant.list("/parked").await);
        events.retain(|event| event["type"] != "_poll.due");
        let rejections = self.tenant.all("/rejections").await;
        (events.len(), parked.len(), rejections.len())
    }
}

/// The plugins that senders need.
pub(super) async fn push_plugins(hub: &Hub) {
    for plugin in ["webhook", "twilio"] {
        let _ = hub.push(bundled(plugin)).await.expect(201);
    }
}

pub(super) fn mac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

/// What Twilio writes into `X-Twilio-Signature` for a form.
pub(super) fn twilio_signature(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    let signed: String = sorted.into_iter().flat_map(|(name, value)| [name, value]).collect();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(token.as_bytes()).expect("any length is a key");
    mac.update(format!("{url}{signed}").as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The three headers of a Standard Webhook.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) stamp: String,
    pub(super) signature: String,
}

impl Signed {
    pub(super) fn new(key: &[u8], id: &str, stamp: &str, body: &[u8]) -> Self {
        let tag = mac(key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body].concat());
        Self { id: id.to_owned(), stamp: stamp.to_owned(), signature: format!("v1,{}", STANDARD.encode(tag)) }
    }

    pub(super) fn fields(&self) -> Vec<(&str, &str)> {
        vec![("webhook-id", &self.id), ("webhook-timestamp", &self.stamp), ("webhook-signature", &self.signature)]
    }
}

/// Seconds since 1970, for time stamps.
pub(super) fn now() -> i64 {
    use switchyard::clock::SystemClock;
    SystemClock::shared().now().unix_seconds()
}
