//! A compiled plugin, prepared for calls.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest as _, Sha256};
use wasmtime::{
    Engine,
    component::{Component, HasSelf, InstancePre, Linker},
};

use super::{
    bindings,
    cache::Cache,
    limits::Limits,
    manifest::API_LINE,
    memory::{MEMORIES, TABLE_ELEMENTS, TABLES},
    state::State,
    weight,
};

/// Bytes of a plugin's wasm.
pub const WASM_BYTES: usize = 16 << 20;

const PACKAGE: &str = "switchyard:plugin/";

/// The version of the contract that this host was built with.
const CONTRACT: &str = "0.1.0";

/// Why wasm is not a plugin of this host. The texts are for its author.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file is over the size limit.
    #[error("the file has {bytes} bytes; at most {WASM_BYTES} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The file is not wasm.
    #[error("this is not a WebAssembly component: the first bytes are not those of a wasm file")]
    NotWasm,
    /// The file is a core module.
    #[error(
        "this is a core WebAssembly module, not a component: build it for the target `wasm32-wasip2` \
         (`cargo build --target wasm32-wasip2`)"
    )]
    CoreModule,
    /// The file is native code.
    #[error("this is native code made by wasmtime; upload the .wasm it was made from")]
    Precompiled,
    /// The file does not compile.
    #[error("the component does not compile: {0}")]
    Invalid(String),
    /// The file would keep the compiler busy for too long.
    #[error(
        "the component has {found} {what}; at most {most} are accepted. Split it, or build with `opt-level = \"s\"`"
    )]
    TooHeavy {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// The compiler did not end in time.
    #[error("compiling takes more than {seconds} s, so the component is refused: make its largest functions smaller")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// Another compilation did not end for long.
    #[error("another component is being compiled and does not end; try again in a minute")]
    Busy,
    /// The component does not fit a slot of the pool.
    #[error("the component needs {needs}; the sandbox gives {gives}")]
    TooDemanding {
        /// What it needs.
        needs: String,
        /// What there is.
        gives: String,
    },
    /// The component is built for another line of the contract.
    #[error("the plugin is built for {found}{}; this host serves the line {API_LINE} of switchyard:plugin", fix(.needs.as_deref()))]
    OtherApi {
        /// Its export.
        found: String,
        /// The first version of a host that serves it; none if the plugin is too old.
        needs: Option<String>,
    },
    /// The component exports no `plugin`.
    #[error("the component does not export `switchyard:plugin/plugin@{API_LINE}.0`, which every plugin has")]
    NotAPlugin,
    /// The component asks for an import that is not offered, or of another type.
    #[error("the plugin asks for something that is not offered: {0}")]
    Imports(String),
    /// An exported interface has another type than the contract's.
    #[error("the exported interface `{interface}` differs from the contract: {problem}")]
    Exports {
        /// Which interface.
        interface: &'static str,
        /// How it differs.
        problem: String,
    },
    /// The compiling task was lost.
    #[error("the compiler failed: {0}")]
    Compiler(String),
}

fn fix(needs: Option<&str>) -> String {
    needs.map_or_else(
        || format!(" and must be built again with an SDK of the line {API_LINE}"),
        |version| format!(" and needs a host >= {version}"),
    )
}

impl CompileError {
    /// The part of the plugin that is at fault, for programs: `component`, `imports` or `exports`.
    #[must_use]
    pub const fn part(&self) -> &'static str {
        match self {
            Self::Imports(_) => "imports",
            Self::OtherApi { .. } | Self::NotAPlugin | Self::Exports { .. } => "exports",
            _ => "component",
        }
    }
}

/// The version of the host that an interface of a newer contract needs: hosts are numbered like the contract.
fn needed_host(interface: &str) -> Option<String> {
    let (name, version) = interface.split_once('@')?;
    let (wanted, served) = (semver::Version::parse(version).ok()?, semver::Version::parse(CONTRACT).ok()?);
    (name.starts_with(PACKAGE) && wanted > served).then(|| wanted.to_string())
}

/// Which interfaces a plugin exports besides `plugin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// `ingest.receive`.
    pub ingest: bool,
    /// `handler.handle`.
    pub handler: bool,
    /// `poller.poll`.
    pub poller: bool,
    /// `lifecycle.install`, `upgrade` and `uninstall`.
    pub lifecycle: bool,
}

/// A compiled plugin. Cheap to share; all calls of all tenants use the same one.
pub struct Guest {
    sha256: String,
    imports: Vec<String>,
    pub(super) plugin: bindings::plugin::PluginWorldPre<State>,
    pub(super) ingest: Option<bindings::ingest::IngestWorldPre<State>>,
    pub(super) handler: Option<bindings::handler::HandlerWorldPre<State>>,
    pub(super) poller: Option<bindings::poller::PollerWorldPre<State>>,
    pub(super) lifecycle: Option<bindings::lifecycle::LifecycleWorldPre<State>>,
    brief: AtomicBool,
}

/// CPU milliseconds up to which a call is brief: two ticks, since a call may begin just before one.
const BRIEF_MS: u64 = 2;

impl Guest {
    /// Whether its last call was brief, so that the next may begin on its caller's thread.
    pub(super) fn is_brief(&self) -> bool {
        self.brief.load(Ordering::Relaxed)
    }

    /// Remembers what a call used.
    pub(super) fn note_cpu(&self, used_ms: u64) {
        let brief = used_ms <= BRIEF_MS;
        // Read first: callers on all threads share the line, and nearly all calls are alike.
        if self.is_brief() != brief {
            self.brief.store(brief, Ordering::Relaxed);
        }
    }

