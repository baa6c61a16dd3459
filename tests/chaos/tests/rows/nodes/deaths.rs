//! One node after the other dies at a place of its own, and the one that is left finishes everything.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _, time::Duration};

use serde_json::{Value, json};
use switchyard::{
    event::{Target, TenantId, Urgency},
    failpoint::Point,
    queue::lane::Lane,
};
use switchyard_simulators::subscriber::Received;
use switchyard_tests::{
    api::{Reply, Tenant, until, until_within},
    hub::Hub,
    nodes::{MOVED_WITHIN, Nodes},
    world::{asked, billy, billy_connection, bundled, subscriber},
};

/// What the system calls the end by `abort`.
const ABORTED: i32 = 6;

/// A place is passed within this time of the call that leads there.
const PASSED_WITHIN: Duration = Duration::from_secs(30);

/// What a dead node had is finished within this time.
const FINISHED_WITHIN: Duration = Duration::from_secs(40);

/// Starts a node for each place, which dies at its so-manieth passing. All are beside the first node afterwards.
async fn start_victims(nodes: &mut Nodes, places: &[(Point, u32)], factor: u32) {
    let mut victims: Vec<Hub> = Vec::new();
    for (point, passing) in places {
        let place = format!("{}={passing}:abort", point.name());
        let builder = Hub::builder().time_factor(factor).set("SWITCHYARD_FAILPOINTS", &place);
        let mut victim = nodes.prepared(builder).prepare();
        victim.begin();
        victims.push(victim);
    }
    for mut victim in victims {
        victim.ready().await.expect("the node starts");
        nodes.hubs.push(victim);
    }
    nodes.settled().await;
}

/// Waits until a node has died at its place.
async fn died(victim: &mut Hub, point: Point) {
    let ended = victim.ended(PASSED_WITHIN).await;
    let status = ended.unwrap_or_else(|| panic!("{} was not passed", point.name()));
    assert_eq!(status.signal(), Some(ABORTED), "at {}: {status}\n{}", point.name(), victim.log());
}

async fn try_publish(tenant: &Tenant, event: &Value) -> anyhow::Result<Reply> {
    let headers = [("content-type", "application/json")];
    tenant.api.try_raw("POST", &tenant.path("/events"), &headers, event.to_string().into()).await
}

