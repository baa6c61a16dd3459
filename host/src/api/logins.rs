//! Logging in at a provider by OAuth: the URL where a person consents, and the way back with the code.

use std::{sync::Arc, time::Duration};

use axum::{
    Json as Out,
    extract::{Path, Query, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope as Wanted};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Api,
    auth::{In, Manage, Need as _},
    body::Json,
    connections::found,
    problem::{Answer, Problem},
    routes::{Routes, doc, open},
};
use crate::{
    clock::Timestamp,
    connection::{
        credential::ConnectionKind,
        login::{Login, login_of},
        token_endpoint::{Client, Obtained, TokenError},
    },
    directory::{
        places,
        view::{AppView, ConnectionView, TenantView},
    },
    event::Target,
    secret::SecretString,
    store::{
        StoreError,
        logins::{CompletedLogin, LoginState, LoginUse},
        registry::{AuditEntry, Scope},
    },
};

const TAG: &str = "connections";

/// How long a person has for the provider's pages.
const STATE_LIFE: Duration = Duration::from_secs(600);

/// The longest `return_to`, code and account that are taken.
const MAX_TEXT: usize = 2048;

/// Google gives a refresh token only for these. A manifest may say so itself in its authorize URL.
const OFFLINE_AT: &str = "accounts.google.com";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/tenants/{tenant}/connections/{id}/authorize",
            doc(TAG, Manage::SCOPE, "Begin a login: a URL for the person who logs in, good once and for ten minutes")
                .body::<Begin>()
                .answers::<Begun>(200, "Send the person there."),
            begin,
        )
        .get(
            "/oauth/callback",
            open(TAG, "Where providers send a person back after a login")
                .answers_as(200, "What happened, as a page.", Some("text/html"))
                .answers_as(303, "Back to `return_to`, with `login=ok` or `login=failed` in its query.", None),
            come_back,
        )
}

/// How the login ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Begin {
    /// A path of this hub, such as `/console`, where the person goes afterwards; a small page without it.
    return_to: Option<String>,
}

/// A login that began.
#[derive(Serialize, ToSchema)]
struct Begun {
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// What a login needs beside the connection.
struct Means {
    app: Arc<AppView>,
    client_id: String,
    login: Login,
}

/// The app and the URLs of a connection, or what is missing.
fn means(api: &Api, tenant: &TenantView, connection: &ConnectionView) -> Result<Means, &'static str> {
    let view = api.hub.directory.view();
    if connection.row.kind != ConnectionKind::Oauth2.as_str() {
        return Err("only connections of kind oauth2 log in");
    }
    let app = connection.row.app.and_then(|key| view.apps.get(&key).cloned());
    let app = app.ok_or("the connection's app is gone; rotate the connection with another one")?;
    let client_id =
        app.row.client_id.clone().ok_or("the connection's app has no client_id; an operator must set it")?;
    let login = login_of(&view, tenant, &connection.row);
    let login = login.ok_or("no plugin says where to log in; bind the connection, or name a plugin in its app")?;
    Ok(Means { app, client_id, login })
}

fn redirect_uri(api: &Api) -> String {
    format!("{}/oauth/callback", api.hub.public_url)
}

fn hash_of(state: &str) -> [u8; 32] {
    Sha256::digest(state.as_bytes()).into()
}

fn checked_return(path: String) -> Answer<String> {
    // A browser reads `//host` and `/\host` as another origin.
    let stays = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    if !stays || path.len() > MAX_TEXT || !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('#') {
        return Err(Problem::field(
            "return_to",
            "must be a path of this hub that begins with one `/`, in ASCII, without `#`",
        ));
    }
    Ok(path)
}

