//! What the imports of a `receive` reach: it checks against secrets and reads kv, and changes nothing.

use std::{any::Any, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    directory::view::{InstallationView, PluginVersion, TenantView},
    hub::Hub,
    plugin::{
        host_calls::{Answer, HostCalls, Stop},
        model::{
            CryptoError, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogLine, Mac,
            MetricSample, SwapResult,
        },
    },
    run::secrets,
};

/// How long a request waits for the key set that its token is judged by. Longer, and it is parked: providers wait 10 s
/// at most, some 3, and the set is there when it is judged again.
pub(super) const JWT_PATIENCE: Duration = Duration::from_secs(2);

/// The caller's side of one `receive`.
pub(super) struct ReceiveCalls {
    hub: Arc<Hub>,
    tenant: Arc<TenantView>,
    installation: Arc<InstallationView>,
    version: Arc<PluginVersion>,
    source: String,
    /// When the request arrived: its window is judged then, also after it was parked.
    received_at: Timestamp,
}

impl ReceiveCalls {
    pub(super) const fn new(
        hub: Arc<Hub>,
        tenant: Arc<TenantView>,
        installation: Arc<InstallationView>,
        version: Arc<PluginVersion>,
        source: String,
        received_at: Timestamp,
    ) -> Self {
        Self { hub, tenant, installation, version, source, received_at }
    }

    async fn read(&self, key: &str) -> Result<Option<KvEntry>, Stop> {
        let (tenant, plugin) = (&self.tenant.row.id, &self.installation.row.plugin);
        let row = self.hub.store.kv_get(tenant, plugin, key, self.hub.clock.now()).await.map_err(Stop::new)?;
        Ok(row.value.map(|value| KvEntry { value, version: row.version }))
    }
}

#[async_trait]
impl HostCalls for ReceiveCalls {
    async fn http_send(&mut self, _: HttpRequest) -> Answer<HttpResponse, HttpError> {
        Ok(Err(HttpError::Denied("`receive` may not call providers; ask for a poll with `poll-now`".to_owned())))
    }

    async fn kv_get(&mut self, key: String) -> Answer<Option<KvEntry>, KvError> {
        Ok(Ok(self.read(&key).await?))
    }

    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in &keys {
            entries.push(self.read(key).await?);
        }
        Ok(Ok(entries))
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

    async fn kv_list_keys(&mut self, prefix: String, cursor: Option<String>, limit: u32) -> Answer<KvPage, KvError> {
        let (tenant, plugin, now) = (&self.tenant.row.id, &self.installation.row.plugin, self.hub.clock.now());
        let found = self.hub.store.kv_keys(tenant, plugin, &prefix, cursor.as_deref(), limit, now).await;
        let keys = found.map_err(Stop::new)?;
        let cursor = if keys.len() >= limit as usize { keys.last().cloned() } else { None };
        Ok(Ok(KvPage { keys, cursor }))
    }

    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Answer<bool, CryptoError> {
        let (source, now) = (Some(self.source.as_str()), self.hub.clock.now());
        Ok(secrets::verify_mac(&self.tenant, &self.installation, source, &secret, algorithm, &data, &tag, now))
    }

    async fn verify_token(&mut self, secret: String, token: String) -> Answer<bool, CryptoError> {
        let (source, now) = (Some(self.source.as_str()), self.hub.clock.now());
        Ok(secrets::verify_token(&self.tenant, &self.installation, source, &secret, &token, now))
    }

    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Answer<String, CryptoError> {
        let (manifest, at) = (&self.version.manifest, self.received_at);
        Ok(secrets::verify_jwt(&self.hub, manifest, &secret, &token, &audience, at, JWT_PATIENCE).await)
    }

    fn log(&mut self, line: LogLine) {
        // Its text may hold personal data, and a request that stores nothing has no record to keep it in.
        tracing::debug!(plugin = %self.version.row.name, level = ?line.level, "a plugin logged while it received");
    }

    fn metric(&mut self, sample: MetricSample) {
        crate::observe::plugin_metrics::note(&self.tenant.row.id, &self.version, &sample);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
