use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{KvError, PluginError, Reason};
use crate::host::{Entry, Host, KeyPage, KvOptions, Swap};
use crate::json;
use crate::read::from_slice;

/// How often [`Kv::update`] tries before it gives the run back to the queue.
const TRIES: usize = 4;

/// The installation's key-value data. Reads see the run's own writes; writes become durable with the next provider
/// write, before it is sent, or else with the run's success.
#[derive(Clone, Copy)]
pub struct Kv<'a> {
    host: &'a dyn Host,
}

impl<'a> Kv<'a> {
    pub(crate) fn new(host: &'a dyn Host) -> Self {
        Self { host }
    }

    /// Reads one key; none if absent or expired.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, KvError> {
        self.host.kv_get(key)
    }

    /// Reads one key as JSON. A value that does not parse was written by another version and is an error, never none.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, PluginError> {
        self.host.kv_get(key)?.map(|entry| parse(key, &entry)).transpose()
    }

    /// Reads any number of keys as JSON, in their order.
    pub fn get_many_json<T: DeserializeOwned>(&self, keys: &[String]) -> Result<Vec<Option<T>>, PluginError> {
        let mut values = Vec::with_capacity(keys.len());
        for part in keys.chunks(100) {
            for (key, entry) in part.iter().zip(self.host.kv_get_many(part)?) {
                values.push(entry.map(|entry| parse(key, &entry)).transpose()?);
            }
        }
        Ok(values)
    }

    /// Writes, whatever is there.
    pub fn set(&self, key: &str, value: &[u8], options: &KvOptions) -> Result<(), KvError> {
        self.host.kv_set(key, value, options)
    }

    /// Writes JSON, whatever is there.
    pub fn set_json(&self, key: &str, value: &impl Serialize, options: &KvOptions) -> Result<(), PluginError> {
        Ok(self.host.kv_set(key, &bytes(key, value)?, options)?)
    }

    /// Removes; an absent key is no error.
    pub fn delete(&self, key: &str) -> Result<(), KvError> {
        self.host.kv_delete(key)
    }

    /// Writes if the key is at `expected`, where none means absent.
    pub fn swap(&self, key: &str, expected: Option<u64>, value: &[u8], options: &KvOptions) -> Result<Swap, KvError> {
        self.host.kv_swap(key, expected, value, options)
    }

    /// Changes a JSON value by compare-and-swap: `change` gets what is there and returns what to write, or none to
    /// leave it. Returns whether it was written.
    pub fn update<T: DeserializeOwned + Serialize>(
        &self,
        key: &str,
        options: &KvOptions,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<bool, PluginError> {
        let mut current = self.host.kv_get(key)?;
        for _ in 0..TRIES {
            let value = current.as_ref().map(|entry| parse(key, entry)).transpose()?;
            let Some(next) = change(value) else { return Ok(false) };
            let expected = current.as_ref().map(|entry| entry.version);
            match self.host.kv_swap(key, expected, &bytes(key, &next)?, options)? {
                Swap::Swapped(_) => return Ok(true),
                Swap::Stale(there) => current = there,
            }
        }
        Err(PluginError::retry(Reason::Other("kv_conflict".to_owned()), "kv_conflict", "A key changed under the run."))
    }

    /// Lists keys that begin with `prefix`, at most `limit` (1 to 1,000).
    pub fn list(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<KeyPage, KvError> {
        self.host.kv_list(prefix, cursor, limit)
    }
}

fn parse<T: DeserializeOwned>(key: &str, entry: &Entry) -> Result<T, PluginError> {
    from_slice(&entry.value).map_err(|_| unreadable(key))
}

fn bytes(key: &str, value: &impl Serialize) -> Result<Vec<u8>, PluginError> {
    json::written(value).map(String::into_bytes).map_err(|_| unreadable(key))
}

/// Names the key's first part only, since the rest may be about a person.
fn unreadable(key: &str) -> PluginError {
    let family = key.split('/').next().unwrap_or_default();
    PluginError::reject(Reason::PluginBug, "kv_not_json", format!("A value under `{family}` is not what was expected."))
}
