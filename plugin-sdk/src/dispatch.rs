use serde_json::{Value, json};

use crate::context::{Call, Ctx};
use crate::error::{ErrorDetail, PluginError, Reason};
use crate::event::{Event, InboundRequest};
use crate::host::Host;
use crate::manifest::Manifest;
use crate::output::{Output, PollOutput, Received};
use crate::plugin::{Handler, Ingest, Lifecycle, Plugin, Poller};
use crate::read;

/// The manifest with the schema of the config in it.
pub fn describe<P: Plugin>() -> Manifest {
    let mut manifest = P::manifest();
    if manifest.config_schema.is_none() {
        manifest.config_schema = Some(match P::CONFIG_SCHEMA {
            Some(text) => crate::manifest::literal(text),
            None => derived_config_schema::<P>(),
        });
    }
    manifest
}

/// The schema of the config as its types have it.
pub(crate) fn derived_config_schema<P: Plugin>() -> Value {
    Value::from(schemars::SchemaGenerator::default().into_root_schema_for::<P::Config>())
}

/// Runs [`Ingest::receive`].
pub fn receive<P: Ingest>(host: &dyn Host, call: &Call, request: InboundRequest) -> Result<Received, PluginError> {
    P::receive(&context::<P>(host, call)?, request)
}

/// Runs [`Handler::handle`].
pub fn handle<P: Handler>(host: &dyn Host, call: &Call, event: Event) -> Result<Output, PluginError> {
    P::handle(&context::<P>(host, call)?, event)
}

/// Runs [`Poller::poll`].
pub fn poll<P: Poller>(
    host: &dyn Host,
    call: &Call,
    schedule: &str,
    cursor: Option<String>,
) -> Result<PollOutput, PluginError> {
    P::poll(&context::<P>(host, call)?, schedule, cursor)
}

/// Runs [`Lifecycle::install`].
pub fn install<P: Lifecycle>(host: &dyn Host, call: &Call) -> Result<Output, PluginError> {
    P::install(&context::<P>(host, call)?)
}

/// Runs [`Lifecycle::upgrade`].
pub fn upgrade<P: Lifecycle>(host: &dyn Host, call: &Call, from_version: &str) -> Result<Output, PluginError> {
    P::upgrade(&context::<P>(host, call)?, from_version)
}

/// Runs [`Lifecycle::uninstall`].
pub fn uninstall<P: Lifecycle>(host: &dyn Host, call: &Call) -> Result<Output, PluginError> {
    P::uninstall(&context::<P>(host, call)?)
}

/// Parses the config. One that does not fit needs a person, and the message says which field.
pub(crate) fn context<'a, P: Plugin>(host: &'a dyn Host, call: &'a Call) -> Result<Ctx<'a, P::Config>, PluginError> {
    let config = read::read(&call.config).map_err(bad_config)?;
    Ok(Ctx::new(config, call, host))
}

#[cold]
fn bad_config(misfit: read::Misfit) -> PluginError {
    let field = misfit.path();
    let message = format!("The config does not fit at `{field}`: {}.", misfit.message());
    let mut detail = ErrorDetail::new(Reason::Config, "bad_config", message);
    detail.details = Some(json!({ "field": field }));
    PluginError::NeedsAttention(detail)
}
