//! The broker between nodes goes away, falls silent or is meddled with, under load: bells are late, nothing else.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use lapin::{
    options::{BasicPublishOptions, QueueDeleteOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use switchyard_chaos::cluster::{Cluster, load::Load, probe::Probes, verdict};
use switchyard_tests::{
    api::{Tenant, text, until, until_within},
    broker::{Client, OwnBroker, shared_url},
    proxy::{Direction, Fault, Proxy},
};

/// How long each harm lasts.
const A_WHILE: Duration = Duration::from_secs(2);

/// A bell of the database, or a look without any, comes so soon; the machine is busy beside that.
const SOON: Duration = Duration::from_secs(2);

/// Owners that believe in their broker look by themselves every five seconds, a fifth more or less.
const AT_THE_NEXT_LOOK: Duration = Duration::from_secs(8);

/// A broker on a busy machine takes its time to be known as there or gone.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// How a node says that the broker is, and how nodes wake each other.
async fn broker(cluster: &Cluster, node: usize) -> (String, Value) {
    let seen = cluster.nodes.seen_by(node).await.unwrap_or_default();
    (seen["broker"].as_str().unwrap_or_default().to_owned(), seen["bells"].clone())
}

/// Waits until every node says of the broker what begins like this.
async fn says(cluster: &Cluster, beginning: &str) {
    until_within(KNOWN_WITHIN, beginning, async || {
        for node in 0..cluster.nodes.hubs.len() {
            let (said, _) = broker(cluster, node).await;
            if !said.starts_with(beginning) {
                return Err(format!("node {node} says {said}"));
            }
        }
        Ok(())
    })
    .await;
}

async fn end(cluster: &Cluster, load: Load) {
    let accepted = load.end().await;
    let verdict = verdict::conclude(cluster, &accepted).await;
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.accepted > 50, "hardly anything was accepted: {verdict}");
}

/// A queue of the broker that dies, which a tenant's endpoint fills.
const QUEUE: &str = "orders";

/// Orders placed at each time.
const ORDERS: usize = 5;

/// Events for that queue.
struct Orders {
    tenant: Tenant,
    endpoint: String,
}

impl Orders {
    async fn set_up(cluster: &Cluster, own: &OwnBroker) -> Self {
        Client::of(&own.url()).await.expect("a client").declare_queue(QUEUE, FieldTable::default()).await;
        let tenant = cluster.tenants[0].clone();
        let waits: Vec<u32> = std::iter::once(0).chain([30; 47]).collect();
        let wanted = json!({"kind": "amqp", "url": own.url(), "exchange": "", "routing_key": QUEUE,
            "event_types": ["order.placed"], "retry_schedule": waits});
        let endpoint = text(&tenant.post("/endpoints", &wanted).await.expect(201), "id");
        Self { tenant, endpoint }
    }

    async fn place(&self, when: &str) {
        for n in 0..ORDERS {
            let event = json!({"type": "order.placed", "id": format!("order-{when}-{n}"), "data": {}});
            let _ = self.tenant.publish(&event).await;
        }
    }

