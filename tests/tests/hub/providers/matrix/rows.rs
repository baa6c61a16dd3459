//! What goes wrong: the fault list, and answers that nobody should trust.

use switchyard_simulators::faults::{Fault, FaultBody};

/// To which of a provider's operations a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Nowhere.
    Nowhere,
    /// Each operation that writes.
    Writes,
    /// Each operation that reads, as far as it is used.
    Reads,
    /// Each operation that the load uses for sure and whose credential ends by itself.
    Tokens,
    /// What the provider sends.
    Webhooks,
}

/// One row of the matrix.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, for the failing test's words and for the tenant's id.
    pub name: &'static str,
    /// The fault, how often, and where.
    pub armed: Vec<(Where, Fault, u32)>,
    /// How far the provider's clock is off.
    pub clock_offset_ms: i64,
    /// Words that an attempt must show, whoever the provider is.
    pub words: Option<&'static str>,
    /// The status of a refusal in the provider's own words, which an attempt must show too.
    pub refused_with: Option<u16>,
    /// A confirmed write whose answer cannot be read may end dead: what was done is not done again.
    pub unreadable: bool,
}

fn row(name: &'static str, armed: Vec<(Where, Fault, u32)>) -> Row {
    Row { name, armed, clock_offset_ms: 0, words: None, refused_with: None, unreadable: false }
}

fn calls(name: &'static str, fault: Fault, times: u32) -> Row {
    row(name, vec![(Where::Writes, fault.clone(), times), (Where::Reads, fault, times)])
}

fn webhooks(name: &'static str, fault: Fault, times: u32) -> Row {
    row(name, vec![(Where::Webhooks, fault, times)])
}

fn refused(status: u16, row: Row) -> Row {
    Row { refused_with: Some(status), ..row }
}

/// The common knobs: after each of them everything has happened once, and nobody did anything.
pub fn faults() -> Vec<Row> {
    let provider = FaultBody::Provider;
    let mut rows = vec![
        row("none", vec![(Where::Nowhere, Fault::DropAfter, 1)]),
        calls("slow", Fault::Latency { ms: 400 }, 2),
        calls("answer-dropped-after-commit", Fault::DropAfter, 1),
        calls("request-dropped", Fault::DropBefore, 1),
        calls("reset-after-commit", Fault::ResetAfter, 1),
        refused(500, calls("error-before", Fault::FailBefore { status: 500, body: provider }, 1)),
        calls("unavailable-before", Fault::FailBefore { status: 503, body: FaultBody::Empty }, 1),
        refused(500, calls("error-after", Fault::FailAfter { status: 500, body: provider }, 1)),
        refused(429, calls("too-many-requests", Fault::RateLimit { retry_after_s: Some(1) }, 3)),
        refused(429, calls("too-many-requests-without-a-time", Fault::RateLimit { retry_after_s: None }, 1)),
        row("token-expired", vec![(Where::Tokens, Fault::ExpireToken, 1)]),
        webhooks("duplicate", Fault::Duplicate, 4),
        webhooks("out-of-order", Fault::OutOfOrder, 2),
        webhooks("late", Fault::Delay { ms: 30_000 }, 3),
        webhooks("wrong-signature", Fault::WrongSignature, 1),
    ];
    rows.push(Row { clock_offset_ms: -120_000, ..row("clock-slow", Vec::new()) });
    rows.push(Row { clock_offset_ms: 120_000, ..row("clock-fast", Vec::new()) });
    rows
}

/// Answers that nobody should trust.
pub fn hostile() -> Vec<Row> {
    let html = Fault::FailBefore { status: 500, body: FaultBody::Html };
    let log = Fault::FailBefore { status: 502, body: FaultBody::LogLineThenProvider };
    let words = |row: Row, words| Row { words: Some(words), ..row };
    let spoilt = |name, body| Row { unreadable: true, ..calls(name, Fault::Spoil { body }, 1) };
    vec![
        words(calls("html-instead-of-json", html, 1), "Something went wrong"),
        words(calls("log-before-json", log, 1), "PHP Warning"),
        spoilt("truncated", FaultBody::Truncated),
        spoilt("wrong-types", FaultBody::WrongTypes),
        spoilt("missing-fields", FaultBody::EmptyObject),
        spoilt("empty", FaultBody::Empty),
        spoilt("huge", FaultBody::Huge),
        spoilt("dripping", FaultBody::Drip),
    ]
}
