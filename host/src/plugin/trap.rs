//! What a crash means, in words for the plugin's author.

use std::any::Any;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::call::{CallEnd, LimitKind};

/// How wasmtime begins the error for too much data at once; it has no type of its own.
const TOO_MUCH_DATA: &str = "too much data is being copied between the host and the guest";

/// Explains an error that this host did not cause itself.
pub(super) fn explain(error: &wasmtime::Error, output_bytes: u64, stderr: &str) -> CallEnd {
    if error.is::<PoolConcurrencyLimitError>() {
        return CallEnd::HostFault(format!("{error:#}"));
    }
    let root = error.root_cause().to_string();
    if root.starts_with(TOO_MUCH_DATA) {
        return CallEnd::Limit { which: LimitKind::Output, allowed: output_bytes };
    }
    CallEnd::Trap { message: message(error, &root, stderr), frames: frames(error), stderr: stderr.to_owned() }
}

fn message(error: &wasmtime::Error, root: &str, stderr: &str) -> String {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return format!("the guest left with exit status {status}");
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => panic_of(stderr)
            .unwrap_or_else(|| "the guest panicked or aborted (an `unreachable` instruction)".to_owned()),
        Some(Trap::MemoryOutOfBounds) => {
            "the guest left its memory, which most often is a stack overflow by endless recursion".to_owned()
        }
        Some(Trap::StackOverflow) => "the guest's stack overflowed, most often by endless recursion".to_owned(),
        Some(trap) => format!("the guest trapped: {trap}"),
        None => format!("the guest failed: {root}"),
    }
}

/// The text of a Rust panic: `thread '..' panicked at src/lib.rs:1:2:`, and the message on the next line.
fn panic_of(stderr: &str) -> Option<String> {
    let start = stderr.rfind(" panicked at ")?;
    let mut lines = stderr[start + 1..].lines();
    let place = lines.next()?.trim_end_matches(':');
    let text = lines.next().unwrap_or_default();
    Some(format!("the guest {place}: {text}"))
}

fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(name).collect()
}

/// What a panic of the host said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a host call panicked: {}", text.unwrap_or("without a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_at_the_end_of_stderr() {
        let stderr = "noise\nthread '<unnamed>' (1) panicked at src/lib.rs:7:9:\nno such invoice\nnote: run with\n";
        assert_eq!(panic_of(stderr).as_deref(), Some("the guest panicked at src/lib.rs:7:9: no such invoice"));
        assert_eq!(panic_of("all is well"), None);
    }
}
