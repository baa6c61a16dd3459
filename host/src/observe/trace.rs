//! Correlation ids and W3C trace context: what links one inbound request to everything it causes.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::id::Ids;

/// The id that links all that one request or event causes: `[A-Za-z0-9_-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CorrelationId(String);

/// The text is no correlation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a correlation id is 1 to 128 characters of A-Z a-z 0-9 _ -")]
pub struct MalformedCorrelationId;

impl CorrelationId {
    /// The longest one.
    pub const MAX_LENGTH: usize = 128;

    /// Takes the caller's id when it has the right form, else makes one.
    #[must_use]
    pub fn accept(offered: Option<&str>, ids: &Ids) -> Self {
        offered.and_then(|text| text.parse().ok()).unwrap_or_else(|| Self::generate(ids))
    }

    /// Makes a new one: 32 hex digits.
    #[must_use]
    pub fn generate(ids: &Ids) -> Self {
        Self(ids.next().to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CorrelationId {
    type Err = MalformedCorrelationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(MalformedCorrelationId) }
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `traceparent` header of W3C Trace Context, level 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The whole trace.
    pub trace_id: [u8; 16],
    /// The caller's step in it.
    pub span_id: [u8; 8],
    /// Whether the caller records this trace.
    pub sampled: bool,
}

/// The text is no usable `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of W3C Trace Context")]
pub struct MalformedTraceParent;

impl TraceParent {
    /// The trace of everything with this correlation id: the same id gives the same trace, with a new step.
    #[must_use]
    pub fn of(correlation: &CorrelationId, ids: &Ids) -> Self {
        let mut trace_id = [0; 16];
        if hex::decode_to_slice(correlation.as_str(), &mut trace_id).is_err() || trace_id == [0; 16] {
            trace_id.copy_from_slice(&Sha256::digest(correlation.as_str())[..16]);
        }
        Self { trace_id, span_id: new_span(ids), sampled: true }
    }

    /// A new step in the same trace.
    #[must_use]
    pub fn child(self, ids: &Ids) -> Self {
        Self { span_id: new_span(ids), ..self }
    }
}

/// The header of a new trace of its own, for what no correlation id caused.
#[must_use]
pub fn new_traceparent(ids: &Ids) -> String {
    TraceParent { trace_id: ids.next().0, span_id: new_span(ids), sampled: true }.to_string()
}

/// A span id; all zeros would mean none.
fn new_span(ids: &Ids) -> [u8; 8] {
    match ids.random() {
        [0, 0, 0, 0, 0, 0, 0, 0] => [0, 0, 0, 0, 0, 0, 0, 1],
        span => span,
    }
}

impl FromStr for TraceParent {
    type Err = MalformedTraceParent;

    /// Reads version 00, and of later versions the fields that version 00 has.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split('-');
        let mut next = || fields.next().ok_or(MalformedTraceParent);
        let [version] = field(next()?)?;
        let trace_id = field(next()?)?;
        let span_id = field(next()?)?;
        let [flags] = field(next()?)?;
        let has_more = fields.next().is_some();
        if version == 0xff || (version == 0 && has_more) || trace_id == [0; 16] || span_id == [0; 8] {
            return Err(MalformedTraceParent);
        }
        Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

fn field<const N: usize>(text: &str) -> Result<[u8; N], MalformedTraceParent> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(MalformedTraceParent);
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedTraceParent)?;
    Ok(bytes)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{}-{}-{flags:02x}", hex::encode(self.trace_id), hex::encode(self.span_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn ids() -> Ids {
        Ids::seeded(ManualClock::starting_at(Timestamp(1_800_000_000_000)), [7; 32])
    }

    #[test]
    fn a_traceparent_survives_reading_and_writing() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert!(parent.sampled);
        assert_eq!(parent.to_string(), EXAMPLE);
        let child = parent.child(&ids());
        assert_eq!(child.trace_id, parent.trace_id);
        assert_ne!(child.span_id, parent.span_id);
    }

    #[test]
    fn a_malformed_traceparent_is_refused() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let long = format!("{EXAMPLE}-extra");
        let invalid_version = EXAMPLE.replacen("00", "ff", 1);
        let upper = EXAMPLE.to_uppercase();
        for text in ["", "00", "garbage", &zero_trace, &zero_span, &long, &invalid_version, &upper, &EXAMPLE[..54]] {
            assert_eq!(text.parse::<TraceParent>(), Err(MalformedTraceParent), "{text}");
        }
        assert!(long.replacen("00", "01", 1).parse::<TraceParent>().is_ok(), "a later version may have more fields");
    }

    #[test]
    fn a_correlation_id_of_the_wrong_form_is_replaced() {
        let ids = ids();
        assert_eq!(CorrelationId::accept(Some("order-4711_A"), &ids).as_str(), "order-4711_A");
        for bad in ["", "a b", "a\nb", "søren", &"x".repeat(129)] {
            let made = CorrelationId::accept(Some(bad), &ids);
            assert_ne!(made.as_str(), bad);
            assert_eq!(made.as_str().len(), 32);
        }
        assert!("x".repeat(128).parse::<CorrelationId>().is_ok());
    }

    #[test]
    fn one_correlation_id_is_one_trace() {
        let ids = ids();
        for text in ["order-4711", "4bf92f3577b34da6a3ce929d0e0e4736"] {
            let correlation: CorrelationId = text.parse().unwrap();
            let (first, second) = (TraceParent::of(&correlation, &ids), TraceParent::of(&correlation, &ids));
            assert_eq!(first.trace_id, second.trace_id);
            assert_ne!(first.span_id, second.span_id);
        }
        let known: CorrelationId = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
        assert!(TraceParent::of(&known, &ids).to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    }
}
