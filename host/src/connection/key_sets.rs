//! Key sets of issuers, fetched when somebody asks and kept for as long as their `Cache-Control` says.
//!
//! | what is held | who asks for a key in it | who asks for another key |
//! |---|---|---|
//! | a fresh set | served | fetched once more, then judged by what is held; three times, and once more every 30 s |
//! | an old set (at most a day beyond its time) | fetched; served from what is held if that fails | the same |
//! | nothing | fetched | fetched |
//!
//! Callers who find a fetch under way wait for it; nobody waits longer than it was told to. A failed fetch is not
//! tried again for 5 s, so that a dead issuer costs each request nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CACHE_CONTROL},
};

use super::{
    jwt::{Expected, Token, TokenError},
    key_set::{KeySet, KeySetError, MAX_BYTES},
};
use crate::{
    clock::SharedClock,
    observe::metrics,
    outbound::{
        client::{HttpClient, Outgoing, SendError},
        egress::EgressError,
    },
};

/// Time for one fetch.
const FETCH: Duration = Duration::from_secs(5);

/// A set is fresh for as long as its issuer says, within these bounds; the first holds where the issuer says nothing.
const FRESH: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(24 * 60 * 60));

/// For how long an old set is used while its issuer cannot be reached.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a set is fetched because a token names a key that is not in it: so often at once, and then once per pause.
const UNKNOWN_KEY_FETCHES: u32 = 3;
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);

/// How soon a failed fetch is tried again.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// Key sets that are held at once. Their URLs stand in manifests, so that only an operator can add one.
const MAX_SETS: usize = 256;

/// Why a key set could not be fetched.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Url(#[from] EgressError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the issuer answered with status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Set(#[from] KeySetError),
}

/// Why a token could not be judged, or proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The token is to blame.
    #[error(transparent)]
    Invalid(#[from] TokenError),
    /// There is no key set to judge it by.
    #[error("the issuer's key set cannot be fetched now")]
    Unavailable,
}

struct Held {
    keys: Arc<KeySet>,
    fresh_until: Duration,
    usable_until: Duration,
}

/// When a set was last asked for, and whether that failed.
#[derive(Clone, Copy)]
struct Tried {
    fetches: u64,
    last: Option<Duration>,
    failed: bool,
    /// Fetches that tokens with unknown keys may still cause.
    spare: u32,
}

impl Default for Tried {
    fn default() -> Self {
        Self { fetches: 0, last: None, failed: false, spare: UNKNOWN_KEY_FETCHES }
    }
}

impl Tried {
    /// What is spare now: it comes back with time.
    fn spare_at(&self, now: Duration) -> u32 {
        let pauses = self.last.map_or(0, |last| now.saturating_sub(last).as_secs() / UNKNOWN_KEY_PAUSE.as_secs());
        self.spare.saturating_add(u32::try_from(pauses).unwrap_or(u32::MAX)).min(UNKNOWN_KEY_FETCHES)
    }
}

#[derive(Default)]
struct Slot {
    held: ArcSwapOption<Held>,
    tried: Mutex<Tried>,
    turn: tokio::sync::Mutex<()>,
}

