//! The ordinary day: a text message, an invoice, a payment, and what strangers try.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switchyard_simulators::{
    subscriber::{Received, Verdict},
    twilio::{Forgery, InboundSms},
};

use super::{
    report::Report,
    stage::{NUMBER, Stage, WEBHOOK_SECRET},
};
use crate::{
    clock::{SystemClock, Timestamp},
    outbound::sign::{ActiveSecrets, ID_HEADER, SIGNATURE_HEADER, SigningSecret, TIMESTAMP_HEADER},
};

/// The customer's number.
pub(super) const CUSTOMER: &str = "+4520123456";

/// How long anything ordinary may take.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// Where the tenant's own application listens.
pub(super) const APPLICATION: &str = "/application";

/// Plays steps 1 to 4.
pub(super) async fn play(stage: &Stage, report: &mut Report) {
    let endpoint =
        stage.endpoint(APPLICATION, &["sms.*", "invoice.*", "email.*", "appointment.*", "call.*"], &json!({})).await;
    report.step("0 endpoint", "a subscriber with a signing secret", async { Ok(format!("made {}", endpoint?)) }).await;
    report.step("1 text message", "sms.received reaches the subscriber, signature verified", text_message(stage)).await;
    let mut correlation = None;
    report
        .step(
            "2 invoice",
            "contact found or made, draft, approved; invoice.created and invoice.approved arrive",
            invoice(stage, &mut correlation),
        )
        .await;
    if let Some(correlation) = correlation {
        report.show_trace_of(correlation);
    }
    report.step("3 payment", "the poller sees it: invoice.paid exactly once", payment(stage)).await;
    report
        .step(
            "4 forgeries",
            "forged 401, replayed deduplicated, stale 401, oversized 413; no event made",
            forgeries(stage),
        )
        .await;
}

/// An invoice command for a customer.
pub(super) fn invoice_command(customer: &str) -> Value {
    json!({"type": "invoice.create", "data": {
        "customer": {"name": customer, "email": "kontor@example.test", "phone": CUSTOMER},
        "lines": [{"description": "Udrykning, rørskade", "quantity": 2, "unit_price": "400.00"}],
    }})
}

/// Verified events of a type at the application.
pub(super) fn is_verified(received: &Received, event_type: &str) -> bool {
    received.path == APPLICATION && received.verdict == Verdict::Verified && received.json()["type"] == event_type
}

async fn text_message(stage: &Stage) -> anyhow::Result<String> {
    let text = "Rørskade, vand overalt, ring nu!";
    let outcome = stage.providers.twilio.send_sms(NUMBER, CUSTOMER, text).await?;
    ensure!(outcome.status == Some(200), "the hub answered {:?}: {}", outcome.status, outcome.body);
    ensure!(outcome.twiml.is_some(), "the answer was no TwiML: {}", outcome.body);
    let arrived =
        stage.providers.subscriber.wait_for_where(1, SOON, |received| is_verified(received, "sms.received")).await?;
    let body = arrived[0].json();
    ensure!(body["data"]["body"] == text, "the text changed on its way: {}", body["data"]["body"]);
    Ok(format!(
        "{} arrived as {}, v1 signature verified",
        outcome.message_sid,
        arrived[0].webhook_id().unwrap_or_default()
    ))
}

async fn invoice(stage: &Stage, correlation: &mut Option<String>) -> anyhow::Result<String> {
    let before = stage.providers.billy.invoices().len();
    let (_, id) = stage.publish(&invoice_command("Jensen ApS")).await?;
    *correlation = Some(id.clone());
    let approved = wait_for(stage, "invoice.approved", &id).await?;
    let created = wait_for(stage, "invoice.created", &id).await?;
    let invoices = stage.providers.billy.invoices();
    ensure!(invoices.len() == before + 1, "{} invoices were made", invoices.len() - before);
    let invoice = invoices.last().context("Billy has the invoice")?;
    let total = &created.json()["data"]["total"];
    ensure!(total["amount"] == "1000.00" && total["currency"] == "DKK", "the total is {total}");
    ensure!(approved.verdict == Verdict::Verified, "invoice.approved did not verify");
    Ok(format!(
        "invoice {} of {} DKK approved, both events verified",
        invoice.number.as_deref().unwrap_or("?"),
        total["amount"]
    ))
}

