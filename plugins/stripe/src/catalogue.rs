use serde_json::Value;
use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{joined, literal, object, spelled};
use switchyard_sdk::prelude::*;

/// What an event says of a subscription, on its way to the handler, which may write what `receive` may only read.
pub const SEEN: &str = "_stripe.subscription_seen";

pub const PLAN_CHANGED: &str = "plan.changed";
pub const SUBSCRIPTION_CREATED: &str = "subscription.created";
pub const SUBSCRIPTION_UPDATED: &str = "subscription.updated";
pub const SUBSCRIPTION_PAST_DUE: &str = "subscription.past_due";
pub const SUBSCRIPTION_CANCELLED: &str = "subscription.cancelled";
pub const TRIAL_ENDING: &str = "subscription.trial_ending";
pub const PAYMENT_SUCCEEDED: &str = "subscription_payment.succeeded";
pub const PAYMENT_FAILED: &str = "subscription_payment.failed";
pub const CHECKOUT_COMPLETED: &str = "checkout.completed";
pub const CHARGE_REFUNDED: &str = "charge.refunded";
pub const DISPUTE_OPENED: &str = "dispute.opened";
pub const DISPUTE_CLOSED: &str = "dispute.closed";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    let subscriptions = [
        (SUBSCRIPTION_CREATED, "A subscription began."),
        (SUBSCRIPTION_UPDATED, "A subscription changed: its state, plan, period or end."),
        (SUBSCRIPTION_PAST_DUE, "A subscription fell behind with paying; Stripe still tries."),
        (SUBSCRIPTION_CANCELLED, "A subscription is over."),
        (TRIAL_ENDING, "A trial ends in three days."),
    ];
    let manifest = subscriptions
        .into_iter()
        .map(|(name, description)| subscription(name, description))
        .fold(manifest, Manifest::emits);
    manifest
        .emits(plan_changed())
        .emits(payment_succeeded())
        .emits(payment_failed())
        .emits(checkout_completed())
        .emits(charge_refunded())
        .emits(dispute(DISPUTE_OPENED, "A payer disputes a charge with their bank.", "needs_response"))
        .emits(dispute(DISPUTE_CLOSED, "A dispute is settled; its status says for whom.", "won"))
        .emits(seen())
        .handles(seen().ordered_by("data.customer_id"))
}

/// What stands for its JSON in the texts here.
fn named(name: &str) -> Option<Value> {
    if let Some(amount) = name.strip_prefix("EUR ") {
        return Some(Money { amount: amount.to_owned(), currency: "EUR".to_owned() }.to_json());
    }
    Some(literal(match name {
        "text" => r#"{"type": "string", "minLength": 1}"#,
        "email" => r#"{"type": "string", "x-person": "email"}"#,
        "boolean" => r#"{"type": "boolean"}"#,
        "state" => r#"{"enum": ["active", "trialing", "past_due", "canceled"]}"#,
        "money" => return Some(Money::schema()),
        _ => return None,
    }))
}

fn json(text: &str) -> Value {
    spelled(text, &named)
}

/// A type about something at Stripe: all say whether it is about real money, and whose it is where that is known.
fn event(name: &str, description: &str, required: &[&str], properties: &str, example: &str) -> EventType {
    let all = json(r#"{"livemode": "$boolean", "account": "$text", "customer_id": "$text"}"#);
    let shown = json(r#"{"livemode": true, "customer_id": "cus_1"}"#);
    EventType::event(name, description)
        .data(object(required, joined(all, json(properties))), joined(shown, json(example)))
}

fn subscription(name: &str, description: &str) -> EventType {
    event(
        name,
        description,
        &["livemode", "customer_id", "subscription_id", "status"],
        compact_json!(
            r#"{
        "subscription_id": "$text", "status": "$text", "previous_status": "$text", "plan": "$text",
        "product_id": "$text", "trial_end": "$text", "period_end": "$text", "ends_at": "$text"
    }"#
        ),
        compact_json!(
            r#"{
        "subscription_id": "sub_1", "status": "active", "previous_status": "trialing", "plan": "pro_monthly",
        "product_id": "prod_1", "period_end": "2026-12-20T00:00:00Z"
    }"#
        ),
    )
}

