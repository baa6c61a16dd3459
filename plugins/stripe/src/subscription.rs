use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_sdk::prelude::*;

use crate::notice::{Notice, seconds, text};

/// What one event says of one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saying {
    /// The event.
    pub event_id: String,
    /// When it happened, in seconds since 1970.
    pub at: u64,
    /// Whether it is the creation, a change, or the end.
    pub step: Step,
    /// The connected account, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Whose it is.
    pub customer_id: String,
    /// Which.
    pub subscription_id: String,
    /// Stripe's word for its state.
    pub status: String,
    /// What that was before, where this event changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_status: Option<String>,
    /// The price's look-up key, else its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The product of the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    /// The end of the trial, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_end: Option<u64>,
    /// The end of what was paid for, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_end: Option<u64>,
    /// When it ends or ended for good, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<u64>,
}

/// Which moment of a subscription's life an event reports. Of one second, a later step is the later event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It began.
    Created,
    /// It changed.
    Changed,
    /// It is over.
    Ended,
}

/// How many events of one second are kept of one subscription.
const KEPT: usize = 32;

/// Stripe's states in the order of a life, for events of one second that do not say what was before.
const LIFE: [&str; 8] =
    ["incomplete", "trialing", "active", "past_due", "unpaid", "paused", "incomplete_expired", "canceled"];

impl Saying {
    /// Reads it from an event whose object is a subscription.
    pub fn read(notice: &Notice, step: Step) -> Result<Self, PluginError> {
        let object = notice.object;
        let item = object.pointer("/items/data/0").unwrap_or(&Value::Null);
        let price = item.get("price").or(item.get("plan")).or(object.get("plan")).unwrap_or(&Value::Null);
        let product = price.get("product").and_then(|product| product.as_str().or_else(|| text(product, "id")));
        // Newer versions of Stripe's API say the period of each item and not of the subscription.
        let period_end = seconds(object, "current_period_end").or(seconds(item, "current_period_end"));
        let leaving = object.get("cancel_at_period_end").and_then(Value::as_bool).unwrap_or(false);
        let ends_at = seconds(object, "ended_at").or(seconds(object, "cancel_at")).or(period_end.filter(|_| leaving));
        Ok(Self {
            event_id: notice.id.to_owned(),
            at: notice.created,
            step,
            account: notice.account.map(str::to_owned),
            customer_id: notice.reference("customer").ok_or_else(|| notice.unreadable("customer"))?.to_owned(),
            subscription_id: notice.object_id()?.to_owned(),
            status: notice.require("status")?.to_owned(),
            previous_status: text(notice.previous, "status").map(str::to_owned),
            plan: text(price, "lookup_key").or(text(price, "id")).map(str::to_owned),
            product_id: product.map(str::to_owned),
            trial_end: seconds(object, "trial_end"),
            period_end,
            ends_at,
        })
    }

    /// Whether it is the entry into a state.
    fn is_move(&self) -> bool {
        self.step == Step::Created || self.previous_status.as_ref().is_some_and(|previous| *previous != self.status)
    }

    /// Ended for good: such a subscription is never taken up again.
    pub fn is_over(&self) -> bool {
        self.step == Step::Ended || matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }

    fn place(&self) -> usize {
        LIFE.iter().position(|status| *status == self.status).unwrap_or(0)
    }
}

/// What is known of one subscription: all that was said of its newest second. Stripe delivers in any order and stamps
/// whole seconds, in which a subscription can go through several states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Of one second, in no order; at least one.
    newest: Vec<Saying>,
    /// The second before that of which anything was said, and the state in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<(u64, String)>,
}

impl Subscription {
    /// What the first event says.
    pub fn new(saying: &Saying) -> Self {
        Self { newest: vec![saying.clone()], before: None }
    }

    /// Takes what an event says; whether it was news. What is over stays over. What is older only says where the newest
    /// second began.
    pub fn take(&mut self, saying: &Saying) -> bool {
        let Some(known) = self.current().cloned() else {
            *self = Self::new(saying);
            return true;
        };
        if known.is_over() || self.newest.iter().any(|said| said.event_id == saying.event_id) {
            return false;
        }
        if saying.is_over() || saying.at > known.at {
            *self = Self { newest: vec![saying.clone()], before: Some((known.at, known.status)) };
            return true;
        }
        if saying.at < known.at {
            let is_news = self.before.as_ref().is_none_or(|(at, _)| saying.at > *at);
            if is_news {
                self.before = Some((saying.at, saying.status.clone()));
            }
            return is_news;
        }
        if self.newest.len() >= KEPT {
            return false;
        }
        self.newest.push(saying.clone());
        true
    }

