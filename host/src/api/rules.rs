//! Rules: what shall happen when an event comes, or at a time. They are the config of the installation `rules`.

use std::collections::BTreeMap;

use axum::{Json as Out, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    installation_check::faulty_rules,
    installations::{InstallationIn, save},
    paging::{PageParams, Paged, limit},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    plugin::grant::Grants,
    rule::{
        PLUGIN,
        check::{Surroundings, check},
        definition::Rules,
        loops::circles,
        set::compile,
    },
    store::registry::{ConfigVersion, Mode},
};

pub(super) const TAG: &str = "rules";

/// What an installation that the first rules make may emit: whatever its tenant's admin writes into them.
const GRANTS: &str = "emits:*";

pub(super) fn routes(routes: Routes) -> Routes {
    let all = "/v1/tenants/{tenant}/rules";
    routes
        .get(all, doc(TAG, Read::SCOPE, "Read the rules in force").answers::<RulesOut>(200, "The rules."), read)
        .put(
            all,
            doc(TAG, Manage::SCOPE, "Replace all rules. The first rules install the plugin `rules`.")
                .body::<Rules>()
                .answers::<RulesOut>(200, "In force."),
            put,
        )
        .get(
            "/v1/tenants/{tenant}/rules/versions",
            doc(TAG, Read::SCOPE, "List the versions of the rules, newest first")
                .query::<PageParams>()
                .lists::<Version>("A page."),
            versions,
        )
        .post(
            "/v1/tenants/{tenant}/rules/rollback",
            doc(TAG, Manage::SCOPE, "Bring the rules of an earlier version into force, as a new version")
                .body::<Rollback>()
                .answers::<RulesOut>(200, "In force."),
            rollback,
        )
}

/// Rules in force.
#[derive(Serialize, ToSchema)]
struct RulesOut {
    /// Which version it is; null before the first.
    version: Option<u64>,
    /// `live` or `off`, of the installation; null where there is none.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    #[serde(flatten)]
    rules: Rules,
    /// What may be meant otherwise: rules that set each other off.
    warnings: Vec<String>,
}

/// A version of the rules.
#[derive(Serialize, ToSchema)]
struct Version {
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    made_at: Timestamp,
    /// `key_..` of who saved it.
    made_by: String,
    #[serde(flatten)]
    rules: Rules,
}

/// Which version to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rollback {
    version: u64,
}

/// The rules in force, none before the first.
pub(super) fn in_force(tenant: &TenantView) -> Rules {
    let config = tenant.installations.get(PLUGIN).map(|view| view.row.config.as_str());
    config.and_then(|config| serde_json::from_str(config).ok()).unwrap_or_default()
}

/// What rules of a tenant are held against.
pub(super) fn with_surroundings<T>(api: &Api, tenant: &TenantView, judge: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let catalogue = api.hub.catalogue.load();
    let grants: Option<&Grants> = tenant.installations.get(PLUGIN).map(|view| &view.grants);
    let (time_zone, now) = (&tenant.row.time_zone, api.hub.clock.now());
    judge(&Surroundings { catalogue: &catalogue, grants, time_zone, now })
}

/// What may be meant otherwise.
pub(super) fn warnings(api: &Api, rules: &Rules) -> Vec<String> {
    let (compiled, _) = compile(rules);
    let circle = |names: Vec<String>| {
        format!(
            "{} set each other off in a circle; their conditions must end it, else it is cut after 16 runs",
            names.join(", ")
        )
    };
    circles(&compiled, &api.hub.catalogue.load()).into_iter().map(circle).collect()
}

async fn shown(api: &Api, tenant: &TenantView) -> Answer<RulesOut> {
    let rules = in_force(tenant);
    let newest = api.hub.store.config_versions(&tenant.row.id, PLUGIN, None, 1).await?;
    Ok(RulesOut {
        version: newest.first().map(|version| version.number),
        mode: tenant.installations.get(PLUGIN).map(|view| view.row.mode),
        warnings: warnings(api, &rules),
        rules,
    })
}

async fn read(State(api): State<Api>, within: In<Read>) -> Answer<Out<RulesOut>> {
    shown(&api, &within.tenant).await.map(Out)
}

async fn put(State(api): State<Api>, within: In<Manage>, Json(rules): Json<Rules>) -> Answer<Out<RulesOut>> {
    replace(&api, &within, rules).await
}

/// Checks rules and puts them into force; everything else about the installation stays.
async fn replace(api: &Api, within: &In<Manage>, rules: Rules) -> Answer<Out<RulesOut>> {
    let faults = with_surroundings(api, &within.tenant, |around| check(&rules, around));
    if let Some(problem) = faulty_rules("", &faults) {
        return Err(problem);
    }
    let config = serde_json::to_value(&rules).unwrap_or_default();
    let Value::Object(config) = config else { return Err(Problem::field("rules", "they are no object")) };
    save(api, within, PLUGIN, installation(&within.tenant, config)).await?;
    let tenant = api.hub.directory.tenant(within.id()).ok_or_else(|| Problem::not_found("tenant"))?;
    shown(api, &tenant).await.map(Out)
}

/// The installation as it is, or the first, with this config.
fn installation(tenant: &TenantView, config: Map<String, Value>) -> InstallationIn {
    let Some(view) = tenant.installations.get(PLUGIN) else {
        return InstallationIn {
            mode: Mode::Live,
            version: None,
            shadow_version: None,
            config,
            connections: BTreeMap::new(),
            sources: None,
            grants: vec![GRANTS.to_owned()],
            retry_schedule: None,
            schedules: BTreeMap::new(),
        };
    };
    let row = &view.row;
    InstallationIn {
        mode: row.mode,
        version: row.version.clone(),
        shadow_version: row.shadow_version.clone(),
        config,
        connections: row.connections.iter().map(|(slot, key)| (slot.clone(), key.with_prefix("con"))).collect(),
        sources: None,
        grants: row.grants.clone(),
        retry_schedule: row.retry_schedule.clone(),
        schedules: BTreeMap::new(),
    }
}

async fn versions(
    State(api): State<Api>,
    within: In<Read>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<Version>>> {
    let limit = limit(params.limit)?;
    let before = params
        .after
        .map(|text| text.parse().map_err(|_| Problem::field("after", "must be `next` of a page before, a number")));
    let mut rows = api.hub.store.config_versions(within.id(), PLUGIN, before.transpose()?, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|row| row.number.to_string());
    let shown = |row: ConfigVersion| Version {
        version: row.number,
        made_at: row.made_at,
        made_by: row.made_by,
        rules: serde_json::from_str(&row.config).unwrap_or_default(),
    };
    Ok(Out(Paged { data: rows.into_iter().map(shown).collect(), next }))
}

async fn rollback(State(api): State<Api>, within: In<Manage>, Json(wanted): Json<Rollback>) -> Answer<Out<RulesOut>> {
    let before = wanted.version.saturating_add(1);
    let found = api.hub.store.config_versions(within.id(), PLUGIN, Some(before), 1).await?;
    let found = found.into_iter().find(|row| row.number == wanted.version);
    let row = found.ok_or_else(|| Problem::not_found("version of the rules"))?;
    let rules = serde_json::from_str(&row.config)
        .map_err(|error| Problem::field("version", format!("its rules cannot be read: {error}")))?;
    replace(&api, &within, rules).await
}
