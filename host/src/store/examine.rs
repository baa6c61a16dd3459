//! What a look at a database from outside finds, whichever database it is.

use super::{registry::WrappedKey, schema::SchemaStep};

/// What the hub keeps there, as far as it can be judged without being the hub.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The steps of its schema, and those that this version has.
    pub steps: Vec<SchemaStep>,
    /// Master keys that were used with it: name and fingerprint.
    pub fingerprints: Vec<(String, String)>,
    /// All data keys.
    pub keys: Vec<WrappedKey>,
    /// The key that seals compiled plugins.
    pub plugin_cache_key: Option<[u8; 32]>,
}
