//! What a path answers: a list of steps for the first requests, then one step for all that follow.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use serde::{Deserialize, Serialize};

use crate::{
    body::AnswerBody,
    http::{Answer, Reply},
};

/// A hang ends after this long, however long the script says.
const LONGEST_HANG: Duration = Duration::from_secs(600);

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Step {
    /// This status at once.
    Status {
        /// For example 200, 410 or 500.
        status: u16,
        /// The header's text: seconds, or an HTTP date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// 200 after a while.
    Delay {
        /// Real milliseconds.
        ms: u64,
    },
    /// No answer while the sender waits, ten minutes at most.
    Hang,
    /// 200 whose body arrives byte by byte.
    Drip {
        /// How many bytes.
        bytes: usize,
        /// Real milliseconds between two of them.
        every_ms: u64,
    },
    /// The connection is closed without an answer.
    Close,
    /// The connection is reset.
    Reset,
    /// 200 with a body of this many bytes.
    Huge {
        /// How many bytes.
        bytes: usize,
    },
    /// 302 to another place.
    Redirect {
        /// The `Location`.
        to: String,
    },
}

impl Step {
    /// A bare status.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, body: String::new() }
    }

    /// The status that the sender is going to see, if it sees one.
    #[must_use]
    pub const fn status_seen(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Delay { .. } | Self::Drip { .. } | Self::Huge { .. } => Some(200),
            Self::Redirect { .. } => Some(302),
            Self::Hang | Self::Close | Self::Reset => None,
        }
    }

    /// Takes as long as it says, and gives the answer.
    pub(crate) async fn perform(self) -> Answer {
        let ok = |body| Reply { body, ..Reply::empty(200) };
        Answer::Reply(match self {
            Self::Status { status, retry_after, body } => {
                let reply = Reply::new(status, "text/plain", body);
                match retry_after {
                    Some(value) => reply.with(RETRY_AFTER, &value),
                    None => reply,
                }
            }
            Self::Delay { ms } => {
                tokio::time::sleep(Duration::from_millis(ms).min(LONGEST_HANG)).await;
                Reply::empty(200)
            }
            Self::Hang => {
                tokio::time::sleep(LONGEST_HANG).await;
                return Answer::Close;
            }
            Self::Drip { bytes, every_ms } => ok(AnswerBody::drip(bytes, Duration::from_millis(every_ms))),
            Self::Huge { bytes } => ok(AnswerBody::Huge { left: bytes }),
            Self::Close => return Answer::Close,
            Self::Reset => return Answer::Reset,
            Self::Redirect { to } => Reply::new(302, "text/plain", Bytes::new()).with(LOCATION, &to),
        })
    }
}

/// The answers of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// For the first requests, one each.
    #[serde(default)]
    pub steps: VecDeque<Step>,
    /// For all that follow.
    #[serde(default = "accept")]
    pub then: Step,
}

const fn accept() -> Step {
    Step::status(200)
}

impl Default for Script {
    /// Accepts everything.
    fn default() -> Self {
        Self { steps: VecDeque::new(), then: accept() }
    }
}

impl Script {
    /// These statuses, one each, and the last of them for ever; none at all accepts everything.
    #[must_use]
    pub fn statuses(statuses: &[u16]) -> Self {
        let then = statuses.last().map_or_else(accept, |status| Step::status(*status));
        Self { steps: statuses.iter().map(|status| Step::status(*status)).collect(), then }
    }

    /// One step, for ever.
    #[must_use]
    pub const fn always(step: Step) -> Self {
        Self { steps: VecDeque::new(), then: step }
    }

    pub(crate) fn next(&mut self) -> Step {
        self.steps.pop_front().unwrap_or_else(|| self.then.clone())
    }
}
