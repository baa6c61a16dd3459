use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::context::Ctx;
use crate::error::PluginError;
use crate::event::{Event, InboundRequest};
use crate::manifest::Manifest;
use crate::output::{Output, PollOutput, Received};

/// What every plugin has: a config and a manifest.
pub trait Plugin: Sized + 'static {
    /// The installation's config. Its JSON Schema goes into the manifest, and the host checks each config against it.
    /// A plugin without settings takes [`NoConfig`].
    type Config: DeserializeOwned + JsonSchema;

    /// The text of that schema, usually `Some(compact_json!(include_str!("config.schema.json")))`. Without it the schema is derived when
    /// it is asked for, and the code that derives it is a large part of a small component. A test with
    /// `testing::config_schema_is_derived` writes the file and holds it equal to the types.
    const CONFIG_SCHEMA: Option<&'static str> = None;

    /// The manifest: a constant, which reads no clock and calls nothing. The config's schema is added to it.
    fn manifest() -> Manifest;
}

/// The config of a plugin that has no settings.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, JsonSchema)]
pub struct NoConfig {}

/// Turns a provider's request into events.
pub trait Ingest: Plugin {
    /// Verifies first, parses after. It may check secrets and read key-value data, nothing else. An error other than
    /// a reject parks the request, so a doubt about the set-up should be a retry and never "unauthenticated".
    fn receive(ctx: &Ctx<Self::Config>, request: InboundRequest) -> Result<Received, PluginError>;
}

/// Acts on events and commands.
pub trait Handler: Plugin {
    /// Handles one event in straight-line code. A run that ends early is executed again from the start and is
    /// answered from its journal as far as its last provider write went.
    fn handle(ctx: &Ctx<Self::Config>, event: Event) -> Result<Output, PluginError>;
}

/// Looks for news on a schedule.
pub trait Poller: Plugin {
    /// One poll. `schedule` is a name of the manifest; each has its own cursor, which is none on the first call.
    fn poll(ctx: &Ctx<Self::Config>, schedule: &str, cursor: Option<String>) -> Result<PollOutput, PluginError>;
}

/// Sets up and tears down what a provider keeps for an installation.
pub trait Lifecycle: Plugin {
    /// Called when the plugin is switched on for a tenant, which is live once it succeeds.
    fn install(_ctx: &Ctx<Self::Config>) -> Result<Output, PluginError> {
        Ok(Output::none())
    }

    /// Called on the new version before it takes over; if it is rejected, the old version stays.
    fn upgrade(_ctx: &Ctx<Self::Config>, _from_version: &str) -> Result<Output, PluginError> {
        Ok(Output::none())
    }

    /// Called before the installation is removed.
    fn uninstall(_ctx: &Ctx<Self::Config>) -> Result<Output, PluginError> {
        Ok(Output::none())
    }
}

/// Exports a plugin and exactly the traits named: `register!(Billy: handler, poller);`.
///
/// Natively it only checks that the traits are implemented, so that tests link without the sandbox.
#[macro_export]
macro_rules! register {
    ($plugin:ty $(: $($export:ident),+ $(,)?)?) => {
        const _: () = {
            $crate::__export!(plugin, $plugin);
            $($( $crate::__export!($export, $plugin); )+)?
        };
    };
}

/// One export of [`register!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($export:ident, $plugin:ty) => {
        $crate::__check!($export, $plugin);
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Glue<$plugin>;
            $crate::__bind!($export, Exported);
        };
    };
}

/// Fails to compile where a named trait is missing.
#[doc(hidden)]
#[macro_export]
macro_rules! __check {
    (plugin, $plugin:ty) => {
        const _: fn() -> $crate::Manifest = <$plugin as $crate::Plugin>::manifest;
    };
    (ingest, $plugin:ty) => {
        const _: fn(
            &$crate::Ctx<<$plugin as $crate::Plugin>::Config>,
            $crate::InboundRequest,
        ) -> Result<$crate::Received, $crate::PluginError> = <$plugin as $crate::Ingest>::receive;
    };
    (handler, $plugin:ty) => {
        const _: fn(
            &$crate::Ctx<<$plugin as $crate::Plugin>::Config>,
            $crate::Event,
        ) -> Result<$crate::Output, $crate::PluginError> = <$plugin as $crate::Handler>::handle;
    };
    (poller, $plugin:ty) => {
        const _: fn(
            &$crate::Ctx<<$plugin as $crate::Plugin>::Config>,
            &str,
            Option<String>,
        ) -> Result<$crate::PollOutput, $crate::PluginError> = <$plugin as $crate::Poller>::poll;
    };
    (lifecycle, $plugin:ty) => {
        const _: fn(&$crate::Ctx<<$plugin as $crate::Plugin>::Config>) -> Result<$crate::Output, $crate::PluginError> =
            <$plugin as $crate::Lifecycle>::install;
    };
}

/// Binds one export to its world.
#[doc(hidden)]
#[cfg(target_family = "wasm")]
#[macro_export]
macro_rules! __bind {
    (plugin, $glue:ident) => {
        $crate::guest::plugin_world::export_plugin!($glue with_types_in $crate::guest::root);
    };
    (ingest, $glue:ident) => {
        $crate::guest::ingest_world::export_ingest!($glue with_types_in $crate::guest::root);
    };
    (handler, $glue:ident) => {
        $crate::guest::handler_world::export_handler!($glue with_types_in $crate::guest::root);
    };
    (poller, $glue:ident) => {
        $crate::guest::poller_world::export_poller!($glue with_types_in $crate::guest::root);
    };
    (lifecycle, $glue:ident) => {
        $crate::guest::lifecycle_world::export_lifecycle!($glue with_types_in $crate::guest::root);
    };
}
