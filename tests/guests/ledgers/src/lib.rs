//! A guest whose provider sends one signed request for many accounts, as providers do to apps. For a tenant's own source
//! it takes signed tokens instead. It can be tried by a probe, and calls its provider as often as it is told to.

use serde_json::{Value, json};
use switchyard_sdk::manifest::SecretKind;
use switchyard_sdk::prelude::*;

/// The settings; none must be given, since a request to an app comes without.
#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Config {
    /// What signed tokens must be meant for.
    audience: String,
}

/// The plugin.
struct Guest;

impl Plugin for Guest {
    type Config = Config;

    fn manifest() -> Manifest {
        let ledgers =
            Connection::new("ledgers", ConnectionKind::Bearer, "https://ledgers.example", "Where entries are.")
                .methods([Method::Get, Method::Post])
                .probe("/v1/me")
                .rate_per_s(5.0);
        let issuer = SecretKind::Jwt {
            issuers: vec!["https://accounts.google.com".to_owned(), "accounts.google.com".to_owned()],
            jwks_url: "https://www.googleapis.com/oauth2/v3/certs".to_owned(),
        };
        Manifest::new("ledgers", env!("CARGO_PKG_VERSION"), "Keeps a provider whose accounts belong to tenants.")
            .handles(EventType::command("entries.read", "Entries are to be read."))
            .emits(EventType::event("entry.changed", "An entry was changed."))
            .emits(EventType::event("entries.counted", "Entries were read."))
            .emits(EventType::event("token.seen", "A signed token came."))
            .connection(ledgers.optional())
            .secret(Secret::new("issuer", issuer, "Who signs tokens.").optional())
    }
}

impl Ingest for Guest {
    fn receive(ctx: &Ctx<Config>, request: InboundRequest) -> Result<Received, PluginError> {
        if ctx.tenant().is_empty() { for_app(ctx, &request) } else { for_tenant(ctx, &request) }
    }
}

/// `{"changes":[{"account","id","version"?}]}`, signed with the app's key.
fn for_app(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Received, PluginError> {
    let tag = request.header("x-signature").map(unhex).unwrap_or_default();
    if !ctx.verify_mac("app.verifier", Mac::HmacSha256, &request.body, &tag)? {
        return Ok(Received::unauthenticated("the signature does not fit"));
    }
    if ctx.kv().get("anything").is_ok() || !ctx.installation().is_empty() {
        return Err(PluginError::reject(Reason::PluginBug, "not_an_app", "A request to an app belongs to nobody."));
    }
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|_| PluginError::reject(Reason::BadData, "not_json", "The body is no JSON."))?;
    let changes = body["changes"].as_array().cloned().unwrap_or_default();
    if changes.iter().any(|change| change["id"] == "trouble") {
        return Err(PluginError::retry(Reason::ProviderDown, "trouble", "It cannot be judged now."));
    }
    let events = changes.iter().map(|change| {
        let id = change["id"].as_str().unwrap_or_default();
        let event = Emit::new("entry.changed", json!({ "entry": id, "version": change["version"] })).subject(id);
        let event = event.dedupe(format!("{id}:{}", change["version"]));
        let event = if id == "fire" { event.emergency() } else { event };
        match change["account"].as_str() {
            Some(account) => event.account(account),
            None => event,
        }
    });
    Ok(Received::accepted(events.collect()).reply(Reply::content("text/plain", "thanks")))
}

/// A request that a signed token proves.
fn for_tenant(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Received, PluginError> {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match ctx.verify_jwt("issuer", token, &ctx.config.audience) {
        Ok(claims) => Ok(Received::accepted(vec![Emit::new(
            "token.seen",
            json!({ "email": claims["email"], "subject": claims["sub"] }),
        )])),
        Err(CryptoError::Invalid(why)) => Ok(Received::unauthenticated(why)),
        Err(error) => Err(error.into()),
    }
}

impl Handler for Guest {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        if let Some(token) = event.data["token"].as_str() {
            let claims = ctx.verify_jwt("issuer", token, &ctx.config.audience)?;
            return Ok(Emit::new("token.seen", json!({ "email": claims["email"], "subject": claims["sub"] })).into());
        }
        if let Some(at) = event.data["expires"].as_u64() {
            ctx.expires("channel", at, "The channel of the ledgers", true)?;
        }
        let reads = event.data["reads"].as_u64().unwrap_or(1);
        for _ in 0..reads {
            let _ = ctx.http("ledgers").get("/v1/entries").send()?.ok()?;
        }
        Ok(Emit::new("entries.counted", json!({ "reads": reads })).into())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
    digits.unwrap_or_default().chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect()
}

switchyard_sdk::register!(Guest: ingest, handler);
