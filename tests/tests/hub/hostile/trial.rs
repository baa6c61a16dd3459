//! `switchyard plugin run` and `plugin test`: the real binary on real components, without a hub.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use switchyard_tests::world::{SENDER_SECRET, build_folder, built, guest, sender_config, sender_signature};
use tokio::{io::AsyncWriteExt as _, process::Command};

fn component(name: &str) -> PathBuf {
    let target = build_folder().parent().map(Path::to_owned).unwrap_or_default();
    built(&target.join("wasm32-wasip2/plugin").join(format!("{name}.wasm")))
}

fn bundled(name: &str) -> PathBuf {
    built(&build_folder().join("plugins").join(format!("{name}.wasm")))
}

/// The exit code, standard output and standard error of a command.
async fn switchyard(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(built(&build_folder().join("switchyard")))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("an input");
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let done = child.wait_with_output().await.expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code().unwrap_or(-1), text(&done.stdout), text(&done.stderr))
}

/// Runs a case and answers its exit code and its report.
async fn run(file: &Path, case: &Value) -> (i32, Value) {
    let file = file.display().to_string();
    let (code, out, err) = switchyard(&["plugin", "run", &file, "-", "--json"], &case.to_string()).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

fn misbehave(data: Value) -> Value {
    json!({"event": {"type": "test.do", "data": data}})
}

#[tokio::test]
async fn a_plugin_is_run_once_and_says_what_it_left_and_what_it_cost() {
    let hello = component("hello_plugin").display().to_string();
    let words = ["plugin", "run", &hello, "--event", "greeting.requested", "--data", "{\"name\":\"Ada\"}"];
    let (code, out, err) = switchyard(&[&words[..], &["--plugin-config", "{\"greeting\":\"Hi\"}"]].concat(), "").await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("hello 0.1.0 handle: ok") && out.contains("Hi, Ada!") && out.contains("ms CPU"), "{out}");

    let case = json!({"config": {"greeting": "Hi"}, "event": {"type": "greeting.requested", "data": {"name": "Ada"}}});
    let (code, report) = run(&component("hello_plugin"), &case).await;
    assert_eq!((code, &report["outcome"]), (0, &json!("ok")), "{report}");
    assert_eq!(report["events"][0]["data"], json!({"text": "Hi, Ada!"}), "{report}");
    assert!(report["cost"]["peak_memory_bytes"].as_u64() > Some(0), "{report}");
    let nameless = json!({"config": {"greeting": "Hi"}, "event": {"type": "greeting.requested", "data": {}}});
    let (code, report) = run(&component("hello_plugin"), &nameless).await;
    assert_eq!((code, &report["outcome"], &report["error"]["reason"]), (3, &json!("reject"), &json!("bad_data")));
}

#[tokio::test]
async fn providers_answer_what_was_recorded_and_stored_values_are_there() {
    let file = component("misbehave");
    let call = json!({"do": "call", "method": "GET", "connection": "provider", "path": "/echo?x=1"});
    let answers = json!([{"connection": "provider", "method": "GET", "path": "/echo", "headers": {"x-a": "b"}, "body": {"n": 1}},
        {"connection": "provider", "method": "POST", "path": "/never"}]);
    let mut case = misbehave(call.clone());
    case["http"] = answers;
    let (code, report) = run(&file, &case).await;
    assert_eq!(
        (code, &report["calls"][0]["status"], &report["unused_answers"]),
        (0, &json!(200), &json!(1)),
        "{report}"
    );
    assert_eq!(report["events"][0]["data"]["body"], "{\"n\":1}", "{report}");
    let (code, report) = run(&file, &misbehave(call)).await;
    assert_eq!(code, 0);
    assert!(report.to_string().contains("no recorded answer to `GET provider /echo?x=1`"), "{report}");
    let mut case = misbehave(json!({"do": "keep", "key": "a"}));
    case["kv"] = json!({"a": "stored"});
    assert_eq!(run(&file, &case).await.1["events"][0]["data"]["got"], "stored");
    let (_, report) = run(&file, &misbehave(json!({"do": "keep", "key": "a", "value": "new"}))).await;
    assert_eq!(report["kv"], json!({"a": "new"}), "{report}");
    // A lost answer to a write that the provider cannot recognise.
    let mut case = misbehave(json!({"do": "call", "method": "POST", "connection": "provider", "path": "/a"}));
    case["http"] = json!([{"connection": "provider", "method": "POST", "path": "/a", "fails": "timeout"}]);
    assert!(run(&file, &case).await.1.to_string().contains("UnknownOutcome"));
    // Polls and requests are calls as well.
    let (code, report) = run(&file, &json!({"poll": {"schedule": "news", "cursor": "1"}})).await;
    assert_eq!((code, &report["cursor"], &report["has_more"]), (0, &json!("2"), &json!(true)), "{report}");
    let body = "{\"order\":1}";
    let mut case = json!({"config": sender_config("order.placed"), "secrets": {"inbound.secret": SENDER_SECRET},
        "request": {"headers": {"x-signature": sender_signature(body.as_bytes())}, "body": body}});
    let (code, report) = run(&bundled("webhook"), &case).await;
    assert_eq!(
        (code, &report["verdict"], &report["events"][0]["type"]),
        (0, &json!("accepted"), &json!("order.placed"))
    );
    case["request"]["headers"]["x-signature"] = "00".into();
    let (_, report) = run(&bundled("webhook"), &case).await;
    assert!(report["verdict"].as_str().is_some_and(|verdict| verdict.starts_with("unauthenticated")), "{report}");
}

