//! `Idempotency-Key`: the same POST again gives the first answer again, for a day.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{
    Api,
    auth::identify,
    body::{self, MAX_JSON},
    problem::{Answer, Code, Problem, internal},
};
use crate::{directory::places, id::Key, plugin::registry::MAX_WASM, store::registry::StoredAnswer};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The largest answer that is kept.
const MAX_ANSWER: usize = 4 << 20;

/// The keyed requests under way, so that two at once do not both act.
#[derive(Clone, Default)]
pub(super) struct InProgress(Arc<Mutex<HashSet<(Key, String)>>>);

struct Turn {
    all: InProgress,
    entry: (Key, String),
}

impl InProgress {
    fn begin(&self, entry: (Key, String)) -> Option<Turn> {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.insert(entry.clone()).then(|| Turn { all: self.clone(), entry })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}

/// Serves a keyed POST once. Answers with a secret are kept too, sealed like every other.
pub(super) async fn layer(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    // On a task of its own: when the caller goes away, the answer is kept all the same.
    let tasks = api.hub.tasks.clone();
    let serving = tasks.spawn(async move { keyed(&api, request, next).await });
    match serving.await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(error) => internal(&error).into_response(),
    }
}

async fn keyed(api: &Api, request: Request, next: Next) -> Answer<Response> {
    let key = idempotency_key(&request)?;
    let (parts, body) = request.into_parts();
    let caller = identify(&parts, api)?;
    let wasm = body::media_type(&parts.headers).as_deref() == Some("application/wasm");
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let whole = body::read(Request::from_parts(parts.clone(), body), if wasm { MAX_WASM } else { MAX_JSON }).await?;
    let print = print(&target, &whole);
    let caller = caller.key.key;
    let Some(turn) = api.in_progress.begin((caller, key.clone())) else {
        return Err(
            Problem::new(Code::IdempotencyInProgress, "wait for the first request with this key").retry_after(1)
        );
    };
    if let Some(stored) = api.hub.store.stored_answer(caller, &key, api.hub.clock.now()).await? {
        return replay(api, caller, print, &stored).await;
    }
    let response = next.run(Request::from_parts(parts, Body::from(whole))).await;
    let response = keep(api, caller, &key, print, response).await;
    drop(turn);
    response
}

fn idempotency_key(request: &Request) -> Answer<String> {
    let value = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if value.is_empty() || value.len() > 255 {
        return Err(Problem::field("Idempotency-Key", "must have 1 to 255 visible ASCII characters"));
    }
    Ok(value.to_owned())
}

fn print(target: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update("POST\0");
    hash.update(target);
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

async fn replay(api: &Api, caller: Key, print: [u8; 32], stored: &StoredAnswer) -> Answer<Response> {
    if stored.request != print {
        let detail = "this idempotency key was used for another request; use a new key for a new request";
        return Err(Problem::new(Code::IdempotencyKeyReused, detail));
    }
    let key = api.hub.directory.hub_key().await?;
    let plain = api.hub.vault.open(&key, places::stored_answer(&caller), &stored.body)?;
    let split = plain.iter().position(|byte| *byte == b'\n').unwrap_or(plain.len());
    let (media, body) = plain.split_at(split);
    let body = Bytes::copy_from_slice(body.get(1..).unwrap_or_default());
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = (status, body).into_response();
    if let Ok(media) = HeaderValue::from_bytes(media)
        && !media.is_empty()
    {
        response.headers_mut().insert(header::CONTENT_TYPE, media);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// Keeps a success. Failures are not kept: the caller may mend the request and use the key again.
async fn keep(api: &Api, caller: Key, key: &str, print: [u8; 32], response: Response) -> Answer<Response> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_ANSWER)
        .await
        .map_err(|_| Problem::new(Code::Internal, "the answer is too large to be kept under an idempotency key"))?;
    let media = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let plain = [media, b"\n", &body].concat();
    let hub_key = api.hub.directory.hub_key().await?;
    let sealed = api.hub.vault.seal(&hub_key, places::stored_answer(&caller), &plain)?;
    let answer = StoredAnswer { request: print, status: parts.status.as_u16(), body: sealed };
    // The request was carried out. If its answer cannot be kept, the caller still gets it.
    if let Err(error) = api.hub.store.store_answer(caller, key, answer, api.hub.clock.now()).await {
        tracing::warn!(%error, "an answer could not be kept under its idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_under_way_is_taken_until_its_request_ends() {
        let all = InProgress::default();
        let entry = || (Key([1; 16]), "k".to_owned());
        let turn = all.begin(entry()).unwrap();
        assert!(all.begin(entry()).is_none());
        assert!(all.begin((Key([2; 16]), "k".to_owned())).is_some());
        drop(turn);
        assert!(all.begin(entry()).is_some());
    }

    #[test]
    fn a_print_tells_requests_apart() {
        assert_ne!(print("/a", b"b"), print("/ab", b""));
        assert_ne!(print("/a?x=1", b""), print("/a?x=2", b""));
        assert_eq!(print("/a", b"b"), print("/a", b"b"));
    }

    #[test]
    fn fuzz_idempotency_keys() {
        let long = "k".repeat(256);
        let seeds: [&[u8]; 5] = [b"make-it-once", b"", long.as_bytes(), b"\xff", b"\t key \"quoted\""];
        switchyard_fuzz::fuzz(&seeds, &["key", "\"", "-"], |bytes| {
            let value = HeaderValue::from_bytes(bytes).ok()?;
            let request = Request::post("/").header(HEADER, value).body(Body::empty()).unwrap();
            let key = idempotency_key(&request);
            if let Ok(key) = &key {
                assert!((1..=255).contains(&key.len()) && key.as_bytes() == bytes, "{key:?}");
            }
            Some(key.is_ok())
        });
    }
}
