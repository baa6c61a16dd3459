use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use switchyard_simulators::subscriber::Script;
use switchyard_tests::{
    api::{SOON, Tenant, text},
    hub::{ADMIN_KEY, Hub},
    world::{bundled, sender_config, sender_signature, subscriber},
};

/// A text of a person that an event carries: it belongs into the database, and nowhere else.
const PERSONAL: &str = "MARKER-personal-data-of-Ida";

/// Planted where credentials go.
struct Planted {
    /// What was planted, and what the hub made and answered once.
    secrets: Vec<(&'static str, String)>,
}

impl Planted {
    #[track_caller]
    fn nowhere_in(&self, what: &str, bytes: &[u8]) {
        for (name, secret) in &self.secrets {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            assert!(found.is_none(), "{what} holds the {name} in clear text");
        }
    }
}

/// Uses every place that takes or makes a secret.
async fn plant(hub: &Hub, tenant: &Tenant, master: &[u8; 32]) -> Planted {
    let mut secrets = vec![
        ("operator key", ADMIN_KEY.to_owned()),
        ("master key", STANDARD.encode(master)),
        ("master key's bytes", "MARKER-master-key-of-32-bytes-01".to_owned()),
    ];
    for (kind, name, secret) in [
        ("bearer", "bearer token", json!({"token": "MARKER-bearer-token-0001"})),
        ("basic", "password", json!({"username": "user", "password": "MARKER-password-0002"})),
        ("header", "header's value", json!({"name": "X-Token", "value": "MARKER-header-value-0003"})),
        ("hmac", "hmac secret", json!({"secret": "MARKER-hmac-secret-of-a-sender-0004"})),
    ] {
        let wanted = json!({"provider": "p", "name": kind, "kind": kind, "secret": secret});
        let id = tenant.connection(&wanted).await;
        let marker = secret
            .as_object()
            .and_then(|secret| secret.values().find_map(|v| v.as_str().filter(|v| v.starts_with("MARKER"))));
        secrets.push((name, marker.expect("a marker").to_owned()));
        let rotated = secret.to_string().replace("MARKER", "MARKER-rotated");
        let rotation = json!({"secret": serde_json::from_str::<Value>(&rotated).expect("JSON")});
        let _ = tenant.post(&format!("/connections/{id}/rotate"), &rotation).await.expect(200);
        let _ = tenant.post(&format!("/connections/{id}/test"), &json!({})).await.expect(200);
    }
    secrets.push(("rotated secret", "MARKER-rotated-".to_owned()));
    let key = hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "admin"})).await.expect(201);
    secrets.push(("API key", text(&key, "key")));
    let keyed = [("content-type", "application/json"), ("idempotency-key", "make-a-key")];
    let reader = json!({"tenant": "acme", "scope": "reader"}).to_string();
    let kept = hub.raw("POST", "/v1/keys", &keyed, reader).await.expect(201);
    secrets.push(("API key in an answer kept under an idempotency key", text(&kept, "key")));
    Planted { secrets }
}

/// Lets the hub do everything that could spill a secret: succeed, fail, be misused.
async fn provoke(hub: &Hub, tenant: &Tenant, planted: &mut Planted) {
    let at = subscriber().await;
    let more = json!({"headers": {"X-Own": "MARKER-endpoint-header-0005"}, "retry_schedule": [0]});
    let endpoint = tenant.endpoint(&at, "/hook", &["*"], more).await;
    planted.secrets.push(("endpoint's header", "MARKER-endpoint-header-0005".to_owned()));
    let rotated = tenant.post(&format!("/endpoints/{endpoint}/rotate-secret"), &json!({})).await.expect(200);
    planted.secrets.push(("signing secret", text(&rotated, "secret")));
    at.set_secrets("/hook", &[&text(&rotated, "secret")]).expect("a secret");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"name": PERSONAL}})).await;
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!(arrived.header("x-own"), Some("MARKER-endpoint-header-0005"), "the secret was not used at all");
    at.set_script("/hook", Script::statuses(&[500]));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"name": PERSONAL}})).await;
    let _ = tenant.delivery_in(&endpoint, "dead").await;

    let connections = tenant.list("/connections").await;
    let sender = connections.iter().find(|connection| connection["kind"] == "hmac").expect("the sender's connection");
    let wanted = json!({"config": sender_config("order.placed"), "connections": {"inbound": sender["id"]}, "grants": ["emits:*"]});
    let url = text(&tenant.install("webhook", &wanted).await["sources"][0], "url");
    let forged = sender_signature(PERSONAL.as_bytes());
    let reply = hub.without_key().raw("POST", &url, &[("x-signature", &forged)], PERSONAL).await;
    assert_eq!(reply.status, 401, "{}", reply.text);
    for body in [format!("{{\"type\":\"a.b\",\"data\":{{\"name\":\"{PERSONAL}\"}}"), format!("{{\"{PERSONAL}\":1}}")] {
        let reply =
            tenant.api.raw("POST", &tenant.path("/events"), &[("content-type", "application/json")], body).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
    }
    let _ = hub.with_key("MARKER-not-a-key-of-this-hub-0006").get("/v1/status").await.problem(401, "unauthenticated");
    planted.secrets.push(("key that was tried", "MARKER-not-a-key-of-this-hub-0006".to_owned()));
}

