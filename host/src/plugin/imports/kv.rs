//! `kv`: key-value data of the installation.

use wasmtime::Result;

use crate::{
    event::text::is_storable,
    plugin::{
        bindings::imports::kv::{Entry, Error, Host, Options, Page, SwapResult},
        convert,
        cpu::OffBudget,
        state::State,
    },
};

/// Bytes of a key.
const KEY_BYTES: usize = 512;

/// Bytes of a value.
const VALUE_BYTES: usize = 256 << 10;

/// Keys of one `get-many`.
const KEYS_AT_ONCE: usize = 100;

/// Keys of one page.
const PAGE_KEYS: u32 = 1_000;

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_BYTES || !is_storable(key) { Err(Error::InvalidKey) } else { Ok(()) }
}

fn check_write(key: &str, value: &[u8]) -> Result<(), Error> {
    if value.len() > VALUE_BYTES { Err(Error::TooLarge(VALUE_BYTES as u64)) } else { check_key(key) }
}

impl State {
    /// Whether the operation fits the budget, after `check` passed.
    fn admit(&mut self, import: &str, check: Result<(), Error>) -> Result<Result<(), Error>> {
        Ok(if self.admits_kv(import)? { check } else { Err(Error::BudgetExhausted) })
    }
}

impl Host for State {
    async fn get(&mut self, key: String) -> Result<Result<Option<Entry>, Error>> {
        if let Err(error) = self.admit("kv.get", check_key(&key))? {
            return Ok(Err(error));
        }
        let answer = OffBudget::new(self.host.kv_get(key), &self.meter).await;
        let answer = self.unless_stopped(answer)?;
        Ok(answer.map(|entry| entry.map(convert::kv_entry)).map_err(convert::kv_error))
    }

    async fn get_many(&mut self, keys: Vec<String>) -> Result<Result<Vec<Option<Entry>>, Error>> {
        let check = if keys.len() > KEYS_AT_ONCE {
            Err(Error::Other(format!("at most {KEYS_AT_ONCE} keys at once")))
        } else {
            keys.iter().try_for_each(|key| check_key(key))
        };
        if let Err(error) = self.admit("kv.get-many", check)? {
            return Ok(Err(error));
        }
        let answer = OffBudget::new(self.host.kv_get_many(keys), &self.meter).await;
        let answer = self.unless_stopped(answer)?;
        let answer = answer.map_err(convert::kv_error);
        Ok(answer.map(|entries| entries.into_iter().map(|entry| entry.map(convert::kv_entry)).collect()))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, options: Options) -> Result<Result<(), Error>> {
        if let Err(error) = self.admit("kv.set", check_write(&key, &value))? {
            return Ok(Err(error));
        }
        let options = convert::kv_options(options);
        let answer = OffBudget::new(self.host.kv_set(key, value, options), &self.meter).await;
        Ok(self.unless_stopped(answer)?.map_err(convert::kv_error))
    }

    async fn delete(&mut self, key: String) -> Result<Result<(), Error>> {
        if let Err(error) = self.admit("kv.delete", check_key(&key))? {
            return Ok(Err(error));
        }
        let answer = OffBudget::new(self.host.kv_delete(key), &self.meter).await;
        Ok(self.unless_stopped(answer)?.map_err(convert::kv_error))
    }

    async fn swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        options: Options,
    ) -> Result<Result<SwapResult, Error>> {
        if let Err(error) = self.admit("kv.swap", check_write(&key, &value))? {
            return Ok(Err(error));
        }
        let options = convert::kv_options(options);
        let answer = OffBudget::new(self.host.kv_swap(key, expected, value, options), &self.meter).await;
        let answer = self.unless_stopped(answer)?;
        Ok(answer.map(convert::swap_result).map_err(convert::kv_error))
    }

    async fn list_keys(&mut self, prefix: String, cursor: Option<String>, limit: u32) -> Result<Result<Page, Error>> {
        let check = if !(1..=PAGE_KEYS).contains(&limit) {
            Err(Error::Other(format!("the limit of a page is 1 to {PAGE_KEYS}")))
        } else if is_storable(&prefix) && cursor.as_deref().is_none_or(is_storable) {
            Ok(())
        } else {
            Err(Error::InvalidKey)
        };
        if let Err(error) = self.admit("kv.list-keys", check)? {
            return Ok(Err(error));
        }
        let answer = OffBudget::new(self.host.kv_list_keys(prefix, cursor, limit), &self.meter).await;
        let answer = self.unless_stopped(answer)?;
        Ok(answer.map(convert::kv_page).map_err(convert::kv_error))
    }
}
