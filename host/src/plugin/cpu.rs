//! CPU time of one call: that of the thread while it polls the call, without the time in host calls. A guest on a
//! busy machine is thus not charged for waiting its turn.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use rustix::time::{ClockId, clock_gettime};

use super::turn::{SHORT_MS, Turn};

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// What a call has used. Only one thread polls a call at a time, so the two numbers need no common order.
#[derive(Debug)]
pub(super) struct CpuMeter {
    before_ns: AtomicU64,
    slice_start_ns: AtomicU64,
    turn: Turn,
}

impl CpuMeter {
    /// A meter at zero, for a call that takes its turns from `turn` once it is no longer short.
    pub(super) fn new(turn: Turn) -> Self {
        Self { before_ns: AtomicU64::new(0), slice_start_ns: AtomicU64::new(0), turn }
    }

    /// The turn that the call needs to go on, to be asked from within a poll.
    pub(super) fn turn(&self) -> Option<&Turn> {
        (self.within_poll_ns() / 1_000_000 >= SHORT_MS).then_some(&self.turn)
    }

    /// Nanoseconds up to now, to be asked from within a poll.
    pub(super) fn within_poll_ns(&self) -> u64 {
        let slice = thread_ns().saturating_sub(self.slice_start_ns.load(Ordering::Relaxed));
        self.before_ns.load(Ordering::Relaxed).saturating_add(slice)
    }

    /// Milliseconds of all polls that ended, rounded up.
    pub(super) fn used_ms(&self) -> u64 {
        self.before_ns.load(Ordering::Relaxed).div_ceil(1_000_000)
    }
}

/// Charges `inner` to `meter`.
pub(super) struct Metered<F> {
    inner: Pin<Box<F>>,
    meter: Arc<CpuMeter>,
}

impl<F: Future> Metered<F> {
    pub(super) fn new(inner: F, meter: Arc<CpuMeter>) -> Self {
        Self { inner: Box::pin(inner), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.slice_start_ns.store(thread_ns(), Ordering::Relaxed);
        let result = self.inner.as_mut().poll(cx);
        let used = self.meter.within_poll_ns();
        self.meter.before_ns.store(used, Ordering::Relaxed);
        result
    }
}

/// Takes what `inner` uses off the bill: a host call inside a metered call.
pub(super) struct OffBudget<'m, F> {
    inner: F,
    meter: &'m CpuMeter,
}

impl<'m, F: Future + Unpin> OffBudget<'m, F> {
    pub(super) const fn new(inner: F, meter: &'m CpuMeter) -> Self {
        Self { inner, meter }
    }
}

impl<F: Future + Unpin> Future for OffBudget<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let start = thread_ns();
        let result = Pin::new(&mut self.inner).poll(cx);
        if result.is_pending() {
            self.meter.turn.give();
        }
        self.meter.slice_start_ns.fetch_add(thread_ns().saturating_sub(start), Ordering::Relaxed);
        result
    }
}
