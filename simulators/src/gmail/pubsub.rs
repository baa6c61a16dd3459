//! The topic that Gmail publishes to, and its push subscriptions: delivery until it is acknowledged.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Gmail,
    mailbox::KEPT,
    push::{self, Forgery, Pushed},
};
use crate::clock::format_utc;

/// How long an unacknowledged message is kept, in provider time.
const RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// The shortest time between two notifications about a mailbox, in provider time.
const LIMIT: Duration = Duration::from_secs(1);

/// A topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Whether `gmail-api-push@system.gserviceaccount.com` may publish to it.
    pub publisher: bool,
}

impl Default for Topic {
    fn default() -> Self {
        Self { publisher: true }
    }
}

/// A push subscription with authentication.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// `projects/../subscriptions/..`
    pub name: String,
    /// The topic that it is on.
    pub topic: String,
    /// Where it pushes to.
    pub url: String,
    /// The audience of its tokens; the URL if none is set.
    #[serde(default)]
    pub audience: Option<String>,
    /// The service account whose tokens it sends.
    pub service_account: String,
    /// Provider time that the receiver has to answer.
    #[serde(default = "ten_seconds")]
    pub ack_deadline: Duration,
    /// The shortest and the longest provider time before another try; doubled in between.
    #[serde(default = "usual_backoff")]
    pub backoff: (Duration, Duration),
}

impl Subscription {
    /// A subscription of the usual topic that pushes to `url`, its own audience.
    #[must_use]
    pub fn new(url: impl Into<String>, service_account: impl Into<String>) -> Self {
        Self {
            name: "projects/hub-test/subscriptions/gmail-push".to_owned(),
            topic: super::TOPIC.to_owned(),
            url: url.into(),
            audience: None,
            service_account: service_account.into(),
            ack_deadline: ten_seconds(),
            backoff: usual_backoff(),
        }
    }
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn usual_backoff() -> (Duration, Duration) {
    (Duration::from_secs(10), Duration::from_secs(600))
}

/// A message of the topic.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) message_id: String,
    pub(crate) history_id: u64,
    published_ms: i64,
    data: String,
}

impl Notice {
    /// A notification that a mailbox has come this far.
    pub(crate) fn new(message_id: u64, mailbox: &str, history_id: u64, numeric: bool, now_ms: i64) -> Self {
        let history = if numeric { json!(history_id) } else { json!(history_id.to_string()) };
        let data = json!({"emailAddress": mailbox, "historyId": history}).to_string();
        Self { message_id: message_id.to_string(), history_id, published_ms: now_ms, data: URL_SAFE.encode(data) }
    }

    /// The push's body, with every field in both spellings.
    pub(crate) fn envelope(&self, subscription: &str) -> Value {
        let at = format_utc(self.published_ms, "%Y-%m-%dT%H:%M:%S.%3fZ");
        json!({"message": {"attributes": {}, "data": self.data, "messageId": self.message_id,
            "message_id": self.message_id, "publishTime": at, "publish_time": at}, "subscription": subscription})
    }
}

/// Announces a change of a message with these labels, if somebody asked for that.
pub(crate) fn announce(gmail: &Arc<Gmail>, labels: &[&str]) {
    let now = gmail.clock.now_ms();
    let (notices, topic) = {
        let mut mailbox = gmail.mailbox();
        let Some(watch) = mailbox.watch.as_ref().filter(|watch| watch.announces(labels, now)) else { return };
        let topic = watch.topic.clone();
        if mailbox.behaviour.limit_notifications {
            let since = mailbox.notified_at_ms.map(|at| now.saturating_sub(at));
            if since.is_some_and(|since| since < gmail.scaled_ms(LIMIT)) {
                return;
            }
        }
        mailbox.notified_at_ms = Some(now);
        let notice = next(gmail, &mut mailbox, now);
        if mailbox.held_back.is_none() && gmail.faults.take_out_of_order("push") {
            // It leaves after the next one.
            mailbox.held_back = Some(notice);
            return;
        }
        let late = mailbox.held_back.take();
        (std::iter::once(notice).chain(late).collect(), topic)
    };
    publish(gmail, &topic, notices);
}

