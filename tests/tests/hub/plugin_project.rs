use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use switchyard_tests::world::{build_folder, built};
use tokio::process::Command;

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk").canonicalize().expect("the SDK")
}

/// Runs the binary with `--json`; cargo, which it calls, takes what was fetched and built for this workspace.
async fn switchyard(arguments: &[&str]) -> (bool, String, String) {
    let target = build_folder().parent().map(Path::to_owned).unwrap_or_default();
    let done = Command::new(built(&build_folder().join("switchyard")))
        .args(arguments)
        .arg("--json")
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

#[tokio::test]
async fn a_new_plugin_builds_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("acme-crm");
    let (plugin, sdk) = (plugin.to_str().unwrap(), sdk());
    let (made, out, err) = switchyard(&["plugin", "new", plugin, "--sdk", sdk.to_str().unwrap()]).await;
    assert!(made, "{out}{err}");
    // The versions of this workspace, which are there without a network.
    std::fs::copy(sdk.join("../Cargo.lock"), Path::new(plugin).join("Cargo.lock")).unwrap();
    let (made, out, err) = switchyard(&["plugin", "build", plugin]).await;
    assert!(made, "{out}{err}");
    let file = serde_json::from_str::<Value>(&out).unwrap()["file"].as_str().unwrap().to_owned();
    let (made, out, err) = switchyard(&["plugin", "inspect", &file]).await;
    assert!(made, "{out}{err}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["manifest"]["id"], &said["exports"]["handler"]), (&"acme-crm".into(), &true.into()), "{said}");
}

#[tokio::test]
async fn a_new_plugin_overwrites_nothing_and_needs_a_name_and_an_sdk() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(folder.path().join("there")).unwrap();
    for (name, words) in [("there", "is there already"), ("9lives", "cannot be a plugin's name"), ("fine", "--sdk")] {
        let (made, out, err) = switchyard(&["plugin", "new", &inside(name)]).await;
        assert!(!made && err.contains(words), "{name}: {out}{err}");
    }
    assert!(!folder.path().join("fine").exists(), "nothing half-done");
    let (made, out, err) = switchyard(&["plugin", "build", &inside("nowhere")]).await;
    assert!(!made && err.contains("name the plugin's folder"), "{out}{err}");
}
