//! Bodies of answers: whole, trickled, or very large, none of which is ever held twice in memory.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior};

const FILLER: &[u8] = &[b'x'; 16 * 1024];

/// The body of an answer.
pub(crate) enum AnswerBody {
    /// Sent at once, with its length announced.
    Whole(Option<Bytes>),
    /// `left` bytes, one at each tick.
    Drip { left: usize, ticks: Interval },
    /// `left` bytes of filler, as fast as the peer reads.
    Huge { left: usize },
}

impl AnswerBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    pub(crate) fn drip(bytes: usize, every: Duration) -> Self {
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Drip { left: bytes, ticks }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Drip { left: 0, .. } | Self::Huge { left: 0 } => None,
            Self::Drip { left, ticks } => {
                ready!(ticks.poll_tick(cx));
                *left -= 1;
                Some(Bytes::from_static(b"."))
            }
            Self::Huge { left } => {
                let size = (*left).min(FILLER.len());
                *left -= size;
                Some(Bytes::from_static(&FILLER[..size]))
            }
        };
        Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Drip { left: 0, .. } | Self::Huge { left: 0 })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Drip { left, .. } | Self::Huge { left } => SizeHint::with_exact(*left as u64),
        }
    }
}
