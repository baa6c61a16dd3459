//! What came to an app and became no event: for operators, as a tenant's admin sees it of the tenant's own sources.

use axum::{
    Json as Out,
    extract::{Path, State},
};

use super::{
    Api,
    apps::found,
    auth::{May, Need as _, Operate},
    body::Params,
    paging::{PageParams, Paged, page, paged},
    problem::Answer,
    received::{Judged, Parked, Refused, refused, retried, shown},
    routes::{Routes, doc},
};
use crate::event::TenantId;

const TAG: &str = "apps";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/apps/{id}/parked",
            doc(TAG, Operate::SCOPE, "List requests to an app that could not be judged yet, newest first")
                .query::<PageParams>()
                .lists::<Parked>("A page."),
            parked,
        )
        .post(
            "/v1/apps/{id}/parked/{request}/retry",
            doc(TAG, Operate::SCOPE, "Judge a parked request of an app now").answers::<Judged>(200, "Judged."),
            retry,
        )
        .get(
            "/v1/apps/{id}/rejections",
            doc(TAG, Operate::SCOPE, "List requests to an app that were refused, or told of accounts that nobody uses")
                .query::<PageParams>()
                .lists::<Refused>("A page."),
            rejections,
        )
}

fn owner(api: &Api, id: &str) -> Answer<TenantId> {
    Ok(TenantId::of_app(found(api, id)?.row.key))
}

async fn parked(
    State(api): State<Api>,
    _may: May<Operate>,
    Path(id): Path<String>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<Parked>>> {
    let page = page("req", params.limit, params.after.as_deref())?;
    let rows = api.hub.store.parked(&owner(&api, &id)?, page).await?;
    Ok(Out(paged(rows, page, |row| row.key.with_prefix("req"), shown)))
}

async fn rejections(
    State(api): State<Api>,
    _may: May<Operate>,
    Path(id): Path<String>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<Refused>>> {
    let page = page("req", params.limit, params.after.as_deref())?;
    let rows = api.hub.store.rejections(&owner(&api, &id)?, page).await?;
    Ok(Out(paged(rows, page, |row| row.key.with_prefix("req"), refused)))
}

async fn retry(
    State(api): State<Api>,
    may: May<Operate>,
    Path((id, request)): Path<(String, String)>,
) -> Answer<Out<Judged>> {
    let owner = owner(&api, &id)?;
    let audit = api.audit(&may.caller, None, "parked.retried", request.as_str());
    retried(&api, &owner, &request, audit).await.map(Out)
}