    /// How it stands. Each event of the second that names the state before leads from there to its own, and the way
    /// through all of them ends in the state that is entered once more than it is left. A way that leads back to where
    /// it began ends in the state before that second.
    pub fn current(&self) -> Option<&Saying> {
        let entered = |status: &str| self.newest.iter().filter(|said| said.is_move() && said.status == status).count();
        let left = |status: &str| {
            self.newest.iter().filter(|said| said.is_move() && said.previous_status.as_deref() == Some(status)).count()
        };
        let ends = |said: &Saying| entered(&said.status) > left(&said.status);
        let rank = |said: &&Saying| {
            let is_before = self.before.as_ref().is_some_and(|(_, status)| *status == said.status);
            (ends(said), is_before, said.step, said.place(), said.period_end, said.event_id.clone())
        };
        self.newest.iter().max_by_key(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(event: &str, at: u64, step: Step, status: &str, previous: Option<&str>) -> Saying {
        Saying {
            event_id: event.to_owned(),
            at,
            step,
            account: None,
            customer_id: "cus_1".to_owned(),
            subscription_id: "sub_1".to_owned(),
            status: status.to_owned(),
            previous_status: previous.map(str::to_owned),
            plan: None,
            product_id: None,
            trial_end: None,
            period_end: None,
            ends_at: None,
        }
    }

    fn life() -> Vec<Saying> {
        vec![
            saying("evt_1", 10, Step::Created, "trialing", None),
            saying("evt_2", 10, Step::Changed, "active", Some("trialing")),
            saying("evt_3", 10, Step::Changed, "past_due", Some("active")),
            saying("evt_4", 10, Step::Changed, "active", Some("past_due")),
        ]
    }

    #[test]
    fn a_life_in_one_second_ends_the_same_in_every_order_and_however_often_it_is_told() {
        let life = life();
        for first in 0..4 {
            for stride in [1, 3] {
                let mut known: Option<Subscription> = None;
                for step in 0..12 {
                    let saying = &life[(first + step * stride) % 4];
                    match &mut known {
                        Some(known) => {
                            let _ = known.take(saying);
                        }
                        None => known = Some(Subscription::new(saying)),
                    }
                }
                assert_eq!(known.unwrap().current().unwrap().status, "active", "from {first} by {stride}");
            }
        }
    }

    #[test]
    fn a_way_back_ends_where_the_second_before_did() {
        let mut known = Subscription::new(&saying("evt_1", 10, Step::Created, "active", None));
        for (event, status, previous) in [("evt_3", "active", "past_due"), ("evt_2", "past_due", "active")] {
            assert!(known.take(&saying(event, 20, Step::Changed, status, Some(previous))));
        }
        assert_eq!(known.current().unwrap().status, "active");
    }

    #[test]
    fn what_is_older_changes_nothing_and_what_is_over_stays_over() {
        let mut known = Subscription::new(&saying("evt_2", 20, Step::Changed, "active", None));
        let _ = known.take(&saying("evt_1", 10, Step::Created, "trialing", None));
        assert_eq!(known.current().unwrap().status, "active");
        assert!(!known.take(&saying("evt_2", 20, Step::Changed, "active", None)), "a repetition");
        assert!(
            known.take(&saying("evt_3", 15, Step::Ended, "canceled", None)),
            "an end counts whenever it is stamped"
        );
        assert!(!known.take(&saying("evt_4", 99, Step::Changed, "active", Some("canceled"))));
        assert_eq!(known.current().unwrap().status, "canceled");
    }

    #[test]
    fn a_second_full_of_events_is_kept_within_bounds() {
        let mut known = Subscription::new(&saying("evt_0", 10, Step::Created, "active", None));
        let taken = (1..100).filter(|n| known.take(&saying(&format!("evt_{n}"), 10, Step::Changed, "active", None)));
        assert_eq!(taken.count(), KEPT - 1);
    }
}
