//! Subscriptions and their payments: believed only when signed, told once, and never taken back by what comes late.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{Clock as _, SystemClock, TimeFactor},
    faults::Fault,
    stripe::{self, Forgery, Sending},
};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    hub::Hub,
    world::bundled,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_a-signing-secret-of-the-tests";

/// A hub with one tenant that has Stripe.
struct Shop {
    hub: Hub,
    tenant: Tenant,
    stripe: stripe::Handle,
    connection: String,
    source: String,
}

impl Shop {
    async fn open() -> Self {
        let hub = Hub::start().await;
        let _ = hub.push(bundled("stripe")).await.expect(201);
        let mut options = stripe::Options::new("sk_test_1", SECRET, Arc::new(SystemClock));
        options.time_factor = TimeFactor::new(600);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let stripe = stripe::Stripe::start(listener, options, CancellationToken::new()).expect("a Stripe");
        let tenant = hub.tenant("acme").await;
        let wanted = json!({"provider": "stripe", "name": "stripe", "kind": "hmac", "secret": {"secret": SECRET}});
        let connection = tenant.connection(&wanted).await;
        let wanted = json!({"grants": ["emits:*"], "connections": {"signing": connection}, "config": {}});
        let installed = tenant.install("stripe", &wanted).await;
        let source = text(&installed["sources"][0], "url");
        stripe.set_url(&source);
        Self { hub, tenant, stripe, connection, source }
    }

    async fn events(&self, event_type: &str) -> Vec<Value> {
        self.tenant.list(&format!("/events?type={event_type}&limit=200")).await
    }

    /// Waits until nothing is on its way to the plugin any more.
    async fn settled(&self) {
        until("the plugin to have nothing left", async || {
            let all = self.tenant.all("/deliveries").await;
            let left: Vec<&Value> = all.iter().filter(|delivery| delivery["state"] != "delivered").collect();
            if left.is_empty() { Ok(()) } else { Err(json!(left).to_string()) }
        })
        .await;
    }

