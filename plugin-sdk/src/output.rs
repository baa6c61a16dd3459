use std::time::Duration;

use serde_json::Value;

use crate::host::Header;

/// An event or command that the plugin asks the host to accept. The host sets id, source and causation.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    /// Covered by the manifest's `emits` and the admin's grants.
    pub event_type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When the fact happened; none means the time of the run.
    pub time: Option<u64>,
    /// Events with equal keys reach one target in the order of acceptance.
    pub ordering_key: Option<String>,
    /// A second event of this installation with an equal key inside 35 days is dropped.
    pub dedupe_key: Option<String>,
    /// Only from an app's `receive`: the provider's name of the account.
    pub account: Option<String>,
    /// When it is no longer worth delivering; none means the default of its type.
    pub expires_at: Option<u64>,
    /// Asks for the emergency lane, which needs a grant.
    pub emergency: bool,
    /// The payload.
    pub data: Value,
    /// Data added inside this line of the contract.
    pub extensions: Option<Value>,
}

impl Emit {
    /// An event with nothing but type and payload.
    pub fn new(event_type: impl Into<String>, data: Value) -> Self {
        Self {
            event_type: event_type.into(),
            subject: None,
            time: None,
            ordering_key: None,
            dedupe_key: None,
            account: None,
            expires_at: None,
            emergency: false,
            data,
            extensions: None,
        }
    }

    /// What it is about.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// When the fact happened, in milliseconds since 1970.
    pub fn time(mut self, time: u64) -> Self {
        self.time = Some(time);
        self
    }

    /// What it is kept in order with.
    pub fn ordering(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// What makes it the same as another. Build it from the provider's identity and signed bytes only, never from the
    /// delivery, so that webhook, poll and command collapse into one event.
    pub fn dedupe(mut self, key: impl Into<String>) -> Self {
        self.dedupe_key = Some(key.into());
        self
    }

    /// The provider's account, from an app's `receive`.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// When it is no longer worth delivering, in milliseconds since 1970.
    pub fn expires_at(mut self, time: u64) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// In the emergency lane.
    pub fn emergency(mut self) -> Self {
        self.emergency = true;
        self
    }
}

/// What a successful run leaves: events, accepted in this order with the transaction that settles the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The events.
    pub events: Vec<Emit>,
}

impl Output {
    /// Nothing to say.
    pub fn none() -> Self {
        Self::default()
    }
}

impl From<Emit> for Output {
    fn from(event: Emit) -> Self {
        Self { events: vec![event] }
    }
}

impl From<Vec<Emit>> for Output {
    fn from(events: Vec<Emit>) -> Self {
        Self { events }
    }
}

/// An HTTP answer for the provider that called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Fields.
    pub headers: Vec<Header>,
    /// At most 64 KiB.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// 200 with a body of this media type.
    pub fn content(media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let header = Header { name: "content-type".to_owned(), value: media_type.as_bytes().to_vec() };
        Self { status: 200, headers: vec![header], body: body.into() }
    }
}

/// What an inbound request turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// Authentic: the events are stored, then the answer is given.
    Accepted {
        /// Accepted in this order, durable before the answer.
        events: Vec<Emit>,
        /// None means 200 with an empty body.
        reply: Option<Reply>,
        /// Schedules of the manifest that become due with it.
        poll_now: Vec<String>,
    },
    /// A handshake, ping or notification to ignore: answered, not stored.
    Handled(Reply),
    /// Not proven to be from the provider: 401. The text is for the tenant's admin and is not sent.
    Unauthenticated(String),
}

impl Received {
    /// Authentic, with these events and the default answer.
    pub fn accepted(events: Vec<Emit>) -> Self {
        Self::Accepted { events, reply: None, poll_now: Vec::new() }
    }

    /// Not proven to be from the provider.
    pub fn unauthenticated(why: impl Into<String>) -> Self {
        Self::Unauthenticated(why.into())
    }

    /// The same with this answer; without effect on a refusal.
    pub fn reply(self, reply: Reply) -> Self {
        match self {
            Self::Accepted { events, poll_now, .. } => Self::Accepted { events, reply: Some(reply), poll_now },
            Self::Handled(_) => Self::Handled(reply),
            Self::Unauthenticated(why) => Self::Unauthenticated(why),
        }
    }
}

/// What a poll found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PollOutput {
    /// Events to accept.
    pub events: Vec<Emit>,
    /// Where to go on, at most 16 KiB; none forgets it.
    pub cursor: Option<String>,
    /// Call again at once, as a new run.
    pub has_more: bool,
    /// Next call not later than this.
    pub next_in: Option<Duration>,
}
