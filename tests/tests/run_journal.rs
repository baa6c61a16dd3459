//! One invoice, whatever happens between the hub and Billy, who cannot recognise a repeated write.

use serde_json::{Value, json};
use switchyard_simulators::faults::{Fault, FaultBody};

#[path = "../support/journal.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod journal;

use journal::{LIMIT, Stage, bundled};

const CREATE: &str = "POST billy /invoices";

async fn stage() -> Stage {
    let mut stage = Stage::set_up(&[("billy.wasm", bundled("billy.wasm"))]).await;
    stage.install_billy(8).await;
    stage
}

/// The writes of a call in a delivery's journal, as outcomes.
fn outcomes(run: &Value, call: &str) -> Vec<String> {
    let calls = run["journal"]["calls"].as_array().cloned().unwrap_or_default();
    let ours = calls.iter().filter(|entry| entry["call"] == call);
    ours.map(|entry| entry["outcome"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Invoices that carry the reference of a delivery.
fn invoices(stage: &Stage, run: &Value) -> usize {
    let reference = run["id"].as_str().and_then(|id| id.strip_prefix("dlv_")).expect("an id");
    let of_run = |message: &Option<String>| message.as_deref().is_some_and(|message| message.contains(reference));
    stage.billy.invoices().iter().filter(|invoice| of_run(&invoice.contact_message)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_never_makes_a_second_invoice() {
    let stage = stage().await;
    let faults = [
        ("executed, then 500", Fault::FailAfter { status: 500, body: FaultBody::Html }, "unknown"),
        ("executed, then the line broke", Fault::DropAfter, "unknown"),
        ("500, not executed", Fault::FailBefore { status: 503, body: FaultBody::Provider }, "unknown"),
        // A refusal is no reason to look anything up: the record begins anew.
        ("429, not executed", Fault::RateLimit { retry_after_s: Some(1) }, "confirmed"),
    ];
    for (what, fault, first) in faults {
        let before = stage.billy.invoices().len();
        stage.billy.faults().arm("invoices.create", fault, 1);
        let correlation = stage.order_invoice(what).await;
        let run = stage.run(&correlation, "delivered").await;
        assert_eq!(invoices(&stage, &run), 1, "{what}");
        assert_eq!(stage.billy.invoices().len(), before + 1, "{what}");
        assert!(stage.billy.faults().armed().is_empty(), "{what}: the fault was met");
        assert_eq!(outcomes(&run, CREATE).first().map(String::as_str), Some(first), "{what}: {}", run["journal"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_whose_answer_takes_too_long_is_found_and_adopted() {
    let stage = stage().await;
    stage.billy.faults().arm("invoices.create", Fault::HangAfter, 1);
    let correlation = stage.order_invoice("Slow").await;
    stage.billy.faults().wait_held(1, LIMIT).await.expect("Billy has the invoice and says nothing");
    let run = stage.run(&correlation, "delivered").await;
    assert_eq!((invoices(&stage, &run), stage.billy.invoices().len()), (1, 1));
    assert_eq!(outcomes(&run, CREATE), ["unknown"], "the one write was looked up, not repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_dies_before_the_answer_makes_one_invoice() {
    let mut stage = stage().await;
    stage.billy.faults().arm("invoices.create", Fault::HangAfter, 1);
    let correlation = stage.order_invoice("Power cut").await;
    stage.billy.faults().wait_held(1, LIMIT).await.expect("Billy has the invoice and says nothing");
    stage.kill().await;
    assert!(stage.billy.faults().wait_none_held(LIMIT).await, "the connection went with the hub");
    stage.start().await;
    let run = stage.run(&correlation, "delivered").await;
    assert_eq!((invoices(&stage, &run), stage.billy.invoices().len()), (1, 1));
    assert_eq!(outcomes(&run, CREATE), ["unknown"]);
    // A second death, at the write that may be repeated, repeats it.
    stage.billy.faults().arm("invoices.approve", Fault::HangAfter, 1);
    let correlation = stage.order_invoice("Second power cut").await;
    stage.billy.faults().wait_held(1, LIMIT).await.expect("Billy has approved and says nothing");
    stage.kill().await;
    stage.start().await;
    let run = stage.run(&correlation, "delivered").await;
    assert_eq!((invoices(&stage, &run), stage.billy.invoices().len()), (1, 2));
    assert_eq!(outcomes(&run, CREATE), ["confirmed"], "the creation was served from the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_under_another_config_stops_before_it_writes() {
    let mut stage = stage().await;
    stage.billy.faults().arm("invoices.approve", Fault::FailBefore { status: 422, body: FaultBody::Provider }, 1);
    let correlation = stage.order_invoice("Refused").await;
    let run = stage.run(&correlation, "dead").await;
    assert_eq!(outcomes(&run, CREATE), ["confirmed"], "{run}");
    stage.install_billy(30).await;
    replay(&stage, &run).await;
    let mismatched = journal::until("the mismatch", async || {
        let run = stage.run(&correlation, "dead").await;
        (run["code"] == "journal_mismatch").then_some(run)
    });
    let mismatched = mismatched.await;
    assert_eq!(mismatched["reason"], "plugin_bug");
    assert_eq!(stage.billy.invoices().len(), 1, "nothing was sent");
    // With the config as it was, the same record leads to the end.
    stage.install_billy(8).await;
    replay(&stage, &mismatched).await;
    let run = stage.run(&correlation, "delivered").await;
    assert_eq!((invoices(&stage, &run), stage.billy.invoices().len()), (1, 1));
}

async fn replay(stage: &Stage, run: &Value) {
    let wanted = json!({"fingerprint": run["fingerprint"]});
    stage.post(&["dead-letters", "replay"], &wanted).await.expect("the dead letter is replayed");
}
