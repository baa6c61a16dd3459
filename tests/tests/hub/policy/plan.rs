use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    stripe,
};
use switchyard_tests::{
    api::{SOON, Tenant, faulty, text, until},
    database::Database,
    hub::Hub,
    world::bundled,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Office, PERSON, alarmed, assert_refused, emergency, ended, guested};

async fn publish(tenant: &Tenant, event_type: &str) -> String {
    let command = json!({"type": event_type, "data": {"do": "ok", "to": PERSON}});
    text(&tenant.publish(&command).await, "id")
}

#[tokio::test]
async fn commands_go_on_while_a_plan_is_paid_for_and_emergencies_always() {
    let (hub, tenant) = guested().await;
    let alarms = alarmed(&hub, &tenant).await;
    let _ = tenant.get("/plan").await.problem(404, "not_found");
    for (state, grace, refused) in [
        ("trialing", 7, None),
        ("active", 7, None),
        ("past_due", 7, None),
        ("past_due", 0, Some("plan_past_due")),
        ("canceled", 7, Some("plan_canceled")),
    ] {
        let plan = hub.put("/v1/tenants/acme/plan", &json!({"state": state, "grace_days": grace})).await.expect(200);
        assert_eq!((&plan["state"], plan["refuses"].is_string()), (&json!(state), refused.is_some()), "{plan}");
        for command in ["sms.send", "test.do"] {
            let id = publish(&tenant, command).await;
            match refused {
                None => drop(ended(&tenant, &id, "delivered").await),
                Some(code) => assert_refused(&ended(&tenant, &id, "dead").await, code),
            }
        }
        let _ = ended(&tenant, &emergency(&alarms, "sms.send", &json!({"do": "ok", "to": PERSON})).await, "delivered")
            .await;
    }
    // What happens is still taken and told, and paying brings commands back.
    let _ = tenant.publish(&json!({"type": "lead.arrived", "data": {}})).await;
    let _ = hub.put("/v1/tenants/acme/plan", &json!({"state": "active"})).await.expect(200);
    let _ = ended(&tenant, &publish(&tenant, "sms.send").await, "delivered").await;
    assert_eq!(hub.delete("/v1/tenants/acme/plan").await.status, 204);
    let _ = tenant.get("/plan").await.problem(404, "not_found");
    let actions: BTreeSet<String> = tenant.list("/audit").await.iter().map(|row| text(row, "action")).collect();
    assert!(actions.contains("plan.put") && actions.contains("plan.deleted"), "{actions:?}");
}