#[tokio::test]
async fn a_plugin_that_breaks_its_bounds_ends_with_four_and_the_hubs_own_code() {
    let file = component("misbehave");
    for (order, outcome) in [
        (json!({"do": "loop"}), "cpu_limit"),
        (json!({"do": "alloc", "n": 1_u64 << 40}), "memory_limit"),
        (json!({"do": "panic"}), "trap"),
        (json!({"do": "output", "n": 2 << 20}), "output_limit"),
        (json!({"do": "bad_json"}), "malformed_result"),
        (json!({"do": "emit", "type": "order.placed"}), "emit_not_granted"),
    ] {
        let (code, report) = run(&file, &misbehave(order.clone())).await;
        assert_eq!((code, &report["outcome"]), (4, &json!(outcome)), "{order}: {report}");
        assert_eq!(report["error"]["reason"], "plugin_bug", "{order}: {report}");
    }
}

#[tokio::test]
async fn what_cannot_be_run_ends_with_one_and_says_what_is_wrong() {
    let (hello, folder) = (component("hello_plugin").display().to_string(), tempfile::tempdir().expect("a folder"));
    let half = folder.path().join("half.wasm");
    std::fs::write(&half, &guest("hello_plugin")[..4_000]).expect("it is written");
    let half = half.display().to_string();
    for (file, case, words) in [
        (hello.as_str(), json!({"config": {"greeting": 7}, "poll": {"schedule": "x"}}), "config/greeting"),
        (&hello, json!({"config": {"greeting": "Hi"}}), "exactly one of `event`, `request` and `poll`"),
        (&hello, json!({"event": {"typ": "a.b"}}), "event"),
        (&hello, json!("no case"), "the case is not usable"),
        (&half, json!({}), "does not compile"),
        ("no-such.wasm", json!({}), "cannot read no-such.wasm"),
    ] {
        let (code, out, err) = switchyard(&["plugin", "run", file, "-"], &case.to_string()).await;
        assert_eq!(code, 1, "{case}: {out}{err}");
        assert!(err.contains(words), "{case}: `{words}` is not in {err}");
    }
}

#[tokio::test]
async fn cases_are_compared_with_what_they_expect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (hello, twilio) = (component("hello_plugin").display().to_string(), bundled("twilio").display().to_string());
    for (file, case) in
        [(&hello, "examples/hello-plugin/cases/greets.json"), (&twilio, "plugins/twilio/cases/sms-send.json")]
    {
        let case = root.join(case).display().to_string();
        let (code, out, err) = switchyard(&["plugin", "test", file, &case], "").await;
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.starts_with("ok "), "{out}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong.json");
    let text = std::fs::read_to_string(root.join("examples/hello-plugin/cases/greets.json")).expect("the case");
    std::fs::write(&wrong, text.replace("Hello, Ada!", "Hello, Bob!")).expect("it is written");
    let (code, out, _) = switchyard(&["plugin", "test", &hello, &wrong.display().to_string()], "").await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("FAILED") && out.contains("/events/0/data/text: expected \"Hello, Bob!\""), "{out}");
}

/// A recorded token, and a case that judges it at this time by the keys that were recorded with it.
fn token_case(id: &str) -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/vectors.json"));
    let vectors: Vec<Value> = serde_json::from_str(text).expect("vectors are JSON");
    let case = |id: &str| vectors.iter().find(|case| case["id"] == id).cloned().expect("a recorded case");
    let (keys, inputs) = (case("google-oidc-00-keys")["expected"]["jwks"].clone(), case(id)["inputs"].clone());
    let config = &inputs["config"];
    json!({"config": {"audience": config["expected_audience"]}, "key_sets": {"issuer": keys},
        "time_ms": inputs["now_unix"].as_u64().expect("a time") * 1000,
        "request": {"headers": {"authorization": inputs["headers"]["Authorization"]}}})
}

#[tokio::test]
async fn a_trial_judges_signed_tokens_by_the_keys_of_its_case() {
    for id in ["google-oidc-01-valid", "google-oidc-03-valid-iss-without-scheme"] {
        let (code, report) = run(&component("ledgers"), &token_case(id)).await;
        assert_eq!((code, report["verdict"].as_str()), (0, Some("accepted")), "{report}");
        assert_eq!(report["events"][0]["data"]["email"], "push-sa@hub-test.iam.gserviceaccount.com", "{report}");
    }
    for (id, why) in [
        ("google-oidc-n2-wrong-aud", "another audience"),
        ("google-oidc-n5-wrong-iss", "another issuer"),
        ("google-oidc-n7-unknown-kid", "no key of the token's name"),
        ("google-oidc-n8-alg-none", "none of RS256"),
    ] {
        let (_, report) = run(&component("ledgers"), &token_case(id)).await;
        let result = report["verdict"].as_str().unwrap_or_default().to_owned();
        assert!(result.starts_with("unauthenticated: ") && result.contains(why), "{id}: {report}");
    }
    let mut late = token_case("google-oidc-01-valid");
    late["time_ms"] = json!(1_795_258_861_000_u64);
    let (_, report) = run(&component("ledgers"), &late).await;
    assert_eq!(report["verdict"], "unauthenticated: the token has expired", "a minute after its end: {report}");
    let mut without = token_case("google-oidc-01-valid");
    without["key_sets"] = json!({});
    let (_, report) = run(&component("ledgers"), &without).await;
    assert!(report.to_string().contains("keys_unavailable"), "{report}");
}