fn plan_changed() -> EventType {
    let schema = json(compact_json!(
        r#"{
    "type": "object",
    "required": ["customer_id", "state", "status", "since", "subscription_id"],
    "properties": {
        "customer_id": "$text", "account": "$text", "state": "$state", "status": "$text", "previous_state": "$state",
        "since": "$text", "until": "$text", "ends_at": "$text", "plan": "$text", "product_id": "$text",
        "subscription_id": "$text"
    },
    "additionalProperties": true
}"#
    ));
    let example = json(compact_json!(
        r#"{
    "customer_id": "cus_1", "state": "active", "status": "active", "previous_state": "trialing",
    "since": "2026-11-20T00:00:00Z", "until": "2026-12-20T00:00:00Z", "plan": "pro_monthly",
    "product_id": "prod_1", "subscription_id": "sub_1"
}"#
    ));
    EventType::event(PLAN_CHANGED, "What a customer may use changed, or how long it is known to last.")
        .data(schema, example)
}

fn payment_succeeded() -> EventType {
    event(
        PAYMENT_SUCCEEDED,
        "A subscription's invoice was paid at Stripe.",
        &["livemode", "billing_invoice_id", "amount"],
        compact_json!(
            r#"{
        "billing_invoice_id": "$text", "subscription_id": "$text", "number": "$text", "email": "$email",
        "amount": "$money", "period_end": "$text"
    }"#
        ),
        compact_json!(
            r#"{
        "billing_invoice_id": "in_1", "subscription_id": "sub_1", "number": "A-0001", "amount": "$EUR 99.00"
    }"#
        ),
    )
}

fn payment_failed() -> EventType {
    event(
        PAYMENT_FAILED,
        "A subscription's invoice could not be paid at Stripe, or waits for its payer to confirm.",
        &["livemode", "billing_invoice_id", "amount", "action_required"],
        compact_json!(
            r#"{
        "billing_invoice_id": "$text", "subscription_id": "$text", "number": "$text", "email": "$email",
        "amount": "$money", "action_required": "$boolean",
        "attempt_count": {"type": "integer", "minimum": 0}, "next_attempt_at": "$text"
    }"#
        ),
        compact_json!(
            r#"{
        "billing_invoice_id": "in_1", "subscription_id": "sub_1", "amount": "$EUR 99.00",
        "action_required": false, "attempt_count": 1, "next_attempt_at": "2026-11-23T00:00:00Z"
    }"#
        ),
    )
}

fn checkout_completed() -> EventType {
    event(
        CHECKOUT_COMPLETED,
        "A person went through a checkout; a payment that takes time may still be on its way.",
        &["livemode", "checkout_id", "mode", "payment_status"],
        compact_json!(
            r#"{
        "checkout_id": "$text", "mode": "$text", "payment_status": "$text", "subscription_id": "$text",
        "reference": "$text", "email": "$email", "amount": "$money"
    }"#
        ),
        compact_json!(
            r#"{
        "checkout_id": "cs_1", "mode": "subscription", "payment_status": "paid", "subscription_id": "sub_1",
        "reference": "acme", "email": "owner@acme.test", "amount": "$EUR 99.00"
    }"#
        ),
    )
}

fn charge_refunded() -> EventType {
    event(
        CHARGE_REFUNDED,
        "A charge was given back, in part or as a whole.",
        &["livemode", "charge_id", "refunded", "amount", "is_full"],
        compact_json!(
            r#"{
        "charge_id": "$text", "refunded": "$money", "amount": "$money",
        "is_full": "$boolean", "payment_intent_id": "$text"
    }"#
        ),
        r#"{"charge_id": "ch_1", "refunded": "$EUR 20.00", "amount": "$EUR 99.00", "is_full": false}"#,
    )
}

fn dispute(name: &str, description: &str, status: &str) -> EventType {
    let mut dispute = event(
        name,
        description,
        &["livemode", "dispute_id", "amount", "status"],
        compact_json!(
            r#"{
        "dispute_id": "$text", "charge_id": "$text", "amount": "$money", "status": "$text",
        "reason": "$text", "evidence_due_at": "$text"
    }"#
        ),
        compact_json!(
            r#"{
        "dispute_id": "dp_1", "charge_id": "ch_1", "amount": "$EUR 99.00", "status": "",
        "reason": "fraudulent", "evidence_due_at": "2026-12-01T00:00:00Z"
    }"#
        ),
    );
    if let Some(example) = &mut dispute.example {
        example["status"] = status.into();
    }
    dispute
}

fn seen() -> EventType {
    let schema = json(compact_json!(
        r#"{
    "type": "object", "required": ["event_id", "at", "step", "customer_id", "subscription_id", "status"]
}"#
    ));
    let example = json(compact_json!(
        r#"{
    "event_id": "evt_1", "at": 1795132800, "step": "changed", "customer_id": "cus_1",
    "subscription_id": "sub_1", "status": "active", "previous_status": "trialing"
}"#
    ));
    EventType::event(SEEN, "What an event of Stripe says of a subscription.").data(schema, example)
}
