//! A guest that misbehaves on command: the event's data says how, `{"do":"loop"}`.

// Natively its exports have names that no linker takes; only the component is of use.
#![cfg(target_family = "wasm")]

mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all, reason = "generated")]
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "misbehave:guest/guest",
        generate_all,
        inline: "
            package misbehave:guest;
            world guest {
                include switchyard:plugin/plugin-world@0.1.0;
                include switchyard:plugin/ingest-world@0.1.0;
                include switchyard:plugin/handler-world@0.1.0;
                include switchyard:plugin/poller-world@0.1.0;
            }
        ",
    });
    export!(Guest with_types_in self);

    /// The component.
    pub struct Guest;
}

mod asks;
mod crimes;
mod manifest;

use bindings::{
    Guest,
    exports::switchyard::plugin::{
        handler, ingest,
        plugin::{self, Manifest},
        poller,
    },
    switchyard::plugin::types::{
        CallContext, EmittedEvent, ErrorDetail, Event, Output, PluginError, Reason, RetryDetail,
    },
};
use serde_json::{Value, json};

impl plugin::Guest for Guest {
    fn describe() -> Manifest {
        manifest::describe()
    }
}

impl handler::Guest for Guest {
    fn handle(ctx: CallContext, event: Event) -> Result<Output, PluginError> {
        obey(&ctx, &event.data)
    }
}

impl ingest::Guest for Guest {
    fn receive(ctx: CallContext, request: ingest::InboundRequest) -> Result<ingest::IngestResult, PluginError> {
        if request.method == "GET" {
            let body = request.url.into_bytes();
            return Ok(ingest::IngestResult::Handled(ingest::Reply {
                status: 200,
                headers: request.headers,
                body,
                extensions: None,
            }));
        }
        let Ok(body) = String::from_utf8(request.body) else {
            return Ok(ingest::IngestResult::Unauthenticated("the body is not text".to_owned()));
        };
        let output = obey(&ctx, &body)?;
        Ok(ingest::IngestResult::Accepted(ingest::Accepted {
            events: output.events,
            reply: None,
            poll_now: vec!["news".to_owned()],
            extensions: None,
        }))
    }
}

impl poller::Guest for Guest {
    fn poll(ctx: CallContext, schedule: String, cursor: Option<String>) -> Result<poller::PollOutput, PluginError> {
        let page = cursor.as_deref().and_then(|cursor| cursor.parse::<u32>().ok()).unwrap_or(0);
        Ok(poller::PollOutput {
            output: done(&json!({ "schedule": schedule, "page": page, "tenant": ctx.tenant_id })),
            cursor: Some((page + 1).to_string()),
            has_more: page < 2,
            next_in: Some(1),
            extensions: None,
        })
    }
}

fn obey(ctx: &CallContext, data: &str) -> Result<Output, PluginError> {
    let order: Value = serde_json::from_str(data).unwrap_or_default();
    // Load tools number their events in `n`.
    let n = order["n"].as_u64().or_else(|| order["steps"].as_u64()).unwrap_or(1);
    match order["do"].as_str().unwrap_or_default() {
        "empty" => Ok(Output { events: vec![], extensions: None }),
        "ok" => Ok(done(&json!({ "tenant": ctx.tenant_id, "config": ctx.config, "reference": ctx.reference }))),
        "version" => Ok(done(&json!({ "version": manifest::version(), "config": ctx.config }))),
        "call" => Ok(done(&asks::call(&order))),
        "keep" => Ok(done(&asks::keep(&order))),
        "hunt" => Ok(done(&asks::hunt(ctx, data))),
        "steps" => {
            let config: Value = serde_json::from_str(&ctx.config).unwrap_or_default();
            match asks::steps(&config, &manifest::version()) {
                (seen, true) => Ok(done(&seen)),
                (_, false) => Err(PluginError::Retry(RetryDetail { error: detail(), after: None })),
            }
        }
        "utf8" | "pointer" => Ok(emit(crimes::lie(order["do"].as_str().unwrap_or_default()))),
        "deep_json" => Ok(emit(format!("{}{}", "[".repeat(size(n)), "]".repeat(size(n))))),
        "wide_json" => Ok(emit(format!("[{}0]", "0,".repeat(size(n).saturating_sub(1))))),
        "emit" => {
            let event_type = order["type"].as_str().unwrap_or_default().to_owned();
            let mut output = done(&json!({}));
            output.events[0].type_ = event_type;
            output.events[0].emergency = order["emergency"] == true;
            output.events[0].account = order["account"].as_str().map(str::to_owned);
            output.events[0].dedupe_key = order["dedupe_key"].as_str().map(str::to_owned);
            Ok(output)
        }
        "events" => {
            let one = done(&json!({ "n": 1 })).events.remove(0);
            Ok(Output { events: vec![one; size(n)], extensions: None })
        }
        "bad_json" => Ok(emit("{\"broken\":".to_owned())),
        "output" => Ok(emit(format!("\"{}\"", "x".repeat(size(n))))),
        "reject" => Err(PluginError::Reject(detail())),
        "retry" => Err(PluginError::Retry(RetryDetail { error: detail(), after: Some(n) })),
        "needs_attention" => Err(PluginError::NeedsAttention(detail())),
        ask @ ("logs" | "line" | "kv_flood" | "http_flood" | "metrics" | "kv" | "kv_until_stopped" | "kv_value"
        | "kv_key" | "kv_many" | "kv_page" | "kv_fill" | "kv_rewrite" | "kv_read_whole" | "headers"
        | "header" | "body" | "path" | "http" | "http_until_stopped" | "crypto") => Ok(done(&asks::ask(ask, n))),
        crime => Ok(done(&crimes::commit(crime, n))),
    }
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn detail() -> ErrorDetail {
    ErrorDetail {
        reason: Reason::BadData,
        code: "planted".to_owned(),
        message: "A planted error.".to_owned(),
        details: Some("{\"n\":1}".to_owned()),
    }
}

fn done(data: &Value) -> Output {
    emit(data.to_string())
}

fn emit(data: String) -> Output {
    let event = EmittedEvent {
        type_: "test.done".to_owned(),
        subject: None,
        time: None,
        ordering_key: None,
        dedupe_key: None,
        account: None,
        expires_at: None,
        emergency: false,
        data,
        extensions: None,
    };
    Output { events: vec![event], extensions: None }
}
