//! Whether an installation can be as it is asked for: every fault names its field.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Api,
    broker_settings::checked_queue,
    endpoint_settings::checked_schedule,
    installations::{InstallationIn, SourceIn},
    problem::{Answer, Code, Problem},
};
use crate::{
    clock::Timestamp,
    directory::{
        places,
        view::{PluginVersion, TenantView, View},
    },
    event::catalogue::{check_against, compile_schema},
    id::{Ids, Key},
    plugin::{
        grant::Grants,
        model::{Manifest, SecretKind},
    },
    rule::{
        self, check,
        definition::{Rule, RuleMode, Rules},
        fault::RuleFault,
    },
    schedule::{
        cron::{Cron, CronError},
        timetable::Timetable,
    },
    store::registry::{InstallState, InstallationRow, Mode, QueueRow, ScheduleRow, SourceRow},
};

const MAX_SOURCES: usize = 20;
const MAX_GRANTS: usize = 200;
const MAX_CONNECTIONS: usize = 200;
/// So many faults of rules are told beside the first.
const MAX_RULE_FAULTS: usize = 49;

/// What an installation is checked against.
pub(super) struct Setting<'a> {
    pub(super) api: &'a Api,
    pub(super) ids: &'a Ids,
    pub(super) now: Timestamp,
    pub(super) view: &'a View,
    pub(super) tenant: &'a TenantView,
    pub(super) plugin: &'a str,
    pub(super) before: Option<&'a InstallationRow>,
}

