use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use switchyard_sdk::host::Swap;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::config::Config;
use crate::model::{Invoice, Meta};

/// When the installation began to look.
const BEGAN: &str = "began";

/// QuickBooks' clock is not ours: what was made this shortly before the beginning counts as new.
const SLACK: u64 = 300_000;

/// Notes when this installation began, unless it did before: what was made earlier was there already.
pub fn begin(ctx: &Ctx<Config>) -> Result<u64, PluginError> {
    if let Some(began) = ctx.kv().get_json::<u64>(BEGAN)? {
        return Ok(began);
    }
    let began = ctx.time().saturating_sub(SLACK);
    ctx.kv().set_json(BEGAN, &began, &KvOptions::default())?;
    Ok(began)
}

/// What was last seen of an invoice, as small as it can be: there is one for every invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Voided or deleted.
    #[serde(rename = "v")]
    pub void: bool,
    /// Which sending was last reported.
    #[serde(rename = "s")]
    pub sent: Option<String>,
    /// Paid in full.
    #[serde(rename = "p")]
    pub paid: bool,
    /// What is open, in hundredths.
    #[serde(rename = "b")]
    pub balance: i64,
    /// With tax, in hundredths.
    #[serde(rename = "t")]
    pub total: i64,
    /// The tax in it, in hundredths.
    #[serde(rename = "x")]
    pub tax: i64,
    /// ISO 4217 code, where it was known.
    #[serde(rename = "c")]
    pub currency: Option<String>,
    /// The number that the customer sees.
    #[serde(rename = "r")]
    pub number: Option<String>,
    /// When it is to be paid.
    #[serde(rename = "d")]
    pub due_date: Option<String>,
    /// Hash of all that is tracked but the balance.
    #[serde(rename = "h")]
    pub hash: String,
    /// How often it was paid in full.
    #[serde(rename = "n")]
    pub times_paid: u32,
    /// When this was so, by QuickBooks' clock.
    #[serde(rename = "u")]
    pub updated: u64,
    /// QuickBooks' version of it.
    #[serde(rename = "k")]
    pub token: String,
}

impl Entry {
    /// What is remembered of an invoice; the count goes on from `before`.
    pub fn of(invoice: &Invoice, before: Option<&Self>) -> Self {
        let tracked = format!(
            "{}|{}|{:?}|{:?}|{:?}",
            invoice.total, invoice.tax, invoice.due_date, invoice.customer_id, invoice.number
        );
        let was_paid = before.is_some_and(|before| before.paid);
        let newly_paid = invoice.is_paid() && !was_paid;
        Self {
            void: invoice.is_void,
            sent: marker(invoice),
            paid: invoice.is_paid(),
            balance: invoice.balance,
            total: invoice.total,
            tax: invoice.tax,
            currency: invoice.currency.clone(),
            number: invoice.number.clone(),
            due_date: invoice.due_date.clone(),
            hash: short_hash(&tracked),
            times_paid: before.map_or(0, |before| before.times_paid) + u32::from(newly_paid),
            updated: invoice.meta.updated,
            token: invoice.meta.token.clone(),
        }
    }

    /// Whether a record is older than what was seen: answers overtake each other.
    pub fn is_newer_than(&self, meta: &Meta) -> bool {
        is_newer(self.updated, &self.token, meta)
    }
}

/// Whether what was seen is newer than a record.
pub fn is_newer(updated: u64, token: &str, meta: &Meta) -> bool {
    let version = |token: &str| token.parse::<u64>().unwrap_or(0);
    updated > meta.updated || (updated == meta.updated && version(token) > version(&meta.token))
}

/// Tells one sending of an invoice from another; none if it was not sent.
pub fn marker(invoice: &Invoice) -> Option<String> {
    invoice.is_sent.then(|| invoice.sent_at.clone().unwrap_or_else(|| "once".to_owned()))
}

/// What was last seen of a payment, since a payment that was voided no longer says what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentEntry {
    /// What it pays.
    #[serde(rename = "i")]
    pub invoice_ids: Vec<String>,
    /// In hundredths.
    #[serde(rename = "a")]
    pub amount: i64,
    /// ISO 4217 code, where it was known.
    #[serde(rename = "c")]
    pub currency: Option<String>,
    /// Voided or deleted.
    #[serde(rename = "v")]
    pub void: bool,
    /// When this was so.
    #[serde(rename = "u")]
    pub updated: u64,
    /// QuickBooks' version of it.
    #[serde(rename = "k")]
    pub token: String,
}

/// What was last seen of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactEntry {
    /// Hash of all that is reported.
    #[serde(rename = "h")]
    pub hash: String,
    /// When this was so.
    #[serde(rename = "u")]
    pub updated: u64,
    /// QuickBooks' version of it.
    #[serde(rename = "k")]
    pub token: String,
}

/// A stored value on its way to be replaced, so that nobody else's change in between is lost.
pub struct Sight<T> {
    key: String,
    version: Option<u64>,
    /// What was last seen.
    pub before: Option<T>,
}

impl<T: DeserializeOwned + Serialize + PartialEq> Sight<T> {
    /// Reads what was last seen of a record.
    pub fn load(ctx: &Ctx<Config>, kind: &str, id: &str) -> Result<Self, PluginError> {
        let key = format!("{kind}/{id}");
        let entry = ctx.kv().get(&key)?;
        let version = entry.as_ref().map(|entry| entry.version);
        let parse = |value: &[u8]| {
            let message = format!("A value under `{kind}` is not what was expected.");
            switchyard_sdk::read::from_slice(value)
                .map_err(|_| PluginError::reject(Reason::PluginBug, "kv_not_json", message))
        };
        let before = entry.map(|entry| parse(&entry.value)).transpose()?;
        Ok(Self { key, version, before })
    }

    /// Stores what is seen now, if it differs.
    pub fn store(&self, ctx: &Ctx<Config>, now: &T, options: &KvOptions) -> Result<(), PluginError> {
        if self.before.as_ref() == Some(now) {
            return Ok(());
        }
        let value = json::written(now).unwrap_or_default();
        match ctx.kv().swap(&self.key, self.version, value.as_bytes(), options)? {
            Swap::Swapped(_) => Ok(()),
            Swap::Stale(_) => {
                let message = "What was last seen of a record changed under the run.";
                Err(PluginError::retry(Reason::Other("kv_conflict".to_owned()), "kv_conflict", message))
            }
        }
    }
}

/// Eight hex digits of a hash.
pub fn short_hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..4])
}
