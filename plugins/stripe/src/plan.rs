use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;
use switchyard_sdk::time::rfc3339;

use crate::catalogue::PLAN_CHANGED;
use crate::config::Config;
use crate::subscription::{Saying, Subscription};

/// How many subscriptions of one customer are kept; what is over goes first.
const KEPT: usize = 16;

/// What a customer may use, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Paid for.
    Active,
    /// For nothing, until the trial ends.
    Trialing,
    /// A payment failed, and Stripe still tries.
    PastDue,
    /// Nothing may be used: it is over, was never begun, or nobody pays.
    Canceled,
}

impl State {
    /// The state that follows from Stripe's. A state that is not known gives nothing away.
    fn of(status: &str) -> Self {
        match status {
            "active" => Self::Active,
            "trialing" => Self::Trialing,
            "past_due" => Self::PastDue,
            _ => Self::Canceled,
        }
    }
}

/// The plan of a customer, as it was last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    state: State,
    status: String,
    subscription_id: String,
    plan: Option<String>,
    product_id: Option<String>,
    /// Since when the state holds, in seconds since 1970.
    since: u64,
    /// How long it holds without news, in seconds since 1970.
    until: Option<u64>,
    ends_at: Option<u64>,
}

/// All that is known of a customer: every subscription by its id, and what was told of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Customer {
    subscriptions: SortedMap<String, Subscription>,
    plan: Option<Plan>,
}

/// Takes what an event said of a subscription, unless a later one was here before, and tells if the plan changed.
pub fn seen(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let saying: Saying = event.parse()?;
    let key = format!("customer/{}/{}", saying.account.as_deref().unwrap_or_default(), saying.customer_id);
    let mut told = None;
    ctx.kv().update(&key, &KvOptions::default(), |known: Option<Customer>| {
        let mut customer = known.unwrap_or_default();
        told = None;
        if !customer.take(&saying) {
            return None;
        }
        let before = customer.plan.clone();
        let now = customer.judged();
        if before != now {
            told = now.clone().map(|now| (before, now));
        }
        customer.plan = now;
        Some(customer)
    })?;
    Ok(told.map_or_else(Output::none, |(before, now)| changed(&saying, before.as_ref(), &now).into()))
}

impl Customer {
    /// Whether it is news.
    fn take(&mut self, saying: &Saying) -> bool {
        if let Some(known) = self.subscriptions.get_mut(&saying.subscription_id) {
            return known.take(saying);
        }
        if self.subscriptions.len() >= KEPT {
            self.forget_one();
        }
        self.subscriptions.insert(saying.subscription_id.clone(), Subscription::new(saying));
        true
    }

    fn forget_one(&mut self) {
        let age = |known: &Subscription| known.current().map(|saying| (!saying.is_over(), saying.at));
        let least = self.subscriptions.iter().min_by_key(|(_, known)| age(known)).map(|(id, _)| id.clone());
        if let Some(least) = least {
            self.subscriptions.remove(&least);
        }
    }

    /// The best of all subscriptions; of equal ones the latest. The state holds since its event unless it held before.
    fn judged(&self) -> Option<Plan> {
        let rank = |known: &&Saying| (State::of(&known.status), Reverse(known.at), known.subscription_id.clone());
        let best = self.subscriptions.values().filter_map(Subscription::current).min_by_key(rank)?;
        let state = State::of(&best.status);
        let since = self.plan.as_ref().filter(|plan| plan.state == state).map_or(best.at, |plan| plan.since);
        let until = match state {
            State::Trialing => best.trial_end.or(best.period_end),
            State::Active => best.ends_at.or(best.period_end),
            State::PastDue | State::Canceled => None,
        };
        Some(Plan {
            state,
            status: best.status.clone(),
            subscription_id: best.subscription_id.clone(),
            plan: best.plan.clone(),
            product_id: best.product_id.clone(),
            since,
            until,
            ends_at: best.ends_at,
        })
    }
}

fn changed(saying: &Saying, before: Option<&Plan>, now: &Plan) -> Emit {
    let mut data = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            data.insert(name.to_owned(), value);
        }
    };
    let time = |seconds: u64| json!(rfc3339(seconds.saturating_mul(1000)));
    put("customer_id", Some(json!(saying.customer_id)));
    put("account", saying.account.as_ref().map(|account| json!(account)));
    put("state", Some(json!(now.state)));
    put("status", Some(json!(now.status)));
    put("previous_state", before.map(|before| json!(before.state)));
    put("since", Some(time(now.since)));
    put("until", now.until.map(time));
    put("ends_at", now.ends_at.map(time));
    put("plan", now.plan.as_ref().map(|plan| json!(plan)));
    put("product_id", now.product_id.as_ref().map(|product| json!(product)));
    put("subscription_id", Some(json!(now.subscription_id)));
    Emit::new(PLAN_CHANGED, Value::Object(data))
        .subject(&saying.customer_id)
        .time(saying.at.saturating_mul(1000))
        .dedupe(format!("stripe:{}:plan", saying.event_id))
        .ordering(format!("stripe:{}", saying.customer_id))
}
