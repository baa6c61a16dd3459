//! Requests of a run that reach people: they leave only in a run of the command that asks for it, and only to whom that
//! command names.

use serde_json::Value;

use super::{
    calls::{RunCalls, RunStop},
    turn::Turned,
};
use crate::{
    directory::view::ConnectionView,
    event::Urgency,
    plugin::{
        host_calls::Stop,
        model::{ConnectionSpec, HttpError, HttpRequest},
    },
    policy::{
        address::Channel,
        consent::ConsentState,
        gate::{self, Asked, Told},
        reach,
    },
};

/// Fields by which a request asks to be taken for one of another method.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

impl RunCalls {
    /// Lets a request through its gate, if it has one. Answers whom the provider would invite by it.
    ///
    /// # Errors
    /// It is not open here, in words for the plugin's author.
    pub(super) fn pass_gate(
        &self,
        connection: &ConnectionView,
        spec: &ConnectionSpec,
        request: &HttpRequest,
        path: &str,
        body: &[u8],
    ) -> Result<Vec<String>, String> {
        let provider = &connection.row.provider;
        let base = connection.row.base_url.as_deref().unwrap_or(&spec.base_url);
        // A connection's own address does not hide what the plugin means to call.
        let urls = [base, &*spec.base_url].map(|base| url::Url::parse(base).ok());
        let below = urls[0].as_ref().map_or("", |url| url.path()).trim_end_matches('/');
        let path = format!("{below}{path}");
        let overridden =
            request.headers.iter().any(|field| OVERRIDES.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
        let found = urls.iter().flatten().find_map(|url| {
            let host = url.host_str().unwrap_or_default();
            gate::gate(&Asked { provider, host, method: request.method.as_str(), path: &path, overridden })
        });
        let Some(gate) = found else { return Ok(Vec::new()) };
        let event = &self.claimed.event;
        let command = event.event_type.as_str();
        if !gate.commands.contains(&command) {
            return Err(format!("this path of {provider} is open only in a run of {}", gate.commands.join(" or ")));
        }
        let told = gate::recipients(&gate, &path, body)
            .map_err(|why| format!("this path of {provider} is open only to the recipients of the command: {why}"))?;
        if gate.told == Told::Attendees {
            return Ok(told.into_iter().map(|(_, address)| address).collect());
        }
        let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        let named = reach::reached(command, &data);
        let kind = |channel: Channel| channel.person_kind();
        let is_named = |(channel, address): &(Channel, String)| {
            named.iter().any(|one| kind(one.channel) == kind(*channel) && one.address == *address)
        };
        if told.iter().all(is_named) {
            return Ok(Vec::new());
        }
        Err(format!("the request goes to somebody whom the {command} of this run does not name as a recipient"))
    }

    /// Asks about those whom a request would invite. They may be others than the command names: an appointment keeps those
    /// who were invited before.
    pub(super) async fn may_invite(&self, invited: &[String]) -> Result<(), Turned> {
        if invited.is_empty() || self.claimed.event.urgency == Urgency::Emergency {
            return Ok(());
        }
        let hash = |address: &String| self.tenant.key.person_hash(Channel::Email.person_kind(), address);
        let persons = invited.iter().filter_map(hash).collect();
        let known = self.hub.store.consents_of(&self.tenant.row.id, persons).await;
        let known = known.map_err(|error| Turned::Stopped(Stop::new(RunStop::Store(error))))?;
        let withdrawn =
            known.iter().any(|(_, channel, state)| *channel == Channel::Email && *state == ConsentState::Withdrawn);
        if withdrawn {
            let text = "the request invites somebody who opted out of e-mail; take them from the attendees";
            return Err(Turned::Seen(HttpError::Denied(text.to_owned())));
        }
        Ok(())
    }
}