    /// The state of the plan as it was told last.
    async fn plan(&self) -> String {
        self.settled().await;
        let told = self.events("plan.changed").await;
        told.first().map(|event| text(&event["data"], "state")).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_plan_follows_its_subscription_through_every_state() {
    let shop = Shop::open().await;
    let subscription = shop.stripe.subscribe("cus_1", "trialing");
    let mut states = vec!["trialing"];
    for state in ["active", "past_due", "active", "past_due", "canceled"] {
        // Events of one second are told apart by what each says of the state before.
        until("the plan to be told", async || {
            let told = shop.events("plan.changed").await.len();
            if told == states.len() { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
        shop.stripe.set_status(&subscription, state).expect("it is not over");
        assert!(shop.stripe.wait_until_taken(SOON).await, "Stripe's events are taken");
        states.push(state);
    }
    assert_eq!(shop.plan().await, "canceled");
    let mut told: Vec<Value> = shop.events("plan.changed").await;
    told.reverse();
    let told: Vec<&str> = told.iter().filter_map(|event| event["data"]["state"].as_str()).collect();
    assert_eq!(told, states);
    assert_eq!(shop.events("subscription.past_due").await.len(), 2);
    assert_eq!(shop.events("subscription.cancelled").await.len(), 1);
}

/// What a life of subscriptions and payments leaves, sent in this order of indexes, each index as often as it stands there.
async fn life(order: impl Fn(usize) -> Vec<usize>) -> (BTreeMap<String, usize>, String) {
    let shop = Shop::open().await;
    shop.stripe.hold();
    let subscription = shop.stripe.subscribe("cus_1", "trialing");
    for state in ["active", "past_due", "active"] {
        shop.stripe.set_status(&subscription, state).expect("it is not over");
    }
    let invoice = json!({"id": "in_1", "customer": "cus_1", "currency": "dkk", "amount_paid": 49_900, "amount_due": 49_900,
        "subscription": subscription});
    for kind in ["invoice.payment_failed", "invoice.paid", "invoice.payment_succeeded"] {
        let _ = shop.stripe.happen(kind, invoice.clone());
    }
    let charge = json!({"id": "ch_1", "customer": "cus_1", "currency": "dkk", "amount": 49_900, "amount_refunded": 100,
        "refunded": false});
    let _ = shop.stripe.happen("charge.refunded", charge);
    let events = shop.stripe.events();
    for index in order(events.len()) {
        let status = shop.stripe.send(&events[index].id, &Sending::default()).await.expect("an answer");
        assert_eq!(status, 200, "{}", events[index].kind);
    }
    let plan = shop.plan().await;
    // Ids and times differ from life to life, so that what happened is compared by type, and how often.
    let mut facts = BTreeMap::<String, usize>::new();
    for event in shop.tenant.all("/events").await {
        *facts.entry(text(&event, "type")).or_default() += 1;
    }
    // How often the plan was told depends on what came first; what it is does not.
    facts.remove("plan.changed");
    (facts, plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repetitions_shuffled_with_their_neighbours_are_as_one() {
    let once = life(|count| (0..count).collect()).await;
    assert_eq!(once.1, "active");
    let shuffled = life(|count| {
        // A fixed disorder: 50 rounds, each beginning elsewhere and going another way.
        (0..50)
            .flat_map(|round| (0..count).map(move |step| (round * 3 + step * [1, 3, 5, 7][round % 4]) % count))
            .collect()
    })
    .await;
    assert_eq!(shuffled, once);
}

#[tokio::test]
async fn what_comes_late_changes_nothing() {
    let shop = Shop::open().await;
    shop.stripe.hold();
    let subscription = shop.stripe.subscribe("cus_1", "active");
    shop.stripe.set_status(&subscription, "past_due").expect("it is not over");
    shop.stripe.set_status(&subscription, "canceled").expect("it is not over");
    let events = shop.stripe.events();
    for event in events.iter().rev() {
        assert_eq!(shop.stripe.send(&event.id, &Sending::default()).await.expect("an answer"), 200);
        assert_eq!(shop.plan().await, "canceled", "after {}", event.kind);
    }
    assert_eq!(shop.events("plan.changed").await.len(), 1);
    assert_eq!(shop.events("subscription.created").await.len(), 1, "the fact is told all the same");
}

#[tokio::test]
async fn every_class_of_forgery_is_refused_and_leaves_nothing() {
    let shop = Shop::open().await;
    shop.stripe.hold();
    let _ = shop.stripe.subscribe("cus_1", "active");
    let event = shop.stripe.events()[0].id.clone();
    let forged = [
        Forgery::WrongKey,
        Forgery::NoSignature,
        Forgery::OnlyV0,
        Forgery::AlteredBody,
        Forgery::AlteredStamp,
        Forgery::TwoHeaders,
    ];
    let stale = Sending { forgery: Forgery::None, age_s: 302 };
    let all = forged.map(|forgery| Sending { forgery, age_s: 0 });
    for sending in all.iter().chain([&stale]) {
        assert_eq!(shop.stripe.send(&event, sending).await.expect("an answer"), 401, "{sending:?}");
    }
    assert_eq!(shop.tenant.list("/rejections").await.len(), 7);
    assert!(shop.events("subscription.created").await.is_empty());
    // Old, but within the tolerance; and from a clock that runs ahead.
    for age_s in [290, -600] {
        let sending = Sending { forgery: Forgery::None, age_s };
        assert_eq!(shop.stripe.send(&event, &sending).await.expect("an answer"), 200, "{age_s}");
    }
    assert_eq!(shop.events("subscription.created").await.len(), 1);
}

#[tokio::test]
async fn a_rolled_secret_is_believed_with_the_old_one_and_then_alone() {
    let shop = Shop::open().await;
    let next = "whsec_the-next-signing-secret";
    // Stripe signs with both while the hub knows only the old one.
    shop.stripe.rotate_secret(next);
    let _ = shop.stripe.subscribe("cus_1", "active");
    assert!(shop.stripe.wait_until_taken(SOON).await, "the old secret's signature is found among both");
    let rotation = json!({"secret": {"secret": next}, "overlap_s": 60});
    let _ = shop.tenant.post(&format!("/connections/{}/rotate", shop.connection), &rotation).await.expect(200);
    shop.stripe.end_rotation();
    let _ = shop.stripe.subscribe("cus_2", "active");
    assert!(shop.stripe.wait_until_taken(SOON).await, "the new secret is believed alone");
    assert_eq!(shop.events("subscription.created").await.len(), 2);
}

#[tokio::test]
async fn faults_on_the_way_lose_and_double_nothing() {
    let mut shop = Shop::open().await;
    shop.stripe.faults().arm("webhook.*", Fault::Duplicate, 2);
    shop.stripe.faults().arm("webhook.customer.subscription.created", Fault::OutOfOrder, 1);
    shop.stripe.faults().arm("webhook.customer.subscription.updated", Fault::WrongSignature, 1);
    let subscription = shop.stripe.subscribe("cus_1", "trialing");
    shop.stripe.set_status(&subscription, "active").expect("it is not over");
    assert!(shop.stripe.wait_until_taken(SOON).await, "{:?}", shop.stripe.attempts());
    assert_eq!(shop.plan().await, "active");
    // Stripe insists while the hub is away.
    shop.hub.kill().await;
    shop.stripe.set_status(&subscription, "canceled").expect("it is not over");
    shop.hub.restart().await;
    assert!(shop.stripe.wait_until_taken(SOON).await, "{:?}", shop.stripe.attempts());
    assert_eq!(shop.plan().await, "canceled");
    for (event_type, count) in [("subscription.created", 1), ("subscription.updated", 1), ("subscription.cancelled", 1)]
    {
        assert_eq!(shop.events(event_type).await.len(), count, "{event_type}");
    }
}

#[tokio::test]
async fn what_no_version_can_read_is_parked_and_what_is_no_event_is_refused() {
    let shop = Shop::open().await;
    let send = async |body: String| {
        let stamp = SystemClock.now_ms() / 1000;
        let header = format!("t={stamp},v1={}", stripe::sign(SECRET, stamp, body.as_bytes()));
        shop.hub.without_key().raw("POST", &shop.source, &[("stripe-signature", header.as_str())], body).await.status
    };
    for body in ["", "null", "<html>", "{\"id\":1}", "[1]"] {
        assert_eq!(send(body.to_owned()).await, 400, "{body}");
    }
    let odd = json!({"id": "evt_odd", "type": "invoice.paid", "created": 1, "data": {"object": {"id": "in_1"}}});
    assert_eq!(send(odd.to_string()).await, 503);
    assert_eq!(shop.tenant.list("/parked").await.len(), 1);
    let new = json!({"id": "evt_new", "type": "entitlements.changed", "created": 1, "data": {"object": {}}});
    assert_eq!(send(new.to_string()).await, 200, "a type that is not known is answered and not kept");
}
