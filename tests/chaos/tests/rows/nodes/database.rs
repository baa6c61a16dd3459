//! The database of several nodes goes away under load, and comes back.

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::cluster::{Cluster, load::Load, probe::Probes, verdict};
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{Reply, until},
    database::Database,
    nodes::Nodes,
    proxy::{Direction, Fault},
    server::OwnServer,
};

/// How long the load goes on before and after the harm.
const A_WHILE: Duration = Duration::from_secs(2);

/// How long the database is away.
const AWAY: Duration = Duration::from_secs(3);

/// A caller is told within so long that the database is away.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What a node says to an event that it cannot store.
async fn refused(cluster: &Cluster, node: usize) -> Reply {
    let headers = [("content-type", "application/json")];
    let body = json!({"type": "nobody.cares", "data": {}}).to_string();
    let asked = cluster.nodes.hubs[node].try_raw("POST", "/v1/tenants/t0/events", &headers, body.into());
    tokio::time::timeout(TOLD_WITHIN, asked).await.expect("an answer in time").expect("an answer")
}

fn processes(cluster: &Cluster) -> Vec<u32> {
    cluster.nodes.hubs.iter().map(switchyard_tests::hub::Hub::pid).collect()
}

async fn end(cluster: &Cluster, load: Load) {
    let accepted = load.end().await;
    let verdict = verdict::conclude(cluster, &accepted).await;
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.accepted > 50, "hardly anything was accepted: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_b15_a_database_killed_under_load_refuses_events_for_a_while_and_loses_and_doubles_nothing() {
    if !OwnServer::can_run().await {
        return;
    }
    let mut server = OwnServer::start().await;
    let database = Database::on_server_at(&server.url()).await;
    let mut cluster = Cluster::start_on(Nodes::none_on(database), 2, None).await;
    cluster.nodes.database.keep();
    let (load, before) = (Load::begin(&cluster), processes(&cluster));
    pass(A_WHILE).await;
    server.kill().await;
    for node in 0..2 {
        let reply = refused(&cluster, node).await;
        assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
        let _ = reply.problem(503, "unavailable");
        assert_eq!(cluster.nodes.hubs[node].get("/healthz").await.status, 200, "it lives");
    }
    pass(AWAY).await;
    server.restart().await;
    pass(A_WHILE).await;
    end(&cluster, load).await;
    assert_eq!(processes(&cluster), before, "a node was started again");
    cluster.nodes.settled().await;
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b17_a_standby_that_takes_the_place_of_its_leader_has_all_that_was_answered() {
    if !OwnServer::can_run().await {
        return;
    }
    let mut leader = OwnServer::start().await;
    let standby = OwnServer::following(&leader).await;
    let database = Database::on_server_at(&leader.url()).await;
    let mut cluster = Cluster::start_on(Nodes::none_on(database), 2, None).await;
    cluster.nodes.database.keep();
    let load = Load::begin(&cluster);
    pass(A_WHILE).await;
    leader.kill().await;
    standby.promote().await;
    for network in &cluster.networks {
        network.lead_to(standby.address());
    }
    pass(A_WHILE).await;
    end(&cluster, load).await;
    cluster.nodes.settled().await;
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_b18_lost_answers_to_commits_and_cut_lines_delay_a_delivery_by_two_seconds_at_most() {
    let cluster = Cluster::start(2, None).await;
    let (probes, load) = (Probes::set_up(&cluster).await, Load::begin(&cluster));
    for round in 0..3 {
        let network = &cluster.networks[round % 2];
        network.set(Direction::ToServer, Fault::CutAnswerTo("commit"));
        pass(Duration::from_millis(700)).await;
        network.heal();
        pass(Duration::from_millis(300)).await;
    }
    end(&cluster, load).await;
    // The listeners are cut; what is accepted at once afterwards is found by listening again or by looking.
    for round in 0..3 {
        for network in &cluster.networks {
            network.cut_all();
        }
        probes.are_delivered(&cluster, &format!("cut-{round}"), Duration::from_secs(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d37_a_send_that_outlasts_its_lease_is_repeated_only_after_that_and_its_late_end_changes_nothing() {
    /// Longer than a lease, shorter than the endpoint's own time-out.
    const SLOW: Step = Step::Delay { ms: 13_000 };
    /// A lease lasts ten seconds from its last beat, which is two seconds old at most.
    const NOT_BEFORE_MS: i64 = 7_000;
    let cluster = Cluster::start(2, None).await;
    let tenants: Vec<_> = cluster.tenants.iter().filter(|tenant| tenant.id.starts_with('t')).collect();
    for (number, tenant) in tenants.iter().enumerate() {
        let script = Script { steps: [SLOW].into(), ..Script::default() };
        cluster.at.set_script(&format!("/plain-{number}"), script);
        let _ = tenant.publish(&json!({"type": "plain.made", "id": "slow", "data": {}})).await;
    }
    let count = tenants.len();
    until("all to be under way", async || match cluster.at.all_requests().len() {
        seen if seen == count => Ok(()),
        seen => Err(format!("{seen} of {count}")),
    })
    .await;
    // The first node keeps its subscribers and loses its database.
    for direction in [Direction::ToServer, Direction::ToClient] {
        cluster.networks[0].set(direction, Fault::Blackhole);
    }
    let again = cluster.at.wait_for_where(count + 1, Duration::from_secs(20), |_| true).await;
    assert!(again.is_ok(), "nothing was taken over");
    // Past the end of the slow answers; what the first node says of them arrives now.
    pass(Duration::from_secs(3)).await;
    cluster.networks[0].heal();
    for tenant in &tenants {
        let tenant = cluster.nodes.on(1, tenant);
        until("the delivery to be over", async || match &tenant.list("/deliveries").await[..] {
            [one] if one["state"] == "delivered" => Ok(()),
            others => Err(json!(others).to_string()),
        })
        .await;
    }
    cluster.nodes.settled().await;
    let mut repeated = 0;
    for number in 0..count {
        let arrived = cluster.at.requests(&format!("/plain-{number}"));
        assert!(arrived.iter().all(|request| request.webhook_id() == Some("slow")), "{arrived:?}");
        match &arrived[..] {
            [_] => {}
            [first, second] => {
                repeated += 1;
                let after = second.at_ms - first.at_ms;
                assert!(after >= NOT_BEFORE_MS, "it was sent again after {after} ms, while its lease held");
            }
            more => panic!("{} were sent", more.len()),
        }
    }
    assert!(repeated > 0, "nothing of the first node's was repeated");
}
