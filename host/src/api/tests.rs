//! The interface over a real store, through the router and without the network.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::{
    app::{self, Start},
    clock::{SystemClock, TimeFactor},
    config::{Database, Settings},
    hub::Hub,
    lifecycle::Lifecycle,
};

mod access;
mod events;
mod settings;

const OPERATOR: &str = "an-operator-key-for-tests-only";

struct Api {
    hub: Arc<Hub>,
    router: Router,
    lifecycle: Lifecycle,
    key: String,
    _folder: TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults().unwrap();
        settings.database_url = Database::Sqlite(folder.path().join("hub.db"));
        settings.plugin_dir = Some(folder.path().to_owned());
        settings.admin_key = Some(OPERATOR.into());
        settings.pool.sandbox_instances = 4;
        let lifecycle = Lifecycle::new();
        let start = Start {
            settings,
            listener: tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            time_factor: TimeFactor::REAL,
            clock: SystemClock::shared(),
            lifecycle: lifecycle.clone(),
        };
        let hub = app::start(start).await.unwrap().hub;
        let router = super::router(hub.clone());
        Self { hub, router, lifecycle, key: OPERATOR.to_owned(), _folder: folder }
    }

    /// The same hub, called with another key.
    fn with_key(&self, key: &str) -> Caller<'_> {
        Caller { api: self, key: key.to_owned() }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 8 << 20).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.with_key(&self.key).call(method, path, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, Value::Null).await
    }

    async fn with_tenant(self, tenant: &str) -> Self {
        let made = self.call("POST", "/v1/tenants", json!({"id": tenant})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        self
    }

    async fn key_for(&self, tenant: &str, scope: &str) -> String {
        let made = self.call("POST", "/v1/keys", json!({"tenant": tenant, "scope": scope})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.body["key"].as_str().unwrap().to_owned()
    }

    async fn paused_endpoint(&self) -> String {
        let body = json!({"url": "https://example.com/hook", "event_types": ["*"]});
        let made = self.call("POST", "/v1/tenants/acme/endpoints", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let id = made.body["id"].as_str().unwrap().to_owned();
        let paused =
            self.call("POST", &format!("/v1/tenants/acme/endpoints/{id}/pause"), json!({"reason": "tests"})).await;
        assert_eq!(paused.body["state"], "paused");
        id
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.lifecycle.stop();
        self.hub.hard_stop.cancel();
    }
}

struct Caller<'a> {
    api: &'a Api,
    key: String,
}

impl Caller<'_> {
    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        let request = request.header("authorization", format!("Bearer {}", self.key));
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request.header("content-type", "application/json").body(Body::from(body.to_string()))
        };
        self.api.send(request.unwrap()).await
    }
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.body["code"].as_str()), (status, Some(code)), "{}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.body["status"], status);
}