impl Setting<'_> {
    /// The row to store and the version that will be in force.
    pub(super) fn checked(&self, wanted: InstallationIn) -> Answer<(InstallationRow, Arc<PluginVersion>)> {
        let version = self.version(wanted.version.as_deref())?;
        let manifest = &version.manifest;
        check_config(manifest, &wanted.config)?;
        self.check_shadow(&version, wanted.shadow_version.as_deref(), &wanted.config)?;
        check_grants(manifest, &wanted.grants)?;
        let sources = self.sources(wanted.sources, version.exports.ingest)?;
        let connections = self.connections(manifest, &wanted.connections, &sources)?;
        if wanted.mode == Mode::Live {
            check_required(manifest, &connections, &sources)?;
        }
        let retry_schedule = wanted.retry_schedule.map(checked_schedule).transpose()?;
        let timetables = if self.plugin == rule::PLUGIN {
            let rules = self.rules(&version, &wanted.config, &wanted.grants)?;
            rules.rules.iter().filter_map(timetable).collect()
        } else {
            BTreeMap::new()
        };
        let schedules = self.schedules(manifest, wanted.schedules, timetables)?;
        let row = InstallationRow {
            tenant: self.tenant.row.id.clone(),
            plugin: self.plugin.to_owned(),
            mode: wanted.mode,
            version: wanted.version,
            config: Value::Object(wanted.config).to_string(),
            connections,
            grants: wanted.grants,
            retry_schedule,
            state: InstallState::Ready,
            state_reason: None,
            blocked: None,
            broken: None,
            updated_at: self.now,
            shadow_version: wanted.shadow_version,
            in_force: self.in_force(&version),
            upgrade: None,
            sources,
            schedules,
        };
        Ok((row, version))
    }

    /// The rules of a config, all of which must be sound.
    fn rules(&self, version: &PluginVersion, config: &Map<String, Value>, grants: &[String]) -> Answer<Rules> {
        let rules: Rules = serde_json::from_value(Value::Object(config.clone()))
            .map_err(|error| Problem::field("config.rules", error.to_string()))?;
        let granted = Grants::decide(&version.manifest, grants).ok();
        let surroundings = check::Surroundings {
            catalogue: &self.api.hub.catalogue.load(),
            grants: granted.as_ref(),
            time_zone: &self.tenant.row.time_zone,
            now: self.now,
        };
        match faulty_rules("config.", &check::check(&rules, &surroundings)) {
            Some(problem) => Err(problem),
            None => Ok(rules),
        }
    }

    /// Those of the manifest, some at times of the tenant's own, and those of rules.
    fn schedules(
        &self,
        manifest: &Manifest,
        mut own: BTreeMap<String, Timetable>,
        of_rules: BTreeMap<String, Timetable>,
    ) -> Answer<Vec<ScheduleRow>> {
        let mut rows = Vec::new();
        for spec in &manifest.schedules {
            rows.push(self.schedule(&spec.name, own.remove(&spec.name))?);
        }
        if let Some(name) = own.keys().next() {
            let known: Vec<_> = manifest.schedules.iter().map(|spec| spec.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("{} has no schedule `{name}`; it has {known}", self.plugin);
            return Err(Problem::field(format!("schedules.{name}"), message));
        }
        for (name, timetable) in of_rules {
            rows.push(self.schedule(&name, Some(timetable))?);
        }
        Ok(rows)
    }

    /// One that is known with the same times goes on; another one begins at its next time.
    fn schedule(&self, name: &str, timetable: Option<Timetable>) -> Answer<ScheduleRow> {
        let known = self.before.and_then(|before| before.schedules.iter().find(|row| row.name == name));
        if let Some(known) = known.filter(|known| known.timetable == timetable) {
            return Ok(known.clone());
        }
        let Some(timetable) = timetable else {
            return Ok(ScheduleRow::new(name.to_owned(), Some(self.now), None));
        };
        let zone = &self.tenant.row.time_zone;
        let field = |part: &str| format!("schedules.{name}.{part}");
        let own_zone = timetable.time_zone.as_deref().unwrap_or(zone);
        match Cron::parse_useful(&timetable.cron, own_zone, self.now) {
            Ok(_) => {}
            Err(error @ CronError::Zone(_)) => return Err(Problem::field(field("time_zone"), error.to_string())),
            Err(error) => return Err(Problem::field(field("cron"), error.to_string())),
        }
        if timetable.jitter_s > check::MAX_JITTER_S {
            return Err(Problem::field(field("jitter_s"), format!("at most {} seconds", check::MAX_JITTER_S)));
        }
        let next = timetable.next_after(zone, self.now, self.ids.fraction());
        Ok(ScheduleRow::new(name.to_owned(), next, Some(timetable)))
    }

    fn version(&self, pinned: Option<&str>) -> Answer<Arc<PluginVersion>> {
        let versions = self.view.plugins.get(self.plugin).ok_or_else(|| Problem::not_found("plugin"))?;
        let Some(pinned) = pinned else {
            return crate::directory::newest(versions).cloned().ok_or_else(|| Problem::not_found("plugin"));
        };
        self.view.version(self.plugin, pinned).cloned().ok_or_else(|| {
            let known: Vec<_> = versions.iter().take(10).map(|version| version.row.version.as_str()).collect();
            Problem::field("version", format!("{} has no version {pinned}; it has {}", self.plugin, known.join(", ")))
        })
    }

    /// The version for which it is set up: that of before, until its `upgrade` to another one succeeded.
    fn in_force(&self, version: &PluginVersion) -> Option<String> {
        let before = self.before.filter(|before| matches!(before.state, InstallState::Ready | InstallState::Removing));
        before.map_or_else(|| Some(version.row.version.clone()), |before| before.in_force.clone())
    }

    /// A shadow is another version that could do the work with the same config.
    fn check_shadow(&self, version: &PluginVersion, shadow: Option<&str>, config: &Map<String, Value>) -> Answer<()> {
        let Some(shadow) = shadow else { return Ok(()) };
        let refused = |message: String| Err(Problem::field("shadow_version", message));
        if shadow == version.row.version {
            return refused(format!("{shadow} is the version that does the work; pin another one in `version`"));
        }
        let Some(found) = self.view.version(self.plugin, shadow) else {
            return refused(format!("{} has no version {shadow}", self.plugin));
        };
        if !found.exports.handler && !found.exports.poller {
            return refused(format!("{shadow} neither handles events nor polls, so there is nothing to compare"));
        }
        check_config(&found.manifest, config)
            .or_else(|problem| refused(format!("the config does not fit {shadow}: {}", problem.detail())))
    }

    /// Known names keep their id, so that URLs given to providers stay.
    fn sources(&self, wanted: Option<Vec<SourceIn>>, ingest: bool) -> Answer<Vec<SourceRow>> {
        let wanted = match (wanted, self.before) {
            (Some(wanted), _) => wanted,
            (None, Some(before)) => return Ok(before.sources.clone()),
            (None, None) if ingest => vec![SourceIn::Name("default".to_owned())],
            (None, None) => Vec::new(),
        };
        if wanted.len() > MAX_SOURCES {
            return Err(Problem::field("sources", format!("at most {MAX_SOURCES}")));
        }
        if !ingest && !wanted.is_empty() {
            return Err(Problem::field("sources", format!("{} takes no requests; leave the list empty", self.plugin)));
        }
        let mut rows: Vec<SourceRow> = Vec::new();
        for (index, source) in wanted.into_iter().enumerate() {
            let field = format!("sources[{index}]");
            let (name, queue) = source.parts(&field)?;
            if !is_name(&name) {
                return Err(Problem::field(field, "must match [a-z0-9][a-z0-9-]{0,62}"));
            }
            if rows.iter().any(|row| row.name == name) {
                return Err(Problem::field(field, format!("`{name}` is there twice")));
            }
            let known = self.before.and_then(|before| before.sources.iter().find(|source| source.name == name));
            let id = known.map_or_else(|| self.ids.next().with_prefix("src"), |known| known.id.clone());
            let queue = queue.map(|(url, queue)| self.queue(&field, &id, known, url, queue)).transpose()?;
            rows.push(SourceRow { id, name, queue });
        }
        Ok(rows)
    }

    /// The queue of a source. Its address may be left out where there was one before, since it is not shown.
    fn queue(
        &self,
        field: &str,
        id: &str,
        known: Option<&SourceRow>,
        url: Option<String>,
        queue: String,
    ) -> Answer<QueueRow> {
        let place = places::source_broker(&self.tenant.row.id, id);
        match (url, known.and_then(|known| known.queue.as_ref())) {
            (Some(url), _) => checked_queue(self.api, self.tenant, place, field, &url, queue),
            (None, Some(before)) if before.name == queue => Ok(before.clone()),
            (None, _) => {
                let text = "write where the broker is: amqps://user:password@host/vhost";
                Err(Problem::field(format!("{field}.url"), text))
            }
        }
    }

    fn connections(
        &self,
        manifest: &Manifest,
        wanted: &BTreeMap<String, String>,
        sources: &[SourceRow],
    ) -> Answer<BTreeMap<String, Key>> {
        if wanted.len() > MAX_CONNECTIONS {
            return Err(Problem::field("connections", format!("at most {MAX_CONNECTIONS}")));
        }
        wanted
            .iter()
            .map(|(binding, id)| Ok((binding.clone(), self.connection(manifest, binding, id, sources)?)))
            .collect()
    }

    fn connection(&self, manifest: &Manifest, binding: &str, id: &str, sources: &[SourceRow]) -> Answer<Key> {
        let field = format!("connections.{binding}");
        let (slot, source) = binding.split_once('@').map_or((binding, None), |(slot, source)| (slot, Some(source)));
        if let Some(source) = source
            && !sources.iter().any(|row| row.name == source)
        {
            return Err(Problem::field(field, format!("the installation has no source `{source}`")));
        }
        let found = Key::parse("con", id).and_then(|key| self.tenant.connections.get(&key));
        let connection = found.ok_or_else(|| Problem::field(field.as_str(), format!("there is no connection {id}")))?;
        let kind = connection.row.kind.as_str();
        if let Some(spec) = manifest.connections.iter().find(|spec| spec.name == slot) {
            let needed = spec.kind.as_str();
            // Both end in an access token for the same scopes.
            let stands_in = (needed, kind) == ("oauth2", "google_service_account");
            if needed != kind && !stands_in {
                return Err(Problem::field(
                    field,
                    format!("{slot} needs a connection of kind {needed}; {id} is of kind {kind}"),
                ));
            }
        } else if let Some(spec) = manifest.secrets.iter().find(|spec| spec.name == slot) {
            check_secret_kind(&field, &spec.kind, kind)?;
        } else {
            let slots = manifest
                .connections
                .iter()
                .map(|spec| &spec.name)
                .chain(manifest.secrets.iter().map(|spec| &spec.name));
            let slots: Vec<_> = slots.map(String::as_str).collect();
            let known = if slots.is_empty() { "none".to_owned() } else { slots.join(", ") };
            return Err(Problem::field(field, format!("{} has no slot `{slot}`; it has {known}", self.plugin)));
        }
        Ok(connection.row.key)
    }
}