impl Slot {
    fn tried(&self) -> Tried {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key sets of this process. Clones share them.
#[derive(Clone)]
pub struct KeySets {
    slots: Arc<Mutex<HashMap<String, Arc<Slot>>>>,
    client: HttpClient,
    clock: SharedClock,
}

impl KeySets {
    /// None held yet.
    #[must_use]
    pub fn new(client: HttpClient, clock: SharedClock) -> Self {
        Self { slots: Arc::default(), client, clock }
    }

    /// The claims of a token that a key of the set at `url` has signed. Waits at most `patience` for a fetch; the fetch
    /// itself goes on, for those who come after.
    ///
    /// # Errors
    /// The token proves nothing, or there is nothing to judge it by.
    pub async fn claims(
        &self,
        url: &str,
        token: &str,
        expected: &Expected<'_>,
        patience: Duration,
    ) -> Result<String, JwtError> {
        // Whoever sends no token worth a look must not cause a fetch.
        let token = Token::read(token)?;
        let keys = self.keys(url, token.key(), patience).await?;
        Ok(token.claims(&keys, expected)?)
    }

    async fn keys(&self, url: &str, name: &str, patience: Duration) -> Result<Arc<KeySet>, JwtError> {
        let slot = self.slot(url);
        let tried = slot.tried();
        let waited = !self.may_help(&slot, tried, name) || self.refresh(url, &slot, tried.fetches, patience).await;
        let now = self.clock.monotonic();
        let held = slot.held.load_full().filter(|held| now < held.usable_until).ok_or(JwtError::Unavailable)?;
        if !held.keys.names(name) && (!waited || slot.tried().failed) {
            // The key may be a new one that could not be fetched: that proves nothing against the token.
            return Err(JwtError::Unavailable);
        }
        Ok(held.keys.clone())
    }

    /// Whether a fetch now could change the answer.
    fn may_help(&self, slot: &Slot, tried: Tried, name: &str) -> bool {
        let now = self.clock.monotonic();
        let since = tried.last.map(|last| now.saturating_sub(last));
        let rested = |pause: Duration| since.is_none_or(|since| since >= pause);
        match &*slot.held.load() {
            Some(held) if now < held.fresh_until => {
                !held.keys.names(name) && if tried.failed { rested(FAILED_PAUSE) } else { tried.spare_at(now) > 0 }
            }
            Some(_) | None => !tried.failed || rested(FAILED_PAUSE),
        }
    }

    fn slot(&self, url: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(url) {
            return slot.clone();
        }
        if slots.len() >= MAX_SETS {
            let now = self.clock.monotonic();
            slots.retain(|_, slot| slot.held.load().as_ref().is_some_and(|held| now < held.fresh_until));
            if slots.len() >= MAX_SETS {
                slots.clear();
            }
        }
        slots.entry(url.to_owned()).or_default().clone()
    }

    /// Fetches once for all who ask while `seen` fetches have ended. False if that took longer than `patience`.
    async fn refresh(&self, url: &str, slot: &Arc<Slot>, seen: u64, patience: Duration) -> bool {
        let (sets, slot, url) = (self.clone(), slot.clone(), url.to_owned());
        let fetching = tokio::spawn(async move {
            let _turn = slot.turn.lock().await;
            if slot.tried().fetches == seen {
                sets.fetch_into(&slot, &url).await;
            }
        });
        // A wait that ends early leaves the fetch to those who come after.
        tokio::time::timeout(patience, fetching).await.is_ok()
    }

    async fn fetch_into(&self, slot: &Slot, url: &str) {
        let fetched = self.fetch(url).await;
        let now = self.clock.monotonic();
        metrics::key_set_fetched(if fetched.is_ok() { "fetched" } else { "failed" });
        {
            let mut tried = slot.tried.lock().unwrap_or_else(PoisonError::into_inner);
            // Of a fresh set only an unknown key asks for another fetch.
            let for_unknown = slot.held.load().as_ref().is_some_and(|held| now < held.fresh_until);
            let spare = tried.spare_at(now).saturating_sub(u32::from(for_unknown));
            *tried = Tried { fetches: tried.fetches + 1, last: Some(now), failed: fetched.is_err(), spare };
            if let Ok((keys, fresh)) = &fetched {
                let fresh_until = now.saturating_add(*fresh);
                let usable_until = fresh_until.saturating_add(STALE);
                slot.held.store(Some(Arc::new(Held { keys: keys.clone(), fresh_until, usable_until })));
            }
        }
        if let Err(error) = fetched {
            tracing::warn!(key_set.url = url, %error, "a key set could not be fetched");
        }
    }

    async fn fetch(&self, url: &str) -> Result<(Arc<KeySet>, Duration), FetchError> {
        let outgoing = Outgoing {
            method: Method::GET,
            target: self.client.policy().check_url(url)?,
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            body: Bytes::new(),
            timeout: FETCH,
            response_cap: MAX_BYTES,
        };
        let answer = self.client.send(outgoing).await?;
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status(answer.status));
        }
        if answer.truncated {
            return Err(KeySetError::TooLarge.into());
        }
        Ok((Arc::new(KeySet::parse(&answer.body)?), freshness(&answer.headers)))
    }
}

/// For how long an answer is fresh: its `max-age`, within our bounds.
fn freshness(headers: &HeaderMap) -> Duration {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = fields.flat_map(|field| field.split(',')).map(str::trim);
    let age = directives.find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse::<u64>().ok())?
    });
    age.map_or(FRESH.0, Duration::from_secs).clamp(FRESH.0, FRESH.1)
}

#[cfg(test)]
#[path = "key_sets_tests.rs"]
mod tests;
