//! What the imports of a `receive` for an app reach: the app's secrets and published keys, and nothing of any tenant.

use std::{any::Any, sync::Arc};

use async_trait::async_trait;
use secrecy::SecretString;

use super::receive_calls::JWT_PATIENCE;
use crate::{
    clock::Timestamp,
    connection::verify::{self, KeyEncoding},
    directory::view::{AppView, PluginVersion},
    event::TenantId,
    hub::Hub,
    plugin::{
        host_calls::{Answer, HostCalls},
        model::{
            CryptoError, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogLine, Mac,
            MetricSample, SwapResult,
        },
    },
    run::secrets,
};

/// The slot of an app's secrets.
const SLOT: &str = "app";

/// The caller's side of one `receive` for an app.
pub(super) struct AppCalls {
    pub(super) hub: Arc<Hub>,
    pub(super) app: Arc<AppView>,
    pub(super) version: Arc<PluginVersion>,
    pub(super) received_at: Timestamp,
}

impl AppCalls {
    /// The secret `app.<field>`, and how its text becomes bytes: as a slot of that name in the manifest says, else as text.
    fn secret(&self, name: &str) -> Result<(&SecretString, KeyEncoding), CryptoError> {
        let (slot, field) = name.split_once('.').ok_or(CryptoError::NoSuchSecret)?;
        let secret = self.app.secrets.get(field).filter(|_| slot == SLOT).ok_or(CryptoError::NoSuchSecret)?;
        match secrets::encoding_in(&self.version.manifest, name) {
            Ok(encoding) => Ok((secret, encoding)),
            Err(CryptoError::NoSuchSecret) => Ok((secret, KeyEncoding::Text)),
            Err(error) => Err(error),
        }
    }
}

fn no_kv<T>() -> Answer<T, KvError> {
    Ok(Err(KvError::Other("a request to an app belongs to no tenant and has no key-value data".to_owned())))
}

#[async_trait]
impl HostCalls for AppCalls {
    async fn http_send(&mut self, _: HttpRequest) -> Answer<HttpResponse, HttpError> {
        Ok(Err(HttpError::Denied("`receive` may not call providers; ask for a poll with `poll-now`".to_owned())))
    }

    async fn kv_get(&mut self, _: String) -> Answer<Option<KvEntry>, KvError> {
        no_kv()
    }

    async fn kv_get_many(&mut self, _: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        no_kv()
    }

    async fn kv_set(&mut self, _: String, _: Vec<u8>, _: KvOptions) -> Answer<(), KvError> {
        Ok(Err(KvError::ReadOnly))
    }

    async fn kv_delete(&mut self, _: String) -> Answer<(), KvError> {
        Ok(Err(KvError::ReadOnly))
    }

    async fn kv_swap(&mut self, _: String, _: Option<u64>, _: Vec<u8>, _: KvOptions) -> Answer<SwapResult, KvError> {
        Ok(Err(KvError::ReadOnly))
    }

    async fn kv_list_keys(&mut self, _: String, _: Option<String>, _: u32) -> Answer<KvPage, KvError> {
        no_kv()
    }

    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Answer<bool, CryptoError> {
        let key = self
            .secret(&secret)
            .and_then(|(text, encoding)| verify::decode_key(encoding, text).ok_or(CryptoError::NoSuchSecret));
        Ok(key.map(|key| verify::verify_mac(secrets::algorithm(algorithm), &[key], &data, &tag)))
    }

    async fn verify_token(&mut self, secret: String, token: String) -> Answer<bool, CryptoError> {
        Ok(self.secret(&secret).map(|(text, _)| verify::verify_token(std::slice::from_ref(text), &token)))
    }

    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Answer<String, CryptoError> {
        let (manifest, at) = (&self.version.manifest, self.received_at);
        Ok(secrets::verify_jwt(&self.hub, manifest, &secret, &token, &audience, at, JWT_PATIENCE).await)
    }

    fn log(&mut self, line: LogLine) {
        // As in a tenant's `receive`: its text may hold personal data.
        tracing::debug!(plugin = %self.version.row.name, level = ?line.level, "a plugin logged while it received for an app");
    }

    fn metric(&mut self, sample: MetricSample) {
        crate::observe::plugin_metrics::note(&TenantId::of_app(self.app.row.key), &self.version, &sample);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