#[tokio::test]
async fn a_cap_lets_exactly_so_many_leave_however_many_are_asked_for_at_once() {
    let database = Database::fresh().await;
    for builder in [Hub::builder(), Hub::builder().on(&database)] {
        let office = Office::on(builder).await;
        let _ = office.put_plan(&json!({"state": "active", "caps": {"sms.send": {"day": 3}}})).await;
        let asked = futures_util::future::join_all((0..10).map(|n| office.text(PERSON, ["a", "b", "c"][n % 3]))).await;
        until("all to be over", async || {
            let all = office.tenant.list("/deliveries?event_type=sms.send&limit=200").await;
            let over = all.iter().filter(|row| ["delivered", "dead"].contains(&text(row, "state").as_str())).count();
            if over == asked.len() { Ok(()) } else { Err(json!(all).to_string()) }
        })
        .await;
        assert_eq!(office.sent_to(PERSON).len(), 3);
        let dead = office.tenant.list("/deliveries?event_type=sms.send&state=dead").await;
        assert!(dead.len() == 7 && dead.iter().all(|row| row["code"] == "plan_cap"), "{dead:?}");
        // Refused at once from here on, and nothing of another type is.
        assert_refused(&ended(&office.tenant, &office.text(PERSON, "x").await, "dead").await, "plan_cap");
        let used = office.tenant.get("/plan").await.expect(200)["used"].clone();
        assert_eq!(used, json!({"sms.send": {"day": 3, "month": 3}, "*": {"day": 3, "month": 3}}));
        // What was delivered and is delivered again by hand counts once.
        let one = office.tenant.list("/deliveries?event_type=sms.send&state=delivered").await.remove(0);
        let again = json!({"deliveries": [text(&one, "id")], "include_delivered": true});
        let replay = office.tenant.post("/dead-letters/replay", &again).await;
        assert!(replay.status < 300, "{}", replay.text);
        let more = json!({"state": "active", "caps": {"sms.send": {"day": 4}, "*": {"month": 4}}});
        let _ = office.put_plan(&more).await;
        until("it to be delivered again", async || {
            let seen = office.tenant.get(&format!("/deliveries/{}", text(&one, "id"))).await.expect(200);
            let again = seen["state"] == "delivered" && seen["attempt_count"].as_u64() > one["attempt_count"].as_u64();
            if again { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        assert_eq!(office.sent_to(PERSON).len(), 3, "from the journal");
        let _ = ended(&office.tenant, &office.text(PERSON, "the fourth").await, "delivered").await;
        let used = office.tenant.get("/plan").await.expect(200)["used"].clone();
        assert_eq!(used["sms.send"]["day"], 4, "{used}");
        assert_refused(&ended(&office.tenant, &office.text(PERSON, "x").await, "dead").await, "plan_cap");
        let alarms = alarmed(&office.hub, &office.tenant).await;
        let sms = json!({"to": PERSON, "body": "Fire"});
        let _ = ended(&office.tenant, &emergency(&alarms, "sms.send", &sms).await, "delivered").await;
    }
}

#[tokio::test]
async fn a_plan_follows_the_subscription_that_its_operator_named() {
    let (hub, tenant) = guested().await;
    let _ = hub.push(bundled("stripe")).await.expect(201);
    let secret = "whsec_a-signing-secret-of-the-tests";
    let mut options = stripe::Options::new("sk_test_1", secret, Arc::new(SystemClock));
    options.time_factor = TimeFactor::new(600);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let stripe = stripe::Stripe::start(listener, options, CancellationToken::new()).expect("a Stripe");
    // The operator's own tenant is told of all subscriptions.
    let office = hub.tenant("office").await;
    let signing = json!({"provider": "stripe", "name": "stripe", "kind": "hmac", "secret": {"secret": secret}});
    let signing = office.connection(&signing).await;
    let wanted = json!({"grants": ["emits:*"], "connections": {"signing": signing}, "config": {}});
    stripe.set_url(text(&office.install("stripe", &wanted).await["sources"][0], "url"));
    let follows = json!({"tenant": "office", "customer_id": "cus_1"});
    let plan = json!({"state": "canceled", "grace_days": 0, "follows": follows});
    let _ = hub.put("/v1/tenants/acme/plan", &plan).await.expect(200);
    let subscription = stripe.subscribe("cus_1", "trialing");
    let other = stripe.subscribe("cus_2", "active");
    stripe.set_status(&other, "canceled").expect("it is not over");
    for (state, refused) in
        [("trialing", None), ("active", None), ("past_due", Some("plan_past_due")), ("canceled", Some("plan_canceled"))]
    {
        if state != "trialing" {
            stripe.set_status(&subscription, state).expect("it is not over");
        }
        assert!(stripe.wait_until_taken(SOON).await, "Stripe's events are taken");
        until("the plan to follow", async || {
            let plan = tenant.get("/plan").await.expect(200);
            if plan["state"] == state { Ok(()) } else { Err(plan.to_string()) }
        })
        .await;
        let id = publish(&tenant, "sms.send").await;
        match refused {
            None => drop(ended(&tenant, &id, "delivered").await),
            Some(code) => assert_refused(&ended(&tenant, &id, "dead").await, code),
        }
    }
    // Whoever may publish there cannot pay for others by it.
    let forged = json!({"type": "plan.changed", "data": {"customer_id": "cus_1", "state": "active", "status": "active",
        "since": "2030-01-01T00:00:00Z", "subscription_id": "sub_1"}});
    let _ = office.publish(&forged).await;
    assert_refused(&ended(&tenant, &publish(&tenant, "sms.send").await, "dead").await, "plan_canceled");
}

#[tokio::test]
async fn a_plan_is_the_operators_and_what_is_wrong_in_it_is_named() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let admin = hub.key(&json!({"tenant": "acme", "scope": "admin"})).await;
    let own = tenant.with_key(&admin);
    let _ = own.api.put(&own.path("/plan"), &json!({"state": "active"})).await.problem(403, "forbidden");
    let _ = own.api.delete(&own.path("/plan")).await.problem(403, "forbidden");
    for (plan, field) in [
        (json!({"state": "active", "grace_days": 91}), "grace_days"),
        (json!({"state": "active", "caps": {"sms.*": {"day": 1}}}), "caps.sms.*"),
        (json!({"state": "active", "caps": {"sms.send": {}}}), "caps.sms.send"),
        (json!({"state": "active", "caps": {"sms.send": {"day": 5_000_000_000_u64}}}), "caps.sms.send.day"),
        (json!({"state": "active", "follows": {"tenant": "nobody", "customer_id": "cus_1"}}), "follows.tenant"),
        (json!({"state": "active", "follows": {"customer_id": " "}}), "follows.customer_id"),
    ] {
        let problem = hub.put("/v1/tenants/acme/plan", &plan).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
    }
    let wrong: Value = json!({"state": "paid"});
    let _ = hub.put("/v1/tenants/acme/plan", &wrong).await.problem(400, "invalid_request");
    let _ = hub.put("/v1/tenants/acme/plan", &json!({"state": "active"})).await.expect(200);
    assert_eq!(own.get("/plan").await.expect(200)["state"], "active", "a tenant reads its own");
}
