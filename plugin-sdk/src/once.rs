use std::time::Duration;

use crate::context::Ctx;
use crate::error::{HttpError, PluginError, Reason, UnknownOutcome};
use crate::host::{Host, Level};

/// How often a write is sent at most.
const TRIES: usize = 3;

/// A write to a provider that cannot recognise a repeat: send it, and when its outcome is unknown look it up by the
/// run's reference, adopt what is found, and only else send it again; at most three times.
///
/// A look-up that finds nothing proves nothing while the write may still be under way. Within `grace` of the sending
/// the run therefore ends as a retry; the next attempt meets the same unknown outcome in its journal, looks again, and
/// sends again only when the grace is over.
#[derive(Clone, Copy, Debug)]
pub struct SendOnce {
    grace: Duration,
}

/// How the effect came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// The provider answered.
    Sent(T),
    /// The provider had executed a sending whose answer was lost.
    Adopted(T),
}

impl<T> Once<T> {
    /// The provider's record, either way.
    pub fn into_inner(self) -> T {
        match self {
            Self::Sent(value) | Self::Adopted(value) => value,
        }
    }
}

impl Default for SendOnce {
    fn default() -> Self {
        Self { grace: Duration::from_secs(5) }
    }
}

impl SendOnce {
    /// With another grace than five seconds. Zero suits a provider whose look-up sees a write as soon as it happened
    /// and whose calls end when the line does.
    pub fn with_grace(grace: Duration) -> Self {
        Self { grace }
    }

    /// Runs it. `send` makes the write and must make the same one every time; `find` is given what is known of the
    /// lost sending and answers the record that it made, or none.
    pub fn run<C, T>(
        self,
        ctx: &Ctx<C>,
        mut send: impl FnMut() -> Result<T, HttpError>,
        mut find: impl FnMut(&UnknownOutcome) -> Result<Option<T>, PluginError>,
    ) -> Result<Once<T>, PluginError> {
        let (mut sent, mut found) = (None, None);
        self.steps(ctx.host(), &mut || send().map(|value| sent = Some(value)), &mut |unknown| {
            find(unknown).map(|value| found = value).map(|()| found.is_some())
        })?;
        let adopted = found.map(Once::Adopted);
        sent.map(Once::Sent).or(adopted).ok_or_else(never_found)
    }

    /// The steps without the type of the record, so that a component holds them once. Ends well when `send` or `find` has
    /// the record.
    fn steps(
        self,
        host: &dyn Host,
        send: &mut dyn FnMut() -> Result<(), HttpError>,
        find: &mut dyn FnMut(&UnknownOutcome) -> Result<bool, PluginError>,
    ) -> Result<(), PluginError> {
        for _ in 0..TRIES {
            let unknown = match send() {
                Ok(()) => return Ok(()),
                Err(HttpError::Unknown(unknown)) => unknown,
                Err(error) => return Err(error.into()),
            };
            if find(&unknown)? {
                host.log(Level::Info, "adopted a write whose answer was lost", &[]);
                return Ok(());
            }
            let age = Duration::from_millis(host.now().saturating_sub(unknown.sent_at));
            if age < self.grace {
                let message = "A write got no answer and is not to be seen yet.";
                return Err(PluginError::retry(Reason::UnknownOutcome, "not_seen_yet", message).after(self.grace - age));
            }
            host.log(Level::Warn, "a write got no answer and was not found; sending it again", &[]);
        }
        Err(never_found())
    }
}

fn never_found() -> PluginError {
    let message = "A write got no answer three times and was never found.";
    PluginError::retry(Reason::UnknownOutcome, "unknown_outcome", message)
}