/// The verified event of a type and correlation id at the application.
pub(super) async fn wait_for(stage: &Stage, event_type: &str, correlation: &str) -> anyhow::Result<Received> {
    let wanted = |received: &Received| {
        is_verified(received, event_type) && received.header("x-correlation-id") == Some(correlation)
    };
    let mut found = stage
        .providers
        .subscriber
        .wait_for_where(1, SOON, wanted)
        .await
        .with_context(|| format!("{event_type} did not arrive"))?;
    Ok(found.remove(0))
}

async fn payment(stage: &Stage) -> anyhow::Result<String> {
    let invoices = stage.providers.billy.invoices();
    let invoice = invoices.last().context("there is an invoice to pay")?;
    stage.providers.billy.pay(&invoice.id, None)?;
    let paid = |received: &Received| is_verified(received, "invoice.paid");
    stage.providers.subscriber.wait_for_where(1, SOON, paid).await.context("invoice.paid did not arrive")?;
    // Two more polls must not say it again.
    let polls = |stage: &Stage| stage.providers.billy.counts().get("invoices.list").map_or(0, |count| count.received);
    let seen = polls(stage);
    stage.until("two more polls", SOON, async || Ok((polls(stage) >= seen + 4).then_some(()))).await?;
    let count = stage.providers.subscriber.all_requests().iter().filter(|received| paid(received)).count();
    ensure!(count == 1, "invoice.paid arrived {count} times");
    Ok(format!("invoice.paid once, {} polls later still once", polls(stage) - seen))
}

async fn forgeries(stage: &Stage) -> anyhow::Result<String> {
    let events = stage.list(&["events"]).await?.iter().filter(|event| is_public(event)).count();
    let forged = InboundSms {
        to: NUMBER.to_owned(),
        from: CUSTOMER.to_owned(),
        body: "not from Twilio".to_owned(),
        media: Vec::new(),
        opt_out_type: None,
        signing: Default::default(),
        forgery: Forgery::WrongKey,
    };
    let forged = stage.providers.twilio.send(&forged).await?.status;
    ensure!(forged == Some(401), "a forged request was answered {forged:?}");
    let first = stage.providers.twilio.webhooks().into_iter().next().context("a text message was sent before")?;
    let replayed = stage.providers.twilio.replay(Some(&first.message_sid), true).await?.status;
    ensure!(replayed == Some(200), "a replayed request was answered {replayed:?}");
    let (stale, body) = (signed_request(600)?, "{\"order\":1}");
    let stale = send_raw(&stage.webhook_url, &stale, body.as_bytes().to_vec()).await?;
    ensure!(stale == 401, "a stale request was answered {stale}");
    let oversized = send_raw(&stage.webhook_url, &signed_request(0)?, vec![b' '; 2 << 20]).await?;
    ensure!(oversized == 413, "an oversized request was answered {oversized}");
    let after = stage.list(&["events"]).await?.iter().filter(|event| is_public(event)).count();
    ensure!(after == events, "{} events were made", after - events);
    let rejections = stage.list(&["rejections"]).await?;
    ensure!(rejections.len() >= 3, "only {} rejections are shown", rejections.len());
    Ok(format!("401, 200 without an event, 401, 413; {} rejections shown, no event made", rejections.len()))
}

/// Polls are events too, of the installation alone.
fn is_public(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|event_type| !event_type.starts_with('_'))
}

/// Standard Webhooks headers of a small request that was signed so many seconds ago.
fn signed_request(age_s: i64) -> anyhow::Result<Vec<(String, String)>> {
    let clock = SystemClock::shared();
    let at = Timestamp(clock.now().0 - age_s * 1000);
    let secrets = ActiveSecrets::new(vec![SigningSecret::parse(&WEBHOOK_SECRET.into())?])?;
    let signed = secrets.sign("msg_demo_1", at, b"{\"order\":1}")?;
    let fields = [(ID_HEADER, signed.id), (TIMESTAMP_HEADER, signed.timestamp), (SIGNATURE_HEADER, signed.signature)];
    fields.into_iter().map(|(name, value)| Ok((name.to_string(), value.to_str()?.to_owned()))).collect()
}

/// Posts bytes as a stranger would; answers the status.
pub(super) async fn send_raw(url: &str, headers: &[(String, String)], body: Vec<u8>) -> anyhow::Result<u16> {
    use http_body_util::Full;
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = client.request(request.body(Full::from(body))?);
    let answer = tokio::time::timeout(SOON, answer).await.context("no answer")??;
    Ok(answer.status().as_u16())
}
