//! What the sandbox costs: `receive` of the plugin `twilio` as a component in the real sandbox, and the same code
//! natively on the SDK's host in memory. Calls come one at a time, in turns of many, so that both see the same machine.

use std::{any::Any, sync::Arc};

use anyhow::ensure;
use async_trait::async_trait;
use hmac::Hmac;
use sha1::Sha1;
use sha2::Sha256;
use switchyard::plugin::{
    call::{Call, PluginLabel},
    guest::Guest,
    host_calls::{Answer, HostCalls},
    limits::Limits,
    model::{
        self, CallContext, CryptoError, Header, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions,
        KvPage, LogLine, Mac, MetricSample, SourceRef, SwapResult,
    },
    sandbox::{Sandbox, SandboxOptions},
    virtual_time::VirtualClock,
};
use switchyard_sdk::{InboundRequest, Received, testing::MockHost};
use switchyard_tests::world::bundled;

use super::webhooks::{TOKEN, config, message};
use crate::{
    Bench,
    load::{histogram, micros},
    options::Scenario,
    report::{Report, Target},
};

const SANDBOX: Scenario = Scenario::Sandbox;

/// The source whose URL is signed; the one that the SDK's host has.
const URL: &str = "https://hub.test/in/src_0";

/// Calls of one side before the other has its turn.
const TURN: usize = 100;

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let sandbox = Arc::new(Sandbox::new(SandboxOptions::uncached(), bench.clock.clone())?);
    let guest = sandbox.compile(bundled("twilio")).await?;
    let (mut inside, mut native, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..bench.runs {
        // The first turn warms both up.
        let (mut sandboxed, mut bare) = (histogram(), histogram());
        for turn in 0..bench.pick(51, 4) {
            let first = (run * 1000 + turn) * TURN;
            for n in first..first + TURN {
                let (body, signature) = message(URL, n);
                let request = inbound(body.clone().into_bytes(), &signature);
                let began = bench.clock.monotonic();
                let ended = sandbox.receive(&guest, request, call()).await;
                let took = bench.clock.monotonic() - began;
                ensure!(matches!(ended.result, Ok(model::Received::Accepted { .. })), "{:?}", ended.failure());
                if turn > 0 {
                    sandboxed.saturating_record(u64::try_from(took.as_nanos())?);
                }
            }
            for n in first..first + TURN {
                let took = natively(bench, n)?;
                if turn > 0 {
                    bare.saturating_record(took);
                }
            }
        }
        let median = |of: &hdrhistogram::Histogram<u64>| of.value_at_quantile(0.5) as f64 / 1000.0;
        inside.push(median(&sandboxed));
        native.push(median(&bare));
        cost.push(median(&sandboxed) - median(&bare));
    }
    let crowd = crowd(bench, &sandbox, &guest).await?;
    report.figure(SANDBOX, "cost of the sandbox per receive", "us", &cost, Some(Target::AtMost(40.0)));
    report.figure(SANDBOX, "receive in the sandbox, one at a time", "us", &inside, None);
    report.figure(SANDBOX, "receive natively", "us", &native, None);
    report.figure(SANDBOX, "sandbox's time per receive with 32 callers", "us", &[crowd], None);
    Ok(())
}

/// One native call, in nanoseconds.
fn natively(bench: &Bench, n: usize) -> anyhow::Result<u64> {
    let host = MockHost::new().secret("twilio.password", TOKEN);
    let (body, signature) = message(URL, n);
    let request = InboundRequest::new("POST", URL)
        .with_header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
        .with_header("x-twilio-signature", &signature)
        .with_body(body);
    let config = config();
    let began = bench.clock.monotonic();
    let received = host.receive::<twilio::Twilio>(config, request);
    let took = bench.clock.monotonic() - began;
    ensure!(matches!(received, Ok(Received::Accepted { .. })), "{received:?}");
    Ok(u64::try_from(took.as_nanos())?)
}

/// Microseconds of each call while 32 callers keep the sandbox's threads busy.
async fn crowd(bench: &Bench, sandbox: &Arc<Sandbox>, guest: &Arc<Guest>) -> anyhow::Result<f64> {
    let (callers, calls) = (32, bench.pick(300, 10));
    let mut all = tokio::task::JoinSet::new();
    let began = bench.clock.monotonic();
    for _ in 0..callers {
        let (sandbox, guest) = (sandbox.clone(), guest.clone());
        all.spawn(async move {
            let (body, signature) = message(URL, 0);
            for _ in 0..calls {
                let ended = sandbox.receive(&guest, inbound(body.clone().into_bytes(), &signature), call()).await;
                ensure!(ended.result.is_ok(), "{:?}", ended.failure());
            }
            Ok(())
        });
    }
    while let Some(caller) = all.join_next().await {
        caller??;
    }
    Ok(micros(bench.clock.monotonic() - began) as f64 / f64::from(callers * calls))
}

