use serde_json::{Map, Value, json};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::amount::money;
use crate::catalogue::{self, SEEN};
use crate::config::Config;
use crate::notice::{Notice, reference, seconds, text};
use crate::subscription::{Saying, Step};

/// Under which account an app's event goes that names neither a connected account nor a customer.
const PLATFORM: &str = "platform";

/// What an authentic request means: an event of a type that is known, or nothing to keep.
pub fn receive(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Received, PluginError> {
    let bad = || PluginError::reject(Reason::BadData, "no_event", "The signed body is no event of Stripe.");
    let body: Value = json::parse(&request.body).map_err(|_| bad())?;
    // Thin events carry no object, and what they would be about cannot be asked for here.
    if text(&body, "object").is_some_and(|object| object.starts_with("v2.")) {
        ctx.debug("a thin event was left out: let the endpoint send snapshot events", &[]);
        return Ok(Received::Handled(Reply::status(200)));
    }
    let notice = Notice::read(&body).ok_or_else(bad)?;
    if ctx.config.livemode.is_some_and(|wanted| wanted != notice.livemode) {
        return Ok(Received::Handled(Reply::status(200)));
    }
    let events = meaning(&notice)?;
    if events.is_empty() {
        return Ok(Received::Handled(Reply::status(200)));
    }
    let of_app = ctx.installation().is_empty();
    Ok(Received::accepted(if of_app {
        events.into_iter().map(|event| for_account(&notice, event)).collect()
    } else {
        events
    }))
}

/// An app's events say whose they are: the connected account, else the customer of the operator's own account.
fn for_account(notice: &Notice, event: Emit) -> Emit {
    let account = notice.account.or_else(|| customer(notice)).unwrap_or(PLATFORM).to_owned();
    event.account(account)
}

fn meaning(notice: &Notice) -> Result<Vec<Emit>, PluginError> {
    match notice.kind {
        "customer.subscription.created" => subscription(notice, Step::Created, catalogue::SUBSCRIPTION_CREATED),
        "customer.subscription.updated" | "customer.subscription.paused" | "customer.subscription.resumed" => {
            subscription(notice, Step::Changed, catalogue::SUBSCRIPTION_UPDATED)
        }
        "customer.subscription.deleted" => subscription(notice, Step::Ended, catalogue::SUBSCRIPTION_CANCELLED),
        "customer.subscription.trial_will_end" => {
            let saying = Saying::read(notice, Step::Changed)?;
            Ok(vec![about_subscription(notice, &saying, catalogue::TRIAL_ENDING)])
        }
        // Stripe sends both for one payment; they are one fact.
        "invoice.paid" | "invoice.payment_succeeded" => payment(notice).map(|event| vec![event]),
        "invoice.payment_failed" | "invoice.payment_action_required" => failure(notice).map(|event| vec![event]),
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            checkout(notice).map(|event| vec![event])
        }
        "charge.refunded" => refund(notice).map(|event| vec![event]),
        "charge.dispute.created" => dispute(notice, catalogue::DISPUTE_OPENED).map(|event| vec![event]),
        "charge.dispute.closed" => dispute(notice, catalogue::DISPUTE_CLOSED).map(|event| vec![event]),
        _ => Ok(Vec::new()),
    }
}

/// The fact, the fact that it fell behind with paying, and the private event from which the plan follows.
fn subscription(notice: &Notice, step: Step, name: &str) -> Result<Vec<Emit>, PluginError> {
    let saying = Saying::read(notice, step)?;
    let mut events = vec![about_subscription(notice, &saying, name)];
    let fell_behind = saying.status == "past_due" && saying.previous_status.is_some();
    if fell_behind {
        events.push(about_subscription(notice, &saying, catalogue::SUBSCRIPTION_PAST_DUE));
    }
    let seen = Emit::new(SEEN, json!(saying))
        .subject(&saying.subscription_id)
        .time(notice.created * 1000)
        .dedupe(format!("stripe:{}:seen", notice.id))
        .ordering(ordering(&saying.customer_id));
    events.push(seen);
    Ok(events)
}

fn about_subscription(notice: &Notice, saying: &Saying, name: &str) -> Emit {
    let mut data = about(notice);
    data.insert("subscription_id".to_owned(), json!(saying.subscription_id));
    data.insert("customer_id".to_owned(), json!(saying.customer_id));
    data.insert("status".to_owned(), json!(saying.status));
    put(&mut data, "previous_status", saying.previous_status.as_deref());
    put(&mut data, "plan", saying.plan.as_deref());
    put(&mut data, "product_id", saying.product_id.as_deref());
    for (name, moment) in
        [("trial_end", saying.trial_end), ("period_end", saying.period_end), ("ends_at", saying.ends_at)]
    {
        put(&mut data, name, moment.map(time).as_deref());
    }
    emit(notice, name, &saying.subscription_id, data)
}

/// A subscription's invoice was paid.
fn payment(notice: &Notice) -> Result<Emit, PluginError> {
    let mut data = about_invoice(notice)?;
    data.insert("amount".to_owned(), notice.money("amount_paid")?.to_json());
    put(&mut data, "period_end", seconds(notice.object, "period_end").map(time).as_deref());
    let invoice = notice.object_id()?;
    let key = format!("stripe:{}:invoice:{invoice}:paid", notice.account.unwrap_or(PLATFORM));
    Ok(emit(notice, catalogue::PAYMENT_SUCCEEDED, invoice, data).dedupe(key))
}

