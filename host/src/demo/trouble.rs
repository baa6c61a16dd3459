//! The bad day: subscribers down, the hub killed, hostile plugins.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switchyard_simulators::{faults::Fault, subscriber::Script};

use super::{
    report::Report,
    stage::{Stage, TENANT, source_url},
    story::{SOON, invoice_command, send_raw, wait_for},
};

/// How long the retries of a subscriber that is down may take.
const LATER: Duration = Duration::from_secs(20);

/// Plays steps 5 to 7.
pub(super) async fn play(stage: &mut Stage, report: &mut Report) {
    report
        .step(
            "5a subscriber down",
            "two failures, shown as waiting with its time, then delivered",
            down_for_a_while(stage),
        )
        .await;
    report
        .step(
            "5b endpoint broken",
            "a dead letter; replayed after the fix, delivered with the same webhook-id",
            broken(stage),
        )
        .await;
    let mut correlation = None;
    report
        .step(
            "6 hub killed",
            "killed after Billy said yes: one invoice, and the journal says why",
            killed(stage, &mut correlation),
        )
        .await;
    if let Some(correlation) = correlation {
        report.show_trace_of(correlation);
    }
    report
        .step("7a hostile plugins", "loop and memory bomb end their own attempts; others go on", hostile(stage))
        .await;
    report
        .step(
            "7b receive that traps",
            "the request is parked; the fixed version turns it into the event",
            parked(stage),
        )
        .await;
}

async fn down_for_a_while(stage: &Stage) -> anyhow::Result<String> {
    let endpoint = stage.endpoint("/flaky", &["shipment.sent"], &json!({})).await?;
    stage.providers.subscriber.set_script("/flaky", Script::statuses(&[500, 500, 200]));
    stage.publish(&json!({"type": "shipment.sent", "data": {"parcel": 1}})).await?;
    let waiting = stage
        .until("the delivery to wait", SOON, async || {
            let waiting = |delivery: &Value| delivery["state"] == "waiting" && delivery["tries"] == 2;
            Ok(stage.deliveries_to(&endpoint).await?.into_iter().find(waiting))
        })
        .await?;
    let due = waiting["next_attempt_at"].as_str().context("a waiting delivery shows its time")?.to_owned();
    let code = waiting["code"].as_str().unwrap_or_default().to_owned();
    stage
        .until("the delivery to arrive", LATER, async || {
            Ok(stage.deliveries_to(&endpoint).await?.into_iter().find(|delivery| delivery["state"] == "delivered"))
        })
        .await?;
    let tries = stage.providers.subscriber.requests("/flaky").len();
    ensure!(tries == 3, "it was sent {tries} times");
    Ok(format!("waiting until {due} ({code}), delivered at the third attempt"))
}

async fn broken(stage: &Stage) -> anyhow::Result<String> {
    let endpoint = stage.endpoint("/broken", &["parcel.lost"], &json!({"retry_schedule": [0, 1]})).await?;
    stage.providers.subscriber.set_script("/broken", Script::statuses(&[500]));
    stage.publish(&json!({"type": "parcel.lost", "data": {"parcel": 2}})).await?;
    let group = stage
        .until("a dead letter", SOON, async || {
            let groups = stage.list(&["dead-letters"]).await?;
            Ok(groups.into_iter().find(|group| group["target"] == endpoint.as_str()))
        })
        .await?;
    stage.providers.subscriber.set_script("/broken", Script::default());
    let replay = json!({"fingerprint": group["fingerprint"]});
    stage.post(&["v1", "tenants", TENANT, "dead-letters", "replay"], &replay).await?;
    let all = stage.providers.subscriber.wait_for("/broken", 3, SOON).await.context("the replay did not arrive")?;
    let ids: std::collections::BTreeSet<_> = all.iter().map(|received| received.webhook_id()).collect();
    ensure!(ids.len() == 1, "the webhook-id changed: {ids:?}");
    stage
        .until("the replayed delivery to be delivered", SOON, async || {
            Ok(stage.deliveries_to(&endpoint).await?.into_iter().find(|delivery| delivery["state"] == "delivered"))
        })
        .await?;
    Ok(format!(
        "dead ({}), replayed and delivered as {}",
        group["code"].as_str().unwrap_or_default(),
        all[0].webhook_id().unwrap_or_default()
    ))
}

