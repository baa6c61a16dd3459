//! The contract as the host sees it: plain data, independent of generated bindings, so that what is stored
//! (journals, manifests) outlives a change of the binding generator. `convert` translates at the sandbox's edge.
//!
//! Times are milliseconds since 1970, lengths of time are milliseconds, JSON is text that was checked to parse.

mod data;
mod extensions;
mod host;
mod ingest;
mod manifest;

pub use data::{
    CallContext, EmittedEvent, ErrorDetail, HandledEvent, Idempotency, Method, Output, PluginError, PollOutput, Reason,
    SourceRef,
};
pub use extensions::{Probe, ProbePath};
pub use host::{
    CryptoError, Header, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogField, LogLevel,
    LogLine, Mac, MetricLabel, MetricSample, MetricValue, SwapResult,
};
pub use ingest::{InboundRequest, Received, Reply};
pub use manifest::{
    ConnectionKind, ConnectionSpec, EventKind, EventType, KeyEncoding, LimitsRequest, Manifest, MetricKind, MetricSpec,
    Schedule, SecretKind, SecretSpec, Trigger,
};

/// Bytes as one base64 text in JSON instead of an array of numbers.
mod base64_bytes {
    use std::borrow::Cow;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use std::borrow::Cow;

        use base64::{Engine as _, engine::general_purpose::STANDARD};
        use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

        pub(in super::super) fn serialize<S: Serializer>(
            bytes: &Option<Vec<u8>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => serializer.serialize_some(&STANDARD.encode(bytes)),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Vec<u8>>, D::Error> {
            let text = Option::<Cow<'_, str>>::deserialize(deserializer)?;
            text.map(|text| STANDARD.decode(text.as_bytes())).transpose().map_err(D::Error::custom)
        }
    }
}
