//! Reading of the sources, and messages that name the key, where it stands, and the fix.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Profile,
    error::Kind,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};

use super::{DEFAULTS, Settings};

/// What the environment's names begin with.
const PREFIX: &str = "SWITCHYARD_";

/// Names of the environment that are no settings of the hub but options of the command line.
const OPTIONS: [&str; 4] = ["SWITCHYARD_URL", "SWITCHYARD_KEY", "SWITCHYARD_CONFIG", "SWITCHYARD_SIM_URL"];

/// What tests may name where fail points are compiled in.
const FAILPOINTS: &str = "SWITCHYARD_FAILPOINTS";

/// The file that is read when none is given.
const USUAL_FILE: &str = "switchyard.toml";

/// Settings whose values no message repeats.
const SECRETS: [&str; 4] = ["master_keys", "admin_key", "database_url", "broker_url"];

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded defaults.
    Defaults,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "the environment ({name})"),
        }
    }
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; check the path given with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there; does not repeat the line, which may hold a secret.
        problem: String,
    },
    /// A variable is not UTF-8.
    #[error("{name} in the environment is not UTF-8 text")]
    NotText {
        /// The variable.
        name: String,
    },
    /// A name that does not exist.
    #[error("unknown setting `{key}` in {origin}{}; `switchyard config` lists all", suggestion(nearest.as_deref()))]
    Unknown {
        /// The name as it was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The nearest name that exists, written as this source writes it.
        nearest: Option<String>,
    },
    /// A value that does not fit.
    #[error("setting `{key}` in {origin}: {problem}")]
    Invalid {
        /// The setting.
        key: String,
        /// Where.
        origin: Origin,
        /// What is wrong and what would be right.
        problem: String,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A file's path and text.
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

/// Reads the given file, or the usual one if it is there.
pub(super) fn file(given: Option<&Path>) -> Result<Option<Source>, ConfigError> {
    let path = given.unwrap_or(Path::new(USUAL_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Source { path: path.to_owned(), text })),
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
pub(super) fn text(text: &str) -> Option<Source> {
    Some(Source { path: "test.toml".into(), text: text.to_owned() })
}

/// A variable of the environment: its name, and its value if that is text.
pub(super) type Variable = (String, Option<String>);

/// Keeps the variables that are ours.
pub(super) fn ours((name, value): (OsString, OsString)) -> Option<Variable> {
    let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
    Some((name, value.into_string().ok()))
}

/// Puts the sources over the defaults and checks every name and value.
pub(super) fn settings(
    file: Option<Source>,
    environment: impl IntoIterator<Item = Variable>,
) -> Result<Settings, ConfigError> {
    let known = dict(DEFAULTS, Path::new("switchyard.default.toml"))?;
    let mut figment = Figment::from(Serialized::from(&known, Profile::Default));
    let mut from_file = Dict::new();
    if let Some(source) = &file {
        from_file = dict(&source.text, &source.path)?;
        check_names(&from_file, &known, &source.path, "")?;
        figment = figment.merge(Serialized::from(&from_file, Profile::Default));
    }
    let mut variables = Vec::new();
    for (name, value) in environment {
        if OPTIONS.contains(&name.as_str()) || (cfg!(debug_assertions) && name == FAILPOINTS) {
            continue;
        }
        let value = value.ok_or_else(|| ConfigError::NotText { name: name.clone() })?;
        let key = name.trim_start_matches(PREFIX).to_ascii_lowercase().replace("__", ".");
        let Some(default) = find(&known, &key).filter(|value| value.as_dict().is_none()) else {
            let nearest = nearest(&key, &known).map(|key| variable(&key));
            return Err(ConfigError::Unknown { key: name.clone(), origin: Origin::Environment(name), nearest });
        };
        let value = like(default, &key, &name, value)?;
        figment = figment.merge(Serialized::from(nested(&key, value), Profile::Default));
        variables.push(key);
    }
    figment.extract().map_err(|error| {
        // An entry of a list is no setting of its own.
        let names = error.path.iter().take_while(|part| part.parse::<usize>().is_err());
        let key = names.map(String::as_str).collect::<Vec<_>>().join(".");
        let origin = match &file {
            _ if variables.contains(&key) => Origin::Environment(variable(&key)),
            Some(source) if find(&from_file, &key).is_some() => Origin::File(source.path.clone()),
            _ => Origin::Defaults,
        };
        ConfigError::Invalid { problem: problem(&key, &error.kind), key, origin }
    })
}

/// What is wrong with a value, without the value where it may be secret.
fn problem(key: &str, kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.clone(),
        _ if SECRETS.contains(&key) => "expected a text in quotes".to_owned(),
        other => other.to_string(),
    }
}

fn dict(text: &str, path: &Path) -> Result<Dict, ConfigError> {
    // The toml crate's message does not quote the line, figment's does.
    if let Err(error) = toml::from_str::<toml::Table>(text) {
        let before = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
        return Err(ConfigError::Syntax { path: path.to_owned(), line, problem: error.message().to_owned() });
    }
    Toml::from_str(text).map_err(|_| ConfigError::Syntax {
        path: path.to_owned(),
        line: 1,
        problem: "this is no TOML table".to_owned(),
    })
}

fn check_names(given: &Dict, known: &Dict, path: &Path, section: &str) -> Result<(), ConfigError> {
    for (name, value) in given {
        let key = format!("{section}{name}");
        match (known.get(name), value.as_dict()) {
            (Some(Value::Dict(_, known)), Some(given)) => check_names(given, known, path, &format!("{key}."))?,
            (Some(Value::Dict(..)), None) => {
                let problem = format!("this is a section; write [{key}] and its settings below");
                return Err(ConfigError::Invalid { key, origin: Origin::File(path.to_owned()), problem });
            }
            (Some(_), _) => {}
            (None, _) => {
                let nearest = nearest(name, known).map(|nearest| format!("{section}{nearest}"));
                return Err(ConfigError::Unknown { key, origin: Origin::File(path.to_owned()), nearest });
            }
        }
    }
    Ok(())
}

/// The known name nearest to `key`, if any is near enough to be meant.
fn nearest(key: &str, known: &Dict) -> Option<String> {
    let mut names = Vec::new();
    collect(known, "", &mut names);
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(key, &name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn collect(known: &Dict, section: &str, names: &mut Vec<String>) {
    for (name, value) in known {
        let key = format!("{section}{name}");
        if let Some(inner) = value.as_dict() {
            collect(inner, &format!("{key}."), names);
        }
        names.push(key);
    }
}

fn find<'a>(dict: &'a Dict, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => dict.get(key),
        Some((section, rest)) => find(dict.get(section)?.as_dict()?, rest),
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn nested(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        None => Dict::from([(key.to_owned(), value)]),
        Some((section, rest)) => Dict::from([(section.to_owned(), nested(rest, value).into())]),
    }
}

/// A variable's text as a value of the default's kind. A setting that may be a number or a text, such as a size,
/// has a text as its default.
fn like(default: &Value, key: &str, name: &str, text: String) -> Result<Value, ConfigError> {
    let wrong = |expected: &str| ConfigError::Invalid {
        key: key.to_owned(),
        origin: Origin::Environment(name.to_owned()),
        problem: format!("expected {expected}"),
    };
    match default {
        Value::Num(..) => text.trim().parse::<u64>().map(Value::from).map_err(|_| wrong("a whole number")),
        Value::Bool(..) => text.trim().parse::<bool>().map(Value::from).map_err(|_| wrong("true or false")),
        Value::Array(..) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(Value::from).collect::<Vec<_>>().into())
        }
        _ => Ok(Value::from(text)),
    }
}
