use std::time::Duration;

use switchyard::{
    broker::{BellSettings, Bells, BrokerAddress, Rung, bell},
    observe::metrics,
};
use switchyard_tests::broker::{Client, shared_url, until};

use super::node::{ALL, EVENTUALLY, Node, SOON, lane, lane_in, prefix};

/// A counter of this process, by its line.
fn counted(line: &str) -> u64 {
    let text = metrics::render();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_is_heard_by_the_node_that_owns_the_partition_and_by_no_other() {
    let client = Client::shared().await;
    let prefix = prefix();
    let (one, two) = (Node::start(&shared_url(), &prefix, "one"), Node::start(&shared_url(), &prefix, "two"));
    let (low, high) = (lane_in(3), lane_in(60));
    one.bells.set_owned(std::array::from_fn(|partition| partition < 32));
    two.bells.set_owned(std::array::from_fn(|partition| partition >= 32));
    let _ = (one.is("up", SOON).await, two.is("up", SOON).await);
    one.rings_through_to(&two, &high).await;
    two.rings_through_to(&one, &low).await;
    one.rings_through_to(&one, &low).await;
    assert_eq!(one.heard.times(&high) + two.heard.times(&low), 0, "nobody hears what is not theirs");
    two.stop_and_clear(&client).await;
    one.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_moves_takes_its_bells_along() {
    let client = Client::shared().await;
    let prefix = prefix();
    let (one, two) = (Node::start(&shared_url(), &prefix, "one"), Node::start(&shared_url(), &prefix, "two"));
    one.bells.set_owned(ALL);
    let _ = (one.is("up", SOON).await, two.is("up", SOON).await);
    let lane = lane_in(7);
    two.rings_through_to(&one, &lane).await;
    one.bells.set_owned([false; 64]);
    two.bells.set_owned(ALL);
    one.rings_through_to(&two, &lane).await;
    let before = one.heard.times(&lane);
    for _ in 0..3 {
        one.rings_through_to(&two, &lane).await;
    }
    assert_eq!(one.heard.times(&lane), before, "the node that gave it up hears nothing any more");
    two.stop_and_clear(&client).await;
    one.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bells_of_one_lane_that_come_close_together_are_rung_once() {
    let client = Client::shared().await;
    let mut settings = BellSettings::new(BrokerAddress::parse(&shared_url()).unwrap(), "one");
    settings.prefix = prefix();
    settings.gather = Duration::from_millis(500);
    let node = Node::with(settings);
    node.bells.set_owned(ALL);
    node.is("up", SOON).await;
    let (often, last) = (lane("often"), lane("last"));
    node.rings_through_to(&node, &last).await;
    let before = node.heard.times(&last);
    for _ in 0..1000 {
        assert_eq!(node.ring(&often), Rung::Taken);
    }
    assert_eq!(node.ring(&last), Rung::Taken);
    // Both wait for the same moment, and one connection keeps their order, or nearly so.
    until("the bells are heard", SOON, async || node.heard.times(&last) > before && node.heard.times(&often) > 0).await;
    node.rings_through_to(&node, &last).await;
    assert_eq!(node.heard.times(&often), 1);
    node.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ringing_without_a_broker_says_so_at_once() {
    // Nobody listens at this port: it was free a moment ago, and the listener that proved it is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let node = Node::start(&format!("amqp://guest:guest@127.0.0.1:{port}"), &prefix(), "one");
    assert_eq!(node.ring(&lane("acme")), Rung::NotUp);
    until("the reason is known", SOON, async || node.reason().contains("refused")).await;
    assert_eq!(node.ring(&lane("acme")), Rung::NotUp);
    assert_eq!(node.word(), "down");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_apart_and_never_repeated() {
    let url = shared_url();
    let host = url.rsplit_once('@').map_or("127.0.0.1:5672", |(_, host)| host);
    let node = Node::start(&format!("amqp://guest:hunter2-hunter2@{host}"), &prefix(), "one");
    until("it is refused", SOON, async || node.reason().contains("refused user and password")).await;
    assert!(!node.reason().contains("hunter2"));
    assert!(!format!("{:?}", node.settings).contains("hunter2"));
    node.stop().await;
    let node = Node::start(&format!("{}-no-such-vhost", url.trim_end_matches("%2f")), &prefix(), "one");
    until("it is refused", SOON, async || node.reason().contains("refused the connection")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_that_nobody_would_hear_is_counted_as_lost() {
    let client = Client::shared().await;
    let node = Node::start(&shared_url(), &prefix(), "one");
    node.is("up", SOON).await;
    let unroutable = r#"switchyard_bells_total{outcome="unroutable"}"#;
    let before = counted(unroutable);
    assert_eq!(node.ring(&lane("acme")), Rung::Taken);
    until("it is counted", SOON, async || counted(unroutable) > before).await;
    assert_eq!(node.word(), "up", "that is no fault of the broker");
    node.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c32_garbage_is_set_aside_and_doubled_bells_do_no_harm() {
    let client = Client::shared().await;
    let node = Node::start(&shared_url(), &prefix(), "one");
    node.bells.set_owned(ALL);
    node.is("up", SOON).await;
    let (exchange, dead) = (node.settings.prefix.clone(), format!("{}.dead", node.settings.prefix));
    let whole = bell::encode(&lane("acme"));
    let million = vec![b'1'; 1 << 20];
    for garbage in [b"".as_slice(), b"\xff\xfe", b"2 acme unrouted 0", &million] {
        assert!(client.publish(&exchange, "5", Default::default(), garbage).await);
    }
    for _ in 0..3 {
        // Doubled, in a partition that is not the lane's, and for a tenant that nobody knows.
        assert!(client.publish(&exchange, "5", Default::default(), whole.as_bytes()).await);
    }
    until("all is heard", SOON, async || node.heard.times(&lane("acme")) == 3).await;
    let mut set_aside = Vec::new();
    for _ in 0..4 {
        set_aside.push(client.next(&dead).await.data.len());
    }
    set_aside.sort_unstable();
    assert_eq!(set_aside, [0, 2, 17, 1 << 20]);
    assert_eq!(node.word(), "up");
    until("nothing is left", SOON, async || client.queue(&node.queue()).await == Some((0, 1))).await;
    node.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_waits_for_a_node_that_is_away_for_a_moment() {
    let client = Client::shared().await;
    let prefix = prefix();
    let one = Node::start(&shared_url(), &prefix, "one");
    one.bells.set_owned(ALL);
    let two = Node::start(&shared_url(), &prefix, "two");
    let _ = (one.is("up", SOON).await, two.is("up", SOON).await);
    two.rings_through_to(&one, &lane("acme")).await;
    one.stop().await;
    assert_eq!(two.ring(&lane("late")), Rung::Taken);
    let queue = format!("{prefix}.one");
    until("the bell waits", SOON, async || {
        client.queue(&queue).await.is_some_and(|(bells, consumers)| bells >= 1 && consumers == 0)
    })
    .await;
    let one = Node::start(&shared_url(), &prefix, "one");
    one.bells.set_owned(ALL);
    until("the bell is heard", EVENTUALLY, async || one.heard.times(&lane("late")) == 1).await;
    two.stop_and_clear(&client).await;
    one.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_lanes_than_may_wait_are_refused_and_not_kept() {
    let client = Client::shared().await;
    let mut settings = BellSettings::new(BrokerAddress::parse(&shared_url()).unwrap(), "one");
    settings.prefix = prefix();
    // Long enough for all of them to be rung meanwhile, also on a slow machine.
    settings.gather = Duration::from_secs(5);
    let node = Node::with(settings);
    node.is("up", SOON).await;
    let bells: &Bells = &node.bells;
    let rung = (0..6000).map(|number| lane(&format!("t{number}"))).map(|lane| bells.ring(&lane, lane.key()));
    let full = rung.filter(|rung| *rung == Rung::Full).count();
    assert!((1..=6000 - 4096).contains(&full), "{full}");
    node.stop_and_clear(&client).await;
}
