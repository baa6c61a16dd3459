//! One call in a fresh store, under all limits.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::clock::SharedClock;

use super::{
    call::{Call, CallEnd, Ended, LimitKind},
    convert,
    cpu::Metered,
    guest::Guest,
    model::{CallContext, HandledEvent, InboundRequest, Manifest, Output, PollOutput, Received},
    state::State,
    trap,
    turn::Turns,
};

/// Bytes that a guest may hand to the host at once: a result, or the arguments of one import. Above the largest
/// declared limit, so that those are answered by their own names.
const HANDOVER_BYTES: usize = 10 << 20;

/// The same for `describe`, whose result is stored.
const MANIFEST_BYTES: usize = 1 << 20;

/// CPU time of a call before its first yield.
const TICK_NS: u64 = 1_000_000;

/// Component handles of one store.
const HANDLES: usize = 1_024;

/// Which function to call, with its own argument.
pub(super) enum Entry {
    Describe,
    Receive(InboundRequest),
    Handle(HandledEvent),
    Poll { schedule: String, cursor: Option<String> },
    Install,
    Upgrade { from_version: String },
    Uninstall,
}

/// What the function returned.
pub(super) enum Returned {
    Manifest(Manifest),
    Received(Received),
    Output(Output),
    Polled(PollOutput),
}

/// Runs one call to its end. The store is dropped with it: no guest lives twice.
pub(super) async fn run(
    engine: Engine,
    guest: &Guest,
    entry: Entry,
    call: Call,
    clock: SharedClock,
    turns: Turns,
) -> Ended<Returned> {
    let started = clock.monotonic();
    let describing = matches!(entry, Entry::Describe);
    let limits = call.limits;
    let (state, context) = State::new(call, describing, turns.of_one_call());
    let meter = Arc::clone(&state.meter);
    let mut store = Store::new(&engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(if describing { MANIFEST_BYTES } else { HANDOVER_BYTES });
    store.set_max_component_handles(HANDLES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        let state = store.data_mut();
        state.check_cpu()?;
        // A tick comes at any moment, so the first ones a call meets may be a moment after its beginning.
        if state.meter.within_poll_ns() < TICK_NS {
            return Ok(UpdateDeadline::Continue(1));
        }
        Ok(match state.meter.turn() {
            None => UpdateDeadline::Yield(1),
            Some(turn) => UpdateDeadline::YieldCustom(1, turn.next()),
        })
    });

    // The wall limit drops the work, wherever it waits; the store and with it the caller's host stay ours.
    let work = Metered::new(AssertUnwindSafe(enter(guest, &mut store, entry, context)).catch_unwind(), meter);
    let outcome = tokio::time::timeout(Duration::from_millis(limits.wall_ms), work).await;
    let mut state = store.into_data();
    let stderr = state.stderr();
    let result = match outcome {
        Ok(Ok(Ok(returned))) => returned,
        Ok(Ok(Err(error))) => {
            Err(state.take_cause().unwrap_or_else(|| trap::explain(&error, limits.output_bytes, &stderr)))
        }
        Ok(Err(panic)) => Err(CallEnd::HostFault(trap::panic_text(&*panic))),
        Err(_) => Err(CallEnd::Limit { which: LimitKind::Wall, allowed: limits.wall_ms }),
    };
    let mut usage = state.usage();
    usage.wall_ms = u64::try_from(clock.monotonic().saturating_sub(started).as_millis()).unwrap_or(u64::MAX);
    Ended { result, host: state.host, usage, stderr, plugin: state.plugin }
}

/// Instantiates and calls. The outer error is a crash, the inner one the plugin's answer or a broken contract.
async fn enter(
    guest: &Guest,
    store: &mut Store<State>,
    entry: Entry,
    context: CallContext,
) -> wasmtime::Result<Result<Returned, CallEnd>> {
    match entry {
        Entry::Describe => describe(guest, store).await,
        Entry::Receive(request) => receive(guest, store, context, request).await,
        Entry::Handle(event) => handle(guest, store, context, event).await,
        Entry::Poll { schedule, cursor } => poll(guest, store, context, &schedule, cursor.as_deref()).await,
        entry @ (Entry::Install | Entry::Upgrade { .. } | Entry::Uninstall) => {
            lifecycle(guest, store, context, entry).await
        }
    }
}

