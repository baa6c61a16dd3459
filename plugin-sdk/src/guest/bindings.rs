//! Generated from `wit/`: one module per world of one export, all sharing the types of the first, so that a plugin
//! exports only what it registers.
#![allow(unsafe_code, missing_docs, clippy::all, reason = "generated bindings")]

/// The export that every plugin has, and the types of all.
pub mod plugin_world {
    wit_bindgen::generate!({
        path: "../wit",
        world: "plugin-world",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
    });
}

/// Receives provider requests.
pub mod ingest_world {
    wit_bindgen::generate!({
        path: "../wit",
        world: "ingest-world",
        pub_export_macro: true,
        export_macro_name: "export_ingest",
        with: {
            "switchyard:plugin/types@0.1.0": crate::guest::plugin_world::switchyard::plugin::types,
            "switchyard:plugin/http@0.1.0": crate::guest::plugin_world::switchyard::plugin::http,
            "switchyard:plugin/kv@0.1.0": crate::guest::plugin_world::switchyard::plugin::kv,
            "switchyard:plugin/crypto@0.1.0": crate::guest::plugin_world::switchyard::plugin::crypto,
            "switchyard:plugin/log@0.1.0": crate::guest::plugin_world::switchyard::plugin::log,
            "switchyard:plugin/metrics@0.1.0": crate::guest::plugin_world::switchyard::plugin::metrics,
        },
    });
}

/// Handles events and commands.
pub mod handler_world {
    wit_bindgen::generate!({
        path: "../wit",
        world: "handler-world",
        pub_export_macro: true,
        export_macro_name: "export_handler",
        with: {
            "switchyard:plugin/types@0.1.0": crate::guest::plugin_world::switchyard::plugin::types,
            "switchyard:plugin/http@0.1.0": crate::guest::plugin_world::switchyard::plugin::http,
            "switchyard:plugin/kv@0.1.0": crate::guest::plugin_world::switchyard::plugin::kv,
            "switchyard:plugin/crypto@0.1.0": crate::guest::plugin_world::switchyard::plugin::crypto,
            "switchyard:plugin/log@0.1.0": crate::guest::plugin_world::switchyard::plugin::log,
            "switchyard:plugin/metrics@0.1.0": crate::guest::plugin_world::switchyard::plugin::metrics,
        },
    });
}

/// Polls on schedules.
pub mod poller_world {
    wit_bindgen::generate!({
        path: "../wit",
        world: "poller-world",
        pub_export_macro: true,
        export_macro_name: "export_poller",
        with: {
            "switchyard:plugin/types@0.1.0": crate::guest::plugin_world::switchyard::plugin::types,
            "switchyard:plugin/http@0.1.0": crate::guest::plugin_world::switchyard::plugin::http,
            "switchyard:plugin/kv@0.1.0": crate::guest::plugin_world::switchyard::plugin::kv,
            "switchyard:plugin/crypto@0.1.0": crate::guest::plugin_world::switchyard::plugin::crypto,
            "switchyard:plugin/log@0.1.0": crate::guest::plugin_world::switchyard::plugin::log,
            "switchyard:plugin/metrics@0.1.0": crate::guest::plugin_world::switchyard::plugin::metrics,
        },
    });
}

/// Sets up and tears down.
pub mod lifecycle_world {
    wit_bindgen::generate!({
        path: "../wit",
        world: "lifecycle-world",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        with: {
            "switchyard:plugin/types@0.1.0": crate::guest::plugin_world::switchyard::plugin::types,
            "switchyard:plugin/http@0.1.0": crate::guest::plugin_world::switchyard::plugin::http,
            "switchyard:plugin/kv@0.1.0": crate::guest::plugin_world::switchyard::plugin::kv,
            "switchyard:plugin/crypto@0.1.0": crate::guest::plugin_world::switchyard::plugin::crypto,
            "switchyard:plugin/log@0.1.0": crate::guest::plugin_world::switchyard::plugin::log,
            "switchyard:plugin/metrics@0.1.0": crate::guest::plugin_world::switchyard::plugin::metrics,
        },
    });
}

pub use plugin_world::switchyard::plugin::{crypto, http, kv, log, metrics, types};
