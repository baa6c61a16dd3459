//! Google's accounts: consent, the token endpoint, service accounts, and the keys that sign ID tokens.
//!
//! It stands for three origins at once: `accounts.google.com` (`/o/oauth2/v2/auth`), `oauth2.googleapis.com` (`/token`,
//! `/revoke`), `www.googleapis.com` (`/oauth2/v3/certs`, `/oauth2/v3/userinfo`). The APIs, Gmail and Calendar, are
//! simulators of their own that share its [`Grants`], and Pub/Sub signs with its [`keys::SigningKeys`].

mod assertion;
pub mod keys;
mod routes;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{
    keys::{RsaKey, SigningKeys},
    routes::Api,
};
use crate::{
    clock::{OffsetClock, SharedClock},
    faults::Faults,
    http,
    oauth::{Grants, Rules},
    provider::{Count, Simulator},
};

/// The audience of assertions, as a key file has it in `token_uri`.
pub const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// How Google is set up.
#[derive(Clone)]
pub struct Options {
    /// Lifetimes and the rest of the token endpoint.
    pub rules: Rules,
    /// Where stamps come from.
    pub clock: SharedClock,
}

impl Options {
    /// As Google is, with nobody registered.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { rules: Rules::google(), clock }
    }
}

/// A service account, as the server knows it.
pub(crate) struct ServiceAccount {
    /// By key id; a service account may have several.
    keys: BTreeMap<String, RsaKey>,
    client_id: String,
    /// What the customer's administrator allows it in the name of the domain's users.
    delegated: BTreeSet<String>,
}

/// The state behind HTTP.
pub struct Google {
    pub(crate) grants: Arc<Grants>,
    pub(crate) keys: Arc<SigningKeys>,
    pub(crate) clock: OffsetClock,
    address: SocketAddr,
    service_accounts: Mutex<BTreeMap<String, ServiceAccount>>,
    /// Users that may be impersonated.
    users: Mutex<BTreeSet<String>>,
}

impl Google {
    /// Serves Google's accounts on `listener` until `shutdown`.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let clock = OffsetClock::new(Arc::clone(&options.clock));
        let faults = Arc::new(Faults::default());
        let google = Arc::new(Self {
            grants: Grants::with_clock(options.rules, clock.clone()),
            keys: Arc::new(SigningKeys::generate().map_err(io::Error::other)?),
            clock: clock.clone(),
            address,
            service_accounts: Mutex::default(),
            users: Mutex::new(BTreeSet::from(["owner@customer.example".to_owned()])),
        });
        let simulator = Arc::new(Simulator::new(Api(google), faults, clock, address));
        http::serve(listener, Arc::clone(&simulator) as Arc<dyn http::Handler>, shutdown);
        Ok(Handle { simulator })
    }

    fn service_accounts(&self) -> MutexGuard<'_, BTreeMap<String, ServiceAccount>> {
        self.service_accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn users(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a service account with a key, or gives an existing one another key, and answers the key file.
    fn add_service_account(&self, email: &str, delegated: &[&str]) -> Result<Value, keys::KeyError> {
        let key = RsaKey::generate()?;
        let (key_id, pem) = (key.id().to_owned(), key.private_pem()?);
        let mut accounts = self.service_accounts();
        let number = 113_774_264_463_038_321_964_u128 + accounts.len() as u128;
        let account = accounts.entry(email.to_owned()).or_insert_with(|| ServiceAccount {
            keys: BTreeMap::new(),
            client_id: number.to_string(),
            delegated: BTreeSet::new(),
        });
        account.delegated = delegated.iter().map(|scope| (*scope).to_owned()).collect();
        account.keys.insert(key_id.clone(), key);
        Ok(json!({
            "type": "service_account",
            "project_id": "hub-test",
            "private_key_id": key_id,
            "private_key": pem,
            "client_email": email,
            "client_id": account.client_id,
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": TOKEN_URI,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "universe_domain": "googleapis.com"
        }))
    }
}

/// Steers a running simulator; clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    simulator: Arc<Simulator<Api>>,
}

impl Handle {
    /// `http://address`, without a slash at the end; stands for Google's account origins.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.simulator.address)
    }

    /// The faults of this simulator: operations `authorize`, `token.code`, `token.refresh`, `token.assertion`, `revoke`,
    /// `certs`, `userinfo`.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.simulator.faults
    }

    /// How often each operation was used.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Count> {
        self.simulator.counts()
    }

    /// Lets Google's clock be wrong by this much, tokens included.
    pub fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.simulator.clock.set_offset_ms(offset_ms);
    }

    /// The grants, to be shared with the simulators of Google's APIs.
    #[must_use]
    pub fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.google().grants)
    }

    /// The keys of ID tokens, to be shared with Pub/Sub.
    #[must_use]
    pub fn signing_keys(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.google().keys)
    }

    /// Makes a service account that may ask for these scopes in the name of the domain's users, and answers its JSON key
    /// file. For an existing one this adds a key and replaces the scopes.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn add_service_account(&self, email: &str, delegated: &[&str]) -> Result<Value, keys::KeyError> {
        self.google().add_service_account(email, delegated)
    }

    /// Adds a user that service accounts may impersonate; `owner@customer.example` is one already.
    pub fn add_user(&self, email: impl Into<String>) {
        self.google().users().insert(email.into());
    }

    fn google(&self) -> &Google {
        &self.simulator.provider.0
    }
}