async fn begin(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(asked): Json<Begin>,
) -> Answer<Out<Begun>> {
    let connection = found(&within.tenant, &id)?;
    let means = means(&api, &within.tenant, connection).map_err(|words| Problem::field("id", words))?;
    let return_to = asked.return_to.map(checked_return).transpose()?;
    let random = || Zeroizing::new(URL_SAFE_NO_PAD.encode(*Zeroizing::new(api.hub.ids.random::<32>())));
    let (state, verifier) = (random(), random());
    let (hash, tenant) = (hash_of(&state), &within.tenant);
    let place = places::login_verifier(within.id(), &hash);
    let expires_at = api.hub.clock.now().after(STATE_LIFE);
    let row = LoginState {
        hash,
        tenant: within.id().clone(),
        connection: connection.row.key,
        api_key: within.caller.key.key,
        verifier: api.hub.vault.seal(&tenant.key, place, verifier.as_bytes())?,
        return_to,
        expires_at,
    };
    let url = consent_url(&api, &means, &state, &verifier)?;
    let audit = api.audit(&within.caller, Some(within.id()), "connection.login_begun", id.as_str());
    api.hub.store.begin_login(row, audit).await?;
    Ok(Out(Begun { url, expires_at }))
}

fn consent_url(api: &Api, means: &Means, state: &str, verifier: &str) -> Answer<String> {
    let unusable = |_| Problem::field("id", "the plugin's manifest has no usable authorize-url");
    let stands_for = url::Url::parse(&means.login.authorize_url).map_err(unusable)?;
    let at = api.hub.settings.provider_origins.replace(&means.login.authorize_url).into_owned();
    let client = oauth2::basic::BasicClient::new(ClientId::new(means.client_id.clone()))
        .set_auth_uri(AuthUrl::new(at).map_err(unusable)?)
        .set_redirect_uri(RedirectUrl::new(redirect_uri(api)).map_err(unusable)?);
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.to_owned()));
    let mut request = client
        .authorize_url(|| CsrfToken::new(state.to_owned()))
        .add_scopes(means.login.scopes.iter().cloned().map(Wanted::new))
        .set_pkce_challenge(challenge);
    let says_itself = stands_for.query_pairs().any(|(name, _)| name == "access_type");
    if stands_for.host_str() == Some(OFFLINE_AT) && !says_itself {
        request = request.add_extra_param("access_type", "offline").add_extra_param("prompt", "consent");
    }
    Ok(request.url().0.to_string())
}

/// What a provider adds to the URL; more than this is left alone.
#[derive(Deserialize)]
struct Back {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    /// The company, from QuickBooks.
    #[serde(rename = "realmId")]
    realm_id: Option<String>,
}

/// How a login ended, as the person reads it. No text of a request is among these words.
struct Ended {
    status: StatusCode,
    words: &'static str,
    /// The provider's own words, escaped when shown.
    detail: Option<String>,
}

impl Ended {
    const fn badly(status: StatusCode, words: &'static str) -> Self {
        Self { status, words, detail: None }
    }
}

async fn come_back(
    State(api): State<Api>,
    query: Result<Query<Back>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(back)) = query else {
        return page(&Ended::badly(StatusCode::BAD_REQUEST, "This address is not complete. Begin the login again."));
    };
    match used_state(&api, &back).await {
        Err(ended) => page(&ended),
        Ok(state) => {
            let return_to = state.return_to.clone();
            let ended = match finish(&api, state, back).await {
                Ok(()) => Ended::badly(StatusCode::OK, "The login is complete. You can close this page."),
                Err(ended) => ended,
            };
            match return_to {
                Some(path) => send_back(&path, ended.status == StatusCode::OK),
                None => page(&ended),
            }
        }
    }
}

/// Uses the state up. Whatever follows, it is good for nothing more.
async fn used_state(api: &Api, back: &Back) -> Result<LoginState, Ended> {
    let bad = |words| Ended::badly(StatusCode::BAD_REQUEST, words);
    let state = back.state.as_deref().filter(|state| (1..=MAX_TEXT).contains(&state.len()));
    let state = state.ok_or_else(|| bad("This address is not complete. Begin the login again."))?;
    let used = api.hub.store.take_login(hash_of(state), api.hub.clock.now()).await;
    match used.map_err(|error| unavailable(&error))? {
        LoginUse::Taken(state) => Ok(state),
        LoginUse::Used => Err(bad("This login was used before. Begin it again if it did not work.")),
        LoginUse::Expired => Err(bad("This login took too long. Begin it again.")),
        LoginUse::Unknown => Err(bad("This login is not known. Begin it again.")),
    }
}

