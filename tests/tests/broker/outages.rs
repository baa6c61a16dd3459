use std::time::Duration;

use switchyard::broker::{BellSettings, BrokerAddress, Rung};
use switchyard_tests::broker::{OwnBroker, until};

use super::node::{ALL, EVENTUALLY, Node, SOON, lane, prefix};

#[tokio::test(flavor = "multi_thread")]
async fn c28_a_broker_that_is_killed_is_known_at_once_and_found_again() {
    let mut broker = OwnBroker::start().await;
    let node = Node::start(&broker.url(), &prefix(), "one");
    node.bells.set_owned(ALL);
    node.is("up", SOON).await;
    node.rings_through_to(&node, &lane("acme")).await;
    broker.kill().await;
    node.is("down", Duration::from_secs(5)).await;
    assert_eq!(node.ring(&lane("acme")), Rung::NotUp);
    broker.restart().await;
    node.is("up", EVENTUALLY).await;
    node.rings_through_to(&node, &lane("acme")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c29_a_broker_that_freezes_is_given_up_within_the_time_of_a_confirm() {
    let broker = OwnBroker::start().await;
    let node = Node::start(&broker.url(), &prefix(), "one");
    node.bells.set_owned(ALL);
    node.is("up", SOON).await;
    node.rings_through_to(&node, &lane("acme")).await;
    broker.freeze().await;
    assert_eq!(node.ring(&lane("acme")), Rung::Taken, "nothing has shown it yet");
    node.is("down", Duration::from_secs(10)).await;
    // New connections are taken by the kernel and answered by nobody.
    until("its silence is told", SOON, async || node.reason().contains("did not answer in time")).await;
    assert_eq!(node.ring(&lane("acme")), Rung::NotUp);
    broker.thaw().await;
    node.is("up", EVENTUALLY).await;
    node.rings_through_to(&node, &lane("acme")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c29_a_broker_that_freezes_is_given_up_by_its_heartbeat_when_nobody_rings() {
    let broker = OwnBroker::start().await;
    let mut settings = BellSettings::new(BrokerAddress::parse(&broker.url()).unwrap(), "one");
    (settings.prefix, settings.stable) = (prefix(), Duration::from_millis(300));
    settings.heartbeat = Duration::from_secs(2);
    let node = Node::with(settings);
    node.is("up", SOON).await;
    broker.freeze().await;
    node.is("down", Duration::from_secs(15)).await;
    broker.thaw().await;
    node.is("up", EVENTUALLY).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c30_a_broker_short_of_memory_is_blocked_until_it_says_otherwise() {
    let broker = OwnBroker::start().await;
    let node = Node::start(&broker.url(), &prefix(), "one");
    node.bells.set_owned(ALL);
    node.is("up", SOON).await;
    node.rings_through_to(&node, &lane("acme")).await;
    broker.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    until("the broker says that it blocks", EVENTUALLY, async || {
        // A broker tells this only to who publishes.
        let _ = node.ring(&lane("acme"));
        node.word() == "blocked"
    })
    .await;
    assert!(node.reason().contains("memory"), "{}", node.reason());
    assert_eq!(node.ring(&lane("acme")), Rung::NotUp);
    // The confirm that never came does not end the connection of a broker that said why.
    tokio::time::timeout(node.settings.confirm_limit * 2, node.is("down", Duration::from_secs(60)))
        .await
        .expect_err("it stays blocked");
    broker.control(&["set_vm_memory_high_watermark", "0.9"]).await;
    node.is("up", EVENTUALLY).await;
    node.rings_through_to(&node, &lane("acme")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_came_back_is_relied_upon_only_once_it_has_held() {
    let mut broker = OwnBroker::start().await;
    let mut settings = BellSettings::new(BrokerAddress::parse(&broker.url()).unwrap(), "one");
    (settings.prefix, settings.stable) = (prefix(), Duration::from_secs(4));
    let node = Node::with(settings);
    node.bells.set_owned(ALL);
    node.is("up", Duration::from_secs(15)).await;
    broker.kill().await;
    node.is("down", Duration::from_secs(5)).await;
    broker.restart().await;
    until("it is connected again", EVENTUALLY, async || node.reason().contains("not yet for long enough")).await;
    assert_eq!(node.ring(&lane("acme")), Rung::NotUp);
    node.is("up", EVENTUALLY).await;
    node.stop().await;
}
