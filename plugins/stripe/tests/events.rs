//! What Stripe's events become, and what malformed ones do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use serde_json::{Value, json};
use stripe::Stripe;
use support::{NOW, SECRET, accepted, host, notice, receive, signed, subscription, types};
use switchyard_sdk::dispatch::describe;
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, PluginError, Received, Reply};

fn invoice() -> Value {
    json!({
        "id": "in_1", "object": "invoice", "customer": "cus_1", "currency": "eur", "amount_paid": 9_900,
        "amount_due": 9_900, "number": "A-0001", "customer_email": "owner@acme.test", "attempt_count": 2,
        "next_payment_attempt": NOW + 259_200, "parent": { "subscription_details": { "subscription": "sub_1" } }
    })
}

/// One event of every type that is known.
fn known() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let charge = json!({
        "id": "ch_1", "customer": "cus_1", "currency": "jpy", "amount": 500, "amount_refunded": 200, "refunded": false,
        "payment_intent": "pi_1"
    });
    let dispute = json!({
        "id": "dp_1", "charge": "ch_1", "currency": "eur", "amount": 9_900, "status": "needs_response",
        "reason": "fraudulent", "evidence_details": { "due_by": NOW + 604_800 }
    });
    let checkout = json!({
        "id": "cs_1", "mode": "subscription", "payment_status": "paid", "customer": "cus_1", "subscription": "sub_1",
        "client_reference_id": "acme", "amount_total": 9_900, "currency": "eur",
        "customer_details": { "email": "owner@acme.test" }
    });
    let seen = "_stripe.subscription_seen";
    vec![
        ("customer.subscription.created", subscription("trialing"), vec!["subscription.created", seen]),
        ("customer.subscription.updated", subscription("active"), vec!["subscription.updated", seen]),
        ("customer.subscription.paused", subscription("paused"), vec!["subscription.updated", seen]),
        ("customer.subscription.resumed", subscription("active"), vec!["subscription.updated", seen]),
        ("customer.subscription.deleted", subscription("canceled"), vec!["subscription.cancelled", seen]),
        ("customer.subscription.trial_will_end", subscription("trialing"), vec!["subscription.trial_ending"]),
        ("invoice.paid", invoice(), vec!["subscription_payment.succeeded"]),
        ("invoice.payment_succeeded", invoice(), vec!["subscription_payment.succeeded"]),
        ("invoice.payment_failed", invoice(), vec!["subscription_payment.failed"]),
        ("invoice.payment_action_required", invoice(), vec!["subscription_payment.failed"]),
        ("checkout.session.completed", checkout.clone(), vec!["checkout.completed"]),
        ("checkout.session.async_payment_succeeded", checkout, vec!["checkout.completed"]),
        ("charge.refunded", charge, vec!["charge.refunded"]),
        ("charge.dispute.created", dispute.clone(), vec!["dispute.opened"]),
        ("charge.dispute.closed", dispute, vec!["dispute.closed"]),
    ]
}

#[track_caller]
fn assert_declared(event: &Emit) {
    let manifest = describe::<Stripe>();
    let declared = manifest.emits.iter().find(|declared| declared.name == event.event_type);
    let schema = declared.unwrap_or_else(|| panic!("{} is not declared", event.event_type)).schema.as_ref().unwrap();
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(&event.data).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{}: {faults:?} in {}", event.event_type, event.data);
}

#[test]
fn every_known_type_becomes_events_that_follow_their_schemas() {
    for (kind, object, expected) in known() {
        let events = accepted(&host(), &notice("evt_1", kind, NOW, object));
        assert_eq!(types(&events), expected, "{kind}");
        for event in &events {
            assert_declared(event);
            assert_eq!(event.time, Some(NOW * 1000), "{kind}");
            assert!(event.dedupe_key.is_some() && event.account.is_none(), "{kind}");
        }
    }
}

#[test]
fn every_example_conforms_to_its_schema_and_every_schema_requires_something() {
    let manifest = describe::<Stripe>();
    for event_type in manifest.emits.iter().chain(&manifest.handles) {
        let validator = jsonschema::draft202012::new(event_type.schema.as_ref().unwrap()).unwrap();
        let example = event_type.example.as_ref().unwrap();
        assert!(validator.is_valid(example), "{}: {:?}", event_type.name, validator.iter_errors(example).next());
        assert!(!validator.is_valid(&json!({})), "{} requires nothing", event_type.name);
    }
}

#[test]
fn what_a_subscription_event_says_is_kept_and_amounts_have_two_decimals() {
    let host = host();
    let mut body = notice("evt_1", "customer.subscription.updated", NOW, subscription("past_due"));
    body["data"]["previous_attributes"] = json!({ "status": "active" });
    let events = accepted(&host, &body);
    assert_eq!(types(&events), ["subscription.updated", "subscription.past_due", "_stripe.subscription_seen"]);
    let data = &events[0].data;
    assert_eq!((&data["previous_status"], &data["plan"]), (&json!("active"), &json!("pro_monthly")));
    assert_eq!(data["period_end"], "2026-12-20T12:00:00Z");
    let (_, charge, _) = known().into_iter().find(|(kind, ..)| *kind == "charge.refunded").unwrap();
    let refunded = &accepted(&host, &notice("evt_2", "charge.refunded", NOW, charge))[0];
    assert_eq!(refunded.data["refunded"], json!({ "amount": "200.00", "currency": "JPY" }));
}