fn unavailable(error: &StoreError) -> Ended {
    tracing::warn!(%error, "a login could not be completed");
    Ended::badly(StatusCode::SERVICE_UNAVAILABLE, "The hub cannot do this now. Begin the login again in a moment.")
}

/// Exchanges the code and stores what came of it.
async fn finish(api: &Api, state: LoginState, back: Back) -> Result<(), Ended> {
    let bad = |words| Ended::badly(StatusCode::BAD_REQUEST, words);
    let tenant = api.hub.directory.tenant(&state.tenant);
    let tenant = tenant.ok_or_else(|| bad("The connection is gone."))?;
    let connection = tenant.connections.get(&state.connection).cloned();
    let connection = connection.ok_or_else(|| bad("The connection is gone."))?;
    if !may_still(api, &state) {
        return Err(Ended::badly(StatusCode::FORBIDDEN, "The API key that began this login may not do so any more."));
    }
    if let Some(error) = back.error {
        return Err(if error == "access_denied" {
            bad("The provider says that the login was refused. Nothing was changed.")
        } else {
            bad("The provider could not complete the login. Nothing was changed.")
        });
    }
    let code = back.code.filter(|code| (1..=MAX_TEXT).contains(&code.len()));
    let code = code.ok_or_else(|| bad("The provider sent no code. Begin the login again."))?;
    let account = back.realm_id.map(checked_account).transpose()?;
    let asked_at = api.hub.clock.now();
    let obtained = exchange(api, &tenant, &connection, &state, &code).await?;
    let refresh_token = obtained.refresh_token.clone().ok_or_else(|| {
        bad("The provider gave no lasting access. Remove the app from your account there, and begin the login again.")
    })?;
    store(api, &tenant, &connection, &state, account, &obtained, &refresh_token, asked_at).await?;
    let refreshed = api.hub.directory.refresh_tenant(&state.tenant).await;
    if let Err(error) = refreshed {
        tracing::error!(%error, tenant = %state.tenant, "a login is stored and not yet in force");
    }
    api.hub.reconsider(&state.tenant);
    let users =
        tenant.installations.values().filter(|view| view.row.connections.values().any(|key| *key == state.connection));
    api.wake_targets(&state.tenant, users.map(|view| Target::Plugin(view.row.plugin.as_str().into())));
    Ok(())
}

/// Whether the key that began the login is still there and may still change the tenant.
fn may_still(api: &Api, state: &LoginState) -> bool {
    let (view, now) = (api.hub.directory.view(), api.hub.clock.now());
    view.keys.values().any(|key| {
        key.key == state.api_key
            && key.expires_at.is_none_or(|end| end > now)
            && key.scope >= Scope::Admin
            && (key.scope == Scope::Operator || key.tenant.as_ref() == Some(&state.tenant))
    })
}

fn checked_account(account: String) -> Result<String, Ended> {
    let good = (1..=64).contains(&account.len()) && account.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then_some(account).ok_or_else(|| {
        Ended::badly(StatusCode::BAD_REQUEST, "The provider named no usable company. Begin the login again.")
    })
}

async fn exchange(
    api: &Api,
    tenant: &TenantView,
    connection: &ConnectionView,
    state: &LoginState,
    code: &str,
) -> Result<Obtained, Ended> {
    let means = means(api, tenant, connection).map_err(|words| Ended::badly(StatusCode::CONFLICT, words))?;
    let place = places::login_verifier(&state.tenant, &state.hash);
    let verifier = api.hub.vault.open(&tenant.key, place, &state.verifier).ok();
    let verifier = verifier.as_deref().and_then(|plain| std::str::from_utf8(plain).ok());
    let verifier = verifier
        .ok_or_else(|| Ended::badly(StatusCode::INTERNAL_SERVER_ERROR, "The login is damaged. Begin it again."))?;
    let redirect_uri = redirect_uri(api);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri.as_str()),
        ("code_verifier", verifier),
    ];
    let client = Client { id: &means.client_id, secret: means.app.client_secret.as_ref() };
    let obtained = api.hub.request_token(&means.login.token_url, &form, Some(client)).await;
    obtained.map_err(|error| {
        tracing::warn!(tenant = %state.tenant, connection.id = %state.connection.with_prefix("con"), %error, "a login failed");
        let (status, words) = match &error {
            TokenError::Ended(_) | TokenError::Refused(_) => (StatusCode::BAD_REQUEST, "The provider did not take the code."),
            TokenError::Unavailable(..) => {
                (StatusCode::BAD_GATEWAY, "The provider did not answer. Begin the login again in a moment.")
            }
        };
        Ended { status, words, detail: Some(error.to_string()) }
    })
}

