use serde::Deserialize;
use switchyard_sdk::prelude::*;

use crate::config::Config;

/// A person asked for no more messages from a number, or for messages again.
pub const OUT: &str = "sms.opt_out";

/// See [`OUT`].
pub const IN: &str = "sms.opt_in";

/// The data of both.
#[derive(Deserialize)]
struct Wish {
    from: String,
    to: String,
    #[serde(default)]
    messaging_service_id: Option<String>,
}

/// Remembers what a person wants, whoever heard of it first: this plugin, a rule, or an admin.
pub fn wish(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let wish: Wish = event.parse()?;
    for us in [Some(&wish.to), wish.messaging_service_id.as_ref()].into_iter().flatten() {
        if event.event_type == OUT {
            remember(ctx, &wish.from, us)?;
        } else {
            ctx.kv().delete(&key(&wish.from, us))?;
        }
    }
    Ok(Output::none())
}

/// Remembers that a person wants no messages from `us`, a number or a messaging service. It has no end: only the person
/// can take it back.
pub fn remember(ctx: &Ctx<Config>, person: &str, us: &str) -> Result<(), PluginError> {
    Ok(ctx.kv().set(&key(person, us), b"out", &KvOptions::default().about(person))?)
}

/// Refuses a message to somebody who does not want it, before Twilio is asked.
pub fn check(ctx: &Ctx<Config>, person: &str, us: &str) -> Result<(), PluginError> {
    if ctx.kv().get(&key(person, us))?.is_none() {
        return Ok(());
    }
    let message = "The recipient asked for no more messages from this sender.";
    Err(PluginError::reject(Reason::Policy, "opted_out", message))
}

fn key(person: &str, us: &str) -> String {
    format!("optout/{person}/{us}")
}
