use std::time::Duration;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString},
};
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, faulty, text},
    broker::{Client, own_name, shared_url, until},
    hub::Hub,
    world::{bundled, sender_config, sender_connection, sender_signature},
};

/// How long anything may take that a broker and a hub do together.
const SOON: Duration = Duration::from_secs(20);

/// A queue with a dead-letter queue, and a tenant whose plugin `webhook` is fed from it.
struct Feed {
    client: Client,
    queue: String,
    dead: String,
    tenant: Tenant,
    wanted: Value,
}

impl Feed {
    async fn new(hub: &Hub) -> Self {
        let client = Client::shared().await;
        let (queue, dead) = (own_name("in"), own_name("dead"));
        client.declare_queue(&dead, FieldTable::default()).await;
        let mut arguments = FieldTable::default();
        for (name, value) in [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", dead.as_str())] {
            arguments.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        client.declare_queue(&queue, arguments).await;
        let _ = hub.push(bundled("webhook")).await;
        let tenant = hub.tenant("acme").await;
        let connection = tenant.connection(&sender_connection()).await;
        let source = json!({"name": "orders", "kind": "amqp", "url": shared_url(), "queue": queue});
        let wanted = json!({"config": sender_config("order.placed"), "connections": {"inbound": connection},
            "grants": ["emits:*"], "sources": [source]});
        Self { client, queue, dead, tenant, wanted }
    }

    async fn send(&self, body: &str, signature: &str) {
        let mut table = FieldTable::default();
        table.insert("X-Signature".into(), AMQPValue::LongString(LongString::from(signature)));
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_headers(table);
        assert!(self.client.publish("", &self.queue, properties, body.as_bytes()).await);
    }

    async fn send_signed(&self, body: &str) {
        self.send(body, &sender_signature(body.as_bytes())).await;
    }

    async fn events(&self) -> Vec<Value> {
        self.tenant.list("/events?type=order.placed").await
    }

    /// Waits until the queue has nothing that anybody must still look at.
    async fn is_empty(&self) {
        until("the queue is empty", SOON, async || {
            self.client.queue(&self.queue).await.is_some_and(|(waiting, _)| waiting == 0)
        })
        .await;
    }

    async fn clear(self) {
        self.client.clear(&[&self.queue, &self.dead], &[]).await;
    }
}

#[tokio::test]
async fn a_message_becomes_an_event_and_the_same_one_again_does_not() {
    let hub = Hub::start().await;
    let feed = Feed::new(&hub).await;
    let installed = feed.tenant.install("webhook", &feed.wanted).await;
    let source = &installed["sources"][0];
    assert_eq!((&source["kind"], &source["queue"]), (&json!("amqp"), &json!(feed.queue)), "{source}");
    assert!(!text(source, "url").contains('@'), "{source}");
    for body in [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":1}"#] {
        feed.send_signed(body).await;
    }
    until("both are there", SOON, async || feed.events().await.len() == 2).await;
    feed.is_empty().await;
    assert_eq!(feed.events().await.len(), 2);
    assert!(feed.client.take(&feed.dead).await.is_none(), "nothing was refused");
    // What is fed from a queue takes nothing by HTTP, where the plugin may rely on the broker.
    let path = format!("/in/{}", text(source, "id"));
    let body = r#"{"n":3}"#;
    let signature = sender_signature(body.as_bytes());
    let reply = hub.without_key().raw("POST", &path, &[("x-signature", &signature)], body).await;
    assert_eq!(reply.status, 404, "{}", reply.text);
    feed.clear().await;
}

#[tokio::test]
async fn what_is_refused_is_dead_lettered_at_the_broker_and_kept_as_a_rejection() {
    let hub = Hub::builder().set("SWITCHYARD_LIMITS__BODY_BYTES", "64KiB").start().await;
    let feed = Feed::new(&hub).await;
    let _ = feed.tenant.install("webhook", &feed.wanted).await;
    feed.send(r#"{"n":1}"#, "00").await;
    assert_eq!(feed.client.next(&feed.dead).await.data, br#"{"n":1}"#);
    let long = format!("{{}}{}", " ".repeat(69_998));
    feed.send_signed(&long).await;
    assert_eq!(feed.client.next(&feed.dead).await.data.len(), 70_000);
    let rejections = feed.tenant.list("/rejections").await;
    let mut codes: Vec<_> = rejections.iter().map(|rejection| text(rejection, "code")).collect();
    codes.sort();
    assert_eq!(codes, ["body_too_large", "unauthenticated"]);
    assert!(feed.events().await.is_empty());
    feed.clear().await;
}

#[tokio::test]
async fn what_cannot_be_judged_is_parked_and_judged_when_it_can() {
    let hub = Hub::start().await;
    let feed = Feed::new(&hub).await;
    let mut wanted = feed.wanted.clone();
    // Without the grant its event cannot be accepted, which is no fault of the message.
    wanted["grants"] = json!([]);
    let _ = feed.tenant.install("webhook", &wanted).await;
    feed.send_signed(r#"{"n":1}"#).await;
    until("it is parked", SOON, async || feed.tenant.list("/parked").await.len() == 1).await;
    feed.is_empty().await;
    let _ = feed.tenant.install("webhook", &feed.wanted).await;
    until("it is judged again", SOON, async || feed.events().await.len() == 1).await;
    until("it is parked no more", SOON, async || feed.tenant.list("/parked").await.is_empty()).await;
    feed.clear().await;
}

#[tokio::test]
async fn a_plugin_that_is_off_leaves_its_messages_in_the_queue_and_a_kill_loses_none() {
    let mut hub = Hub::start().await;
    let feed = Feed::new(&hub).await;
    let mut off = feed.wanted.clone();
    off["mode"] = json!("off");
    let _ = feed.tenant.install("webhook", &off).await;
    for n in 0..200 {
        feed.send_signed(&format!("{{\"n\":{n}}}")).await;
    }
    assert_eq!(feed.client.queue(&feed.queue).await, Some((200, 0)), "nobody takes them");
    let mut live = feed.wanted.clone();
    // The address is known from before.
    live["sources"] = json!([{"name": "orders", "kind": "amqp", "queue": feed.queue}]);
    let _ = feed.tenant.install("webhook", &live).await;
    until("it takes some", SOON, async || !feed.events().await.is_empty()).await;
    hub.kill().await;
    hub.restart().await;
    let tenant = Tenant { api: (*hub).clone(), id: "acme".to_owned() };
    until("it takes all", SOON * 3, async || tenant.all("/events").await.len() >= 200).await;
    feed.is_empty().await;
    let events = tenant.all("/events").await;
    let numbers: std::collections::BTreeSet<_> = events.iter().map(|event| event["data"].to_string()).collect();
    assert_eq!((events.len(), numbers.len()), (200, 200), "one event for each message");
    let feed = Feed { tenant, ..feed };
    feed.clear().await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_yet_is_waited_for() {
    let hub = Hub::start().await;
    let feed = Feed::new(&hub).await;
    feed.client.delete_queue(&feed.queue).await;
    let _ = feed.tenant.install("webhook", &feed.wanted).await;
    until("it says so", SOON, async || hub.log().contains("is not fed from its queue")).await;
    feed.client.declare_queue(&feed.queue, FieldTable::default()).await;
    feed.send_signed(r#"{"n":1}"#).await;
    until("it is there", SOON, async || feed.events().await.len() == 1).await;
    feed.clear().await;
}

#[tokio::test]
async fn a_source_over_its_rate_leaves_its_messages_with_the_broker_and_refuses_none() {
    const RATE: usize = 10;
    const MESSAGES: usize = 40;
    let hub = Hub::builder()
        .set("SWITCHYARD_RATES__SOURCE_PER_SECOND", &RATE.to_string())
        .set("SWITCHYARD_RATES__SOURCE_BURST", &RATE.to_string())
        .start()
        .await;
    let feed = Feed::new(&hub).await;
    for n in 0..MESSAGES {
        feed.send_signed(&format!("{{\"n\":{n}}}")).await;
    }
    let _ = feed.tenant.install("webhook", &feed.wanted).await;
    until("all are there", SOON, async || feed.tenant.all("/events?type=order.placed").await.len() == MESSAGES).await;
    let events = feed.tenant.all("/events?type=order.placed").await;
    let mut accepted: Vec<jiff::Timestamp> =
        events.iter().map(|event| text(event, "accepted_at").parse().expect("a time")).collect();
    accepted.sort_unstable();
    let took = accepted[MESSAGES - 1].duration_since(accepted[0]).as_millis();
    // The burst comes at once, the rest at the rate.
    let least = (MESSAGES - RATE - 1) * 1000 / RATE;
    assert!(took >= least as i128, "{MESSAGES} were taken within {took} ms");
    assert!(feed.tenant.list("/rejections").await.is_empty());
    assert!(feed.client.take(&feed.dead).await.is_none(), "nothing was refused");
    feed.clear().await;
}

#[tokio::test]
async fn a_fault_in_a_sources_queue_names_its_field() {
    let hub = Hub::start().await;
    let feed = Feed::new(&hub).await;
    let good = "amqp://u:MARKER-password@127.0.0.1/v";
    for (source, field) in [
        (json!({"name": "o", "kind": "mqtt"}), "sources[0].kind"),
        (json!({"name": "o", "kind": "amqp", "url": good}), "sources[0].queue"),
        (json!({"name": "o", "kind": "amqp", "url": good, "queue": ""}), "sources[0].queue"),
        (json!({"name": "o", "kind": "amqp", "queue": "q"}), "sources[0].url"),
        (json!({"name": "o", "kind": "amqp", "url": "http://x", "queue": "q"}), "sources[0].url"),
        (
            json!({"name": "o", "kind": "amqp", "url": "amqps://u:MARKER-password@10.0.0.1", "queue": "q"}),
            "sources[0].url",
        ),
        (json!({"name": "o", "url": good}), "sources[0].url"),
        (json!({"name": "O", "kind": "amqp", "url": good, "queue": "q"}), "sources[0]"),
    ] {
        let mut wanted = feed.wanted.clone();
        wanted["sources"] = json!([source]);
        let reply = feed.tenant.api.put(&feed.tenant.path("/plugins/webhook"), &wanted).await;
        assert_eq!(reply.status, 400, "{source}: {}", reply.text);
        assert_eq!(faulty(&reply.json()), [field], "{source}: {}", reply.text);
        assert!(!reply.text.contains("MARKER"), "{}", reply.text);
    }
    feed.clear().await;
}
