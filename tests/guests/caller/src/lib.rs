//! A guest that makes the call it is told to and tells what it was answered. Its connection logs in by OAuth.

use serde_json::json;
use switchyard_sdk::prelude::*;

/// The installation has no settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Config {}

/// The plugin.
struct Caller;

impl Plugin for Caller {
    type Config = Config;

    fn manifest() -> Manifest {
        let kind = ConnectionKind::Oauth2 {
            authorize_url: "https://accounts.google.com/o/oauth2/v2/auth".to_owned(),
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            scopes: vec!["https://www.googleapis.com/auth/gmail.modify".to_owned()],
        };
        let provider = Connection::new("provider", kind, "https://www.googleapis.com", "Where calls go.")
            .methods([Method::Get, Method::Post]);
        Manifest::new("caller", "1.0.0", "Makes the call it is told to.")
            .handles(EventType::command("api.call", "A call is to be made."))
            .emits(EventType::event("api.answered", "A call was answered."))
            .connection(provider)
    }
}

impl Handler for Caller {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        let (method, path): (String, String) = (event.field("method")?, event.field("path")?);
        let provider = ctx.http("provider");
        let answer = match method.as_str() {
            "POST" => provider.post(&path).json(&json!({ "n": 1 })).send()?,
            _ => provider.get(&path).send()?,
        };
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(Emit::new("api.answered", json!({ "call": event.id, "status": answer.status, "body": body })).into())
    }
}

switchyard_sdk::register!(Caller: handler);