/// A subscription's invoice was not paid, or waits for its payer.
fn failure(notice: &Notice) -> Result<Emit, PluginError> {
    let mut data = about_invoice(notice)?;
    data.insert("amount".to_owned(), notice.money("amount_due")?.to_json());
    data.insert("action_required".to_owned(), json!(notice.kind == "invoice.payment_action_required"));
    if let Some(count) = notice.object.get("attempt_count").and_then(Value::as_u64) {
        data.insert("attempt_count".to_owned(), json!(count));
    }
    put(&mut data, "next_attempt_at", seconds(notice.object, "next_payment_attempt").map(time).as_deref());
    Ok(emit(notice, catalogue::PAYMENT_FAILED, notice.object_id()?, data))
}

fn about_invoice(notice: &Notice) -> Result<Map<String, Value>, PluginError> {
    let mut data = about(notice);
    data.insert("billing_invoice_id".to_owned(), json!(notice.object_id()?));
    // Newer versions of Stripe's API name the subscription under the invoice's parent.
    let parent = notice.object.pointer("/parent/subscription_details").unwrap_or(&Value::Null);
    let subscription = notice.reference("subscription").or_else(|| reference(parent, "subscription"));
    put(&mut data, "subscription_id", subscription);
    put(&mut data, "number", text(notice.object, "number"));
    put(&mut data, "email", text(notice.object, "customer_email"));
    Ok(data)
}

fn checkout(notice: &Notice) -> Result<Emit, PluginError> {
    let id = notice.object_id()?;
    let mut data = about(notice);
    data.insert("checkout_id".to_owned(), json!(id));
    data.insert("mode".to_owned(), json!(notice.require("mode")?));
    data.insert("payment_status".to_owned(), json!(notice.require("payment_status")?));
    put(&mut data, "subscription_id", notice.reference("subscription"));
    put(&mut data, "reference", text(notice.object, "client_reference_id"));
    let details = notice.object.get("customer_details").unwrap_or(&Value::Null);
    put(&mut data, "email", text(details, "email").or(text(notice.object, "customer_email")));
    // A checkout that only sets a payment method up has no amount.
    if let Some(total) = notice.object.get("amount_total").and_then(Value::as_i64) {
        let amount = text(notice.object, "currency").and_then(|currency| money(total, currency));
        data.insert("amount".to_owned(), amount.ok_or_else(|| notice.unreadable("currency"))?.to_json());
    }
    Ok(emit(notice, catalogue::CHECKOUT_COMPLETED, id, data))
}

fn refund(notice: &Notice) -> Result<Emit, PluginError> {
    let id = notice.object_id()?;
    let mut data = about(notice);
    data.insert("charge_id".to_owned(), json!(id));
    data.insert("refunded".to_owned(), notice.money("amount_refunded")?.to_json());
    data.insert("amount".to_owned(), notice.money("amount")?.to_json());
    data.insert("is_full".to_owned(), json!(notice.object.get("refunded").and_then(Value::as_bool).unwrap_or(false)));
    put(&mut data, "payment_intent_id", notice.reference("payment_intent"));
    Ok(emit(notice, catalogue::CHARGE_REFUNDED, id, data))
}

fn dispute(notice: &Notice, name: &str) -> Result<Emit, PluginError> {
    let id = notice.object_id()?;
    let mut data = about(notice);
    data.insert("dispute_id".to_owned(), json!(id));
    data.insert("amount".to_owned(), notice.money("amount")?.to_json());
    data.insert("status".to_owned(), json!(notice.require("status")?));
    put(&mut data, "charge_id", notice.reference("charge"));
    put(&mut data, "reason", text(notice.object, "reason"));
    let evidence = notice.object.get("evidence_details").unwrap_or(&Value::Null);
    put(&mut data, "evidence_due_at", seconds(evidence, "due_by").map(time).as_deref());
    Ok(emit(notice, name, id, data))
}

/// What every event says.
fn about(notice: &Notice) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("livemode".to_owned(), json!(notice.livemode));
    put(&mut data, "account", notice.account);
    put(&mut data, "customer_id", customer(notice));
    data
}

fn customer<'a>(notice: &Notice<'a>) -> Option<&'a str> {
    notice.reference("customer")
}

fn emit(notice: &Notice, name: &str, subject: &str, data: Map<String, Value>) -> Emit {
    let key = customer(notice).unwrap_or(subject).to_owned();
    Emit::new(name, Value::Object(data))
        .subject(subject)
        .time(notice.created * 1000)
        .dedupe(format!("stripe:{}:{name}", notice.id))
        .ordering(ordering(&key))
}

fn ordering(customer_id: &str) -> String {
    format!("stripe:{customer_id}")
}

fn put(data: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        data.insert(name.to_owned(), json!(value));
    }
}

fn time(seconds: u64) -> String {
    rfc3339(seconds * 1000)
}
