//! The plan that follows from what Stripe says, in whatever order it says it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use serde_json::{Value, json};
use stripe::Stripe;
use support::{NOW, host, notice, subscription, take, types};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, Event, PluginError};

/// The event of a subscription that went from one state to another.
fn step(id: &str, after: u64, kind: &str, status: &str, previous: Option<&str>) -> Value {
    let mut body = notice(id, &format!("customer.subscription.{kind}"), NOW + after, subscription(status));
    if let Some(previous) = previous {
        body["data"]["previous_attributes"] = json!({ "status": previous });
    }
    body
}

/// A whole life: trial, paid, behind, paid again, over.
fn life() -> Vec<Value> {
    vec![
        step("evt_1", 0, "created", "trialing", None),
        step("evt_2", 100, "updated", "active", Some("trialing")),
        step("evt_3", 200, "updated", "past_due", Some("active")),
        step("evt_4", 200, "updated", "active", Some("past_due")),
        step("evt_5", 300, "deleted", "canceled", None),
    ]
}

fn plans(events: &[Emit]) -> Vec<String> {
    let plans = events.iter().filter(|event| event.event_type == "plan.changed");
    plans.map(|event| event.data["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_state_of_a_life_is_told_once() {
    let host = host();
    let events: Vec<Emit> = life().iter().flat_map(|body| take(&host, body)).collect();
    assert_eq!(plans(&events), ["trialing", "active", "past_due", "active", "canceled"]);
    let told: Vec<&Emit> = events.iter().filter(|event| event.event_type == "plan.changed").collect();
    assert_eq!(
        told[1].data,
        json!({
            "customer_id": "cus_1", "state": "active", "status": "active", "previous_state": "trialing",
            "since": "2026-11-20T12:01:40Z", "until": "2026-12-20T12:00:00Z", "plan": "pro_monthly",
            "product_id": "prod_1", "subscription_id": "sub_1"
        })
    );
    assert_eq!(told[0].data["until"], "2026-12-04T12:00:00Z", "a trial lasts until it ends");
    assert_eq!(told[2].data.get("until"), None);
    let repeated: Vec<Emit> = life().iter().flat_map(|body| take(&host, body)).collect();
    assert!(plans(&repeated).is_empty(), "repetitions change nothing");
}

#[test]
fn the_last_word_is_the_same_in_every_order() {
    let life = life();
    for order in permutations(life.len()) {
        let host = host();
        let events: Vec<Emit> = order.iter().flat_map(|index| take(&host, &life[*index])).collect();
        assert_eq!(plans(&events).last().map(String::as_str), Some("canceled"), "{order:?}");
        let until_paid: Vec<usize> = order.iter().copied().filter(|index| *index < 4).collect();
        let host = support::host();
        let events: Vec<Emit> = until_paid.iter().flat_map(|index| take(&host, &life[*index])).collect();
        assert_eq!(plans(&events).last().map(String::as_str), Some("active"), "{until_paid:?}");
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    (0..count).fold(vec![Vec::new()], |orders, next| {
        let insert = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=order.len()).map(move |at| {
                let mut longer = order.clone();
                longer.insert(at, next);
                longer
            })
        };
        orders.iter().flat_map(insert).collect()
    })
}

#[test]
fn states_that_stripe_tells_apart_come_down_to_four() {
    for (status, state) in [
        ("incomplete", "canceled"),
        ("incomplete_expired", "canceled"),
        ("unpaid", "canceled"),
        ("paused", "canceled"),
        ("past_due", "past_due"),
        ("something_new", "canceled"),
    ] {
        let events = take(&host(), &step("evt_1", 0, "updated", status, None));
        let plan = events.iter().find(|event| event.event_type == "plan.changed").unwrap();
        assert_eq!((&plan.data["state"], &plan.data["status"]), (&json!(state), &json!(status)));
    }
}

#[test]
fn a_renewal_says_how_long_the_plan_lasts_and_keeps_since_when() {
    let host = host();
    take(&host, &step("evt_1", 0, "created", "active", None));
    let mut renewed = step("evt_2", 500, "updated", "active", None);
    renewed["data"]["object"]["items"]["data"][0]["current_period_end"] = json!(NOW + 5_184_000);
    let events = take(&host, &renewed);
    assert_eq!(types(&events), ["subscription.updated", "plan.changed"]);
    assert_eq!(events[1].data["since"], "2026-11-20T12:00:00Z");
    assert_eq!(events[1].data["until"], "2027-01-19T12:00:00Z");
    let mut leaving = renewed.clone();
    leaving["id"] = json!("evt_3");
    leaving["created"] = json!(NOW + 600);
    leaving["data"]["object"]["cancel_at_period_end"] = json!(true);
    let events = take(&host, &leaving);
    assert_eq!(
        (&events[1].data["state"], &events[1].data["ends_at"]),
        (&json!("active"), &json!("2027-01-19T12:00:00Z"))
    );
}

#[test]
fn the_best_of_several_subscriptions_is_the_plan() {
    let host = host();
    let other = |id: &str, after: u64, kind: &str, status: &str| {
        let mut body = step(id, after, kind, status, None);
        body["data"]["object"]["id"] = json!("sub_2");
        body
    };
    assert_eq!(plans(&take(&host, &step("evt_1", 0, "created", "active", None))), ["active"]);
    assert!(plans(&take(&host, &other("evt_2", 1, "created", "incomplete"))).is_empty());
    assert_eq!(plans(&take(&host, &step("evt_3", 2, "deleted", "canceled", None))), ["canceled"]);
    assert_eq!(plans(&take(&host, &other("evt_4", 3, "updated", "active"))), ["active"]);
}

#[test]
fn a_customer_with_many_subscriptions_is_kept_within_bounds() {
    let host = host();
    for index in 0..40_u64 {
        let mut body = step(&format!("evt_{index}"), index, "deleted", "canceled", None);
        body["data"]["object"]["id"] = json!(format!("sub_{index}"));
        take(&host, &body);
    }
    let stored: Value = serde_json::from_slice(&host.stored("customer//cus_1").unwrap()).unwrap();
    assert_eq!(stored["subscriptions"].as_object().unwrap().len(), 16);
}

#[test]
fn customers_and_accounts_are_kept_apart() {
    let host = host();
    take(&host, &step("evt_1", 0, "created", "active", None));
    let mut connected = step("evt_2", 1, "created", "past_due", None);
    connected["account"] = json!("acct_1");
    let events = take(&host, &connected);
    let plan = events.iter().find(|event| event.event_type == "plan.changed").unwrap();
    assert_eq!((&plan.data["account"], &plan.data["state"]), (&json!("acct_1"), &json!("past_due")));
}

#[test]
fn a_private_event_that_does_not_fit_is_rejected() {
    for data in [json!({}), json!(null), json!({ "event_id": "evt_1", "at": "now" })] {
        let error =
            MockHost::new().handle::<Stripe>(json!({}), Event::new("_stripe.subscription_seen", data)).unwrap_err();
        assert!(matches!(error, PluginError::Reject(_)), "{error}");
    }
}
