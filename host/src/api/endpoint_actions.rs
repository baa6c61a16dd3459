//! What people do with endpoints: rotate, test, pause, resume.

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Api, Correlation,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    connection_actions::rotated,
    deliveries::{Delivery, ListParams, listed},
    endpoint_settings::{SigningScheme, checked_scheme, signing_secret},
    endpoints::{Endpoint, found, update},
    paging::Paged,
    problem::Answer,
    publish::Accepted,
    routes::{Routes, doc},
};
use crate::{
    accept::Publication,
    event::{Target, Urgency},
    store::registry::EndpointState,
};

const TAG: &str = "endpoints";
/// The longest overlap of an old signing secret: a week.
const MAX_GRACE_S: u64 = 604_800;

pub(super) fn routes(routes: Routes) -> Routes {
    let path = |action: &str| format!("/v1/tenants/{{tenant}}/endpoints/{{id}}/{action}");
    routes
        .post(
            &path("rotate-secret"),
            doc(TAG, Manage::SCOPE, "Give a new signing secret; the old one signs too during the grace time")
                .body::<SecretRotation>()
                .answers::<RotatedSecret>(200, "Rotated; the secret is shown this once."),
            rotate_secret,
        )
        .post(
            &path("test"),
            doc(TAG, Manage::SCOPE, "Send an `endpoint.test` event to this endpoint alone")
                .answers::<Accepted>(202, "Accepted."),
            test,
        )
        .post(
            &path("pause"),
            doc(TAG, Manage::SCOPE, "Hold its deliveries").body::<Pause>().answers::<Endpoint>(200, "Paused."),
            pause,
        )
        .post(
            &path("resume"),
            doc(TAG, Manage::SCOPE, "Let its deliveries go on").answers::<Endpoint>(200, "Active."),
            resume,
        )
        .get(
            &path("deliveries"),
            doc(TAG, Read::SCOPE, "List its deliveries, newest first")
                .query::<ListParams>()
                .lists::<Delivery>("A page."),
            deliveries,
        )
}

/// A new signing secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecretRotation {
    /// `whsec_..` or `whsk_..`; made if left out.
    secret: Option<String>,
    /// `v1` or `v1a`, if one is made; without it the scheme stays.
    signing: Option<String>,
    /// Seconds for which the old secret signs too, at most a week; a day without it.
    grace_s: Option<u64>,
}

/// An endpoint's new secret.
#[derive(Serialize, ToSchema)]
struct RotatedSecret {
    /// The new secret, shown this once; none of a key pair that the hub made.
    secret: Option<String>,
    /// The public key of a pair.
    public_key: Option<String>,
    endpoint: Endpoint,
}

/// Why an endpoint is paused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// For people.
    reason: Option<String>,
}

async fn rotate_secret(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(rotation): Json<SecretRotation>,
) -> Answer<Out<RotatedSecret>> {
    let view = found(&within.tenant, &id)?;
    let mut row = view.row.clone();
    let scheme = match rotation.signing {
        Some(scheme) => Some(checked_scheme(&scheme)?),
        None => view.secrets.first().map(|(current, _)| SigningScheme::of(current)),
    };
    let made = signing_secret(&api, &within.tenant, row.key, rotation.secret, scheme)?;
    row.secrets = rotated(row.secrets, made.sealed, rotation.grace_s, "grace_s", MAX_GRACE_S, api.hub.clock.now())?;
    let endpoint = update(&api, &within, view, row, "endpoint.secret_rotated").await?;
    Ok(Out(RotatedSecret { secret: made.shown, public_key: made.public, endpoint }))
}

async fn test(
    State(api): State<Api>,
    within: In<Manage>,
    axum::Extension(Correlation(correlation)): axum::Extension<Correlation>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<impl IntoResponse> {
    let view = found(&within.tenant, &id)?;
    let publication = Publication {
        event_type: "endpoint.test".to_owned(),
        data: json!({"test": true, "endpoint_id": id}).to_string(),
        id: None,
        source: Some("switchyard:host".to_owned()),
        subject: Some(id.clone()),
        time: None,
        ordering_key: None,
        correlation_id: Some(correlation.as_str().to_owned()),
        traceparent: None,
        urgency: Urgency::Normal,
        expires_at: None,
        extensions: None,
        only_to: Some(Target::Endpoint(view.row.key)),
    };
    let published = api.hub.publish(&within.tenant, false, publication).await?;
    Ok((StatusCode::ACCEPTED, Out(Accepted::from(published))))
}

async fn pause(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(pause): Json<Pause>,
) -> Answer<Out<Endpoint>> {
    let view = found(&within.tenant, &id)?;
    let mut row = view.row.clone();
    if row.state == EndpointState::Active {
        let reason: String =
            pause.reason.unwrap_or_else(|| "paused by a person".to_owned()).chars().take(200).collect();
        row.state = EndpointState::Paused;
        row.state_reason = Some((reason, api.hub.clock.now()));
    }
    update(&api, &within, view, row, "endpoint.paused").await.map(Out)
}

async fn resume(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Endpoint>> {
    let view = found(&within.tenant, &id)?;
    let mut row = view.row.clone();
    row.state = EndpointState::Active;
    row.state_reason = None;
    // Resumed by a person: the days of failures that disabled it do not count again.
    row.failing_since = None;
    update(&api, &within, view, row, "endpoint.resumed").await.map(Out)
}

async fn deliveries(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, id)): Path<(String, String)>,
    Params(params): Params<ListParams>,
) -> Answer<Out<Paged<Delivery>>> {
    let target = Target::Endpoint(found(&within.tenant, &id)?.row.key);
    listed(&api, &within.tenant, params, Some(target)).await.map(Out)
}
