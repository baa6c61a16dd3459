use serde::Deserialize;
use switchyard_sdk::prelude::*;

use crate::client;
use crate::command::{bad, calendar};
use crate::config::Config;
use crate::create::fetch;
use crate::event;
use crate::snapshot::Snapshot;

/// The data of `appointment.cancel`.
#[derive(Clone, Debug, Deserialize)]
pub struct Command {
    #[serde(default)]
    calendar_id: Option<String>,
    appointment_id: String,
    /// Whether those who were invited get mail.
    #[serde(default = "yes")]
    notify: bool,
}

fn yes() -> bool {
    true
}

/// Cancels an appointment; one that is cancelled already is as good.
pub fn cancel(ctx: &Ctx<Config>, asked: &Event) -> Result<Output, PluginError> {
    let command: Command = asked.parse()?;
    let id = &command.appointment_id;
    let calendar = calendar(&ctx.config, command.calendar_id.as_deref())?;
    let Some(known) = fetch(ctx, calendar, id)? else {
        return Err(bad("appointment_id", "`appointment_id` names no appointment of this calendar."));
    };
    if !known.cancelled {
        let mail = command.notify && !known.guests.is_empty();
        let request =
            client::event(ctx, Method::Delete, calendar, id).query("sendUpdates", if mail { "all" } else { "none" });
        if let Some(response) = client::written(&request)?
            && !matches!(response.status, 200..=299 | 404 | 410)
        {
            return Err(client::refusal(&response));
        }
    }
    let mut snapshot = Snapshot::new(ctx, calendar);
    snapshot.prepare(std::iter::once(id.as_str()))?;
    let life = snapshot.get(id).map_or(1, |entry| entry.life);
    let times = known.start.as_ref().zip(known.end.as_ref());
    let times = times.map(|(start, end)| (start.text.as_str(), end.text.as_str()));
    Ok(event::cancelled(calendar, id, known.title.as_deref(), times, life).into())
}
