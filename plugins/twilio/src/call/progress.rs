use serde::{Deserialize, Serialize};

use super::report::Step;

/// Where a call stands, in the only order in which calls go. Statuses in between may never be heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Twilio has it.
    Queued,
    /// It is dialled.
    Initiated,
    /// It rings.
    Ringing,
    /// It was answered.
    InProgress,
    /// The caller is put through.
    Transfer,
    /// The caller is recorded.
    Voicemail,
    /// It is over.
    Over,
}

impl Stage {
    /// The stage of Twilio's status; none for one that it did not have when this was written.
    pub fn of_status(status: &str) -> Option<Self> {
        match status {
            "queued" => Some(Self::Queued),
            "initiated" => Some(Self::Initiated),
            "ringing" => Some(Self::Ringing),
            "in-progress" => Some(Self::InProgress),
            "completed" | "busy" | "failed" | "no-answer" | "canceled" => Some(Self::Over),
            _ => None,
        }
    }

    /// The stage that our own document leads to.
    pub fn of_step(step: Step) -> Self {
        match step {
            Step::Transfer => Self::Transfer,
            Step::Voicemail => Self::Voicemail,
        }
    }

    /// The state as other plugins and subscribers know it.
    pub fn state(self) -> &'static str {
        match self {
            Self::Queued | Self::Initiated | Self::Ringing => "initiated",
            Self::InProgress => "active",
            Self::Transfer => "transfer",
            Self::Voicemail => "voicemail",
            Self::Over => "ended",
        }
    }
}

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Progress {
    /// The furthest it has come.
    pub stage: Stage,
    /// Twilio's last status that counted.
    pub status: String,
    /// The highest number of a callback that counted.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// Each transition, oldest first; a call has seven at most.
    pub history: Vec<Transition>,
}

/// A transition that was told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Transition {
    /// Where to.
    pub stage: Stage,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The event that brought the news.
    pub event: String,
}

/// A claim that a call has come somewhere.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// Where to.
    pub stage: Stage,
    /// Twilio's status.
    pub status: &'a str,
    /// Twilio's number of the callback that says so.
    pub sequence: Option<u64>,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The event that brought the news.
    pub event: &'a str,
}

impl Progress {
    /// What is known after some news; none if they change nothing. A call that is over stays as it ended; an end counts
    /// whatever came before; all else counts only if it leads further, and was not sent before what is known already.
    pub fn after(seen: Option<&Self>, news: &News) -> Option<Self> {
        if let Some(seen) = seen {
            let older = seen.sequence.zip(news.sequence).is_some_and(|(seen, new)| new < seen);
            let late = seen.stage == Stage::Over || (news.stage != Stage::Over && (news.stage <= seen.stage || older));
            if late {
                return None;
            }
        }
        let mut history = seen.map(|seen| seen.history.clone()).unwrap_or_default();
        history.push(Transition { stage: news.stage, at: news.at, event: news.event.to_owned() });
        let sequence = news.sequence.max(seen.and_then(|seen| seen.sequence));
        Some(Self { stage: news.stage, status: news.status.to_owned(), sequence, history })
    }
}
