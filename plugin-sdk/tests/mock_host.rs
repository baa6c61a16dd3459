//! The mock host behaves as the real one where a plugin could tell.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use switchyard_sdk::host::Swap;
use switchyard_sdk::once::{Once, SendOnce};
use switchyard_sdk::prelude::*;
use switchyard_sdk::testing::{Answer, MockHost};

#[derive(Deserialize, JsonSchema)]
struct Config {}

struct Probe;

impl Plugin for Probe {
    type Config = Config;
    fn manifest() -> Manifest {
        Manifest::new("probe", "0.1.0", "Tries things out.")
    }
}

impl Ingest for Probe {
    fn receive(ctx: &Ctx<Config>, _request: InboundRequest) -> Result<Received, PluginError> {
        ctx.kv().get("a")?;
        assert!(matches!(ctx.http("x").get("/").send(), Err(HttpError::Denied(_))));
        ctx.kv().set("a", b"1", &KvOptions::default())?;
        Ok(Received::accepted(Vec::new()))
    }
}

fn with<T>(host: &MockHost, part: impl FnOnce(&Ctx<Config>) -> Result<T, PluginError>) -> Result<T, PluginError> {
    host.with::<Probe, T>(json!({}), part)
}

fn failed() -> PluginError {
    PluginError::retry(Reason::ProviderDown, "x", "x")
}

#[test]
fn receive_may_only_read() {
    let error = MockHost::new().receive::<Probe>(json!({}), InboundRequest::new("POST", "https://x")).unwrap_err();
    assert_eq!(error.detail().code, "kv_read_only");
}

#[test]
fn a_failed_run_keeps_only_what_went_with_a_provider_write() {
    let host = MockHost::new().answer("x", "POST", "/", Answer::json(200, json!({})));
    let result: Result<(), _> = with(&host, |ctx| {
        ctx.kv().set("before", b"1", &KvOptions::default())?;
        ctx.http("x").post("/").send()?;
        ctx.kv().set("after", b"1", &KvOptions::default())?;
        assert!(ctx.kv().get("after")?.is_some(), "a run reads its own writes");
        Err(failed())
    });
    assert!(result.is_err());
    assert_eq!((host.stored("before").is_some(), host.stored("after").is_some()), (true, false));
}

#[test]
fn a_swap_against_a_removed_and_made_again_key_is_stale() {
    let host = MockHost::new();
    with(&host, |ctx| {
        let kept = KvOptions::default();
        let Swap::Swapped(version) = ctx.kv().swap("k", None, b"1", &kept)? else { panic!("the key is new") };
        ctx.kv().delete("k")?;
        ctx.kv().set("k", b"2", &kept)?;
        assert!(matches!(ctx.kv().swap("k", Some(version), b"3", &kept)?, Swap::Stale(Some(_))));
        Ok(())
    })
    .unwrap();
    assert_eq!(host.stored("k").as_deref(), Some(&b"2"[..]));
}

#[test]
fn scripted_answers_come_in_order_and_an_unscripted_call_says_so() {
    let host = MockHost::new()
        .answer("x", "GET", "/a", Answer::json(200, json!(1)))
        .answer("x", "GET", "/a", Answer::json(200, json!(2)))
        .answer("x", "GET", "/a?q=1", Answer::json(200, json!(3)));
    with(&host, |ctx| {
        let get = |path: &str| Ok::<_, PluginError>(ctx.http("x").get(path).send()?.value());
        assert_eq!((get("/a?q=1")?, get("/a?q=2")?, get("/a")?), (json!(3), json!(1), json!(2)));
        let error = get("/a").unwrap_err();
        assert!(error.to_string().contains("no answer is scripted for x GET /a"), "{error}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_lost_write_is_adopted_when_found_and_waits_while_it_may_be_under_way() {
    let lost = || Err(HttpError::Unknown(switchyard_sdk::UnknownOutcome { sent_at: 0, message: String::new() }));
    let host = MockHost::new();
    let adopted = with(&host, |ctx| SendOnce::default().run(ctx, lost, |_| Ok(Some(7))));
    assert_eq!(adopted.unwrap(), Once::Adopted(7));
    let mut sent = 0;
    let again = with(&host, |ctx| {
        let send = || {
            sent += 1;
            if sent < 3 { lost() } else { Ok(sent) }
        };
        SendOnce::default().run(ctx, send, |_| Ok(None))
    });
    assert_eq!(again.unwrap(), Once::Sent(3));
    let just_now = host_time_loss();
    let waiting: Result<Once<u8>, _> =
        with(&host, |ctx| SendOnce::default().run(ctx, || Err(just_now.clone()), |_| Ok(None)));
    assert_eq!(waiting.unwrap_err().detail().code, "not_seen_yet");
}

fn host_time_loss() -> HttpError {
    let sent_at = switchyard_sdk::testing::NOON;
    HttpError::Unknown(switchyard_sdk::UnknownOutcome { sent_at, message: String::new() })
}

#[test]
fn paths_and_forms_are_percent_encoded() {
    let host = MockHost::new().answer("x", "POST", "/a", Answer::json(200, json!({})));
    with(&host, |ctx| {
        Ok(ctx.http("x").post("/a").query("q", "å &=").form(&[("To", "+45"), ("Body", "a b")]).send()?)
    })
    .unwrap();
    let request = &host.requests()[0];
    assert_eq!(request.path, "/a?q=%C3%A5%20%26%3D");
    assert_eq!(request.body.as_deref(), Some(&b"To=%2B45&Body=a%20b"[..]));
}

#[test]
fn what_ends_is_noted_where_the_hub_looks_for_it_and_taken_back() {
    let host = MockHost::new();
    with(&host, |ctx| ctx.expires("watch", 1_795_176_000_000, "The mailbox watch", true)).unwrap();
    let note: Option<serde_json::Value> = with(&host, |ctx| ctx.kv().get_json("expires/watch")).unwrap();
    assert_eq!(note, Some(json!({"at": 1_795_176_000_000_u64, "what": "The mailbox watch", "renews": true})));
    with(&host, |ctx| ctx.expires_no_more("watch")).unwrap();
    let gone: Option<serde_json::Value> = with(&host, |ctx| ctx.kv().get_json("expires/watch")).unwrap();
    assert_eq!(gone, None);
}

#[test]
fn a_connection_says_how_it_is_tried_and_how_fast_it_is() {
    let plain = Connection::new("api", ConnectionKind::Bearer, "https://api.example", "The provider.");
    assert_eq!(plain.extensions(), None);
    let said = plain.probe("/v1/me").rate_per_s(2.5).extensions();
    assert_eq!(said, Some(json!({"probe": {"method": "GET", "path": "/v1/me"}, "rate_per_s": 2.5})));
}
