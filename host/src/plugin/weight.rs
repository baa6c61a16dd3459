//! A look at a file before it is compiled. The compiler needs more than linear time for long functions and many locals, and
//! it cannot be interrupted, so what would keep it busy for minutes is refused by its size.

use wasmparser::{FunctionBody, Parser, Payload};

use super::guest::CompileError;

/// Bytes of one function.
const FUNCTION_BYTES: usize = 1 << 20;

/// Locals of one function.
const FUNCTION_LOCALS: u64 = 10_000;

/// Functions of one file, all its modules together.
const FUNCTIONS: u32 = 100_000;

/// Bytes of each function times its locals, all together. A fifth of it, in one function with a branch every few bytes, took
/// the compiler three seconds.
const BYTES_TIMES_LOCALS: u64 = 1_000_000_000;

/// Refuses a file whose functions are too long, too many, or have too many locals.
pub(super) fn check(wasm: &[u8]) -> Result<(), CompileError> {
    let unreadable = |error: wasmparser::BinaryReaderError| CompileError::Invalid(error.to_string());
    let (mut functions, mut weight) = (0_u32, 0_u64);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(unreadable)? {
            Payload::CodeSectionStart { count, .. } => {
                functions = functions.saturating_add(count);
                at_most("functions", functions.into(), FUNCTIONS.into())?;
            }
            Payload::CodeSectionEntry(body) => {
                let (bytes, locals) = (body.range().len() as u64, locals(&body).map_err(unreadable)?);
                at_most("bytes in one function", bytes, FUNCTION_BYTES as u64)?;
                at_most("locals in one function", locals, FUNCTION_LOCALS)?;
                weight = weight.saturating_add(bytes.saturating_mul(locals));
                at_most("bytes of code times locals", weight, BYTES_TIMES_LOCALS)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn locals(body: &FunctionBody<'_>) -> wasmparser::Result<u64> {
    let mut total = 0_u64;
    for group in body.get_locals_reader()? {
        total += u64::from(group?.0);
    }
    Ok(total)
}

fn at_most(what: &'static str, found: u64, most: u64) -> Result<(), CompileError> {
    if found > most { Err(CompileError::TooHeavy { what, found, most }) } else { Ok(()) }
}
