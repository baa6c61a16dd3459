//! Components made by hand: modules grafted onto the guest that take tables and instances, and files that would keep the
//! compiler busy.

use switchyard::plugin::{call::CallEnd, guest::CompileError, limits::Limits, sandbox::DescribeError};

use crate::support::{TestHost, call, order, sandbox, wasm};

fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A signed number, not negative.
fn signed(number: u64) -> Vec<u8> {
    let mut bytes = leb(number);
    if bytes.last().is_some_and(|last| last & 0x40 != 0) {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
    }
    bytes
}

fn sized(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len() as u64), body].concat()
}

fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [leb(items.len() as u64), items.concat()].concat()
}

/// A core module with further sections and functions without parameters, the first of which is started if `starts`.
fn module(extra: &[Vec<u8>], functions: &[Vec<u8>], starts: bool) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend(sized(1, &vector(&[vec![0x60, 0, 0]])));
    bytes.extend(sized(3, &vector(&vec![vec![0]; functions.len()])));
    bytes.extend(extra.concat());
    if starts {
        bytes.extend(sized(8, &[0]));
    }
    let bodies: Vec<Vec<u8>> = functions.iter().map(|body| [leb(body.len() as u64), body.clone()].concat()).collect();
    bytes.extend(sized(10, &vector(&bodies)));
    bytes
}

/// A function with `locals` locals that does `code`.
fn function(locals: u64, code: &[u8]) -> Vec<u8> {
    let declared = vector(&[[leb(locals), vec![0x7f]].concat()]);
    [declared, code.to_vec(), vec![0x0b]].concat()
}

/// The guest with a core module grafted on, instantiated so many times beside its own.
fn grafted(module: &[u8], instances: usize) -> Vec<u8> {
    let guest = wasm();
    let (mut at, mut modules) = (8, 0);
    while at < guest.len() {
        let id = guest[at];
        let (mut size, mut shift) = (0_usize, 0);
        at += 1;
        loop {
            let byte = guest[at];
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        modules += u64::from(id == 1);
        at += size;
    }
    let instance = [vec![0], leb(modules), vec![0]].concat();
    let mut bytes = guest.to_vec();
    bytes.extend(sized(1, module));
    bytes.extend(sized(2, &vector(&vec![instance; instances])));
    bytes
}

/// A module that, when it is instantiated, grows its table of one element by `more` and traps if it may not.
fn table_grower(more: u64) -> Vec<u8> {
    let table = sized(4, &vector(&[vec![0x70, 0, 1]]));
    let grow = [vec![0xd0, 0x70, 0x41], signed(more), vec![0xfc, 0x0f, 0]].concat();
    // If the answer is -1: unreachable.
    let or_trap = vec![0x41, 0x7f, 0x46, 0x04, 0x40, 0x00, 0x0b];
    module(&[table], &[function(0, &[grow, or_trap].concat())], true)
}

async fn refusal(wasm: Vec<u8>) -> CompileError {
    sandbox().compile(wasm).await.expect_err("the file should be refused")
}

#[tokio::test]
async fn f57_a_table_grows_to_its_limit_and_no_further() {
    let guest = sandbox().compile(grafted(&table_grower(19_999), 1)).await.unwrap();
    sandbox().describe(&guest).await.expect("20,000 elements are allowed");
    let host = call(Limits::default(), TestHost::default());
    sandbox().handle(&guest, order("ok", 0), host).await.result.expect("also in a call");
    let guest = sandbox().compile(grafted(&table_grower(20_000), 1)).await.unwrap();
    let error = sandbox().describe(&guest).await.expect_err("20,001 elements are not");
    assert!(matches!(error, DescribeError::Failed(CallEnd::Trap { .. })), "{error:?}");
}

#[tokio::test]
async fn f57_tables_memories_and_instances_that_no_slot_has_are_refused_before_any_call() {
    let tables = |elements: u64| module(&[sized(4, &vector(&[[vec![0x70, 0], leb(elements)].concat()]))], &[], false);
    sandbox().compile(grafted(&tables(20_000), 1)).await.expect("a table of the limit");
    let error = refusal(grafted(&tables(10_000_000), 1)).await.to_string();
    assert!(error.contains("table"), "{error}");
    let memory = |pages: u64| module(&[sized(5, &vector(&[[vec![0], leb(pages)].concat()]))], &[], false);
    sandbox().compile(grafted(&memory(16), 1)).await.expect("a second memory");
    let error = refusal(grafted(&memory(65_536), 1)).await.to_string();
    assert!(error.contains("memory"), "{error}");
    let error = refusal(grafted(&memory(1), 5)).await.to_string();
    assert!(error.contains("memories"), "{error}");
    let nothing = module(&[], &[], false);
    sandbox().compile(grafted(&nothing, 20)).await.expect("a few instances");
    for instances in [65, 10_000] {
        let error = refusal(grafted(&nothing, instances)).await.to_string();
        assert!(error.contains("instance"), "{instances}: {error}");
    }
}

#[tokio::test]
async fn f62_functions_that_would_keep_the_compiler_busy_are_refused_by_their_size() {
    let heavy = |what: &str, error: CompileError| {
        let CompileError::TooHeavy { what: found, .. } = &error else { panic!("{what}: {error:?}") };
        assert_eq!(*found, what);
        assert!(error.to_string().contains("at most"), "{error}");
    };
    sandbox().compile(grafted(&module(&[], &[function(10_000, &[])], false), 1)).await.expect("10,000 locals");
    heavy("locals in one function", refusal(grafted(&module(&[], &[function(10_001, &[])], false), 1)).await);
    heavy("locals in one function", refusal(grafted(&module(&[], &[function(100_000, &[])], false), 1)).await);
    let nops = |bytes: usize| module(&[], &[function(0, &vec![1; bytes])], false);
    sandbox().compile(grafted(&nops((1 << 20) - 10), 1)).await.expect("a long function");
    heavy("bytes in one function", refusal(grafted(&nops(1 << 20), 1)).await);
    let crossed = |locals: u64| module(&[], &[function(locals, &vec![1; 900_000])], false);
    sandbox().compile(grafted(&crossed(1_000), 1)).await.expect("a long function with a thousand locals");
    heavy("bytes of code times locals", refusal(grafted(&crossed(1_200), 1)).await);
    let many = |count: usize| module(&[], &vec![function(0, &[]); count], false);
    heavy("functions", refusal(grafted(&many(100_001), 1)).await);
    // The compiler is free again at once.
    sandbox().compile(wasm().to_vec()).await.expect("the next file compiles");
}

/// Printed, not asserted: the worst that the limits let through.
#[tokio::test]
async fn f62_the_price_of_the_heaviest_function_is_printed() {
    // get a; get b; add; set c; and now and then a branch, so that values live across blocks.
    let mut code = Vec::new();
    let mut at = 0_u64;
    while code.len() < 200_000 {
        let local = |number: u64| leb(number % 1_000);
        code.extend(
            [&[0x20][..], &local(at * 7), &[0x20], &local(at * 13 + 1), &[0x6a, 0x21], &local(at * 29)].concat(),
        );
        code.extend([&[0x20][..], &local(at), &[0x04, 0x40, 0x0b]].concat());
        at += 1;
    }
    let started = crate::support::clock().monotonic();
    let compiled = sandbox().compile(grafted(&module(&[], &[function(1_000, &code)], false), 1)).await;
    println!("200 KB with 1,000 locals and {at} branches: {:?}", crate::support::clock().monotonic() - started);
    assert!(matches!(compiled, Ok(_) | Err(CompileError::TooSlow { .. })), "{compiled:?}");
}