fn inbound(body: Vec<u8>, signature: &str) -> model::InboundRequest {
    let fields =
        [("content-type", "application/x-www-form-urlencoded; charset=UTF-8"), ("x-twilio-signature", signature)];
    request(URL, &fields, body)
}

/// A POST to an address of the source.
pub(super) fn request(url: &str, fields: &[(&str, &str)], body: Vec<u8>) -> model::InboundRequest {
    let header = |name: &str, value: &str| Header { name: name.to_owned(), value: value.as_bytes().to_vec() };
    model::InboundRequest {
        source_id: "src_0".to_owned(),
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: fields.iter().map(|(name, value)| header(name, value)).collect(),
        body,
        received_at_ms: switchyard_sdk::testing::NOON,
        remote_addr: None,
        extensions: None,
    }
}

fn call() -> Call {
    call_of("twilio", &config(), Keys { secret: TOKEN.to_owned(), claims: None })
}

/// A call of a plugin with this config.
pub(super) fn call_of(plugin: &str, config: &serde_json::Value, keys: Keys) -> Call {
    let source = SourceRef { id: "src_0".to_owned(), name: "default".to_owned(), url: URL.to_owned() };
    let context = CallContext {
        tenant_id: "acme".to_owned(),
        installation_id: format!("acme/{plugin}"),
        correlation_id: "cor_0".to_owned(),
        traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01".to_owned(),
        reference: switchyard_sdk::testing::REFERENCE.to_owned(),
        time_ms: switchyard_sdk::testing::NOON,
        sources: vec![source],
        config: config.to_string(),
    };
    Call {
        context,
        limits: Limits::default(),
        seed: [7; 32],
        clock: VirtualClock::starting_at(switchyard_sdk::testing::NOON),
        host: Box::new(keys),
        plugin: PluginLabel { name: plugin.to_owned(), version: "bench".to_owned() },
    }
}

/// Checks MACs and tokens against one secret, as the SDK's host does; has nothing else.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) secret: String,
    /// What every signed token says.
    pub(super) claims: Option<String>,
}

#[async_trait]
impl HostCalls for Keys {
    async fn http_send(&mut self, _: HttpRequest) -> Answer<HttpResponse, HttpError> {
        Ok(Err(HttpError::Denied("not in a receive".to_owned())))
    }

    async fn kv_get(&mut self, _: String) -> Answer<Option<KvEntry>, KvError> {
        Ok(Ok(None))
    }

    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        Ok(Ok(vec![None; keys.len()]))
    }

    async fn kv_set(&mut self, _: String, _: Vec<u8>, _: KvOptions) -> Answer<(), KvError> {
        Ok(Err(KvError::ReadOnly))
    }

    async fn kv_delete(&mut self, _: String) -> Answer<(), KvError> {
        Ok(Err(KvError::ReadOnly))
    }

    async fn kv_swap(&mut self, _: String, _: Option<u64>, _: Vec<u8>, _: KvOptions) -> Answer<SwapResult, KvError> {
        Ok(Err(KvError::ReadOnly))
    }

    async fn kv_list_keys(&mut self, _: String, _: Option<String>, _: u32) -> Answer<KvPage, KvError> {
        Ok(Ok(KvPage { keys: Vec::new(), cursor: None }))
    }

    async fn verify_mac(&mut self, _: String, kind: Mac, data: Vec<u8>, tag: Vec<u8>) -> Answer<bool, CryptoError> {
        let key = self.secret.as_bytes();
        Ok(Ok(match kind {
            Mac::HmacSha1 => is_mac::<Hmac<Sha1>>(key, &data, &tag),
            Mac::HmacSha256 => is_mac::<Hmac<Sha256>>(key, &data, &tag),
            _ => false,
        }))
    }

    async fn verify_token(&mut self, _: String, token: String) -> Answer<bool, CryptoError> {
        Ok(Ok(token == self.secret))
    }

    async fn verify_jwt(&mut self, _: String, _: String, _: String) -> Answer<String, CryptoError> {
        Ok(self.claims.clone().ok_or(CryptoError::NoSuchSecret))
    }

    fn log(&mut self, _: LogLine) {}

    fn metric(&mut self, _: MetricSample) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

fn is_mac<M: hmac::Mac + hmac::KeyInit>(key: &[u8], data: &[u8], tag: &[u8]) -> bool {
    <M as hmac::KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
        mac.update(data);
        mac.verify_slice(tag).is_ok()
    })
}
