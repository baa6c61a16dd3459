//! Consents: who may be written to and called, what they said of it and when.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    paging::{self, Paged},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::{places, view::TenantView},
    policy::{
        address::Channel,
        consent::{ConsentSource, ConsentState},
    },
    store::policy::{ConsentFilter, ConsentRow, ConsentSaid, PastConsent, Person},
};

const TAG: &str = "consents";

pub(super) fn routes(routes: Routes) -> Routes {
    let all = "/v1/tenants/{tenant}/consents";
    routes
        .get(
            all,
            doc(TAG, Read::SCOPE, "List who may be reached on which channel, and who may not")
                .query::<ConsentParams>()
                .lists::<Consent>("A page."),
            list,
        )
        .put(
            all,
            doc(
                TAG,
                Manage::SCOPE,
                "Store what a person said of a channel; it stands against all that was said before",
            )
            .body::<NewConsent>()
            .answers::<Consent>(200, "Stored."),
            put,
        )
        .get(
            &format!("{all}/{{channel}}/{{address}}"),
            doc(TAG, Read::SCOPE, "Read what a person said of a channel, with all that they said before")
                .answers::<ConsentDetail>(200, "The consent."),
            read,
        )
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ConsentParams {
    /// At most so many entries, 1 to 200; 50 without it.
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// `sms`, `call` or `email`.
    #[param(inline)]
    channel: Option<Channel>,
    /// `granted` or `withdrawn`.
    #[param(inline)]
    state: Option<ConsentState>,
    /// Of this person alone: a phone number with its country, or an e-mail address.
    address: Option<String>,
}

/// A consent to store.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewConsent {
    /// `sms`, `call` or `email`.
    channel: Channel,
    /// A phone number with its country, or an e-mail address.
    #[schema(example = "+4520123456")]
    address: String,
    /// `granted` or `withdrawn`.
    state: ConsentState,
}

/// What a person said last of a channel.
#[derive(Serialize, ToSchema)]
struct Consent {
    channel: Channel,
    /// Null once the person's data was erased; what they want still counts.
    address: Option<String>,
    state: ConsentState,
    source: ConsentSource,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What a person said last of a channel, and before.
#[derive(Serialize, ToSchema)]
struct ConsentDetail {
    #[serde(flatten)]
    consent: Consent,
    /// All that was said, newest first, at most 100. What came late is here and did not change the state.
    history: Vec<Said>,
}

/// Something that was said.
#[derive(Serialize, ToSchema)]
struct Said {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    state: ConsentState,
    source: ConsentSource,
    /// When the hub stored it.
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
}

fn shown(api: &Api, tenant: &TenantView, row: &ConsentRow) -> Consent {
    let open = |sealed: &Vec<u8>| {
        let place = places::consent(&tenant.row.id, &row.person);
        let opened = api.hub.vault.open(&tenant.key, place, sealed);
        let opened = opened.inspect_err(|error| tracing::error!(%error, "the address of a consent does not open"));
        String::from_utf8(opened.ok()?.to_vec()).ok()
    };
    let address = row.address.as_ref().and_then(open);
    let ConsentRow { channel, state, source, at, updated_at, .. } = *row;
    Consent { channel, address, state, source, at, updated_at }
}

fn said(past: PastConsent) -> Said {
    let PastConsent { at, state, source, recorded_at, .. } = past;
    Said { at, state, source, recorded_at }
}

/// The person behind an address of a channel.
fn person(tenant: &TenantView, channel: Channel, address: &str) -> Answer<(String, Person)> {
    let field = |message: String| Problem::field("address", message);
    let normal = channel.checked(address).map_err(field)?;
    let person = tenant.key.person_hash(channel.person_kind(), &normal);
    person.map(|person| (normal, person)).ok_or_else(|| field("names nobody".to_owned()))
}

/// Where the next page begins: the hash of the last person, and the channel.
fn cursor(row: &ConsentRow) -> String {
    format!("{}.{}", hex::encode(row.person), row.channel.as_str())
}

fn after(text: &str) -> Answer<(Person, Channel)> {
    let parsed = text.split_once('.').and_then(|(person, channel)| {
        let person = hex::decode(person).ok()?.try_into().ok()?;
        Some((person, Channel::ALL.into_iter().find(|known| known.as_str() == channel)?))
    });
    parsed.ok_or_else(|| Problem::field("after", "must be `next` of a page before"))
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(params): Params<ConsentParams>,
) -> Answer<Out<Paged<Consent>>> {
    let tenant = &within.tenant;
    let person = match &params.address {
        None => None,
        Some(address) => {
            let channel = params.channel.unwrap_or(if address.contains('@') { Channel::Email } else { Channel::Sms });
            Some(person(tenant, channel, address)?.1)
        }
    };
    let after = params.after.as_deref().map(after).transpose()?;
    let filter = ConsentFilter { channel: params.channel, state: params.state, person, after };
    let limit = paging::limit(params.limit)?;
    let mut rows = api.hub.store.consents(&tenant.row.id, filter, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = if more { rows.last().map(cursor) } else { None };
    Ok(Out(Paged { data: rows.iter().map(|row| shown(&api, tenant, row)).collect(), next }))
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, channel, address)): Path<(String, String, String)>,
) -> Answer<Out<ConsentDetail>> {
    let channel = Channel::ALL.into_iter().find(|known| known.as_str() == channel);
    let channel = channel.ok_or_else(|| Problem::field("channel", "must be sms, call or email"))?;
    let (_, person) = person(&within.tenant, channel, &address)?;
    found(&api, &within.tenant, channel, person).await.map(Out)
}

async fn found(api: &Api, tenant: &TenantView, channel: Channel, person: Person) -> Answer<ConsentDetail> {
    let filter = ConsentFilter { channel: Some(channel), person: Some(person), ..ConsentFilter::default() };
    let rows = api.hub.store.consents(&tenant.row.id, filter, 1).await?;
    let row = rows.first().ok_or_else(|| Problem::not_found("consent of this address"))?;
    let history = api.hub.store.consent_history(&tenant.row.id, channel, person).await?;
    Ok(ConsentDetail { consent: shown(api, tenant, row), history: history.into_iter().map(said).collect() })
}

async fn put(State(api): State<Api>, within: In<Manage>, Json(new): Json<NewConsent>) -> Answer<Out<Consent>> {
    let tenant = &within.tenant;
    let (address, person) = person(tenant, new.channel, &new.address)?;
    let before = {
        let filter = ConsentFilter { channel: Some(new.channel), person: Some(person), ..ConsentFilter::default() };
        api.hub.store.consents(&tenant.row.id, filter, 1).await?
    };
    let before = before.first().map(|row| json!({"state": row.state, "source": row.source}));
    let now = api.hub.clock.now();
    let said = ConsentSaid {
        tenant: tenant.row.id.clone(),
        channel: new.channel,
        person,
        address: api.hub.vault.seal(&tenant.key, places::consent(&tenant.row.id, &person), address.as_bytes())?,
        state: new.state,
        source: ConsentSource::Api,
        at: now,
        event: None,
        now,
    };
    // No personal value: the hash says that two rows are about one person, and to nobody who it is.
    let target = format!("{}:{}", new.channel.as_str(), hex::encode(&person[..8]));
    let audit = api.audit(&within.caller, Some(&tenant.row.id), "consent.put", target);
    let after = json!({"state": new.state, "source": ConsentSource::Api});
    api.hub.store.put_consent(said, audit.showing(before.as_ref(), Some(&after))).await?;
    found(&api, tenant, new.channel, person).await.map(|detail| Out(detail.consent))
}
