//! `watch` and `stop`: for how long, and about what, Gmail announces changes.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gmail, errors::ApiError, pubsub};
use crate::http::Call;

/// How long a watch lasts, in provider time.
const LASTS: Duration = Duration::from_secs(7 * 86_400);

/// What Gmail announces.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) topic: String,
    labels: Vec<String>,
    exclude: bool,
    /// When it ends, by the clock. The stamp in the answer is not scaled, so it is later than this under a time factor.
    ends_at_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    topic_name: Option<String>,
    #[serde(default)]
    label_ids: Vec<String>,
    #[serde(default, alias = "labelFilterAction")]
    label_filter_behavior: Option<String>,
}

/// `watch`: replaces the one before, and announces at once.
pub(crate) fn watch(gmail: &Arc<Gmail>, call: &Call) -> Result<Value, ApiError> {
    let wanted: Wanted = call.json().map_err(|_| ApiError::bad_request("Invalid JSON payload received."))?;
    let topic = wanted.topic_name.ok_or_else(|| ApiError::bad_request("topicName required"))?;
    let parts: Vec<&str> = topic.split('/').collect();
    if !matches!(parts.as_slice(), ["projects", project, "topics", name] if !project.is_empty() && !name.is_empty()) {
        return Err(ApiError::bad_request(format!("Invalid topicName does not match projects/*/topics/*: {topic}")));
    }
    let exclude = match wanted.label_filter_behavior.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("include") => false,
        Some("exclude") => true,
        Some(other) => {
            return Err(ApiError::bad_request(format!("Invalid value at 'label_filter_behavior': {other}")));
        }
    };
    let now = gmail.clock.now_ms();
    let answer = {
        let mut mailbox = gmail.mailbox();
        match mailbox.topics.get(&topic) {
            None => {
                return Err(ApiError::bad_request(format!(
                    "Error sending test message to Cloud PubSub {topic} : Resource not found (resource={topic})."
                )));
            }
            Some(found) if !found.publisher => {
                let message = format!(
                    "Error sending test message to Cloud PubSub {topic} : User not authorized to perform this action."
                );
                return Err(ApiError::forbidden("forbidden", message));
            }
            Some(_) => {}
        }
        if let Some(unknown) = wanted.label_ids.iter().find(|label| !mailbox.labels.contains_key(*label)) {
            return Err(ApiError::bad_request(format!("Invalid label: {unknown}")));
        }
        let ends_at_ms = now.saturating_add(gmail.scaled_ms(LASTS));
        mailbox.watch = Some(Watch { topic, labels: wanted.label_ids, exclude, ends_at_ms });
        let expires = now.saturating_add(i64::try_from(LASTS.as_millis()).unwrap_or(i64::MAX));
        json!({"historyId": mailbox.history_id.to_string(), "expiration": expires.to_string()})
    };
    pubsub::announce_anyway(gmail);
    Ok(answer)
}

/// Whether changes are announced now.
pub(crate) fn is_watched(gmail: &Gmail) -> bool {
    let now = gmail.clock.now_ms();
    gmail.mailbox().watch.as_ref().is_some_and(|watch| watch.ends_at_ms > now)
}

impl Watch {
    /// Whether a change of a message with these labels is announced at `now_ms`.
    pub(crate) fn announces(&self, labels: &[&str], now_ms: i64) -> bool {
        let named = self.labels.iter().any(|label| labels.contains(&label.as_str()));
        self.ends_at_ms > now_ms && (self.labels.is_empty() || named != self.exclude)
    }

    /// Whether it has not ended.
    pub(crate) const fn lasts(&self, now_ms: i64) -> bool {
        self.ends_at_ms > now_ms
    }
}