#[expect(clippy::too_many_arguments, reason = "what is stored together, in one transaction")]
async fn store(
    api: &Api,
    tenant: &TenantView,
    connection: &ConnectionView,
    state: &LoginState,
    account: Option<String>,
    obtained: &Obtained,
    refresh_token: &SecretString,
    asked_at: Timestamp,
) -> Result<(), Ended> {
    let damaged = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a login could not be sealed");
        Ended::badly(StatusCode::INTERNAL_SERVER_ERROR, "The hub could not keep the login.")
    };
    let current = connection.secrets.first().map(|(credential, _)| credential);
    let current = current.ok_or_else(|| damaged(&"the connection's secret does not open"))?;
    let secret = api.hub.sealed_credential(tenant, state.connection, &current.with_refresh_token(refresh_token));
    let secret = secret.map_err(|error| damaged(&error))?;
    let scopes = std::collections::BTreeSet::new();
    let access = api.hub.sealed_access(tenant, state.connection, obtained, &scopes, asked_at);
    let access = access.map_err(|error| damaged(&error))?;
    let at = api.hub.clock.now();
    let login =
        CompletedLogin { tenant: state.tenant.clone(), connection: state.connection, account, secret, access, at };
    let audit = AuditEntry {
        at,
        tenant: Some(state.tenant.clone()),
        actor: state.api_key.with_prefix("key"),
        action: "connection.logged_in".to_owned(),
        target: state.connection.with_prefix("con"),
        before: None,
        after: None,
    };
    api.hub.store.complete_login(login, audit).await.map_err(|error| match error {
        StoreError::Conflict(_) => Ended::badly(
            StatusCode::CONFLICT,
            "This account at the provider belongs to another connection of the hub. Nothing was changed.",
        ),
        StoreError::NotFound => Ended::badly(StatusCode::BAD_REQUEST, "The connection is gone."),
        other => unavailable(&other),
    })
}

/// Back to a path of this hub.
fn send_back(path: &str, well: bool) -> Response {
    let (joint, end) = (if path.contains('?') { '&' } else { '?' }, if well { "ok" } else { "failed" });
    let location = HeaderValue::from_str(&format!("{path}{joint}login={end}"));
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location.unwrap_or(HeaderValue::from_static("/")));
    guarded(response)
}

fn page(ended: &Ended) -> Response {
    let detail = ended.detail.as_deref().map(|words| format!("<p>{}</p>", escaped(words))).unwrap_or_default();
    let title = if ended.status == StatusCode::OK { "Logged in" } else { "Not logged in" };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1><p>{}</p>{detail}</html>",
        ended.words
    );
    guarded((ended.status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
}

/// The URL holds a code and a state: nobody may keep it, pass it on, or show the page in a frame.
fn guarded(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_sent_to_paths_of_this_hub_alone() {
        for good in ["/", "/console?tenant=acme", "/a//b"] {
            assert!(checked_return(good.to_owned()).is_ok(), "{good}");
        }
        for bad in
            ["", "console", "//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/\r\nx", "/æ", "/a#b"]
        {
            assert!(checked_return(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_providers_words_are_escaped() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }

    #[test]
    fn a_company_is_letters_and_digits() {
        assert!(checked_account("1185883450".to_owned()).is_ok());
        assert!(checked_account("1/../2".to_owned()).is_err() && checked_account(String::new()).is_err());
    }
}