    /// Each of the three times' orders is in the queue, once or more.
    async fn all_came(&self, own: &OwnBroker) {
        let list = format!("/deliveries?target={}&state=delivered", self.endpoint);
        until("every order to be delivered", async || match self.tenant.list(&list).await.len() {
            count if count == 3 * ORDERS => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
        let client = Client::of(&own.url()).await.expect("a client");
        let mut ids = BTreeSet::new();
        while let Some(message) = client.take(QUEUE).await {
            let body: Value = serde_json::from_slice(&message.data).expect("JSON");
            ids.insert(text(&body, "id"));
        }
        assert_eq!(ids.len(), 3 * ORDERS, "{ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c28_a_broker_killed_under_load_and_back_delays_bells_and_loses_nothing() {
    let mut own = OwnBroker::start().await;
    let cluster = Cluster::start(2, Some(&own.url())).await;
    says(&cluster, "up").await;
    let orders = Orders::set_up(&cluster, &own).await;
    let (probes, load) = (Probes::set_up(&cluster).await, Load::begin(&cluster));
    orders.place("before").await;
    pass(A_WHILE).await;
    own.kill().await;
    orders.place("without").await;
    says(&cluster, "down").await;
    assert_eq!(broker(&cluster, 0).await.1, "database", "the database rings instead");
    probes.are_delivered(&cluster, "without", SOON).await;
    own.restart().await;
    // Nobody does anything: it is found again, and relied upon once it has held for a while.
    says(&cluster, "down: connected").await;
    probes.are_delivered(&cluster, "again", SOON).await;
    orders.place("again").await;
    end(&cluster, load).await;
    orders.all_came(&own).await;
}

/// The broker that all tests share, by way of a network that fails.
async fn behind_a_proxy() -> (Proxy, String) {
    let mut url: url::Url = shared_url().parse().expect("a URL");
    let (host, port) = (url.host_str().unwrap_or("127.0.0.1").to_owned(), url.port().unwrap_or(5672));
    let mut found = tokio::net::lookup_host((host, port)).await.expect("the broker's name is known");
    let address: SocketAddr = found.next().expect("it has an address");
    let proxy = Proxy::before(address).await;
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(proxy.address().port())).expect("a port");
    (proxy, url.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c29_c33_c34_a_broker_that_falls_silent_or_confirms_nothing_holds_nothing_up() {
    let (proxy, url) = behind_a_proxy().await;
    let cluster = Cluster::start(2, Some(&url)).await;
    says(&cluster, "up").await;
    let (probes, load) = (Probes::set_up(&cluster).await, Load::begin(&cluster));
    // Every bell is lost on the way there; a quorum that lost its majority takes bells and confirms none.
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.set(direction, Fault::Blackhole);
        probes.are_delivered(&cluster, &format!("silent-{direction:?}"), AT_THE_NEXT_LOOK).await;
        says(&cluster, "down").await;
        probes.are_delivered(&cluster, &format!("known-{direction:?}"), SOON).await;
        proxy.heal();
        proxy.cut_all();
        says(&cluster, "down: connected").await;
    }
    proxy.refuse(true);
    proxy.cut_all();
    pass(A_WHILE).await;
    probes.are_delivered(&cluster, "refused", SOON).await;
    proxy.heal();
    end(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c31_c32_queues_that_are_deleted_and_bells_that_are_garbage_harm_no_node() {
    let cluster = Cluster::start(2, Some(&shared_url())).await;
    says(&cluster, "up").await;
    let (probes, load) = (Probes::set_up(&cluster).await, Load::begin(&cluster));
    let client = Client::shared().await;
    let mut queues = Vec::new();
    for node in 0..2 {
        let seen = cluster.nodes.seen_by(node).await.expect("it answers");
        let id = seen["node"].as_str().and_then(|id| id.strip_prefix("node_")).expect("its id").to_owned();
        queues.push(format!("switchyard.bell.{id}"));
    }
    let million = vec![b'1'; 1 << 20];
    for garbage in [b"".as_slice(), b"\xff\xfe", b"1 t0 ep_nowhere 0", b"1 nobody unrouted 0", &million] {
        for queue in &queues {
            let options = BasicPublishOptions::default();
            let sent =
                client.raw().basic_publish("".into(), queue.as_str().into(), options, garbage, Default::default());
            let _ = sent.await.expect("it is sent").await.expect("it is confirmed");
        }
    }
    probes.are_delivered(&cluster, "garbage", SOON).await;
    for queue in &queues {
        let deleted = client.channel().await;
        deleted.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("it is deleted");
    }
    // Until they are declared again nobody hears a bell.
    probes.are_delivered(&cluster, "deleted", AT_THE_NEXT_LOOK).await;
    until("the queues to be there again", async || {
        for queue in &queues {
            if client.queue(queue).await.is_none_or(|(_, consumers)| consumers == 0) {
                return Err(queue.clone());
            }
        }
        Ok(())
    })
    .await;
    end(&cluster, load).await;
    assert!(!cluster.nodes.hubs.iter().any(|hub| hub.log().contains("panicked")));
    drop(cluster);
    for queue in &queues {
        client.clear(&[queue], &[]).await;
    }
}
