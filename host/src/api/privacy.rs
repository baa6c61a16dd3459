//! What persons ask a tenant for: all that is kept about them, or that it goes.

use axum::{
    Json as Out,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _},
    body::{Json, Params},
    paging::{PageParams, Paged, page, paged},
    problem::{Answer, Code, Problem, internal},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    connection::vault::PersonKind,
    directory::view::TenantView,
    id::Key,
    privacy::{PrivacyError, new_request, place_of_piece, progress::Progress},
    store::{
        privacy::{Asked, Place, PrivacyRow, Standing},
        records::Page,
    },
};

const TAG: &str = "privacy";

/// Digits of a phone number that is looked for; fewer would be found by chance.
const DIGITS: std::ops::RangeInclusive<usize> = 5..=17;

/// The longest address.
const LONGEST: usize = 254;

/// Requests of a tenant that may be carried out at once.
const AT_ONCE: usize = 16;

/// Requests that are looked at for it, newest first.
const LOOKED_AT: u32 = 200;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/tenants/{tenant}/privacy/export",
            doc(TAG, Manage::SCOPE, "Find everything that is kept about a person")
                .body::<Ask>()
                .answers::<PrivacyRequest>(202, "It is being looked for."),
            export,
        )
        .post(
            "/v1/tenants/{tenant}/privacy/erase",
            doc(TAG, Manage::SCOPE, "Erase everything that is kept about a person")
                .body::<Ask>()
                .answers::<PrivacyRequest>(202, "It is being erased."),
            erase,
        )
        .get(
            "/v1/tenants/{tenant}/privacy/requests",
            doc(TAG, Manage::SCOPE, "List what was asked for persons, newest first")
                .query::<PageParams>()
                .lists::<PrivacyRequest>("A page."),
            list,
        )
        .get(
            "/v1/tenants/{tenant}/privacy/requests/{id}",
            doc(TAG, Manage::SCOPE, "Read how far a request came").answers::<PrivacyRequest>(200, "The request."),
            read,
        )
        .get(
            "/v1/tenants/{tenant}/privacy/requests/{id}/export",
            doc(TAG, Manage::SCOPE, "Fetch an export, within seven days: one JSON object a line").answers_as(
                200,
                "The export.",
                Some("application/x-ndjson"),
            ),
            fetch,
        )
}

/// Whom a request is about: exactly one of `phone`, `email`, and `person` with `kind`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// With its country, such as `+4520123456`. A number written without its country is another one.
    phone: Option<String>,
    /// An address; upper and lower case are the same.
    email: Option<String>,
    /// The keyed hash of an earlier request, where the number or address is not known any more.
    person: Option<String>,
    /// `phone` or `email`, with `person`.
    kind: Option<String>,
}

/// A request.
#[derive(Serialize, ToSchema)]
struct PrivacyRequest {
    id: String,
    /// `export` or `erase`.
    asked: &'static str,
    /// `running` or `done`.
    state: &'static str,
    /// `phone` or `email`.
    kind: &'static str,
    /// The keyed hash of the number or address, which is not kept.
    person: String,
    progress: Walk,
    /// Where the export can be fetched, once it is done and for seven days.
    export: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// `key_..`, or `host` for an erasure that is carried out again on an older copy of the database.
    actor: String,
}

/// How far a request came.
#[derive(Serialize, ToSchema)]
struct Walk {
    /// What is looked through now: `events`, `deliveries`, `requests`, `app_requests`, `parked`, `rejections`, `kv`.
    place: Option<&'static str>,
    /// How many of the places this walk has behind it.
    places_done: usize,
    places: usize,
    /// Whole walks so far. An erasure walks until one finds nothing.
    walks: u32,
    /// Rows that were looked at.
    looked_at: u64,
    /// Rows that named the person, by place.
    #[schema(value_type = Object)]
    found: std::collections::BTreeMap<String, u64>,
    /// Rows that are emptied once the deliveries that still need them are over.
    held_up: u64,
    /// Bytes of the export.
    bytes: u64,
}

fn shown(row: PrivacyRow) -> PrivacyRequest {
    let id = row.key.with_prefix("prv");
    let progress = Progress::of(&row.progress);
    let is_done = row.standing == Standing::Done;
    let fetched = is_done && row.asked == Asked::Export;
    PrivacyRequest {
        export: fetched.then(|| format!("/v1/tenants/{}/privacy/requests/{id}/export", row.tenant)),
        id,
        asked: row.asked.as_str(),
        state: row.standing.as_str(),
        kind: row.kind.as_str(),
        person: hex::encode(row.person),
        progress: Walk {
            place: progress.walked().filter(|_| !is_done).map(Place::name),
            places_done: progress.place.min(Place::ALL.len()),
            places: Place::ALL.len(),
            walks: progress.walks,
            looked_at: progress.looked,
            found: progress.found,
            held_up: progress.held_up,
            bytes: progress.bytes,
        },
        created_at: row.created_at,
        updated_at: row.updated_at,
        actor: row.actor,
    }
}

