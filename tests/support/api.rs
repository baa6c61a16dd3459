use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Map, Value, json};
use switchyard_simulators::subscriber;

/// How long anything ordinary may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(15);

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Calls a hub with one key.
#[derive(Clone)]
pub struct Api {
    base: String,
    key: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Reply {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header field as text; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, of an answer that must have this status.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "the answer was {}", self.text);
        self.json()
    }

    /// The body of an answer that must be a problem document with this status and code.
    #[track_caller]
    #[must_use]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.status, self.text);
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "no detail: {problem}");
        problem
    }
}

impl Api {
    /// A client of the hub at `base`, an URL without a slash at its end.
    #[must_use]
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.to_owned(), key: key.map(str::to_owned), client }
    }

    /// The same hub with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same hub without a key.
    #[must_use]
    pub fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// Sends bytes to a path, or to a whole URL.
    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let sent = self.try_raw(method, path, headers, body.into()).await;
        sent.unwrap_or_else(|error| panic!("{method} {path} was not answered: {error:#}"))
    }

    /// The same, when the hub may be gone.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn try_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answering = async {
            let answer = self.client.request(request.body(Full::from(body))?).await?;
            let (parts, body) = answer.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            anyhow::Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, text })
        };
        tokio::time::timeout(SOON * 2, answering).await?
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.raw(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.raw("GET", path, &[], Bytes::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.json("POST", path, body).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.json("PUT", path, body).await
    }

    /// PATCH of JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.json("PATCH", path, body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.raw("DELETE", path, &[], Bytes::new()).await
    }

    /// Uploads a component.
    pub async fn push(&self, wasm: Vec<u8>) -> Reply {
        self.raw("POST", "/v1/plugins", &[("content-type", "application/wasm")], wasm).await
    }

    /// Makes a key and answers its text.
    pub async fn key(&self, wanted: &Value) -> String {
        let made = self.post("/v1/keys", wanted).await.expect(201);
        text(&made, "key")
    }

    /// Makes a tenant.
    pub async fn tenant(&self, id: &str) -> Tenant {
        let _ = self.post("/v1/tenants", &json!({"id": id, "name": id})).await.expect(201);
        Tenant { api: self.clone(), id: id.to_owned() }
    }
}

/// A tenant, as one key sees it.
#[derive(Clone)]
pub struct Tenant {
    /// The client.
    pub api: Api,
    /// The tenant's id.
    pub id: String,
}

impl Tenant {
    /// The same tenant with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { api: self.api.with_key(key), id: self.id.clone() }
    }

    /// The path of something of the tenant.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.id)
    }

    /// GET of something of the tenant.
    pub async fn get(&self, rest: &str) -> Reply {
        self.api.get(&self.path(rest)).await
    }

    /// POST to something of the tenant.
    pub async fn post(&self, rest: &str, body: &Value) -> Reply {
        self.api.post(&self.path(rest), body).await
    }

    /// The rows of a list, the first page of 1,000 at most.
    pub async fn list(&self, rest: &str) -> Vec<Value> {
        let page = self.get(rest).await.expect(200);
        page["data"].as_array().cloned().unwrap_or_else(|| panic!("{rest} is no list: {page}"))
    }

    /// All rows of a list, page by page.
    pub async fn all(&self, rest: &str) -> Vec<Value> {
        self.all_of(rest).await
    }

    /// All rows of a list that has a filter, page by page.
    pub async fn all_of(&self, filtered: &str) -> Vec<Value> {
        let joint = if filtered.contains('?') { '&' } else { '?' };
        let mut rows = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{filtered}{joint}limit=200{after}")).await.expect(200);
            rows.extend(page["data"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next"].as_str() else { return rows };
            after = format!("&after={next}");
        }
    }

    /// Publishes an event that must be accepted; answers what the hub says.
    pub async fn publish(&self, event: &Value) -> Value {
        self.post("/events", event).await.expect(202)
    }

    /// Makes an endpoint at a path of the subscriber, which verifies with its secret; answers its id.
    pub async fn endpoint(&self, at: &subscriber::Handle, path: &str, types: &[&str], more: Value) -> String {
        let mut wanted = json!({"url": at.url(path), "event_types": types});
        merge(&mut wanted, more);
        let made = self.post("/endpoints", &wanted).await.expect(201);
        at.set_secrets(path, &[&text(&made, "secret")]).expect("the hub's secret is one");
        text(&made, "id")
    }

    /// Makes a connection and answers its id.
    pub async fn connection(&self, wanted: &Value) -> String {
        text(&self.post("/connections", wanted).await.expect(201), "id")
    }

    /// Switches a plugin on; answers the installation.
    pub async fn install(&self, plugin: &str, wanted: &Value) -> Value {
        let reply = self.api.put(&self.path(&format!("/plugins/{plugin}")), wanted).await;
        assert!(matches!(reply.status, 200 | 201), "{plugin} could not be switched on: {}", reply.text);
        reply.json()
    }

    /// Waits for a delivery to a target that `is` so, and answers it.
    pub async fn delivery(&self, target: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let list = format!("/deliveries?target={target}");
        until(&format!("a delivery to be {what}"), async || {
            let all = self.list(&list).await;
            all.iter().find(|delivery| is(delivery)).cloned().ok_or_else(|| json!(all).to_string())
        })
        .await
    }

    /// Waits for a delivery to a target in a state, and answers it with its attempts.
    pub async fn delivery_in(&self, target: &str, state: &str) -> Value {
        let found = self.delivery(target, state, |delivery| delivery["state"] == state).await;
        self.get(&format!("/deliveries/{}", text(&found, "id"))).await.expect(200)
    }
}

/// Looks again and again until `find` finds something; what it saw instead is told when time runs out.
pub async fn until<T, F>(what: &str, find: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    until_within(SOON, what, find).await
}

/// The same for what takes longer, since a limit of the hub has to pass first.
pub async fn until_within<T, F>(limit: Duration, what: &str, mut find: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let mut seen = String::new();
    let looking = async {
        loop {
            match find().await {
                Ok(found) => return found,
                Err(instead) => seen = instead,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(limit, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited {} s for {what}; saw {seen}", limit.as_secs()),
    }
}

/// A text member of a JSON object.
#[track_caller]
#[must_use]
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}")).to_owned()
}

/// The names of the fields that a problem document finds fault with.
#[must_use]
pub fn faulty(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(|error| error["field"].as_str()).collect()
}

fn merge(into: &mut Value, more: Value) {
    let more: Map<String, Value> = serde_json::from_value(more).unwrap_or_default();
    if let Some(into) = into.as_object_mut() {
        into.extend(more);
    }
}
