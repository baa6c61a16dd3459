//! The description of the interface: OpenAPI 3.1 made from the table of routes, and a page that shows it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{problem::Code, routes::Routes};

/// The document.
pub(super) fn document(routes: &Routes) -> Value {
    let (paths, schemas) = routes.described();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchyard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "An integration hub: signed events in, sandboxed plugins, signed webhooks out. Every error is a \
                problem document (RFC 9457) with a stable code. Every answer carries X-Correlation-ID.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key (swk_..)."}},
            "responses": {"Problem": {
                "description": "What went wrong.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            }}
        }
    })
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;\
background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f5f7;padding:.8rem;overflow:auto;border-radius:6px}\
h2{margin-top:2.5rem;border-bottom:1px solid #d5d9df}details{margin:.4rem 0;border:1px solid #d5d9df;border-radius:6px;\
padding:.5rem .8rem}summary{cursor:pointer}.m{display:inline-block;min-width:4.2rem;font-weight:600;text-transform:uppercase}\
@media(prefers-color-scheme:dark){body{background:#14171b;color:#e4e7eb}pre{background:#1f242a}h2,details{border-color:#3a424c}\
a{color:#8ab4f8}}";

/// A page that shows the document. It loads nothing from elsewhere.
pub(super) fn page(document: &Value) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Switchyard API</title><style>{STYLE}</style><h1>Switchyard API {}</h1><p>{}</p>\
         <p>Send <code>Authorization: Bearer &lt;key&gt;</code>. The machine-readable form is \
         <a href=\"/openapi.json\">/openapi.json</a>.</p>",
        escaped(document["info"]["version"].as_str().unwrap_or_default()),
        escaped(document["info"]["description"].as_str().unwrap_or_default()),
    );
    for tag in tags(document) {
        let _ = write!(html, "<h2 id=\"{0}\">{0}</h2>", escaped(&tag));
        for (path, method, operation) in operations(document).filter(|(_, _, operation)| operation["tags"][0] == *tag) {
            write_operation(&mut html, document, path, method, operation);
        }
    }
    html.push_str("<h2 id=\"problems\">problems</h2>");
    for (name, status, meaning) in Code::explained() {
        let _ = write!(html, "<p id=\"problem-{name}\"><code>{name}</code> {status}: {}.</p>", escaped(meaning));
    }
    html.push_str("</html>");
    html
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        methods.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
    })
}

fn tags(document: &Value) -> Vec<String> {
    let mut tags = Vec::new();
    for (_, _, operation) in operations(document) {
        let tag = operation["tags"][0].as_str().unwrap_or_default().to_owned();
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn write_operation(html: &mut String, document: &Value, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        html,
        "<details id=\"{}\"><summary><span class=\"m\">{}</span> <code>{}</code> {}</summary><p>{}</p>",
        escaped(operation["operationId"].as_str().unwrap_or_default()),
        escaped(method),
        escaped(path),
        escaped(operation["summary"].as_str().unwrap_or_default()),
        escaped(operation["description"].as_str().unwrap_or("Needs no key.")),
    );
    let parameters =
        operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] != "path");
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let description = parameter["description"].as_str().unwrap_or_default();
        let _ = write!(html, "<p><code>{}</code> {}</p>", escaped(name), escaped(description));
    }
    for (media, body) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let _ = write!(html, "<p>Body <code>{}</code></p>", escaped(media));
        write_schema(html, document, &body["schema"]);
    }
    for (status, answer) in
        operation["responses"].as_object().into_iter().flatten().filter(|(status, _)| *status != "default")
    {
        let description = answer["description"].as_str().unwrap_or_default();
        let _ = write!(html, "<p>Answer <code>{}</code> {}</p>", escaped(status), escaped(description));
        for (_, body) in answer["content"].as_object().into_iter().flatten() {
            write_schema(html, document, &body["schema"]);
        }
    }
    html.push_str("</details>");
}

fn write_schema(html: &mut String, document: &Value, schema: &Value) {
    let target = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    let shown = target.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema);
    let text = serde_json::to_string_pretty(shown).unwrap_or_default();
    let _ = write!(html, "<pre>{}</pre>", escaped(&text));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::all_routes;

    #[test]
    fn the_document_is_as_reviewed() {
        let document = document(&all_routes());
        let mut lines = Vec::new();
        for (path, method, operation) in operations(&document) {
            let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().cloned().collect();
            lines.push(format!("{method} {path} -> {}", statuses.join(", ")));
        }
        insta::assert_snapshot!("routes", lines.join("\n"));
        insta::assert_json_snapshot!("openapi", document);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document = document(&all_routes());
        let mut names = std::collections::BTreeSet::new();
        for (path, method, operation) in operations(&document) {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let html = page(&document(&all_routes()));
        assert!(html.contains("/v1/tenants/{tenant}/events"));
        assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("http://"), "self-contained");
    }
}
