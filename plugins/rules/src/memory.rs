//! How often a rule may act, and for what it has acted already. What is written here becomes durable with what the run
//! emits, in one step; two runs that write the same key at once are one after the other, since the later one starts again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchyard_sdk::prelude::*;

use crate::Config;
use crate::matched::{Matched, Throttle};

/// Whether a rule may act.
pub enum Leave {
    /// It may, and that is noted.
    Given,
    /// It has acted often enough for now.
    Throttled,
    /// It has acted for this already.
    Once,
}

/// What was done for a key: by which event, and when.
#[derive(Clone, Deserialize, Serialize)]
struct Act {
    event: String,
    at: u64,
}

/// Asks for leave, and notes that it was given.
pub fn ask(ctx: &Ctx<Config>, event: &Event, rule: &Matched) -> Result<Leave, PluginError> {
    if let Some(key) = &rule.once {
        let before: Option<Act> = ctx.kv().get_json(key)?;
        // The same event again is a replay, whose emissions are known by their keys.
        if before.is_some_and(|before| before.event != event.id) {
            return Ok(Leave::Once);
        }
    }
    if let Some(throttle) = &rule.throttle
        && !passes(ctx, event, throttle)?
    {
        return Ok(Leave::Throttled);
    }
    if let Some(key) = &rule.once {
        ctx.kv().update(key, &KvOptions::default(), |before: Option<Act>| match before {
            Some(_) => None,
            None => Some(Act { event: event.id.clone(), at: ctx.time() }),
        })?;
    }
    Ok(Leave::Given)
}

/// Whether the last period has room for one more, which is then taken.
fn passes(ctx: &Ctx<Config>, event: &Event, throttle: &Throttle) -> Result<bool, PluginError> {
    let period = throttle.period_s.saturating_mul(1000);
    let since = ctx.time().saturating_sub(period);
    let mut passes = false;
    ctx.kv().update(
        &throttle.key,
        &KvOptions::ttl(Duration::from_secs(throttle.period_s)),
        |acts: Option<Vec<Act>>| {
            let mut acts = acts.unwrap_or_default();
            acts.retain(|act| act.at > since);
            // A replay of an event that passed takes no more room.
            let known = acts.iter().any(|act| act.event == event.id);
            passes = known || (acts.len() as u64) < throttle.count;
            if !passes || known {
                return None;
            }
            acts.push(Act { event: event.id.clone(), at: ctx.time() });
            Some(acts)
        },
    )?;
    Ok(passes)
}
