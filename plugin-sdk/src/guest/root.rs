//! What an export does, from the host's arguments in memory to a result in memory.
//!
//! The macros of the bindings call functions of these names at these paths. The bindings have such functions too, but each
//! holds all the code that takes a call apart and puts its result together; here that is there once.
#![allow(unsafe_code, reason = "memory that comes from the host and goes there")]
#![allow(clippy::missing_safety_doc, reason = "only the bindings' macros call these, as the host calls the exports")]

pub mod exports {
    pub mod switchyard {
        pub mod plugin {
            pub mod plugin {
                use crate::dispatch;
                pub use crate::guest::bindings::plugin_world::exports::switchyard::plugin::plugin::__export_switchyard_plugin_plugin_0_1_0_cabi;
                use crate::guest::describe::Manifest;
                use crate::guest::layout::{freed, given};
                use crate::guest::{Exports, report_panics};
                use crate::plugin::Plugin;

                pub unsafe fn _export_describe_cabi<T: Exports<Plugin: Plugin>>() -> *mut u8 {
                    report_panics();
                    given(Manifest::from(dispatch::describe::<T::Plugin>()))
                }

                pub unsafe fn __post_return_describe<T>(result: *mut u8) {
                    // SAFETY: the host has read the result of the call above.
                    unsafe { freed::<Manifest>(result) };
                }
            }

            pub mod ingest {
                use crate::dispatch;
                pub use crate::guest::bindings::ingest_world::exports::switchyard::plugin::ingest::__export_switchyard_plugin_ingest_0_1_0_cabi;
                use crate::guest::convert::{CallContext, InboundRequest, Outcome, Received};
                use crate::guest::imports::SandboxHost;
                use crate::guest::layout::{freed, given, taken};
                use crate::guest::{Exports, begin};
                use crate::plugin::Ingest;

                #[repr(C)]
                struct Arguments(CallContext, InboundRequest);

                pub unsafe fn _export_receive_cabi<T: Exports<Plugin: Ingest>>(arguments: *mut u8) -> *mut u8 {
                    // SAFETY: these are the arguments of `receive`.
                    let Arguments(context, request) = unsafe { taken(arguments) };
                    let received = begin(context)
                        .and_then(|call| dispatch::receive::<T::Plugin>(&SandboxHost, &call, request.into()));
                    given::<Outcome<Received>>(received.into())
                }

                pub unsafe fn __post_return_receive<T>(result: *mut u8) {
                    // SAFETY: the host has read the result of the call above.
                    unsafe { freed::<Outcome<Received>>(result) };
                }
            }

            pub mod handler {
                use crate::dispatch;
                pub use crate::guest::bindings::handler_world::exports::switchyard::plugin::handler::__export_switchyard_plugin_handler_0_1_0_cabi;
                use crate::guest::convert::{CallContext, Event, Outcome, Output};
                use crate::guest::imports::SandboxHost;
                use crate::guest::layout::{freed, given, taken};
                use crate::guest::{Exports, begin};
                use crate::plugin::Handler;

                #[repr(C)]
                struct Arguments(CallContext, Event);

                pub unsafe fn _export_handle_cabi<T: Exports<Plugin: Handler>>(arguments: *mut u8) -> *mut u8 {
                    // SAFETY: these are the arguments of `handle`.
                    let Arguments(context, event) = unsafe { taken(arguments) };
                    let output = begin(context)
                        .and_then(|call| dispatch::handle::<T::Plugin>(&SandboxHost, &call, event.event()?));
                    given::<Outcome<Output>>(output.into())
                }

                pub unsafe fn __post_return_handle<T>(result: *mut u8) {
                    // SAFETY: the host has read the result of the call above.
                    unsafe { freed::<Outcome<Output>>(result) };
                }
            }

            pub mod poller {
                use crate::dispatch;
                pub use crate::guest::bindings::poller_world::exports::switchyard::plugin::poller::__export_switchyard_plugin_poller_0_1_0_cabi;
                use crate::guest::convert::{CallContext, Outcome, PollOutput};
                use crate::guest::imports::SandboxHost;
                use crate::guest::layout::{Maybe, Text, freed, given, taken};
                use crate::guest::{Exports, begin};
                use crate::plugin::Poller;

                #[repr(C)]
                struct Arguments(CallContext, Text, Maybe<Text>);

                pub unsafe fn _export_poll_cabi<T: Exports<Plugin: Poller>>(arguments: *mut u8) -> *mut u8 {
                    // SAFETY: these are the arguments of `poll`.
                    let Arguments(context, schedule, cursor) = unsafe { taken(arguments) };
                    let output = begin(context).and_then(|call| {
                        dispatch::poll::<T::Plugin>(&SandboxHost, &call, &String::from(schedule), cursor.into())
                    });
                    given::<Outcome<PollOutput>>(output.into())
                }

                pub unsafe fn __post_return_poll<T>(result: *mut u8) {
                    // SAFETY: the host has read the result of the call above.
                    unsafe { freed::<Outcome<PollOutput>>(result) };
                }
            }

            pub mod lifecycle {
                use crate::dispatch;
                pub use crate::guest::bindings::lifecycle_world::exports::switchyard::plugin::lifecycle::__export_switchyard_plugin_lifecycle_0_1_0_cabi;
                use crate::guest::convert::{CallContext, Outcome, Output};
                use crate::guest::imports::SandboxHost;
                use crate::guest::layout::{Text, freed, given, taken};
                use crate::guest::{Exports, begin};
                use crate::plugin::Lifecycle;

                #[repr(C)]
                struct Upgrade(CallContext, Text);

                pub unsafe fn _export_install_cabi<T: Exports<Plugin: Lifecycle>>(arguments: *mut u8) -> *mut u8 {
                    // SAFETY: the context is the only argument of `install`.
                    let context: CallContext = unsafe { taken(arguments) };
                    let output = begin(context).and_then(|call| dispatch::install::<T::Plugin>(&SandboxHost, &call));
                    given::<Outcome<Output>>(output.into())
                }

                pub unsafe fn _export_upgrade_cabi<T: Exports<Plugin: Lifecycle>>(arguments: *mut u8) -> *mut u8 {
                    // SAFETY: these are the arguments of `upgrade`.
                    let Upgrade(context, from) = unsafe { taken(arguments) };
                    let output = begin(context)
                        .and_then(|call| dispatch::upgrade::<T::Plugin>(&SandboxHost, &call, &String::from(from)));
                    given::<Outcome<Output>>(output.into())
                }

                pub unsafe fn _export_uninstall_cabi<T: Exports<Plugin: Lifecycle>>(arguments: *mut u8) -> *mut u8 {
                    // SAFETY: the context is the only argument of `uninstall`.
                    let context: CallContext = unsafe { taken(arguments) };
                    let output = begin(context).and_then(|call| dispatch::uninstall::<T::Plugin>(&SandboxHost, &call));
                    given::<Outcome<Output>>(output.into())
                }

                pub unsafe fn __post_return_install<T>(result: *mut u8) {
                    // SAFETY: the host has read the result of a call above; the others' is of the same type.
                    unsafe { freed::<Outcome<Output>>(result) };
                }

                pub use __post_return_install as __post_return_uninstall;
                pub use __post_return_install as __post_return_upgrade;
            }
        }
    }
}