#[test]
fn both_types_of_a_paid_invoice_are_one_fact() {
    let host = host();
    let keys: Vec<Option<String>> = ["invoice.paid", "invoice.payment_succeeded"]
        .iter()
        .zip(["evt_1", "evt_2"])
        .map(|(kind, id)| accepted(&host, &notice(id, kind, NOW, invoice()))[0].dedupe_key.clone())
        .collect();
    assert_eq!(keys[0].as_deref(), Some("stripe:platform:invoice:in_1:paid"));
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn unknown_types_thin_events_and_the_other_mode_are_answered_and_not_kept() {
    let host = host();
    let answered = Received::Handled(Reply::status(200));
    assert_eq!(receive(&host, &notice("evt_1", "payout.paid", NOW, json!({ "id": "po_1" }))).unwrap(), answered);
    let thin = json!({ "id": "evt_2", "object": "v2.core.event", "type": "v1.billing.meter.error", "created": "now" });
    assert_eq!(receive(&host, &thin).unwrap(), answered);
    let mut test = notice("evt_3", "invoice.paid", NOW, invoice());
    test["livemode"] = json!(false);
    let live_only = json!({ "livemode": true });
    assert_eq!(host.receive::<Stripe>(live_only, signed(test.to_string())).unwrap(), answered);
}

#[test]
fn what_is_signed_and_no_event_is_rejected() {
    let host = host();
    for body in [
        "",
        "null",
        "[]",
        "7",
        "\"evt_1\"",
        "{}",
        "<html>",
        "{\"id\":\"evt_1\"",
        "\u{feff}{}",
        "{\"id\":\"\",\"type\":\"invoice.paid\",\"created\":1,\"data\":{\"object\":{}}}",
        "{\"id\":\"evt_1\",\"type\":\"invoice.paid\",\"created\":-1,\"data\":{\"object\":{}}}",
        "{\"id\":\"evt_1\",\"type\":\"invoice.paid\",\"created\":18446744073709551615,\"data\":{\"object\":{}}}",
        "{\"id\":\"evt_1\",\"type\":\"invoice.paid\",\"created\":1,\"data\":{\"object\":[]}}",
        "{\"id\":\"evt_1\",\"type\":\"invoice.paid\",\"created\":1,\"data\":null}",
    ] {
        let error = host.receive::<Stripe>(json!({}), signed(body)).unwrap_err();
        assert!(matches!(error, PluginError::Reject(_)), "{body}: {error}");
        assert_eq!(error.detail().code, "no_event", "{body}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(host.receive::<Stripe>(json!({}), signed(deep)).unwrap_err(), PluginError::Reject(_)));
}

#[test]
fn an_event_of_a_known_type_that_cannot_be_read_is_parked_and_not_lost() {
    let host = host();
    for (kind, object, _) in known() {
        for broken in [json!({}), json!({ "id": 7 }), json!({ "id": "x".repeat(300), "customer": 1 })] {
            let error = receive(&host, &notice("evt_1", kind, NOW, broken)).unwrap_err();
            assert!(matches!(error, PluginError::NeedsAttention(_)), "{kind}: {error}");
        }
        // Any one attribute of another type ends in an event, in nothing, or in a disposition, and never in a panic.
        for name in object.as_object().unwrap().keys() {
            for odd in [json!(null), json!(-1), json!("x"), json!([]), json!({}), json!(1e300), json!(u64::MAX)] {
                let mut object = object.clone();
                object[name] = odd;
                if let Ok(Received::Accepted { events, .. }) = receive(&host, &notice("evt_1", kind, NOW, object)) {
                    events.iter().for_each(assert_declared);
                }
            }
        }
    }
}

#[test]
fn an_apps_events_name_the_connected_account_else_the_customer() {
    let app = MockHost::new().secret("app.webhook_secret", SECRET).call(|call| {
        call.tenant_id.clear();
        call.installation_id.clear();
    });
    let mut body = notice("evt_1", "customer.subscription.created", NOW, subscription("active"));
    let accounts =
        |body: &Value| -> Vec<Option<String>> { accepted(&app, body).into_iter().map(|event| event.account).collect() };
    assert_eq!(accounts(&body), [Some("cus_1".to_owned()), Some("cus_1".to_owned())]);
    body["account"] = json!("acct_1");
    assert_eq!(accounts(&body), [Some("acct_1".to_owned()), Some("acct_1".to_owned())]);
    let dispute = json!({ "id": "dp_1", "currency": "eur", "amount": 1, "status": "lost" });
    assert_eq!(accounts(&notice("evt_2", "charge.dispute.closed", NOW, dispute)), [Some("platform".to_owned())]);
}