/// Every GET that the document names, for this tenant, and one level deeper by the ids that lists show.
async fn all_answers(hub: &Hub, tenant: &Tenant) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    let lists = [
        "endpoints",
        "connections",
        "deliveries",
        "events",
        "plugins",
        "dead-letters",
        "parked",
        "rejections",
        "audit",
    ];
    for list in lists {
        let path = format!("/{list}");
        let reply = tenant.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        answers.push((path, reply.text.clone()));
        for row in reply.json()["data"].as_array().into_iter().flatten() {
            let id = row["id"].as_str().or_else(|| row["name"].as_str());
            let Some(id) = id.filter(|_| !["dead-letters", "parked", "rejections", "audit"].contains(&list)) else {
                continue;
            };
            let path = format!("/{list}/{id}");
            let reply = tenant.get(&path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
            answers.push((path, reply.text.clone()));
            if let Some(correlation) = reply.json()["correlation_id"].as_str() {
                let path = format!("/traces/{correlation}");
                answers.push((path.clone(), tenant.get(&path).await.text));
            }
        }
    }
    for path in [
        "/v1/keys",
        "/v1/tenants",
        "/v1/tenants/acme",
        "/v1/plugins",
        "/v1/status",
        "/v1/audit",
        "/metrics",
        "/openapi.json",
    ] {
        answers.push((path.to_owned(), hub.get(path).await.text));
    }
    answers
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        std::fs::read_dir(folder).expect("the folder can be read").filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn no_log_line_no_answer_and_no_file_holds_a_secret_and_the_log_holds_no_personal_data() {
    let master = b"MARKER-master-key-of-32-bytes-01";
    let keys = format!("k1:{}", STANDARD.encode(master));
    let mut hub = Hub::builder().set("SWITCHYARD_MASTER_KEYS", &keys).set("SWITCHYARD_LOG", "trace,json").start().await;
    let _ = hub.push(bundled("webhook")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let mut planted = plant(&hub, &tenant, master).await;
    provoke(&hub, &tenant, &mut planted).await;
    for (path, answer) in all_answers(&hub, &tenant).await {
        planted.nowhere_in(&path, answer.as_bytes());
    }
    // Beside the running hub its log and shared memory hold what is not in the file yet.
    for path in files(hub.folder()) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        planted.nowhere_in(&path.display().to_string(), &bytes);
    }
    assert!(hub.stop().await.success());
    let log = hub.log();
    assert!(log.contains("\"stopped\""), "the log is not whole");
    planted.nowhere_in("the log", log.as_bytes());
    assert!(!log.contains("MARKER"), "{}", log.lines().find(|line| line.contains("MARKER")).unwrap_or_default());
    hub.restart().await;
    for path in files(hub.folder()) {
        planted.nowhere_in(&path.display().to_string(), &std::fs::read(&path).unwrap_or_default());
    }
}

#[tokio::test]
async fn a_hub_without_keys_makes_its_own_tells_the_operator_key_once_and_keeps_the_files_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut hub = Hub::builder().unset("SWITCHYARD_ADMIN_KEY").start().await;
    let log = hub.log();
    let line = log.lines().find(|line| line.contains("operator key, shown only now")).expect("it is told");
    let key = line.rsplit(' ').next().expect("a key").to_owned();
    let _ = hub.with_key(&key).get("/v1/tenants").await.expect(200);
    hub.kill().await;
    hub.restart().await;
    assert_eq!(hub.log().matches(&key).count(), 1, "the key was told again");
    let _ = hub.with_key(&key).get("/v1/tenants").await.expect(200);
    for name in ["hub.db", "hub.db-wal", "hub.key"] {
        let mode = std::fs::metadata(hub.folder().join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}
