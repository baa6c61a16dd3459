//! Plugins and their versions.

use axum::{
    Json as Out,
    extract::{Path, Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{May, Need as _, Operate, Read},
    body::{self, Params},
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
};
use crate::{clock::Timestamp, directory::view::PluginVersion, plugin::registry::MAX_WASM};

const TAG: &str = "plugins";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/plugins",
            doc(TAG, Operate::SCOPE, "Add a version of a plugin: the component's bytes")
                .raw_body("application/wasm")
                .answers::<Version>(201, "Added.")
                .answers::<Version>(200, "This very file was there before."),
            add,
        )
        .get(
            "/v1/plugins",
            doc(TAG, Read::SCOPE, "List plugins with their newest version")
                .query::<PageParams>()
                .lists::<Plugin>("A page."),
            list,
        )
        .get(
            "/v1/plugins/{name}",
            doc(TAG, Read::SCOPE, "Read a plugin's newest version").answers::<Plugin>(200, "The plugin."),
            read,
        )
        .get(
            "/v1/plugins/{name}/versions",
            doc(TAG, Read::SCOPE, "List a plugin's versions, newest first").lists::<Version>("All of them."),
            versions,
        )
        .delete(
            "/v1/plugins/{name}/versions/{version}",
            doc(TAG, Operate::SCOPE, "Remove a version that nothing uses").answers_as(204, "Removed.", None),
            delete,
        )
}

/// A plugin.
#[derive(Serialize, ToSchema)]
struct Plugin {
    name: String,
    description: String,
    /// The newest version.
    latest: Version,
    /// How many versions there are.
    versions: usize,
}

/// A version of a plugin.
#[derive(Serialize, ToSchema)]
struct Version {
    name: String,
    version: String,
    /// SHA-256 of the component, hex.
    sha256: String,
    /// Bytes of the component.
    size: u64,
    /// The interfaces it exports.
    exports: Vec<&'static str>,
    /// What it says of itself.
    #[schema(value_type = Object)]
    manifest: Value,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

fn shown(version: &PluginVersion) -> Version {
    let exports = &version.exports;
    let named = [
        ("ingest", exports.ingest),
        ("handler", exports.handler),
        ("poller", exports.poller),
        ("lifecycle", exports.lifecycle),
    ];
    Version {
        name: version.row.name.clone(),
        version: version.row.version.clone(),
        sha256: hex::encode(version.row.sha256),
        size: version.row.size,
        exports: named.into_iter().filter_map(|(name, there)| there.then_some(name)).collect(),
        manifest: manifest_shown(version),
        created_at: version.row.created_at,
    }
}

/// The manifest with its JSON texts (schemas, examples) as JSON.
fn manifest_shown(version: &PluginVersion) -> Value {
    let mut manifest = serde_json::to_value(&version.manifest).unwrap_or_default();
    let parse = |value: &mut Value| {
        if let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *value = parsed;
        }
    };
    if let Some(schema) = manifest.get_mut("config_schema") {
        parse(schema);
    }
    for list in ["emits", "handles"] {
        for entry in manifest.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for field in ["schema", "example"] {
                if let Some(text) = entry.get_mut(field) {
                    parse(text);
                }
            }
        }
    }
    manifest
}

async fn add(State(api): State<Api>, may: May<Operate>, request: Request) -> Answer<impl IntoResponse> {
    let media = body::media_type(request.headers());
    if media.as_deref() != Some("application/wasm") {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "send the component's bytes as `Content-Type: application/wasm`",
        ));
    }
    let wasm = body::read(request, MAX_WASM).await?;
    let added = api.hub.plugins.add(wasm.to_vec(), &may.caller.actor()).await?;
    api.hub.rebuild_catalogue();
    let status = if added.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Out(shown(&added.version))))
}

async fn list(State(api): State<Api>, _: May<Read>, Params(page): Params<PageParams>) -> Answer<Out<Paged<Plugin>>> {
    let view = api.hub.directory.view();
    let entries = view.plugins.iter().filter_map(|(name, versions)| Some((name.clone(), plugin(versions)?)));
    paged_by_name(entries.collect(), &page).map(Out)
}

fn plugin(versions: &[std::sync::Arc<PluginVersion>]) -> Option<Plugin> {
    let latest = crate::directory::newest(versions)?;
    Some(Plugin {
        name: latest.row.name.clone(),
        description: latest.manifest.description.clone(),
        latest: shown(latest),
        versions: versions.len(),
    })
}

async fn read(State(api): State<Api>, _: May<Read>, Path(name): Path<String>) -> Answer<Out<Plugin>> {
    let view = api.hub.directory.view();
    view.plugins.get(&name).and_then(|versions| plugin(versions)).map(Out).ok_or_else(|| Problem::not_found("plugin"))
}

async fn versions(State(api): State<Api>, _: May<Read>, Path(name): Path<String>) -> Answer<Out<Paged<Version>>> {
    let view = api.hub.directory.view();
    let versions = view.plugins.get(&name).ok_or_else(|| Problem::not_found("plugin"))?;
    Ok(Out(Paged { data: versions.iter().map(|version| shown(version)).collect(), next: None }))
}

async fn delete(
    State(api): State<Api>,
    may: May<Operate>,
    Path((name, version)): Path<(String, String)>,
) -> Answer<StatusCode> {
    api.hub
        .plugins
        .remove(&name, &version, api.audit(&may.caller, None, "plugin.version_removed", format!("{name} {version}")))
        .await?;
    api.hub.rebuild_catalogue();
    Ok(StatusCode::NO_CONTENT)
}
