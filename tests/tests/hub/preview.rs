use serde_json::{Value, json};
use switchyard_simulators::{
    billy,
    faults::{Fault, FaultBody},
    subscriber::{Script, Step},
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Hub,
    world::{asked, billy, billy_connection, bundled, lifecycle_guest, subscriber},
};

/// Asks what a replay would do; answers the one answer.
async fn preview(tenant: &Tenant, asked: Value) -> Value {
    let seen = tenant.post("/dead-letters/preview", &asked).await.expect(200);
    assert_eq!((&seen["sampled"], &seen["more"]), (&json!(1), &json!(false)), "{seen}");
    let answer = seen["data"][0].clone();
    assert_eq!(seen["summary"][text(&answer, "answer")], 1, "{seen}");
    answer
}

/// Everything that a preview must leave alone.
async fn state(tenant: &Tenant, delivery: &str) -> Value {
    let mut delivery = tenant.get(&format!("/deliveries/{delivery}")).await.expect(200);
    delivery["attempts"]
        .as_array_mut()
        .expect("attempts")
        .iter_mut()
        .for_each(|attempt| attempt["detail"] = json!(null));
    let lists = [tenant.list("/events?limit=200").await, tenant.list("/deliveries?limit=200").await];
    json!([delivery, lists])
}

async fn with_billy(hub: &Hub, billy: &billy::Handle) -> (Tenant, impl Fn(u32) -> Value + use<>) {
    let _ = hub.push(bundled("billy")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let connection = tenant.connection(&billy_connection(&format!("{}/v2", billy.base_url()))).await;
    let (organization, product) = (billy.organization_id().to_owned(), billy.product_id().to_owned());
    let settings = move |terms: u32| {
        json!({"grants": ["emits:*"], "connections": {"billy": connection}, "config": {"organization_id": organization,
            "product_id": product, "payment_terms_days": terms}})
    };
    let _ = tenant.install("billy", &settings(8)).await;
    (tenant, settings)
}

fn order(customer: &str) -> Value {
    json!({"type": "invoice.create", "data": {"customer": {"name": customer, "email": "a@example.test"},
        "lines": [{"description": "Work", "quantity": 2, "unit_price": "400.00"}]}})
}

#[tokio::test]
async fn a_preview_says_where_a_replay_would_lead_and_billy_is_only_read() {
    let (hub, billy) = (Hub::start().await, billy().await);
    let (tenant, settings) = with_billy(&hub, &billy).await;
    let refused = || Fault::FailBefore { status: 422, body: FaultBody::Provider };
    billy.faults().arm("invoices.approve", refused(), 1);
    let _ = tenant.publish(&order("Refused")).await;
    let dead = tenant.delivery_in("plugin:billy", "dead").await;
    let id = text(&dead, "id");
    let named = json!({"deliveries": [id]});
    let discarding = json!({"deliveries": [id], "journal": "discard"});
    // The first polls are no part of it.
    switchyard_tests::api::until("the polls to end", async || {
        let open = tenant.list("/deliveries?state=queued,running,waiting").await;
        if open.is_empty() { Ok(()) } else { Err(json!(open).to_string()) }
    })
    .await;
    let (before, writes) = (state(&tenant, &id).await, asked(&billy, None));

    let reaches = preview(&tenant, named.clone()).await;
    assert_eq!(reaches["answer"], "reaches", "{reaches}");
    let write = &reaches["write"];
    assert_eq!((&write["method"], &write["connection"]), (&json!("PUT"), &json!("billy")), "{reaches}");
    assert!(text(write, "path").starts_with("/invoices/"), "{reaches}");
    let calls = reaches["calls"].as_array().expect("calls");
    let served = |call: &Value| call["call"] == "POST billy /invoices" && call["from_journal"] == true;
    assert!(calls.iter().any(served), "{reaches}");

    let doubles = preview(&tenant, discarding.clone()).await;
    assert_eq!(
        (&doubles["answer"], &doubles["may_double"][1]),
        (&json!("may_double"), &json!("POST billy /invoices")),
        "{doubles}"
    );

    let _ = tenant.install("billy", &settings(30)).await;
    let mismatch = preview(&tenant, named.clone()).await;
    let both = json!({"index": mismatch["mismatch"]["index"], "recorded": "POST billy /invoices", "actual": "POST billy /invoices"});
    assert_eq!((&mismatch["answer"], &mismatch["mismatch"]), (&json!("mismatch"), &both), "{mismatch}");
    let _ = tenant.install("billy", &settings(8)).await;

    // Nothing is recorded of the reads that fail now.
    billy.faults().arm("contacts.fetch", refused(), 9);
    let fails = preview(&tenant, discarding).await;
    assert_eq!((&fails["answer"], fails["reason"].is_string()), (&json!("fails"), true), "{fails}");
    billy.faults().clear();

    assert_eq!((asked(&billy, None), billy.invoices().len()), (writes, 1), "{:?}", billy.counts());
    assert_eq!(state(&tenant, &id).await, before, "a preview left a trace");
    let audited = tenant.list("/audit").await;
    assert_eq!(audited.iter().filter(|row| row["action"] == "deliveries.previewed").count(), 4, "{audited:?}");
    // What it said comes true.
    let _ = tenant.post("/dead-letters/replay", &named).await.expect(202);
    let _ = tenant.delivery_in("plugin:billy", "delivered").await;
    assert_eq!(billy.invoices().len(), 1);
}

#[tokio::test]
async fn a_preview_says_what_completes_what_is_blocked_and_what_is_still_broken() {
    let hub = Hub::start().await;
    for version in ["1.0.0", "5.0.0"] {
        let _ = hub.push(lifecycle_guest(version)).await.expect(201);
    }
    let tenant = hub.tenant("acme").await;
    let settings = |version: &str, mode: &str| json!({"version": version, "mode": mode, "grants": ["emits:*"], "retry_schedule": [0]});
    // Nobody handles the command yet.
    let _ = tenant.publish(&json!({"type": "work.do", "data": {"n": 1, "write": false}})).await;
    let unrouted = tenant.delivery_in("unrouted", "dead").await;
    let named = json!({"deliveries": [text(&unrouted, "id")]});
    let fails = preview(&tenant, named.clone()).await;
    assert_eq!((&fails["answer"], &fails["code"]), (&json!("fails"), &json!("no_handler")), "{fails}");
    let nothing = tenant.post("/dead-letters/replay", &named).await.expect(202);
    assert_eq!((&nothing["replayed"], &nothing["still_unrouted"]), (&json!(0), &json!(1)), "{nothing}");
    assert_eq!(tenant.delivery_in("unrouted", "dead").await["code"], "no_handler");
    // With a handler the command goes there, and its dead letter is over.
    let ready = |version: &'static str| {
        let tenant = &tenant;
        async move {
            switchyard_tests::api::until("the version to be in force", async || {
                let now = tenant.get("/plugins/lifecycle").await.expect(200);
                let there = now["state"] == "ready" && now["running_version"] == version && now["hold"].is_null();
                if there { Ok(()) } else { Err(now.to_string()) }
            })
            .await;
        }
    };
    let _ = tenant.install("lifecycle", &settings("5.0.0", "live")).await;
    ready("5.0.0").await;
    let broken = preview(&tenant, named.clone()).await;
    assert_eq!(
        (&broken["answer"], &broken["code"], &broken["target"]),
        (&json!("fails"), &json!("trap"), &json!("plugin:lifecycle"))
    );
    let routed = tenant.post("/dead-letters/replay", &json!({})).await.expect(202);
    assert_eq!(
        (&routed["replayed"], &routed["rerouted"], &routed["still_unrouted"]),
        (&json!(1), &json!(1), &json!(0)),
        "{routed}"
    );
    assert_eq!(tenant.get(&format!("/deliveries/{}", text(&unrouted, "id"))).await.expect(200)["state"], "cancelled");
    let dead = tenant.delivery_in("plugin:lifecycle", "dead").await;
    let group = json!({"fingerprint": dead["fingerprint"]});
    let _ = tenant.install("lifecycle", &settings("1.0.0", "live")).await;
    ready("1.0.0").await;
    let completes = preview(&tenant, group.clone()).await;
    assert_eq!(
        (&completes["answer"], &completes["emits"]),
        (&json!("completes"), &json!(["work.done"])),
        "{completes}"
    );
    assert_eq!(completes["version"], "1.0.0");
    assert!(tenant.list("/events?type=work.done").await.is_empty(), "a preview emitted");
    let _ = tenant.install("lifecycle", &settings("1.0.0", "off")).await;
    let blocked = preview(&tenant, group).await;
    assert_eq!((&blocked["answer"], &blocked["code"]), (&json!("blocked"), &json!("plugin_off")), "{blocked}");
    // Its kv was discarded: the replay finds nothing there.
    let _ = tenant.install("lifecycle", &settings("1.0.0", "live")).await;
    ready("1.0.0").await;
    let _ = tenant.post("/dead-letters/replay", &json!({"target": "plugin:lifecycle"})).await.expect(202);
    let _ =
        tenant.delivery("plugin:lifecycle", "done", |row| row["id"] == dead["id"] && row["state"] == "delivered").await;
    assert_eq!(tenant.list("/events?type=work.done").await[0]["data"]["seen"], Value::Null);
}

