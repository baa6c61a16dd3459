use std::marker::PhantomData;
use std::sync::Once;

use crate::context::Call;
use crate::dispatch;
use crate::host::Level;
use crate::plugin::{Handler, Ingest, Lifecycle, Plugin, Poller};

mod bindings;
mod convert;
mod describe;
mod imports;

pub use bindings::{handler_world, ingest_world, lifecycle_world, plugin_world, poller_world};

use bindings::types;
use convert::{call_from, event_from, inbound_from, output_into, plugin_error_into, poll_into, received_into};
use imports::SandboxHost;

/// Carries the exports of one plugin; [`crate::register!`] names it.
pub struct Glue<P>(PhantomData<P>);

/// Makes a panic readable before it ends the attempt: the trap itself carries no text.
fn report_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = info.payload_as_str().unwrap_or("no message");
            let place = info.location().map_or(String::new(), |place| format!("{}:{}", place.file(), place.line()));
            imports::emit(Level::Error, &format!("panicked: {message}"), &[("panic.location", &place)]);
        }));
    });
}

/// What every export does first: a readable panic, a context that parses.
fn begin(ctx: types::CallContext) -> Result<Call, types::PluginError> {
    report_panics();
    call_from(ctx).map_err(plugin_error_into)
}

impl<P: Plugin> plugin_world::exports::switchyard::plugin::plugin::Guest for Glue<P> {
    fn describe() -> plugin_world::exports::switchyard::plugin::plugin::Manifest {
        report_panics();
        describe::manifest_into(dispatch::describe::<P>())
    }
}

impl<P: Ingest> ingest_world::exports::switchyard::plugin::ingest::Guest for Glue<P> {
    fn receive(
        ctx: types::CallContext,
        request: ingest_world::exports::switchyard::plugin::ingest::InboundRequest,
    ) -> Result<ingest_world::exports::switchyard::plugin::ingest::IngestResult, types::PluginError> {
        let received = dispatch::receive::<P>(&SandboxHost, &begin(ctx)?, inbound_from(request));
        received.map(received_into).map_err(plugin_error_into)
    }
}

impl<P: Handler> handler_world::exports::switchyard::plugin::handler::Guest for Glue<P> {
    fn handle(ctx: types::CallContext, event: types::Event) -> Result<types::Output, types::PluginError> {
        let call = begin(ctx)?;
        let event = event_from(event).map_err(plugin_error_into)?;
        dispatch::handle::<P>(&SandboxHost, &call, event).map(output_into).map_err(plugin_error_into)
    }
}

impl<P: Poller> poller_world::exports::switchyard::plugin::poller::Guest for Glue<P> {
    fn poll(
        ctx: types::CallContext,
        schedule: String,
        cursor: Option<String>,
    ) -> Result<poller_world::exports::switchyard::plugin::poller::PollOutput, types::PluginError> {
        let output = dispatch::poll::<P>(&SandboxHost, &begin(ctx)?, &schedule, cursor);
        output.map(poll_into).map_err(plugin_error_into)
    }
}

impl<P: Lifecycle> lifecycle_world::exports::switchyard::plugin::lifecycle::Guest for Glue<P> {
    fn install(ctx: types::CallContext) -> Result<types::Output, types::PluginError> {
        dispatch::install::<P>(&SandboxHost, &begin(ctx)?).map(output_into).map_err(plugin_error_into)
    }

    fn upgrade(ctx: types::CallContext, from_version: String) -> Result<types::Output, types::PluginError> {
        let output = dispatch::upgrade::<P>(&SandboxHost, &begin(ctx)?, &from_version);
        output.map(output_into).map_err(plugin_error_into)
    }

    fn uninstall(ctx: types::CallContext) -> Result<types::Output, types::PluginError> {
        dispatch::uninstall::<P>(&SandboxHost, &begin(ctx)?).map(output_into).map_err(plugin_error_into)
    }
}
