//! Where everything is stored: what the setting names, and what lies beside it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{
    clock::{Clock as _, ServerClock, SharedClock, SteadyClock},
    config::{Database, Settings},
    id::Ids,
    observe::redact::Redactor,
    secret::keyring::MasterKeys,
    store::{
        SharedStore,
        postgres::{self, PostgresStore},
        sqlite::{self, SqliteStore},
    },
};

/// The last keys of an earlier process may be so much younger than the last time that it stored.
const KEYS_AHEAD: Duration = Duration::from_millis(100);

/// Where compiled plugins lie when the database is no file beside which they could.
const CACHE_WITHOUT_FILE: &str = "data/switchyard.plugins";

/// A file has its key beside it; what nodes share has not.
const NO_KEYS: &str = "SWITCHYARD_MASTER_KEYS is not set; with PostgreSQL no key is made, since every node needs the same \
    one: give all of them SWITCHYARD_MASTER_KEYS=k1:<key>, with a <key> from `openssl rand -base64 32`";

/// An open database, and the queue's clock that goes with it.
pub(super) struct Opened {
    pub(super) store: SharedStore,
    pub(super) queue_clock: SharedClock,
    /// The clock that the nodes of a server have in common; the queue's follows it.
    pub(super) server_clock: Option<Arc<ServerClock>>,
}

/// Opens the database, and brings its schema up to this version.
pub(super) async fn open(settings: &Settings, clock: &SharedClock) -> anyhow::Result<Opened> {
    let readers = settings.pool.database_readers;
    match &settings.database_url {
        Database::Sqlite(path) => {
            let options = sqlite::Options { readers, ..sqlite::Options::default() };
            let store = SqliteStore::open(&path.to_string_lossy(), options, clock.clone()).await?;
            let store: SharedStore = Arc::new(store);
            let queue_clock = SteadyClock::after(store.last_seen().await?.after(KEYS_AHEAD), clock.clone());
            Ok(Opened { store, queue_clock, server_clock: None })
        }
        Database::Postgres(url) => {
            // A hub without its keys must not touch a database.
            anyhow::ensure!(settings.master_keys.is_some(), NO_KEYS);
            // What one node makes due another one starts, so that both go by the clock that they share.
            let server_clock = ServerClock::showing(postgres::now(url.expose_secret()).await?, clock.clone());
            let queue_clock = SteadyClock::after(server_clock.now(), server_clock.clone());
            let options = postgres::Options::default();
            let connections = options.connections.max(readers);
            let options = postgres::Options { connections, ..options };
            let store = PostgresStore::open(url.expose_secret(), options, queue_clock.clone()).await?;
            Ok(Opened { store: Arc::new(store), queue_clock, server_clock: Some(server_clock) })
        }
    }
}

/// Where the master key lies when none is given.
pub(crate) fn key_file(database: &Path) -> PathBuf {
    database.with_extension("key")
}

/// Where compiled plugins lie.
pub(crate) fn plugin_cache(database: &Database) -> PathBuf {
    match database {
        Database::Sqlite(path) => path.with_extension("plugins"),
        Database::Postgres(_) => PathBuf::from(CACHE_WITHOUT_FILE),
    }
}

/// The given master keys, or those of the file beside a database file, which is made once.
pub(super) fn keyring(settings: &Settings, ids: &Ids) -> anyhow::Result<MasterKeys> {
    if let Some(text) = &settings.master_keys {
        return Ok(MasterKeys::parse(text.expose_secret())?);
    }
    let Database::Sqlite(database) = &settings.database_url else {
        anyhow::bail!(NO_KEYS);
    };
    let path = key_file(database);
    let loaded = MasterKeys::load_or_create(&path, ids)?;
    if loaded.created {
        tracing::warn!(
            path = %path.display(),
            "made a master key; back it up apart from the database: without it no secret can be opened"
        );
    }
    Ok(loaded.keys)
}

/// Keeps the password out of the log, as it stands in the address and as it is meant.
pub(super) fn hide_password(database: &Database, redactor: &Redactor) {
    let Database::Postgres(url) = database else { return };
    redactor.register(url.expose_secret().as_bytes());
    let parsed = Url::parse(url.expose_secret()).ok();
    let Some(written) = parsed.as_ref().and_then(Url::password) else { return };
    redactor.register(written.as_bytes());
    // Read as a form, in which these three would mean something.
    let field = written.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    if let Some((meant, _)) = url::form_urlencoded::parse(field.as_bytes()).next() {
        redactor.register(meant.as_bytes());
    }
}

/// A database as the commands that work on it alone see it. Its name holds no password.
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// A database of a server.
    Server {
        /// Its whole address.
        url: SecretString,
        /// Its host, port and name.
        label: String,
    },
}

impl Place {
    /// What the setting names.
    ///
    /// # Errors
    /// An address that cannot be read.
    pub(crate) fn of(database: &Database) -> anyhow::Result<Self> {
        Ok(match database {
            Database::Sqlite(path) => Self::File(path.clone()),
            Database::Postgres(url) => Self::Server { label: postgres::label(url.expose_secret())?, url: url.clone() },
        })
    }

    /// What to call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Server { label, .. } => label.clone(),
        }
    }
}
