//! Texts that stand for durations, sizes, networks and secrets.
//!
//! A message about a secret never repeats it.

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error};
use url::Url;

use crate::broker::BrokerAddress;

/// Reads "500ms", "15s", "10m", "2h" or "30d".
///
/// # Errors
///
/// The text is none of these.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no duration; write it as \"15s\"")))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Reads a number of bytes, or "16KiB", "1MiB", "1GiB".
///
/// # Errors
///
/// The value is none of these.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a size such as 65536 or \"1MiB\"")]
    enum Written {
        Bytes(usize),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(bytes),
        Written::Text(text) => {
            parse_size(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no size; write it as \"1MiB\"")))
        }
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Reads a list of networks; a bare address is a network of one.
///
/// # Errors
///
/// An entry is no network.
pub fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| {
            let single = || text.parse().ok().map(|address: std::net::IpAddr| address.into());
            text.parse().ok().or_else(single).ok_or_else(|| {
                D::Error::custom(format!("`{text}` is no network; write it as 10.0.0.0/8 or 2001:db8::/32"))
            })
        })
        .collect()
}

pub(super) fn optional_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
        _ => Err(D::Error::custom(format!("`{text}` is no web address; write it as https://hub.example.com"))),
    }
}

pub(super) fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

pub(super) fn broker_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BrokerAddress>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    BrokerAddress::parse(&text).map(Some).map_err(D::Error::custom)
}

/// The shortest operator key.
const SHORTEST_ADMIN_KEY: usize = 24;

pub(super) fn admin_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.chars().count() {
        0 => Ok(None),
        SHORTEST_ADMIN_KEY.. => Ok(Some(text.into())),
        short => Err(D::Error::custom(format!(
            "the key has {short} characters; use at least {SHORTEST_ADMIN_KEY}, for example from `openssl rand -hex 24`"
        ))),
    }
}

/// Where everything is stored. Debug shows no password.
#[derive(Clone)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server, as the whole URL.
    Postgres(SecretString),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://***"),
        }
    }
}

/// The text is no database address.
#[derive(Debug, thiserror::Error)]
#[error("this is no database address; write it as sqlite:./data/switchyard.db or postgres://user:password@host/name")]
pub struct MalformedDatabase;

impl FromStr for Database {
    type Err = MalformedDatabase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(MalformedDatabase) } else { Ok(Self::Sqlite(path.into())) };
        }
        match text.parse::<Url>() {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(Self::Postgres(text.into())),
            _ => Err(MalformedDatabase),
        }
    }
}

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

pub(super) fn master_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(deserializer)?;
    for (index, entry) in text.split(',').enumerate() {
        let place = index + 1;
        // Decoding is the keyring's; here the shape is checked, so that the message can name the setting.
        let shaped = entry.trim().split_once(':').is_some_and(|(id, key)| !id.is_empty() && key.len() == 44);
        if !text.is_empty() && !shaped {
            return Err(D::Error::custom(format!(
                "entry {place} is not `id:key` with 32 bytes in base64; make a key with `openssl rand -base64 32`"
            )));
        }
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers HTTP.
    Api,
    /// Owns partitions: schedules, runs, sends.
    Worker,
    /// Makes polls, cron and expiry due, and prunes.
    Scheduler,
}

/// A non-empty set of roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// Whether this process has the role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The names of all roles that it has.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |role: &Role| match role {
            Role::Api => "api",
            Role::Worker => "worker",
            Role::Scheduler => "scheduler",
        };
        self.0.iter().map(name).map(str::to_owned).collect()
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let roles = BTreeSet::deserialize(deserializer)?;
        if roles.is_empty() {
            return Err(D::Error::custom("a process needs a role: api, worker, scheduler or several of them"));
        }
        Ok(Self(roles))
    }
}