/// When a rule runs at times.
fn timetable(rule: &Rule) -> Option<(String, Timetable)> {
    let cron = rule.cron.clone().filter(|_| rule.is_scheduled() && rule.mode != RuleMode::Off)?;
    let (missed, jitter_s) = (rule.missed.unwrap_or_default(), rule.jitter_s.unwrap_or_default());
    Some((rule.name.clone(), Timetable { cron, time_zone: rule.time_zone.clone(), missed, jitter_s }))
}

/// The faults of rules as one problem, each with its field.
pub(super) fn faulty_rules(prefix: &str, faults: &[RuleFault]) -> Option<Problem> {
    let (first, rest) = faults.split_first()?;
    let problem = Problem::field(format!("{prefix}{}", first.path()), first.sentence());
    let told = rest.iter().take(MAX_RULE_FAULTS);
    Some(told.fold(problem, |problem, fault| problem.with_error(format!("{prefix}{}", fault.path()), fault.sentence())))
}

fn check_secret_kind(field: &str, wanted: &SecretKind, kind: &str) -> Answer<()> {
    match wanted {
        SecretKind::Generated if kind != "generated" => {
            Err(Problem::field(field, format!("this slot needs a connection of kind generated, not {kind}")))
        }
        SecretKind::Jwt { .. } => {
            Err(Problem::field(field, "this slot checks signed tokens by public keys; bind nothing to it"))
        }
        SecretKind::Generated | SecretKind::MacKey(_) | SecretKind::Token | SecretKind::Other(_) => Ok(()),
    }
}

