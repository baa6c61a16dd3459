//! Plugins that were compiled long ago still run. Nothing is built here.

use std::{any::Any, sync::Arc};

use async_trait::async_trait;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use switchyard::{
    clock::SystemClock,
    plugin::{
        call::{Call, PluginLabel},
        host_calls::{Answer, HostCalls},
        limits::Limits,
        model::{
            CallContext, CryptoError, HandledEvent, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions,
            KvPage, LogLine, Mac, MetricSample, SwapResult,
        },
        sandbox::{Sandbox, SandboxOptions},
        virtual_time::VirtualClock,
    },
};

#[path = "../support/journal.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod journal;

const HELLO: &str = "contract/0.1.0/hello.wasm";

/// What the file was when contract 0.1.0 was published.
const HELLO_SHA256: &str = "652ef3e5f3dd6e697605e8093de6ad932bb7020091d25f6900bbc7c1f86020e9";

fn hello() -> Vec<u8> {
    std::fs::read(journal::data(HELLO)).expect("the corpus is there")
}

/// The caller of a guest that calls nobody.
struct Nobody;

#[async_trait]
impl HostCalls for Nobody {
    async fn http_send(&mut self, _: HttpRequest) -> Answer<HttpResponse, HttpError> {
        Ok(Err(HttpError::BudgetExhausted))
    }

    async fn kv_get(&mut self, _: String) -> Answer<Option<KvEntry>, KvError> {
        Ok(Ok(None))
    }

    async fn kv_get_many(&mut self, _: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        Ok(Ok(Vec::new()))
    }

    async fn kv_set(&mut self, _: String, _: Vec<u8>, _: KvOptions) -> Answer<(), KvError> {
        Ok(Err(KvError::QuotaExceeded))
    }

    async fn kv_delete(&mut self, _: String) -> Answer<(), KvError> {
        Ok(Err(KvError::QuotaExceeded))
    }

    async fn kv_swap(&mut self, _: String, _: Option<u64>, _: Vec<u8>, _: KvOptions) -> Answer<SwapResult, KvError> {
        Ok(Err(KvError::QuotaExceeded))
    }

    async fn kv_list_keys(&mut self, _: String, _: Option<String>, _: u32) -> Answer<KvPage, KvError> {
        Ok(Err(KvError::QuotaExceeded))
    }

    async fn verify_mac(&mut self, _: String, _: Mac, _: Vec<u8>, _: Vec<u8>) -> Answer<bool, CryptoError> {
        Ok(Err(CryptoError::NoSuchSecret))
    }

    async fn verify_token(&mut self, _: String, _: String) -> Answer<bool, CryptoError> {
        Ok(Err(CryptoError::NoSuchSecret))
    }

    async fn verify_jwt(&mut self, _: String, _: String, _: String) -> Answer<String, CryptoError> {
        Ok(Err(CryptoError::NoSuchSecret))
    }

    fn log(&mut self, _: LogLine) {}

    fn metric(&mut self, _: MetricSample) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[test]
fn the_corpus_has_not_changed() {
    assert_eq!(hex::encode(Sha256::digest(hello())), HELLO_SHA256, "read the corpus' README before you change this");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_contract_0_1_0_describes_itself_and_handles_an_event() {
    let options = SandboxOptions { pool_size: 4, threads: 1, ..SandboxOptions::uncached() };
    let sandbox = Sandbox::new(options, SystemClock::shared()).expect("a sandbox");
    let guest = sandbox.compile(hello()).await.expect("it compiles");
    let described = sandbox.describe(&guest).await.expect("it describes itself");
    assert_eq!((described.id.as_str(), described.version.as_str(), described.api.as_str()), ("hello", "0.1.0", "0.1"));
    assert_eq!(described.handles[0].name, "greeting.requested");
    let call = Call {
        context: CallContext { config: json!({"greeting": "Hej"}).to_string(), ..CallContext::default() },
        limits: Limits::default(),
        seed: [7; 32],
        clock: VirtualClock::starting_at(1_800_000_000_000),
        host: Box::new(Nobody),
        plugin: PluginLabel { name: described.id, version: described.version },
    };
    let event = HandledEvent {
        id: "evt_1".to_owned(),
        type_: "greeting.requested".to_owned(),
        source: "api".to_owned(),
        data: json!({"name": "Ada"}).to_string(),
        ..HandledEvent::default()
    };
    let output = sandbox.handle(&Arc::clone(&guest), event, call).await.result.expect("it handles the event");
    assert_eq!(output.events.len(), 1);
    assert_eq!(output.events[0].type_, "greeting.made");
    assert_eq!(output.events[0].data, r#"{"text":"Hej, Ada!"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_runs_a_plugin_of_contract_0_1_0() {
    let stage = journal::Stage::set_up(&[("hello.wasm", journal::data(HELLO))]).await;
    stage.install("hello", &json!({"config": {"greeting": "Hej"}})).await;
    let correlation = stage.publish(&json!({"type": "greeting.requested", "data": {"name": "Ada"}})).await;
    let made = journal::until("the greeting", async || {
        let events = stage.list(&["events"]).await;
        events.into_iter().find(|event| event["type"] == "greeting.made" && event["correlation_id"] == correlation)
    });
    assert_eq!(made.await["source"], "switchyard:plugin/hello");
}