/// Whom a request names, as the keyed hash.
fn person(tenant: &TenantView, ask: Ask) -> Answer<(PersonKind, [u8; 32])> {
    let hashed = |kind: PersonKind, value: &str| {
        let unusable = || Problem::field(kind.as_str(), "nothing of it is left to look for; write it out");
        Ok((kind, tenant.key.person_hash(kind, value).ok_or_else(unusable)?))
    };
    match ask {
        Ask { phone: Some(phone), email: None, person: None, kind: None } => {
            let digits = phone.chars().filter(char::is_ascii_digit).count();
            if !DIGITS.contains(&digits) {
                return Err(Problem::field("phone", "must have 5 to 17 digits, with its country: +4520123456"));
            }
            hashed(PersonKind::Phone, &phone)
        }
        Ask { email: Some(email), phone: None, person: None, kind: None } => {
            let whole = email
                .trim()
                .split_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
            if !whole || email.len() > LONGEST {
                return Err(Problem::field("email", "must be one address, such as ida@kunde.example"));
            }
            hashed(PersonKind::Email, &email)
        }
        Ask { person: Some(person), kind: Some(kind), phone: None, email: None } => {
            let kind = kind.parse().map_err(|_| Problem::field("kind", "must be `phone` or `email`"))?;
            let mut hash = [0; 32];
            let malformed = |_| Problem::field("person", "must be the 64 hex digits that an earlier request shows");
            hex::decode_to_slice(&person, &mut hash).map_err(malformed)?;
            Ok((kind, hash))
        }
        _ => Err(Problem::field("phone", "give exactly one of `phone`, `email`, and `person` with `kind`")),
    }
}

impl From<PrivacyError> for Problem {
    fn from(error: PrivacyError) -> Self {
        match error {
            PrivacyError::Store(error) => error.into(),
            PrivacyError::Vault(error) => error.into(),
            PrivacyError::List(_) | PrivacyError::Broken => internal(&error),
        }
    }
}

async fn begin(api: &Api, within: &In<Manage>, ask: Ask, asked: Asked) -> Answer<(StatusCode, Out<PrivacyRequest>)> {
    let person = person(&within.tenant, ask)?;
    let newest = Page { limit: LOOKED_AT, after: None };
    let known = api.hub.store.privacy_requests(within.id(), newest).await?;
    if known.iter().filter(|row| row.standing == Standing::Running).count() >= AT_ONCE {
        let text = format!("{AT_ONCE} requests of this tenant are being carried out; wait until one is done");
        return Err(Problem::new(Code::Conflict, text));
    }
    let key = api.hub.ids.next();
    let now = api.hub.clock.now();
    let row = new_request(key, &within.tenant, asked, person, within.caller.actor(), now);
    let action = match asked {
        Asked::Export => "privacy.export_asked",
        Asked::Erase => "privacy.erasure_asked",
    };
    let audit = api.audit(&within.caller, Some(within.id()), action, key.with_prefix("prv"));
    // The hash says who it is only to whoever knows the number or address and has the tenant's key.
    let about = json!({"kind": row.kind.as_str(), "person": hex::encode(row.person)});
    api.hub.ask_privacy(row.clone(), audit.showing(None, Some(&about))).await?;
    Ok((StatusCode::ACCEPTED, Out(shown(row))))
}

async fn export(
    State(api): State<Api>,
    within: In<Manage>,
    Json(ask): Json<Ask>,
) -> Answer<(StatusCode, Out<PrivacyRequest>)> {
    begin(&api, &within, ask, Asked::Export).await
}

async fn erase(
    State(api): State<Api>,
    within: In<Manage>,
    Json(ask): Json<Ask>,
) -> Answer<(StatusCode, Out<PrivacyRequest>)> {
    begin(&api, &within, ask, Asked::Erase).await
}

async fn list(
    State(api): State<Api>,
    within: In<Manage>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<PrivacyRequest>>> {
    let page = page("prv", params.limit, params.after.as_deref())?;
    let rows = api.hub.store.privacy_requests(within.id(), page).await?;
    Ok(Out(paged(rows, page, |row| row.key.with_prefix("prv"), shown)))
}

async fn one(api: &Api, within: &In<Manage>, id: &str) -> Answer<PrivacyRow> {
    let key = Key::parse("prv", id).ok_or_else(|| Problem::not_found("privacy request"))?;
    Ok(api.hub.store.privacy_request(within.id(), key).await?)
}

async fn read(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<PrivacyRequest>> {
    Ok(Out(shown(one(&api, &within, &id).await?)))
}

/// Part after part, so that an export of any size needs the memory of one.
async fn fetch(State(api): State<Api>, within: In<Manage>, Path((_, id)): Path<(String, String)>) -> Answer<Response> {
    let row = one(&api, &within, &id).await?;
    if row.asked != Asked::Export || row.standing != Standing::Done {
        return Err(Problem::new(Code::Conflict, "there is no export yet; read the request until it is done"));
    }
    let first = piece(&api, &within.tenant, row.key, 0).await?;
    let first =
        first.ok_or_else(|| Problem::not_found("export: it is kept for seven days, and goes with an erasure"))?;
    let audit = api.audit(&within.caller, Some(within.id()), "privacy.export_fetched", id);
    api.hub.store.audit(audit).await?;
    let start = (api, within.tenant, row.key, 1_u32);
    let rest = stream::try_unfold(start, |(api, tenant, request, number)| async move {
        let piece = piece(&api, &tenant, request, number).await;
        let piece = piece.map_err(|problem| std::io::Error::other(problem.detail().to_owned()))?;
        Ok(piece.map(|piece| (piece, (api, tenant, request, number + 1))))
    });
    let pieces = stream::once(async { Ok::<_, std::io::Error>(first) }).chain(rest);
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn piece(api: &Api, tenant: &TenantView, request: Key, number: u32) -> Answer<Option<Bytes>> {
    let Some(sealed) = api.hub.store.privacy_piece(&tenant.row.id, request, number).await? else { return Ok(None) };
    let plain = api.hub.vault.open(&tenant.key, place_of_piece(&tenant.row.id, &request), &sealed)?;
    Ok(Some(Bytes::copy_from_slice(&plain)))
}
