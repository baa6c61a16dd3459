//! What is refused before any call, and what `describe` may not do.

use switchyard::plugin::{
    call::{CallEnd, LimitKind},
    guest::{CompileError, Exports},
    manifest,
    sandbox::DescribeError,
};

use crate::support::{guest, patched, sandbox, wasm};

async fn refusal(wasm: Vec<u8>) -> CompileError {
    sandbox().compile(wasm).await.expect_err("the file should be refused")
}

/// How `describe` fails when the guest is told to misbehave there.
async fn describe_failure(mode: u8) -> DescribeError {
    let wasm = patched("describe-mode-0", &format!("describe-mode-{mode}"));
    let guest = sandbox().compile(wasm).await.unwrap();
    sandbox().describe(&guest).await.expect_err("the plugin should be refused")
}

#[tokio::test]
async fn a_plugin_is_compiled_and_says_what_it_is() {
    let guest = guest().await;
    assert_eq!(guest.exports(), Exports { ingest: true, handler: true, poller: true, lifecycle: false });
    assert!(guest.imports().iter().any(|import| import == "switchyard:plugin/kv@0.1.0"), "{:?}", guest.imports());
    let manifest = sandbox().describe(guest).await.unwrap();
    manifest::validate(&manifest, guest.exports()).unwrap();
    assert_eq!((manifest.id.as_str(), manifest.handles[0].name.as_str()), ("misbehave", "test.do"));
}

#[tokio::test]
async fn files_that_are_no_plugin_are_refused_with_their_reason() {
    assert!(matches!(refusal(b"PK\x03\x04 a zip file".to_vec()).await, CompileError::NotWasm));
    assert!(matches!(refusal(vec![]).await, CompileError::NotWasm));
    let module = refusal(b"\0asm\x01\0\0\0".to_vec()).await;
    assert!(matches!(module, CompileError::CoreModule));
    assert!(module.to_string().contains("wasm32-wasip2"), "{module}");
    assert!(matches!(refusal(b"\0asm\x0d\0\x01\0".to_vec()).await, CompileError::NotAPlugin));
    assert!(matches!(refusal(vec![0; (16 << 20) + 1]).await, CompileError::TooLarge { bytes: 16_777_217 }));
    let mut broken = wasm().to_vec();
    broken.truncate(broken.len() / 2);
    assert!(matches!(refusal(broken).await, CompileError::Invalid(_)));
}

#[tokio::test]
async fn native_code_is_refused() {
    let engine = wasmtime::Engine::default();
    let native = engine.precompile_component(b"\0asm\x0d\0\x01\0").unwrap();
    assert!(matches!(refusal(native).await, CompileError::Precompiled));
}

#[tokio::test]
async fn another_line_of_the_contract_is_named() {
    let error = refusal(patched("switchyard:plugin/plugin@0.1.0", "switchyard:plugin/plugin@0.2.0")).await;
    assert!(matches!(&error, CompileError::OtherApi { .. }), "{error}");
    assert!(error.to_string().contains("this host serves the line 0.1"), "{error}");
    assert!(error.to_string().contains("needs a host >= 0.2.0"), "{error}");
}

#[tokio::test]
async fn an_import_that_is_not_offered_is_named() {
    let error = refusal(patched("switchyard:plugin/kv@0.1.0", "switchyard:plugin/kv@0.9.0")).await;
    assert!(matches!(&error, CompileError::Imports(_)), "{error}");
    assert!(error.to_string().contains("switchyard:plugin/kv@0.9.0"), "{error}");
}

#[tokio::test]
async fn two_descriptions_that_differ_are_refused() {
    let error = describe_failure(1).await;
    assert!(matches!(&error, DescribeError::Differs { field } if field == "description"), "{error:?}");
}

#[tokio::test]
async fn describe_is_bound_in_time_memory_and_size() {
    for (mode, which) in [(2, LimitKind::Cpu), (5, LimitKind::Memory), (6, LimitKind::Output)] {
        let error = describe_failure(mode).await;
        let DescribeError::Failed(CallEnd::Limit { which: passed, .. }) = error else { panic!("{error:?}") };
        assert_eq!(passed, which);
    }
}

#[tokio::test]
async fn a_describe_that_traps_is_refused_with_its_place() {
    let error = describe_failure(7).await;
    assert!(matches!(error, DescribeError::Failed(CallEnd::Trap { .. })), "{error:?}");
}

#[tokio::test]
async fn describe_may_call_nothing_but_log() {
    for (mode, import) in [(3, "kv.set"), (4, "metrics")] {
        let error = describe_failure(mode).await;
        assert!(matches!(error, DescribeError::Failed(CallEnd::Stopped(_))), "{error:?}");
        assert!(error.to_string().contains(&format!("`{import}`")), "{error}");
    }
}
