//! Validation of a manifest: pure, complete (all problems at once), and worded for the plugin's author.

mod access;
mod names;
mod types;
mod work;

use std::{collections::HashSet, fmt};

pub(super) use names::is_host_type;
pub use names::{HOST_TYPES, TypePattern};

use super::{guest::Exports, model::Manifest};

/// The contract's line that this host serves.
pub const API_LINE: &str = "0.1";

/// Entries of one list.
const LIST: usize = 200;

/// Bytes of one description.
const DESCRIPTION: usize = 500;

/// Bytes of one JSON Schema.
const SCHEMA: usize = 64 << 10;

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestProblem {
    /// The field, as in the contract: `handles[2].name`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}; {}", self.field, self.problem, self.fix)
    }
}

/// Everything that is wrong with a manifest; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidManifest(pub Vec<ManifestProblem>);

impl fmt::Display for InvalidManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the manifest is not valid")?;
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{} {problem}", if index == 0 { ":" } else { " |" })?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidManifest {}

/// Collects problems.
#[derive(Default)]
struct Findings(Vec<ManifestProblem>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) {
        self.0.push(ManifestProblem { field: field.into(), problem: problem.into(), fix: fix.into() });
    }

    /// Records a name's second use inside `seen`.
    fn unique(&mut self, field: &str, name: &str, seen: &mut HashSet<String>) {
        if !seen.insert(name.to_owned()) {
            self.add(field, format!("`{name}` stands here a second time"), "give each entry its own name");
        }
    }

    fn name(&mut self, field: &str, name: &str) {
        if !names::is_name(name) {
            let problem = format!("`{}` is no name", names::shown(name));
            self.add(field, problem, "use a lower-case letter, then up to 62 of `a-z`, `0-9` and `-`");
        }
    }

    fn description(&mut self, field: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(field, "it is empty", "write one sentence for the person who reads it");
        } else if text.len() > DESCRIPTION {
            self.add(field, format!("it has {} bytes", text.len()), format!("keep it within {DESCRIPTION}"));
        }
    }

    fn list_length(&mut self, field: &str, length: usize) {
        if length > LIST {
            self.add(field, format!("it has {length} entries"), format!("keep it within {LIST}"));
        }
    }

    fn json(&mut self, field: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            self.add(field, format!("not JSON: {error}"), "give one JSON value, or none");
        }
    }
}

/// Whether the host can run a plugin that says this of itself and exports that.
///
/// # Errors
/// All problems, in the order of the manifest's fields.
pub fn validate(manifest: &Manifest, exports: Exports) -> Result<(), InvalidManifest> {
    let mut findings = Findings::default();
    identity(manifest, &mut findings);
    types::check(manifest, exports, &mut findings);
    types::check_config_schema(&manifest.config_schema, &mut findings);
    access::check(manifest, &mut findings);
    work::check(manifest, exports, &mut findings);
    findings.json("extensions", manifest.extensions.as_deref());
    if findings.0.is_empty() { Ok(()) } else { Err(InvalidManifest(findings.0)) }
}

fn identity(manifest: &Manifest, findings: &mut Findings) {
    findings.name("id", &manifest.id);
    if let Err(error) = semver::Version::parse(&manifest.version) {
        let problem = format!("`{}` is no semantic version ({error})", names::shown(&manifest.version));
        findings.add("version", problem, "write it as `1.4.0`");
    }
    if manifest.api != API_LINE {
        let problem = format!("the plugin is written for the line `{}`", names::shown(&manifest.api));
        let newer = names::line(&manifest.api) > names::line(API_LINE);
        let needs =
            if newer { format!("it needs a host >= {}; or ", names::shown(&manifest.api)) } else { String::new() };
        let fix = format!("{needs}build it with an SDK of the line {API_LINE}, which this host serves");
        findings.add("api", problem, fix);
    }
    findings.description("description", &manifest.description);
}

#[cfg(test)]
mod tests;
