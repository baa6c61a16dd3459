//! What people do with connections: rotate their secret, and check what can be checked.

use std::collections::BTreeSet;

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Manage, Need as _},
    body::Json,
    connection_probe::{self, Check},
    connections::{Connection, checked_secret, found, kind_of, sealed, update},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    connection::{credential::ConnectionKind, tokens::obtains_tokens},
    directory::view::{ConnectionView, TenantView},
    store::registry::SealedSecret,
};

const TAG: &str = "connections";
/// Old secrets that still prove signatures, beside the current one.
const MAX_OLD_SECRETS: usize = 10;
const DEFAULT_OVERLAP_S: u64 = 86_400;
const MAX_OVERLAP_S: u64 = 30 * 86_400;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/tenants/{tenant}/connections/{id}/rotate",
            doc(TAG, Manage::SCOPE, "Give a new secret; the old one still proves signatures during the overlap")
                .body::<Rotation>()
                .answers::<Connection>(200, "Rotated."),
            rotate,
        )
        .post(
            "/v1/tenants/{tenant}/connections/{id}/test",
            doc(TAG, Manage::SCOPE, "Try the connection by one harmless call, and say what the answer means")
                .answers::<Checks>(200, "The checks."),
            test,
        )
}

/// A new secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// As when the connection was made; kind `generated` makes its own.
    #[serde(default)]
    #[schema(value_type = Object)]
    secret: Value,
    /// Seconds for which the old secret still proves signatures; a day without it, 0 ends it at once.
    overlap_s: Option<u64>,
}

/// What was checked.
#[derive(Serialize, ToSchema)]
struct Checks {
    /// Whether every check passed.
    ok: bool,
    checks: Vec<Check>,
}

async fn rotate(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(rotation): Json<Rotation>,
) -> Answer<Out<Connection>> {
    let mut row = found(&within.tenant, &id)?.row.clone();
    let now = api.hub.clock.now();
    let kind = kind_of(&row.kind)?;
    let (credential, app) = checked_secret(&api, &row.provider, kind, &rotation.secret)?;
    if kind == ConnectionKind::Oauth2 && credential.refresh_token().is_none() {
        return Err(Problem::field("secret.refresh_token", "is missing; to log in anew POST to /authorize"));
    }
    let new = sealed(&api, &within.tenant, row.key, &credential)?;
    row.app = app;
    row.secrets = if obtains_tokens(kind) {
        // Old ones prove nothing here, and the provider knows them no more.
        vec![new]
    } else {
        rotated(row.secrets, new, rotation.overlap_s, "overlap_s", MAX_OVERLAP_S, now)?
    };
    row.updated_at = now;
    update(&api, &within, row, "connection.rotated").await.map(Out)
}

/// The secrets after a rotation: the new one, then those that still overlap.
pub(super) fn rotated(
    secrets: Vec<SealedSecret>,
    new: SealedSecret,
    overlap_s: Option<u64>,
    field: &str,
    most: u64,
    now: Timestamp,
) -> Answer<Vec<SealedSecret>> {
    let overlap = overlap_s.unwrap_or(DEFAULT_OVERLAP_S);
    if overlap > most {
        return Err(Problem::field(field, format!("must be 0 to {most} seconds")));
    }
    let end = now.after(std::time::Duration::from_secs(overlap));
    let ending = secrets.into_iter().map(|secret| SealedSecret {
        expires_at: Some(secret.expires_at.map_or(end, |known| known.min(end))),
        ..secret
    });
    let old: Vec<_> = ending.filter(|secret| secret.expires_at.is_some_and(|until| until > now)).collect();
    if old.len() > MAX_OLD_SECRETS {
        let detail =
            format!("{MAX_OLD_SECRETS} old secrets still overlap; wait until one ends, or rotate with {field} 0");
        return Err(Problem::new(Code::InvalidRequest, detail).with_error(field, "too many old secrets overlap"));
    }
    Ok(std::iter::once(new).chain(old).collect())
}

async fn test(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Checks>> {
    let view = found(&within.tenant, &id)?;
    let opened = !view.secrets.is_empty();
    let mut checks = vec![Check {
        name: "secret".to_owned(),
        ok: opened,
        message: if opened {
            "the secret opens".to_owned()
        } else {
            "no secret opens; rotate the connection".to_owned()
        },
    }];
    for url in base_urls(&api, &within.tenant, view) {
        let checked = match api.hub.client.policy().check_url(&url) {
            Ok(_) => (true, format!("{url} may be called; its address is judged at each call")),
            Err(error) => (false, format!("{url}: {error}")),
        };
        checks.push(Check { name: "base_url".to_owned(), ok: checked.0, message: checked.1 });
    }
    checks.push(connection_probe::provider(&api, &within.tenant, view).await);
    Ok(Out(Checks { ok: checks.iter().all(|check| check.ok), checks }))
}

/// Where the connection is used to call: its own base URL, else those of the manifests that it is bound to.
fn base_urls(api: &Api, tenant: &TenantView, view: &ConnectionView) -> BTreeSet<String> {
    if let Some(url) = &view.row.base_url {
        return BTreeSet::from([url.clone()]);
    }
    connection_probe::uses(tenant, view).into_iter().map(|spec| connection_probe::base_url(api, view, spec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, until: Option<i64>) -> SealedSecret {
        SealedSecret { sealed: name.as_bytes().to_vec(), expires_at: until.map(Timestamp) }
    }

    #[test]
    fn the_old_secret_overlaps_and_ended_ones_go() {
        let now = Timestamp(1_000_000);
        let before = vec![secret("current", None), secret("old", Some(1_500_000)), secret("ended", Some(999_999))];
        let after = rotated(before, secret("new", None), Some(3600), "overlap_s", MAX_OVERLAP_S, now).unwrap();
        let expected = [secret("new", None), secret("current", Some(4_600_000)), secret("old", Some(1_500_000))];
        assert_eq!(after, expected);
    }

    #[test]
    fn an_overlap_of_zero_ends_the_old_secret_at_once() {
        let after = rotated(vec![secret("current", None)], secret("new", None), Some(0), "overlap_s", 10, Timestamp(5))
            .unwrap();
        assert_eq!(after, [secret("new", None)]);
        assert!(rotated(Vec::new(), secret("new", None), Some(11), "overlap_s", 10, Timestamp(5)).is_err());
    }

    #[test]
    fn at_most_ten_old_secrets_overlap() {
        let mut secrets = vec![secret("s", None)];
        for n in 0..MAX_OLD_SECRETS {
            secrets =
                rotated(secrets, secret(&n.to_string(), None), None, "grace_s", MAX_OVERLAP_S, Timestamp(0)).unwrap();
        }
        assert_eq!(secrets.len(), 11);
        assert!(rotated(secrets, secret("more", None), None, "grace_s", MAX_OVERLAP_S, Timestamp(0)).is_err());
    }
}
