//! Generated bindings of `wit/`. The imports are bound once, with the world `host`; each exported interface is
//! bound by its own world over the same types, because a plugin exports only what it needs.

use wasmtime::component::bindgen;

pub(super) mod host {
    super::bindgen!({
        path: "../wit",
        world: "switchyard:plugin/host",
        imports: {
            "switchyard:plugin/http": async | trappable,
            "switchyard:plugin/kv": async | trappable,
            "switchyard:plugin/crypto": async | trappable,
            default: trappable,
        },
    });
}

pub(super) use host::switchyard::plugin as imports;

pub(super) mod plugin {
    super::bindgen!({
        path: "../wit",
        world: "switchyard:plugin/plugin-world",
        with: { "switchyard:plugin": super::host::switchyard::plugin },
        exports: { default: async },
    });
}

pub(super) mod ingest {
    super::bindgen!({
        path: "../wit",
        world: "switchyard:plugin/ingest-world",
        with: { "switchyard:plugin": super::host::switchyard::plugin },
        exports: { default: async },
    });
}

pub(super) mod handler {
    super::bindgen!({
        path: "../wit",
        world: "switchyard:plugin/handler-world",
        with: { "switchyard:plugin": super::host::switchyard::plugin },
        exports: { default: async },
    });
}

pub(super) mod poller {
    super::bindgen!({
        path: "../wit",
        world: "switchyard:plugin/poller-world",
        with: { "switchyard:plugin": super::host::switchyard::plugin },
        exports: { default: async },
    });
}

pub(super) mod lifecycle {
    super::bindgen!({
        path: "../wit",
        world: "switchyard:plugin/lifecycle-world",
        with: { "switchyard:plugin": super::host::switchyard::plugin },
        exports: { default: async },
    });
}