async fn killed(stage: &mut Stage, correlation: &mut Option<String>) -> anyhow::Result<String> {
    let before = stage.providers.billy.invoices().len();
    stage.providers.billy.faults().arm("invoices.create", Fault::HangAfter, 1);
    let (_, id) = stage.publish(&invoice_command("Hansen & Søn")).await?;
    *correlation = Some(id.clone());
    stage.providers.billy.faults().wait_held(1, SOON).await.context("Billy did not get the invoice")?;
    ensure!(stage.providers.billy.invoices().len() == before + 1, "Billy did not make the invoice");
    stage.hub.kill().await?;
    ensure!(stage.providers.billy.faults().wait_none_held(SOON).await, "the connection outlived the hub");
    stage.hub.start().await?;
    wait_for(stage, "invoice.approved", &id).await?;
    let made = stage.providers.billy.invoices().len() - before;
    ensure!(made == 1, "{made} invoices exist");
    let run = stage
        .deliveries_to("plugin:billy")
        .await?
        .into_iter()
        .find(|delivery| delivery["correlation_id"] == id.as_str());
    let run = run.context("the run is there")?;
    let detail = stage.get(&["deliveries", run["id"].as_str().unwrap_or_default()]).await?;
    let calls = detail["journal"]["calls"].as_array().cloned().unwrap_or_default();
    let write =
        calls.iter().find(|call| call["call"] == "POST billy /invoices").context("the journal has the write")?;
    ensure!(write["outcome"] == "unknown", "the journal calls the write {}", write["outcome"]);
    let repeated = calls.iter().filter(|call| call["call"] == "POST billy /invoices").count();
    ensure!(repeated == 1, "the write stands {repeated} times in the journal");
    let attempts = detail["attempts"].as_array().map_or(0, Vec::len);
    Ok(format!(
        "one invoice; journal: {} unknown at the stop, then looked up and adopted; {attempts} attempts",
        write["call"]
    ))
}

async fn hostile(stage: &Stage) -> anyhow::Result<String> {
    let empty = json!({"config": {}});
    for name in ["infinite-loop", "memory-bomb"] {
        stage.push(&format!("{name}.wasm")).await?;
        stage.install(name, &empty).await?;
    }
    stage.endpoint("/bystander", &["order.shipped"], &json!({})).await?;
    stage.publish(&json!({"type": "demo.looped", "data": {}})).await?;
    stage.publish(&json!({"type": "demo.bombed", "data": {}})).await?;
    for parcel in 0..20 {
        stage.publish(&json!({"type": "order.shipped", "data": {"parcel": parcel}})).await?;
    }
    stage
        .providers
        .subscriber
        .wait_for("/bystander", 20, SOON)
        .await
        .context("the bystander's deliveries did not go on")?;
    let mut said = Vec::new();
    for (name, expected) in [("infinite-loop", "cpu_limit"), ("memory-bomb", "memory_limit")] {
        let target = format!("plugin:{name}");
        let failed = stage
            .until("the hostile attempt to end", SOON, async || {
                let deliveries = stage.deliveries_to(&target).await?;
                let failed = deliveries.into_iter().next().filter(|delivery| delivery["code"].is_string());
                let Some(failed) = failed else { return Ok(None) };
                let detail = stage.get(&["deliveries", failed["id"].as_str().unwrap_or_default()]).await?;
                Ok(detail["attempts"].as_array().and_then(|attempts| attempts.first()).cloned())
            })
            .await?;
        ensure!(failed["code"] == expected, "{name} ended as {}: {}", failed["code"], failed["message"]);
        said.push(format!("{name}: {expected}"));
    }
    Ok(format!("{}; 20 of 20 deliveries beside them arrived", said.join(", ")))
}

async fn parked(stage: &Stage) -> anyhow::Result<String> {
    stage.push("fragile-broken.wasm").await?;
    let token = json!({"provider": "sensor", "name": "sensor", "kind": "hmac", "secret": {"secret": "a-token-for-the-sensor-0123456789"}});
    let connection = stage.connection(&token).await?;
    let wanted = json!({"config": {}, "connections": {"inbound": connection}});
    let url = source_url(&stage.install("fragile", &wanted).await?)?;
    stage.endpoint("/readings", &["reading.received"], &json!({})).await?;
    let headers = [("x-demo-token".to_owned(), "a-token-for-the-sensor-0123456789".to_owned())];
    let status = send_raw(&url, &headers, b"temperature".to_vec()).await?;
    ensure!(status == 503, "a request that could not be judged was answered {status}");
    let parked = stage.list(&["parked"]).await?;
    let shown = parked.iter().find(|request| request["plugin"] == "fragile").context("the request is parked")?;
    let code = shown["code"].as_str().unwrap_or_default().to_owned();
    stage.push("fragile-fixed.wasm").await?;
    let arrived =
        stage.providers.subscriber.wait_for("/readings", 1, SOON).await.context("the fixed version made no event")?;
    let body = arrived[0].json();
    ensure!(body["data"]["name"] == "temperature", "the event says {}", body["data"]);
    stage
        .until("the parked request to go", SOON, async || {
            Ok(stage.list(&["parked"]).await?.iter().all(|request| request["plugin"] != "fragile").then_some(()))
        })
        .await?;
    Ok(format!("parked ({code}), judged again by 0.1.1, arrived as {}", body["type"].as_str().unwrap_or_default()))
}