#[tokio::test]
async fn a_preview_of_an_endpoint_sends_nothing_and_says_what_is_known() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::always(Step::Status { status: 500, retry_after: None, body: String::new() }));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = tenant.delivery_in(&endpoint, "dead").await;
    let of_target = json!({"target": endpoint});
    let unproven = preview(&tenant, of_target.clone()).await;
    assert_eq!((&unproven["answer"], &unproven["last_ok"]), (&json!("unproven"), &Value::Null), "{unproven}");
    assert!(text(&unproven, "message").contains("has failed"), "{unproven}");
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let blocked = preview(&tenant, of_target.clone()).await;
    assert_eq!((&blocked["answer"], &blocked["code"]), (&json!("blocked"), &json!("endpoint_paused")), "{blocked}");
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    at.set_script("/hook", Script::default());
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = tenant.delivery_in(&endpoint, "delivered").await;
    let last_ok = preview(&tenant, of_target).await;
    assert_eq!((&last_ok["answer"], last_ok["last_ok"].is_string()), (&json!("last_ok"), true), "{last_ok}");
    assert_eq!(at.requests("/hook").len(), 2, "a preview sent something");
    let too_many = tenant.post("/dead-letters/preview", &json!({"samples": 101})).await;
    let _ = too_many.problem(400, "invalid_request");
}
