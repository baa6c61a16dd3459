use std::marker::PhantomData;
use std::sync::Once;

use crate::context::Call;
use crate::error::PluginError;
use crate::host::Level;

mod bindings;
mod convert;
mod describe;
mod imports;
mod layout;
pub mod root;

pub use bindings::{handler_world, ingest_world, lifecycle_world, plugin_world, poller_world};

use convert::CallContext;

/// Carries the exports of one plugin; [`crate::register!`] names it.
pub struct Glue<P>(PhantomData<P>);

/// Which plugin it is whose exports are carried.
pub trait Exports {
    /// The plugin.
    type Plugin;
}

impl<P> Exports for Glue<P> {
    type Plugin = P;
}

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
fn begin(context: CallContext) -> Result<Call, PluginError> {
    report_panics();
    context.call()
}
