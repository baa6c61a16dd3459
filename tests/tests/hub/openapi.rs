use serde_json::{Value, json};
use switchyard::observe::metric_table;
use switchyard_tests::{
    api::{SOON, text, until},
    hub::Hub,
    world::subscriber,
};

/// A path of the document with its parameters filled in.
fn filled(path: &str) -> String {
    let part = |part: &str| {
        if part == "{tenant}" {
            "acme".to_owned()
        } else if part.starts_with('{') {
            "x".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_of_the_document_is_served_with_its_methods_and_asks_for_a_key_where_it_says_so() {
    let hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let document = hub.without_key().get("/openapi.json").await.expect(200);
    assert!(text(&document, "openapi").starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 40, "only {} paths", paths.len());
    let headers = [("content-type", "application/json")];
    for (path, methods) in paths {
        // Deleting the tenant would change what the others answer.
        for (method, operation) in
            methods.as_object().expect("methods").iter().filter(|(method, _)| *method != "delete")
        {
            let (name, path) = (method.to_uppercase(), filled(path));
            let body = if method == "get" { "" } else { "{}" };
            let open = operation["security"] == json!([]);
            let stranger = hub.without_key().raw(&name, &path, &headers, body).await;
            assert_eq!(stranger.status == 401, !open, "{name} {path} without a key: {}", stranger.text);
            let reply = hub.raw(&name, &path, &headers, body).await;
            if operation["responses"]["200"]["content"].get("text/html").is_some() {
                // A page for a person, who has no use for a problem document.
                assert!(reply.status < 500, "{name} {path}: {} {}", reply.status, reply.text);
                continue;
            }
            let code = reply.json()["code"].clone();
            assert!(code != "no_such_route" && code != "method_not_allowed", "{name} {path}: {}", reply.text);
            assert!(reply.status < 500, "{name} {path}: {} {}", reply.status, reply.text);
            if reply.status >= 400 {
                let _ = reply.clone().problem(reply.status, code.as_str().unwrap_or_default());
            } else {
                let answered = operation["responses"].get(reply.status.to_string());
                assert!(
                    answered.is_some(),
                    "{name} {path} answers {}, which its description does not name",
                    reply.status
                );
            }
        }
    }
    for (path, methods) in paths.iter().filter(|(_, methods)| methods.get("delete").is_some()) {
        let stranger = hub.without_key().delete(&filled(path)).await;
        assert_eq!(stranger.status, 401, "{path}: {methods}");
    }
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let hub = Hub::start().await;
    let document = hub.get("/openapi.json").await.expect(200);
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    references += 1;
                    let found = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
                    assert!(found.is_some(), "{reference} leads nowhere");
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(references > 100, "only {references} references");
}

#[tokio::test]
async fn the_docs_are_a_page_that_needs_nothing_from_elsewhere() {
    let hub = Hub::start().await;
    let page = hub.without_key().get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"), "{}", page.header("content-type"));
    for word in ["<!doctype html>", "/v1/tenants/{tenant}/events", "problem-schema_violation"] {
        assert!(page.text.to_lowercase().contains(word), "the page lacks {word}");
    }
    for elsewhere in ["src=\"http", "href=\"http://", "@import"] {
        assert!(!page.text.contains(elsewhere), "the page loads {elsewhere}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(hub.without_key().get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_metrics_have_the_documented_names_and_count_what_happened() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    for _ in 0..3 {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    }
    let _ = at.wait_for("/hook", 3, SOON).await.expect("they arrive");
    let _ = tenant.delivery_in(&endpoint, "delivered").await;
    let text = until("three deliveries to be counted", async || {
        let text = hub.without_key().get("/metrics").await.text;
        let counted = value(&text, "switchyard_deliveries_settled_total{") == 3.0;
        if counted { Ok(text) } else { Err(text) }
    })
    .await;
    assert_eq!(value(&text, "switchyard_events_accepted_total{"), 3.0, "{text}");
    assert!(value(&text, "process_resident_memory_bytes") > 1e6, "{text}");
    let names: Vec<_> = metric_table::ALL.iter().map(|metric| metric.name).collect();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(names.contains(&name) || names.contains(&base), "`{name}` is not documented");
        assert!(!line.contains("acme") && !line.contains(&endpoint), "a label names a tenant or an endpoint: {line}");
    }
    for begins in [
        "switchyard_http_requests_total{",
        "switchyard_http_request_seconds_count{",
        "switchyard_write_group_callers_count",
        "switchyard_commit_seconds_count",
        "switchyard_attempts_total{",
        "switchyard_delivery_seconds_count{",
        "switchyard_endpoint_sends_total{",
        "switchyard_endpoint_send_seconds_count",
        "process_cpu_seconds",
        "process_open_fds",
    ] {
        assert!(value(&text, begins) > 0.0, "nothing was counted under `{begins}`: {text}");
    }
    for gauge in
        ["switchyard_deliveries{", "switchyard_oldest_due_seconds", "switchyard_in_flight{", "switchyard_connections{"]
    {
        assert!(text.lines().any(|line| line.starts_with(gauge)), "`{gauge}` is not shown: {text}");
    }
}

/// The sum of all lines of the exposition that begin so.
fn value(text: &str, begins: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(begins));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn the_status_says_what_needs_a_person_and_only_to_those_who_may_know() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let (acme, other) = (hub.tenant("acme").await, hub.tenant("other").await);
    let calm = hub.get("/v1/status").await.expect(200);
    assert_eq!((&calm["state"], &calm["tenants"]), (&json!("ok"), &json!([])), "{calm}");
    let endpoint = acme.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    let _ = acme.post(&format!("/endpoints/{endpoint}/pause"), &json!({"reason": "repairs"})).await.expect(200);
    let _ = acme.publish(&json!({"type": "a.b", "data": {}})).await;
    let status = hub.get("/v1/status").await.expect(200);
    assert_eq!(status["state"], "attention", "{status}");
    assert_eq!(status["tenants"][0]["tenant"], "acme", "{status}");
    assert!(status.to_string().contains("repairs"), "the reason is not shown: {status}");
    assert_eq!(status["deliveries"]["queued"], 1, "{status}");
    let reader = other.with_key(&hub.key(&json!({"tenant": "other", "scope": "reader"})).await);
    let status = reader.api.get("/v1/status").await.expect(200);
    assert!(!status.to_string().contains("acme") && !status.to_string().contains("repairs"), "{status}");
}
