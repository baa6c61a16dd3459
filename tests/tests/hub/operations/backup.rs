use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use switchyard_tests::{api::SOON, hub::Hub, world::subscriber};

#[tokio::test]
async fn h83_a_copy_taken_while_the_hub_works_is_whole_private_and_brings_everything_back() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let waiting = tenant.publish(&json!({"type": "a.b", "data": {"n": 1}})).await;
    let copy = hub.folder().join("copy.db");
    let file = copy.display().to_string();
    let done = hub.run(&["backup", &file, "--json"], &[]).await.json();
    assert_eq!(done["bytes"], std::fs::metadata(&copy).expect("it is there").len());
    assert_eq!(std::fs::metadata(&copy).expect("it is there").permissions().mode() & 0o777, 0o600);
    let later = tenant.publish(&json!({"type": "a.b", "data": {"n": 2}})).await;

    // It replaces nothing: neither another copy nor a database.
    let bytes = std::fs::read(&copy).expect("the copy");
    let again = hub.run(&["backup", &file], &[]).await;
    assert!(again.refusal().contains("never replaces"), "{}", again.err);
    assert_eq!(std::fs::read(&copy).expect("the copy"), bytes);
    let beside = hub.run(&["restore", &file], &[]).await;
    assert!(beside.refusal().contains("another switchyard has"), "{}", beside.err);
    hub.kill().await;
    let over = hub.run(&["restore", &file], &[]).await;
    assert!(over.refusal().contains("is in the way"), "{}", over.err);

    // The disk is lost; what the copy has comes back, and its secrets with the master key.
    for ending in ["", "-wal", "-shm"] {
        // Not all of them are there.
        std::fs::remove_file(format!("{}{ending}", hub.database().display())).ok();
    }
    let back = hub.run(&["restore", &file], &[]).await;
    assert!(back.success && back.out.contains("is back"), "{back:?}");
    hub.restart().await;
    assert_eq!(std::fs::metadata(hub.database()).expect("it is there").permissions().mode() & 0o777, 0o600);
    let events = tenant.list("/events").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0]["id"] == waiting["id"] && events[0]["id"] != later["id"]);
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!((arrived.status, arrived.webhook_id()), (Some(200), waiting["id"].as_str()), "{:?}", arrived.verdict);
}

#[tokio::test]
async fn a_copy_that_is_damaged_or_no_database_is_not_restored() {
    let mut hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let copy = hub.folder().join("copy.db");
    let file = copy.display().to_string();
    let _ = hub.run(&["backup", &file, "--json"], &[]).await.json();
    assert!(hub.stop().await.success());
    let empty = Hub::builder().prepare();
    for (bytes, words) in [
        (
            {
                let mut bytes = std::fs::read(&copy).expect("the copy");
                let middle = bytes.len() / 2;
                bytes[middle..].fill(0x5a);
                bytes
            },
            "damaged",
        ),
        (
            b"these are some words and no database, but more than one header's length of them, so that it is read"
                .to_vec(),
            "damaged",
        ),
        (Vec::new(), "no database of switchyard"),
    ] {
        std::fs::write(&copy, bytes).expect("written");
        let said = empty.run(&["restore", &file], &[]).await;
        assert!(said.refusal().contains(words), "{}", said.err);
        assert!(!empty.database().exists(), "something was put in its place");
    }
    let missing = empty.run(&["restore", "/nowhere/at/all.db"], &[]).await;
    assert!(missing.refusal().contains("there is no file"), "{}", missing.err);
    let nothing = empty.run(&["backup", &empty.folder().join("c.db").display().to_string()], &[]).await;
    assert!(nothing.refusal().contains("there is no database"), "{}", nothing.err);
}