/// Every required slot is bound, by itself or for each source.
fn check_required(manifest: &Manifest, bound: &BTreeMap<String, Key>, sources: &[SourceRow]) -> Answer<()> {
    let secrets = manifest.secrets.iter().filter(|spec| !matches!(spec.kind, SecretKind::Jwt { .. }));
    let required =
        manifest.connections.iter().filter(|spec| spec.required).map(|spec| (&spec.name, spec.kind.as_str()));
    let required = required.chain(secrets.filter(|spec| spec.required).map(|spec| (&spec.name, "hmac or generated")));
    for (slot, kind) in required {
        let by_source = || {
            !sources.is_empty() && sources.iter().all(|source| bound.contains_key(&format!("{slot}@{}", source.name)))
        };
        if !bound.contains_key(slot) && !by_source() {
            let message = format!(
                "the plugin needs it: make a connection of kind {kind} and bind its id here, or install with mode off"
            );
            return Err(Problem::field(format!("connections.{slot}"), message));
        }
    }
    Ok(())
}

fn check_config(manifest: &Manifest, config: &Map<String, Value>) -> Answer<()> {
    let value = Value::Object(config.clone());
    let Ok(schema) = serde_json::from_str(&manifest.config_schema) else { return Ok(()) };
    let validator = compile_schema("config", &schema).map_err(|error| {
        Problem::new(Code::InvalidPlugin, format!("the plugin's config schema is not usable: {error}"))
    })?;
    check_against(&validator, &value).map_err(|fault| Problem::field(format!("config{}", fault.path), fault.message))
}

fn check_grants(manifest: &Manifest, grants: &[String]) -> Answer<()> {
    if grants.len() > MAX_GRANTS {
        return Err(Problem::field("grants", format!("at most {MAX_GRANTS}")));
    }
    match Grants::decide(manifest, grants) {
        Ok(_) => Ok(()),
        Err(malformed) => Err(Problem::field(
            format!("grants[{}]", malformed.index),
            format!(
                "`{}` is no grant; write `emits:*`, `emits:lead.*`, `emits:lead.created` or `emergency`",
                malformed.grant
            ),
        )),
    }
}

/// `[a-z0-9][a-z0-9-]{0,62}`.
fn is_name(text: &str) -> bool {
    matches!(text.len(), 1..=63)
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
