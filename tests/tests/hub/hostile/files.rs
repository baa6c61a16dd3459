use serde_json::{Value, json};
use switchyard_tests::{
    api::{faulty, text},
    hub::Hub,
    world::guest,
};

use super::{done, patched, tenant};

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
    bytes
}

fn sized(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

/// A component around one core module with so many functions of so many locals and bytes.
fn bomb(functions: usize, locals: usize, bytes: usize) -> Vec<u8> {
    let body = [&[1][..], &leb(locals), &[0x7f], &vec![1; bytes], &[0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend(sized(1, &[1, 0x60, 0, 0]));
    module.extend(sized(3, &[leb(functions), vec![0; functions]].concat()));
    module.extend(sized(10, &[leb(functions), body.repeat(functions)].concat()));
    [b"\0asm\x0d\0\x01\0".to_vec(), sized(1, &module)].concat()
}

fn mode(digit: char) -> Vec<u8> {
    patched("describe-mode-0", &format!("describe-mode-{digit}"))
}

/// A file, the field that is named as faulty, and words of the explanation.
fn files() -> Vec<(&'static str, Vec<u8>, &'static str, Vec<&'static str>)> {
    let whole = guest("misbehave");
    vec![
        ("nothing", vec![], "component", vec!["not a WebAssembly component"]),
        ("a picture", b"\x89PNG\r\n".to_vec(), "component", vec!["not a WebAssembly component"]),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), "component", vec!["core WebAssembly module", "wasm32-wasip2"]),
        ("half a file", whole[..whole.len() / 2].to_vec(), "component", vec!["does not compile"]),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec(), "exports", vec!["does not export", "plugin@0.1.0"]),
        (
            "a newer contract",
            patched("switchyard:plugin/plugin@0.1.0", "switchyard:plugin/plugin@0.3.0"),
            "exports",
            vec!["switchyard:plugin/plugin@0.3.0", "needs a host >= 0.3.0", "serves the line 0.1"],
        ),
        (
            "a newer import",
            patched("switchyard:plugin/kv@0.1.0", "switchyard:plugin/kv@0.9.0"),
            "imports",
            vec!["switchyard:plugin/kv@0.9.0", "needs a host >= 0.9.0"],
        ),
        (
            "an import of nobody",
            patched("switchyard:plugin/kv@0.1.0", "switchyard:plugin/ls@0.1.0"),
            "imports",
            vec!["switchyard:plugin/ls@0.1.0", "not offered"],
        ),
        (
            "another line",
            patched("describe-api-0.1", "describe-api-0.7"),
            "manifest.api",
            vec!["line `0.7`", "needs a host >= 0.7", "SDK of the line 0.1"],
        ),
        ("describe differs", mode('1'), "describe", vec!["not a constant", "description"]),
        ("describe loops", mode('2'), "describe", vec!["50 ms of CPU"]),
        ("describe writes", mode('3'), "describe", vec!["kv.set", "only `log`"]),
        ("describe measures", mode('4'), "describe", vec!["metrics", "only `log`"]),
        ("describe takes memory", mode('5'), "describe", vec!["16777216 bytes of memory"]),
        ("describe says too much", mode('6'), "describe", vec!["1048576 bytes"]),
        ("describe traps", mode('7'), "describe", vec!["panicked or aborted"]),
        ("a manifest without a description", mode('8'), "manifest.description", vec!["empty", "one sentence"]),
        ("limits beyond all plans", mode('9'), "manifest.limits.memory-bytes", vec!["1099511627776", "1 to 268435456"]),
        ("many locals", bomb(1, 10_001, 0), "component", vec!["10001 locals in one function", "at most 10000"]),
        ("a hundred thousand locals", bomb(1, 100_000, 0), "component", vec!["locals in one function"]),
        ("a huge function", bomb(1, 0, 2 << 20), "component", vec!["bytes in one function", "at most 1048576"]),
        ("many functions", bomb(100_001, 0, 0), "component", vec!["100001 functions", "at most 100000"]),
    ]
}

#[tokio::test]
async fn f62_and_every_bad_component_is_refused_with_its_part_and_a_reason() {
    let hub = Hub::start().await;
    for (name, wasm, field, words) in files() {
        let problem = hub.push(wasm).await.problem(422, "invalid_plugin");
        assert_eq!(faulty(&problem), [field], "{name}: {problem}");
        for word in words {
            assert!(text(&problem, "detail").contains(word), "{name}: `{word}` is not in {problem}");
        }
    }
    let _ = hub.push(vec![0; (16 << 20) + 1]).await.problem(413, "body_too_large");
    let list = hub.get("/v1/plugins").await.expect(200);
    assert_eq!(list["data"], json!([]), "a refused component was kept");
    let _ = hub.push(guest("misbehave")).await.expect(201);
    let mut other = guest("misbehave");
    other.extend_from_slice(b"\0\x02\x01x");
    let problem = hub.push(other).await.problem(409, "conflict");
    assert!(text(&problem, "detail").contains("give the new ones a new version"), "{problem}");
}

/// Row F62: while components are compiled, the hub answers and runs what it has.
#[tokio::test]
async fn f62_compiling_keeps_nobody_waiting() {
    let hub = Hub::builder().time_factor(1).start().await;
    let _ = hub.push(guest("misbehave")).await.expect(201);
    let alice = tenant(&hub, "alice", json!({})).await;
    // Valid, heavy, and no plugin: the compiler does all its work before that is seen.
    let heavy: Vec<_> = (1..=3).map(|n| bomb(4_000, 100, 900 + n)).collect();
    let pushing: Vec<_> = heavy
        .into_iter()
        .map(|wasm| {
            let api = (*hub).clone();
            tokio::spawn(async move { api.push(wasm).await })
        })
        .collect();
    let (mut healthy, mut ran) = (0, 0);
    while !pushing.iter().all(tokio::task::JoinHandle::is_finished) || ran < 3 {
        assert_eq!(hub.get("/healthz").await.status, 200);
        healthy += 1;
        let seen: Value = done(&alice, json!({"do": "ok"})).await;
        assert_eq!(seen["tenant"], "alice");
        ran += 1;
    }
    println!("{healthy} looks at its health and {ran} runs meanwhile");
    for pushed in pushing {
        let problem = pushed.await.expect("it was answered").problem(422, "invalid_plugin");
        assert!(["exports", "component"].contains(&faulty(&problem)[0]), "{problem}");
    }
}
