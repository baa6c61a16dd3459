use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchyard_tests::{api::text, hub::Hub};

use super::{EMAIL, OTHER, PHONE, Planted, TRACES, WORDS};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn by_record(lines: &[Value]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in lines {
        *counted.entry(text(line, "record")).or_default() += 1;
    }
    counted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_everything_of_a_person_and_nothing_of_anybody_else() {
    let planted = Planted::on(Hub::builder()).await;
    let asked = planted.tenant.post("/privacy/export", &json!({"phone": PHONE})).await.expect(202);
    assert_eq!(asked["state"], "running");
    let done = planted.until_done(&text(&asked, "id")).await;
    let fetched = planted.tenant.api.get(&text(&done, "export")).await;
    assert_eq!((fetched.status, fetched.header("content-type")), (200, "application/x-ndjson"), "{}", fetched.text);
    let all = lines(&fetched.text);
    let counted = by_record(&all);
    for record in ["export", "event", "delivery", "request", "parked_request", "kv", "end"] {
        assert!(counted.get(record).is_some_and(|count| *count >= 1), "no {record}: {counted:?}");
    }
    assert_eq!(all.last().map(|line| text(line, "record")).as_deref(), Some("end"));
    assert!(fetched.text.contains(WORDS) && !fetched.text.contains(OTHER), "{}", fetched.text);
    let journal = all.iter().find(|line| line["journal"]["calls"].is_array()).expect("a journal");
    assert!(journal["journal"].to_string().contains("4599887766"), "an answer is shown opened: {journal}");
    assert!(!fetched.text.contains("00112233445566778899aabbccddeeff"), "no credential is anybody's to see");
    // It is sealed where it lies, and its reading is on record.
    let audit = planted.tenant.all("/audit").await;
    assert!(audit.iter().any(|row| row["action"] == "privacy.export_fetched"), "{audit:?}");
    let file = std::fs::read(planted.hub.database()).expect("the file");
    let line = all[1].to_string();
    assert!(!file.windows(line.len()).any(|window| window == line.as_bytes()), "an export lies open in the file");
    // It goes with an erasure, which would else leave a copy behind.
    let _ = planted.done("erase", json!({"email": EMAIL})).await;
    let gone = planted.tenant.api.get(&text(&done, "export")).await;
    let _ = gone.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_exports_to_a_file_and_erases_after_a_yes() {
    let planted = Planted::on(Hub::builder()).await;
    let to = planted.hub.folder().join("ida.ndjson").display().to_string();
    let exporting = ["privacy", "export", "--tenant", "acme", "--phone", PHONE, "--to", &to, "--json"];
    let written = planted.hub.run(&exporting, &[]).await.json();
    let exported = std::fs::read_to_string(&to).expect("the export");
    assert_eq!(written["bytes"].as_u64(), Some(exported.len() as u64));
    assert!(by_record(&lines(&exported)).contains_key("kv"));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&to).expect("it").permissions().mode() & 0o777, 0o600);
    let again = planted.hub.run(&exporting, &[]).await;
    assert!(again.refusal().contains("cannot write"), "it replaces nothing: {}", again.err);

    let erasing = ["privacy", "erase", "--tenant", "acme", "--phone", PHONE];
    let asked = planted.hub.run(&erasing, &[]).await;
    assert!(asked.refusal().contains("--yes"), "{}", asked.err);
    let erased = planted.hub.run(&[&erasing[..], &["--yes"]].concat(), &[]).await;
    assert!(erased.success && erased.out.contains("erased: ") && erased.out.contains("kv"), "{erased:?}");
    assert!(erased.err.contains("places"), "it says how far it is: {}", erased.err);
    let by_mail = ["privacy", "erase", "--tenant", "acme", "--email", EMAIL, "--yes"];
    assert!(planted.hub.run(&by_mail, &[]).await.success);
    let listed = planted.hub.run(&["privacy", "list", "--tenant", "acme"], &[]).await;
    assert!(listed.out.contains("erase") && listed.out.contains("export"), "{}", listed.out);
    assert!(TRACES.iter().all(|trace| !listed.out.to_ascii_lowercase().contains(trace)), "{}", listed.out);
    assert_eq!(planted.told().await, Vec::<String>::new());
}