/// Whether the event is there after its node died at the place: not before a commit, but after it.
const AT_ACCEPT: [(Point, bool); 6] = [
    (Point::AcceptBeforeCommit, false),
    (Point::GroupBeforeCommit, false),
    (Point::AcceptAfterCommit, true),
    (Point::GroupAfterCommit, true),
    (Point::PublishBeforeStart, true),
    (Point::PublishBeforeAnswer, true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a2_a3_a9_of_an_event_whose_node_dies_over_it_there_is_none_or_one_whoever_is_asked_again() {
    let (mut nodes, at) = (Nodes::start(1).await, subscriber().await);
    let mut tenants = Vec::new();
    for number in 0..AT_ACCEPT.len() {
        let tenant = nodes.hubs[0].tenant(&format!("t{number}")).await;
        let _ = tenant.endpoint(&at, &format!("/hook-{number}"), &["a.b"], json!({})).await;
        tenants.push(tenant);
    }
    start_victims(&mut nodes, &AT_ACCEPT.map(|(point, _)| (point, 1)), 60).await;
    for (number, (point, is_there)) in AT_ACCEPT.into_iter().enumerate() {
        let event = json!({"type": "a.b", "id": format!("e-{number}"), "data": {}});
        let lost = try_publish(&nodes.on(number + 1, &tenants[number]), &event).await;
        assert!(lost.is_err(), "{} was passed, and it is answered {lost:?}", point.name());
        died(&mut nodes.hubs[number + 1], point).await;
        let tenant = nodes.on(0, &tenants[number]);
        let stored = tenant.get(&format!("/events/e-{number}")).await.status;
        assert_eq!(stored == 200, is_there, "{}: {stored}", point.name());
        // Of one nobody asks again: what was committed starts by itself.
        if point != Point::PublishBeforeStart {
            let told = tenant.publish(&event).await;
            assert_eq!((&told["duplicate"], &told["id"]), (&json!(is_there), &event["id"]), "{}", point.name());
        }
    }
    for (number, tenant) in tenants.iter().enumerate() {
        let tenant = nodes.on(0, tenant);
        let what = format!("the event of {} to be delivered", AT_ACCEPT[number].0.name());
        until_within(FINISHED_WITHIN, &what, async || match &tenant.list("/deliveries").await[..] {
            [one] if one["state"] == "delivered" => Ok(()),
            others => Err(json!(others).to_string()),
        })
        .await;
        let arrived = at.requests(&format!("/hook-{number}"));
        let ours = |request: &Received| request.webhook_id() == Some(&*format!("e-{number}"));
        assert!(!arrived.is_empty() && arrived.len() <= 2 && arrived.iter().all(ours), "{arrived:?}");
    }
}

/// Places within the work on a command, and which passing is one over a write.
const AT_WORK: [(Point, u32); 5] = [
    (Point::ClaimAfterCommit, 1),
    (Point::IntentAfterCommit, 1),
    (Point::ProviderBeforeSend, 3),
    (Point::ProviderAfterAnswer, 4),
    (Point::SettleBeforeCommit, 1),
];

/// As many tenants as half the partitions, each with its command's lane in one of its own, so that every node has some.
const SPREAD: usize = 32;

fn spread_tenants() -> Vec<String> {
    let mut taken = BTreeSet::new();
    let names = (0..).map(|number| format!("t{number}"));
    let in_its_own = |name: &String| {
        let tenant: TenantId = name.parse().expect("a tenant's name");
        let lane = Lane { tenant, target: Target::Plugin("billy".into()), urgency: Urgency::Normal };
        taken.insert(lane.key().partition().number())
    };
    names.filter(in_its_own).take(SPREAD).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a5_a7_a8_nodes_that_die_at_every_step_of_a_command_leave_one_invoice_each() {
    let (mut nodes, books) = (Nodes::none().await, billy().await);
    // In real time no poll falls due while the commands run.
    nodes.add(Hub::builder().time_factor(1)).await;
    nodes.settled().await;
    let _ = nodes.hubs[0].push(bundled("billy")).await.expect(201);
    let config = json!({"organization_id": books.organization_id(), "product_id": books.product_id()});
    let mut tenants = Vec::new();
    for name in spread_tenants() {
        let tenant = nodes.hubs[0].tenant(&name).await;
        let connection = tenant.connection(&billy_connection(&format!("{}/v2", books.base_url()))).await;
        let wanted = json!({"config": config, "connections": {"billy": connection}, "retry_schedule": vec![0; 16]});
        let _ = tenant.install("billy", &wanted).await;
        tenants.push(tenant);
    }
    for tenant in &tenants {
        until("the first polls to be over", async || {
            let polls = tenant.list("/deliveries").await;
            let over = polls.iter().filter(|poll| poll["state"] == "delivered").count();
            if over >= 2 && over == polls.len() { Ok(()) } else { Err(json!(polls).to_string()) }
        })
        .await;
    }
    start_victims(&mut nodes, &AT_WORK, 1).await;
    for (number, tenant) in tenants.iter().enumerate() {
        let data = json!({"customer": {"name": format!("Customer {number}"), "email": "a@example.test"},
            "lines": [{"description": "Work", "quantity": 1, "unit_price": "100.00"}]});
        let _ = tenant.publish(&json!({"type": "invoice.create", "id": "order", "data": data})).await;
    }
    for (number, (point, _)) in AT_WORK.into_iter().enumerate() {
        died(&mut nodes.hubs[number + 1], point).await;
    }
    let mut references = BTreeSet::new();
    for tenant in &tenants {
        let what = format!("the command of {} to be over", tenant.id);
        let found = until_within(FINISHED_WITHIN + MOVED_WITHIN, &what, async || {
            let all = tenant.list("/deliveries?target=plugin:billy").await;
            let done = |row: &&Value| row["event_type"] == "invoice.create" && row["state"] == "delivered";
            all.iter().find(done).cloned().ok_or_else(|| json!(all).to_string())
        })
        .await;
        references.insert(found["id"].as_str().and_then(|id| id.strip_prefix("dlv_")).unwrap_or_default().to_owned());
    }
    let invoices = books.invoices();
    assert_eq!(invoices.len(), SPREAD, "each command makes one invoice; Billy was asked {}", asked(&books, None));
    let is_known = |text: &str| references.iter().any(|reference| text.contains(reference));
    assert!(invoices.iter().all(|invoice| invoice.contact_message.as_deref().is_some_and(is_known)));
}