async fn describe(guest: &Guest, store: &mut Store<State>) -> wasmtime::Result<Result<Returned, CallEnd>> {
    let instance = guest.plugin.instantiate_async(&mut *store).await?;
    let raw = instance.switchyard_plugin_plugin().call_describe(store).await?;
    Ok(Ok(Returned::Manifest(convert::manifest(raw))))
}

async fn receive(
    guest: &Guest,
    store: &mut Store<State>,
    context: CallContext,
    request: InboundRequest,
) -> wasmtime::Result<Result<Returned, CallEnd>> {
    let Some(world) = &guest.ingest else { return Ok(Err(CallEnd::MissingExport("ingest.receive"))) };
    let limit = store.data().limits.output_bytes;
    let instance = world.instantiate_async(&mut *store).await?;
    let (context, request) = (convert::context(context), convert::inbound_request(request));
    let answer = instance.switchyard_plugin_ingest().call_receive(store, &context, &request).await?;
    Ok(match answer {
        Ok(raw) => convert::received(raw, limit).map(Returned::Received),
        Err(raw) => Err(CallEnd::Error(convert::plugin_error(raw))),
    })
}

async fn handle(
    guest: &Guest,
    store: &mut Store<State>,
    context: CallContext,
    event: HandledEvent,
) -> wasmtime::Result<Result<Returned, CallEnd>> {
    let Some(world) = &guest.handler else { return Ok(Err(CallEnd::MissingExport("handler.handle"))) };
    let limit = store.data().limits.output_bytes;
    let instance = world.instantiate_async(&mut *store).await?;
    let (context, event) = (convert::context(context), convert::event(event));
    let answer = instance.switchyard_plugin_handler().call_handle(store, &context, &event).await?;
    Ok(match answer {
        Ok(raw) => convert::output(raw, limit).map(Returned::Output),
        Err(raw) => Err(CallEnd::Error(convert::plugin_error(raw))),
    })
}

async fn poll(
    guest: &Guest,
    store: &mut Store<State>,
    context: CallContext,
    schedule: &str,
    cursor: Option<&str>,
) -> wasmtime::Result<Result<Returned, CallEnd>> {
    let Some(world) = &guest.poller else { return Ok(Err(CallEnd::MissingExport("poller.poll"))) };
    let limit = store.data().limits.output_bytes;
    let instance = world.instantiate_async(&mut *store).await?;
    let context = convert::context(context);
    let answer = instance.switchyard_plugin_poller().call_poll(store, &context, schedule, cursor).await?;
    Ok(match answer {
        Ok(raw) => convert::poll_output(raw, limit).map(Returned::Polled),
        Err(raw) => Err(CallEnd::Error(convert::plugin_error(raw))),
    })
}

async fn lifecycle(
    guest: &Guest,
    store: &mut Store<State>,
    context: CallContext,
    entry: Entry,
) -> wasmtime::Result<Result<Returned, CallEnd>> {
    let Some(world) = &guest.lifecycle else { return Ok(Err(CallEnd::MissingExport("lifecycle"))) };
    let limit = store.data().limits.output_bytes;
    let instance = world.instantiate_async(&mut *store).await?;
    let functions = instance.switchyard_plugin_lifecycle();
    let context = convert::context(context);
    let answer = match entry {
        Entry::Upgrade { from_version } => functions.call_upgrade(store, &context, &from_version).await?,
        Entry::Uninstall => functions.call_uninstall(store, &context).await?,
        _ => functions.call_install(store, &context).await?,
    };
    Ok(match answer {
        Ok(raw) => convert::output(raw, limit).map(Returned::Output),
        Err(raw) => Err(CallEnd::Error(convert::plugin_error(raw))),
    })
}
