//! A guest with a lifecycle. It is one file and many versions: a test changes the digits of [`VERSION`] in the compiled
//! file, and the first of them says how the version works.

use std::hint::black_box;

use serde_json::{Value, json};
use switchyard_sdk::prelude::*;

static VERSION: [u8; 19] = *b"guest-version=1.0.0";

fn version() -> String {
    black_box(&VERSION)[14..].iter().map(|byte| char::from(*byte)).collect()
}

/// The installation's settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Config {
    /// Lifecycle calls that are refused: `install`, `upgrade`, `uninstall`.
    #[serde(default)]
    refuse: Vec<String>,
    /// Lifecycle calls that ask to be called again later.
    #[serde(default)]
    delay: Vec<String>,
}

/// The plugin.
struct Guest;

impl Plugin for Guest {
    type Config = Config;

    fn manifest() -> Manifest {
        let kind = ConnectionKind::Header("X-Access-Token".to_owned());
        let books = Connection::new("books", kind, "https://books.example", "Where contacts are kept.")
            .methods([Method::Get, Method::Post])
            .optional();
        Manifest::new("lifecycle", &version(), "Says when it is set up, and works.")
            .handles(EventType::command("work.do", "Work is to be done."))
            .emits(EventType::event("work.done", "Work was done."))
            .emits(EventType::event("work.set_up", "The plugin was set up."))
            .connection(books)
    }
}

impl Lifecycle for Guest {
    fn install(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        set_up(ctx, "install", None)
    }

    fn upgrade(ctx: &Ctx<Config>, from_version: &str) -> Result<Output, PluginError> {
        set_up(ctx, "upgrade", Some(from_version))
    }

    fn uninstall(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
        set_up(ctx, "uninstall", None)
    }
}

fn set_up(ctx: &Ctx<Config>, call: &str, from: Option<&str>) -> Result<Output, PluginError> {
    if ctx.config.refuse.iter().any(|refused| refused == call) {
        return Err(PluginError::reject(Reason::Config, "refused", format!("The {call} is refused.")));
    }
    if ctx.config.delay.iter().any(|delayed| delayed == call) {
        return Err(PluginError::retry(Reason::ProviderDown, "delayed", format!("The {call} is delayed.")));
    }
    Ok(Emit::new("work.set_up", json!({ "call": call, "from": from, "version": version() })).into())
}

impl Handler for Guest {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        let n: u64 = event.field("n")?;
        let kind = version().as_bytes()[0];
        match kind {
            b'5' => panic!("version 5 panics"),
            b'6' => loop {
                black_box(n);
            },
            _ => {}
        }
        if event.data.get("peek").is_some() {
            // Whether the books are there makes no difference.
            let _ = ctx.http("books").get("/v2/contacts").send();
        }
        // Version 2 does the same in another order.
        let before = if kind == b'2' { None } else { Some(remember(ctx, n)?) };
        let contact = if event.field::<bool>("write")? { write(ctx, n, kind)? } else { Value::Null };
        let seen = match before {
            Some(seen) => seen,
            None => remember(ctx, n)?,
        };
        let total = if kind == b'3' { n + 1 } else { n };
        Ok(Emit::new("work.done", json!({ "total": total, "seen": seen, "contact": contact })).into())
    }
}

/// Keeps `n`; answers what was there.
fn remember(ctx: &Ctx<Config>, n: u64) -> Result<Option<u64>, PluginError> {
    let seen = ctx.kv().get_json("seen")?;
    ctx.kv().set_json("seen", &n, &KvOptions::default())?;
    Ok(seen)
}

/// Reads the books and writes a contact into them; answers its id.
fn write(ctx: &Ctx<Config>, n: u64, kind: u8) -> Result<Value, PluginError> {
    let books = ctx.http("books");
    let _ = books.get("/v2/contacts").send()?;
    if kind == b'4' {
        let _ = books.get("/v2/organization").send()?;
    }
    let contact = json!({ "contact": { "type": "company", "name": format!("Customer {n}"), "countryId": "DK" } });
    let answer = books.post("/v2/contacts").json(&contact).send()?;
    let made: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(made["contacts"][0]["id"].clone())
}

switchyard_sdk::register!(Guest: handler, lifecycle);