/// Announces where the mailbox stands, as after `watch`.
pub(crate) fn announce_anyway(gmail: &Arc<Gmail>) {
    let now = gmail.clock.now_ms();
    let (notice, topic) = {
        let mut mailbox = gmail.mailbox();
        let Some(topic) = mailbox.watch.as_ref().filter(|watch| watch.lasts(now)).map(|watch| watch.topic.clone())
        else {
            return;
        };
        (next(gmail, &mut mailbox, now), topic)
    };
    publish(gmail, &topic, vec![notice]);
}

/// Publishes the last notification again.
pub(crate) fn republish(gmail: &Arc<Gmail>, fresh_id: bool) {
    let (mut notice, topic) = {
        let mut mailbox = gmail.mailbox();
        let Some(notice) = mailbox.last_notice.clone() else { return };
        mailbox.notices += 1;
        let topic = mailbox.watch.as_ref().map_or_else(|| super::TOPIC.to_owned(), |watch| watch.topic.clone());
        (notice, topic)
    };
    if fresh_id {
        notice.message_id = gmail.mailbox().notices.to_string();
    }
    publish(gmail, &topic, vec![notice]);
}

fn next(gmail: &Gmail, mailbox: &mut super::mailbox::Mailbox, now: i64) -> Notice {
    mailbox.notices += 17;
    let numeric = mailbox.behaviour.numeric_history_id;
    let notice = Notice::new(mailbox.notices, &gmail.address, mailbox.history_id, numeric, now);
    mailbox.last_notice = Some(notice.clone());
    notice
}

/// Hands messages to every subscription of the topic, in this order.
fn publish(gmail: &Arc<Gmail>, topic: &str, notices: Vec<Notice>) {
    let subscriptions: Vec<Subscription> =
        gmail.mailbox().subscriptions.iter().filter(|found| found.topic == topic).cloned().collect();
    for subscription in subscriptions {
        let (gmail, notices) = (Arc::clone(gmail), notices.clone());
        tokio::spawn(async move {
            let stop = gmail.shutdown.clone();
            let deliveries = async {
                for notice in &notices {
                    deliver(&gmail, &subscription, notice).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = deliveries => {}
            }
        });
    }
}

/// Delivers a message until it is acknowledged or its retention ends.
async fn deliver(gmail: &Gmail, subscription: &Subscription, notice: &Notice) {
    let plan = gmail.faults.take_webhook("push");
    tokio::time::sleep(gmail.time_factor.scale(plan.delay)).await;
    let place = begin(gmail, subscription, notice);
    let forgery = if plan.wrong_signature { Forgery::OtherKey } else { Forgery::None };
    let (mut wait, longest) = subscription.backoff;
    let mut waited = Duration::ZERO;
    let mut forgery = forgery;
    while !attempt(gmail, subscription, notice, forgery, place).await && waited < RETENTION {
        forgery = Forgery::None;
        tokio::time::sleep(gmail.time_factor.scale(wait)).await;
        waited += wait;
        wait = (wait * 2).min(longest).max(Duration::from_millis(100));
    }
    if plan.duplicate {
        let place = begin(gmail, subscription, notice);
        attempt(gmail, subscription, notice, Forgery::None, place).await;
    }
}

/// Notes a push that begins; answers where it is noted.
fn begin(gmail: &Gmail, subscription: &Subscription, notice: &Notice) -> u64 {
    let mut mailbox = gmail.mailbox();
    let number = mailbox.pushed.back().map_or(0, |last| last.number + 1);
    if mailbox.pushed.len() == KEPT {
        mailbox.pushed.pop_front();
    }
    mailbox.pushed.push_back(Pushed {
        number,
        message_id: notice.message_id.clone(),
        subscription: subscription.name.clone(),
        history_id: notice.history_id,
        statuses: Vec::new(),
        acked: false,
    });
    number
}

/// Whether a try was acknowledged.
async fn attempt(gmail: &Gmail, subscription: &Subscription, notice: &Notice, forgery: Forgery, number: u64) -> bool {
    let body = notice.envelope(&subscription.name).to_string();
    let status = push::post(gmail, subscription, body, forgery).await.ok().map(|answered| answered.status);
    let acked = matches!(status, Some(102 | 200 | 201 | 202 | 204));
    if let Some(pushed) = gmail.mailbox().pushed.iter_mut().find(|pushed| pushed.number == number) {
        pushed.statuses.push(status.unwrap_or(0));
        pushed.acked = acked;
    }
    gmail.pushes.send_modify(|version| *version += 1);
    acked
}
