use std::{process::Stdio, time::Duration};

use serde_json::Value;
use switchyard_tests::world::{build_folder, built};
use tokio::process::Command;

/// The story promises to be over by then.
const STORY: Duration = Duration::from_secs(45);

#[tokio::test]
async fn the_demo_comes_out_right() {
    let _ = built(&build_folder().join("plugins/billy.wasm"));
    let playing = Command::new(built(&build_folder().join("switchyard")))
        .args(["demo", "--once", "--json"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(STORY, playing).await.expect("the demo ends in time").expect("it can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.len() >= 14, "only {} steps: {report:#}", steps.len());
    for step in steps {
        assert_eq!(step["good"], true, "{step:#}");
    }
    assert_eq!(report["good"], true);
    let kinds: Vec<_> =
        report["trace"]["entries"].as_array().expect("a time line").iter().map(|entry| &entry["kind"]).collect();
    for kind in ["event", "delivery", "attempt", "provider_call"] {
        assert!(kinds.iter().any(|seen| *seen == kind), "the time line has no {kind}: {kinds:?}");
    }
    assert!(output.status.success(), "{}: {told}", output.status);
}
