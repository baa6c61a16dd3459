use lapin::types::FieldTable;
use switchyard_tests::broker::{Client, shared_url, until};

use super::node::{ALL, EVENTUALLY, Node, SOON, lane, prefix};

#[tokio::test(flavor = "multi_thread")]
async fn c31_a_queue_that_somebody_declared_otherwise_is_told_and_tried_again() {
    let client = Client::shared().await;
    let prefix = prefix();
    let queue = format!("{prefix}.one");
    client.declare_queue(&queue, FieldTable::default()).await;
    let node = Node::start(&shared_url(), &prefix, "one");
    node.bells.set_owned(ALL);
    until("the reason is told", SOON, async || {
        node.reason().contains("PRECONDITION_FAILED") && node.reason().contains(&queue)
    })
    .await;
    assert_eq!(node.word(), "down");
    client.delete_queue(&queue).await;
    node.is("up", EVENTUALLY).await;
    node.rings_through_to(&node, &lane("acme")).await;
    node.stop_and_clear(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c31_a_queue_that_somebody_deletes_is_declared_again() {
    let client = Client::shared().await;
    let node = Node::start(&shared_url(), &prefix(), "one");
    node.bells.set_owned(ALL);
    node.is("up", SOON).await;
    node.rings_through_to(&node, &lane("acme")).await;
    client.delete_queue(&node.queue()).await;
    until("the queue is there again", EVENTUALLY, async || {
        client.queue(&node.queue()).await.is_some_and(|(_, consumers)| consumers == 1)
    })
    .await;
    node.is("up", EVENTUALLY).await;
    node.rings_through_to(&node, &lane("acme")).await;
    node.stop_and_clear(&client).await;
}