    /// SHA-256 of the wasm, in hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The interfaces it could call, by name.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The interfaces it exports.
    #[must_use]
    pub const fn exports(&self) -> Exports {
        Exports {
            ingest: self.ingest.is_some(),
            handler: self.handler.is_some(),
            poller: self.poller.is_some(),
            lifecycle: self.lifecycle.is_some(),
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("sha256", &self.sha256).field("exports", &self.exports()).finish_non_exhaustive()
    }
}

/// Turns wasm into guests of one engine.
pub(super) struct Compiler {
    pub(super) engine: Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
}

impl Compiler {
    /// Links everything a plugin may import, once. WASI is there for language runtimes; its context denies all.
    pub(super) fn new(engine: Engine, cache: Option<Cache>) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        bindings::host::Host_::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        Ok(Self { engine, linker, cache })
    }

    /// Compiles, or loads what was compiled before, and prepares for calls. Takes seconds for large files.
    pub(super) fn compile(&self, wasm: &[u8]) -> Result<Arc<Guest>, CompileError> {
        check_header(wasm)?;
        let sha256 = hex::encode(Sha256::digest(wasm));
        let component = match self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &sha256)) {
            Some(component) => component,
            None => {
                weight::check(wasm)?;
                let component = Component::from_binary(&self.engine, wasm).map_err(|error| invalid(&error))?;
                if let Some(cache) = &self.cache {
                    cache.store(&sha256, &component);
                }
                component
            }
        };
        check_size(&component)?;
        self.prepare(&component, sha256)
    }

    fn prepare(&self, component: &Component, sha256: String) -> Result<Arc<Guest>, CompileError> {
        let exported =
            |interface: &str| component.get_export_index(None, format!("{PACKAGE}{interface}@{API_LINE}.0")).is_some();
        let kind = component.component_type();
        if !exported("plugin") {
            let mut exports = kind.exports(&self.engine).map(|(name, _)| name.to_owned());
            return Err(exports.find(|name| name.starts_with(PACKAGE)).map_or(CompileError::NotAPlugin, |found| {
                CompileError::OtherApi { needs: needed_host(&found), found }
            }));
        }
        let imports: Vec<String> = kind.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let pre = self.linker.instantiate_pre(component).map_err(|error| {
            let newer = imports.iter().filter_map(|import| needed_host(import)).max();
            CompileError::Imports(format!("{error:#}{}", newer.map_or_else(String::new, |version| fix(Some(&version)))))
        })?;
        Ok(Arc::new(Guest {
            sha256,
            imports,
            plugin: typed("plugin", &pre, bindings::plugin::PluginWorldPre::new)?,
            ingest: when(exported("ingest"), "ingest", &pre, bindings::ingest::IngestWorldPre::new)?,
            handler: when(exported("handler"), "handler", &pre, bindings::handler::HandlerWorldPre::new)?,
            poller: when(exported("poller"), "poller", &pre, bindings::poller::PollerWorldPre::new)?,
            lifecycle: when(exported("lifecycle"), "lifecycle", &pre, bindings::lifecycle::LifecycleWorldPre::new)?,
            brief: AtomicBool::new(true),
        }))
    }
}

fn typed<W>(
    interface: &'static str,
    pre: &InstancePre<State>,
    world: impl FnOnce(InstancePre<State>) -> wasmtime::Result<W>,
) -> Result<W, CompileError> {
    world(pre.clone()).map_err(|error| CompileError::Exports { interface, problem: format!("{error:#}") })
}

fn when<W>(
    exported: bool,
    interface: &'static str,
    pre: &InstancePre<State>,
    world: impl FnOnce(InstancePre<State>) -> wasmtime::Result<W>,
) -> Result<Option<W>, CompileError> {
    exported.then(|| typed(interface, pre, world)).transpose()
}

fn invalid(error: &wasmtime::Error) -> CompileError {
    CompileError::Invalid(format!("{error:#}"))
}

fn check_header(wasm: &[u8]) -> Result<(), CompileError> {
    if wasm.len() > WASM_BYTES {
        return Err(CompileError::TooLarge { bytes: wasm.len() });
    }
    if Engine::detect_precompiled(wasm).is_some() {
        return Err(CompileError::Precompiled);
    }
    match wasm.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(CompileError::CoreModule),
        Some([0, b'a', b's', b'm', ..]) => Ok(()),
        _ => Err(CompileError::NotWasm),
    }
}

/// Refuses what could never be instantiated, with a text instead of a failing call.
fn check_size(component: &Component) -> Result<(), CompileError> {
    let Some(needs) = component.resources_required() else { return Ok(()) };
    let refuse = |needs: String, gives: String| Err(CompileError::TooDemanding { needs, gives });
    if needs.num_memories > MEMORIES {
        return refuse(format!("{} memories", needs.num_memories), MEMORIES.to_string());
    }
    if needs.num_tables > TABLES {
        return refuse(format!("{} tables", needs.num_tables), TABLES.to_string());
    }
    let memory = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 << 10);
    if memory > Limits::MAXIMUM.memory_bytes {
        return refuse(format!("{memory} bytes of memory to start"), Limits::MAXIMUM.memory_bytes.to_string());
    }
    let elements = needs.max_initial_table_size.unwrap_or(0);
    if elements > TABLE_ELEMENTS as u64 {
        return refuse(format!("a table of {elements} elements"), TABLE_ELEMENTS.to_string());
    }
    Ok(())
}
