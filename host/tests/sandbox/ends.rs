//! Every way in which a call ends without a result, each with the host back in the test's hands.

use switchyard::plugin::{
    call::CallEnd,
    limits::Limits,
    model::{ErrorDetail, PluginError, Reason},
};

use crate::support::{Http, LeaseLost, TestHost, call, data, failure, guest, handle, order, sandbox};

#[track_caller]
fn trap(end: CallEnd) -> (String, Vec<String>) {
    match end {
        CallEnd::Trap { message, frames, .. } => (message, frames),
        other => panic!("expected a trap, got {other:?}"),
    }
}

#[tokio::test]
async fn a_panic_is_reported_with_its_text_and_demangled_frames() {
    let (ended, _) = handle("panic", 0, Limits::default(), TestHost::default()).await;
    let text = ended.failure().unwrap();
    assert!(text.starts_with("misbehave 0.1.0: the guest panicked at"), "{text}");
    let (message, frames) = trap(failure(ended));
    assert!(message.ends_with(": a planted panic"), "{message}");
    assert!(frames.iter().any(|frame| frame.contains("misbehave::crimes::commit")), "{frames:#?}");
}

#[tokio::test]
async fn an_abort_is_a_trap() {
    let (ended, _) = handle("trap", 0, Limits::default(), TestHost::default()).await;
    let (message, _) = trap(failure(ended));
    assert_eq!(message, "the guest panicked or aborted (an `unreachable` instruction)");
}

#[tokio::test]
async fn an_exit_names_its_status() {
    let (ended, _) = handle("exit", 0, Limits::default(), TestHost::default()).await;
    let (message, _) = trap(failure(ended));
    assert!(message.starts_with("the guest left with exit status"), "{message}");
}

#[tokio::test]
async fn recursion_ends_as_a_stack_overflow_when_it_is_endless() {
    let (ended, _) = handle("recurse", 100, Limits::default(), TestHost::default()).await;
    data(&ended);
    let (ended, _) = handle("recurse", u64::MAX, Limits::default(), TestHost::default()).await;
    let (message, frames) = trap(failure(ended));
    assert!(message.contains("endless recursion"), "{message}");
    assert!(frames.iter().any(|frame| frame.contains("recurse")), "{frames:#?}");
}

#[tokio::test]
async fn data_that_is_not_json_breaks_the_contract() {
    let (ended, _) = handle("bad_json", 0, Limits::default(), TestHost::default()).await;
    let end = failure(ended);
    assert_eq!((end.reason(), end.code()), (Some(Reason::PluginBug), "malformed_result"));
    let CallEnd::Malformed { field, problem } = end else { panic!("expected a broken contract, got {end:?}") };
    assert_eq!(field, "output.events[0].data");
    assert!(problem.starts_with("not JSON"), "{problem}");
}

#[tokio::test]
async fn the_plugins_own_errors_come_out_as_they_are() {
    let detail = ErrorDetail {
        reason: Reason::BadData,
        code: "planted".to_owned(),
        message: "A planted error.".to_owned(),
        details: Some(r#"{"n":1}"#.to_owned()),
    };
    let expected = [
        ("reject", PluginError::Reject(detail.clone())),
        ("retry", PluginError::Retry { error: detail.clone(), after_ms: Some(90_000) }),
        ("needs_attention", PluginError::NeedsAttention(detail)),
    ];
    for (what, expected) in expected {
        let (ended, _) = handle(what, 90_000, Limits::default(), TestHost::default()).await;
        let CallEnd::Error(error) = failure(ended) else { panic!("expected an error of the plugin's own") };
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn a_function_that_is_not_exported_is_named() {
    let ended = sandbox().install(guest().await, call(Limits::default(), TestHost::default())).await;
    assert!(ended.host.into_any().is::<TestHost>());
    assert!(matches!(ended.result, Err(CallEnd::MissingExport("lifecycle"))));
}

#[tokio::test]
async fn a_stop_of_the_host_cannot_be_swallowed() {
    let (ended, host) = handle("http_until_stopped", 0, Limits::default(), TestHost::with(Http::StopsAfter(3))).await;
    assert_eq!(host.sent.len(), 4);
    let CallEnd::Stopped(stop) = failure(ended) else { panic!("expected a stop") };
    assert!(stop.0.is::<LeaseLost>(), "the cause keeps its type");
}

#[tokio::test]
async fn a_panic_of_the_host_is_the_hosts_fault() {
    let (ended, host) = handle("http", 0, Limits::default(), TestHost::with(Http::Panics)).await;
    assert_eq!(host.sent.len(), 1);
    let end = failure(ended);
    assert_eq!(end.reason(), None, "the plugin is not to blame");
    assert!(matches!(&end, CallEnd::HostFault(text) if text.ends_with("a bug in the host")), "{end:?}");
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_ends() {
    let (alive, gone) = tokio::sync::oneshot::channel();
    let host = TestHost { alive: Some(alive), ..TestHost::with(Http::Hangs) };
    let call = call(Limits::default(), host);
    let guest = guest().await;
    let caller = tokio::spawn(async move { sandbox().handle(guest, order("http", 0), call).await.usage });
    tokio::task::yield_now().await;
    caller.abort();
    assert!(gone.await.is_err(), "the host was dropped with the call");
}
