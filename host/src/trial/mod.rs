//! `switchyard plugin run` and `plugin test`: one call of a plugin in the real sandbox, without a hub. Providers answer
//! what the case has recorded, and the report says what the plugin left, said and used.

/// The file of a case.
pub mod case;

mod host;
mod report;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use self::{
    case::{Case, EventCase},
    host::TrialHost,
    report::Report,
};
use crate::{
    cli::{Output, RunPluginArgs, TestPluginArgs},
    clock::{SharedClock, SystemClock, Timestamp},
    event::catalogue::{check_against, compile_schema},
    plugin::{
        call::{Call, PluginLabel},
        grant::Grants,
        guest::Guest,
        limits::Limits,
        manifest::validate,
        model::{CallContext, HandledEvent, Header, InboundRequest, KvEntry, Manifest, SourceRef},
        sandbox::{Sandbox, SandboxOptions},
        virtual_time::VirtualClock,
    },
};

/// Bytes of a case's file.
const CASE_BYTES: u64 = 32 << 20;

/// Runs one case and prints its report. The exit code is 0 if the plugin succeeded, 3 if it answered with an error, and 4
/// if it trapped, passed a limit or broke the contract.
///
/// # Errors
/// There was nothing to run: the file is no plugin, or the case is not usable.
pub async fn run(args: &RunPluginArgs, output: Output) -> anyhow::Result<ExitCode> {
    let trial = Trial::of(&args.file).await?;
    let mut case = match (&args.case, &args.event) {
        (None, Some(_)) => Case::default(),
        (case, _) => read_case(case.as_deref())?,
    };
    if let Some(event_type) = &args.event {
        let data = args.data.as_deref().map_or(Ok(Value::Object(Map::new())), |data| parsed("--data", data))?;
        let event = serde_json::json!({"type": event_type, "data": data});
        case.event = Some(serde_json::from_value::<EventCase>(event)?);
    }
    if let Some(config) = &args.plugin_config {
        let Value::Object(config) = parsed("--plugin-config", config)? else {
            bail!("--plugin-config is no JSON object")
        };
        case.config = config;
    }
    let report = trial.perform(case).await?;
    output.result(&report.json(), |_| report.lines())?;
    Ok(ExitCode::from(report.exit_code()))
}

/// Runs every case and compares what it expects with what came. The exit code is 0 if all are as expected, else 1.
///
/// # Errors
/// As [`run`].
pub async fn test(args: &TestPluginArgs, output: Output) -> anyhow::Result<ExitCode> {
    let trial = Trial::of(&args.file).await?;
    let mut results = Vec::new();
    for path in &args.cases {
        let name = path.display().to_string();
        let mut case = read_case(Some(path)).with_context(|| name.clone())?;
        let expected = case.expect.take().with_context(|| format!("{name} has no `expect`"))?;
        let report = trial.perform(case).await.with_context(|| name.clone())?;
        let difference = report::difference(&expected, &report.json(), "");
        results.push(serde_json::json!({"case": name, "passed": difference.is_none(), "difference": difference,
            "cost": report.json()["cost"]}));
    }
    let failed = results.iter().filter(|result| result["passed"] == false).count();
    output.result(&Value::Array(results), report::results)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parsed(place: &str, json: &str) -> anyhow::Result<Value> {
    serde_json::from_str(json).with_context(|| format!("{place} is no JSON"))
}

/// A case from a file, or from standard input for `-` and for nothing.
fn read_case(path: Option<&Path>) -> anyhow::Result<Case> {
    let mut json = Vec::new();
    match path.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            file.take(CASE_BYTES).read_to_end(&mut json)?;
        }
        None => {
            std::io::stdin().take(CASE_BYTES).read_to_end(&mut json)?;
        }
    }
    Case::read(&json)
}

/// A plugin that is ready to be called.
struct Trial {
    sandbox: Sandbox,
    guest: Arc<Guest>,
    manifest: Arc<Manifest>,
    clock: SharedClock,
}

impl Trial {
    async fn of(file: &PathBuf) -> anyhow::Result<Self> {
        let wasm = tokio::fs::read(file).await.with_context(|| format!("cannot read {}", file.display()))?;
        let clock = SystemClock::shared();
        let sandbox = Sandbox::new(SandboxOptions { pool_size: 4, ..SandboxOptions::uncached() }, clock.clone())?;
        let guest = sandbox.compile(wasm).await?;
        let manifest = sandbox.describe(&guest).await?;
        validate(&manifest, guest.exports())?;
        Ok(Self { sandbox, guest, manifest: Arc::new(manifest), clock })
    }

    async fn perform(&self, case: Case) -> anyhow::Result<Report> {
        self.check_config(&case)?;
        let now = case.time_ms.map_or_else(|| self.clock.now(), |ms| Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)));
        let host = TrialHost {
            manifest: self.manifest.clone(),
            grants: self.grants(case.grants.as_deref())?,
            answers: case.http,
            kv: case
                .kv
                .into_iter()
                .map(|(key, value)| (key, KvEntry { value: value.into_bytes(), version: 1 }))
                .collect(),
            secrets: case.secrets.into_iter().map(|(name, text)| (name, text.into())).collect(),
            key_sets: case.key_sets,
            now,
            receiving: case.request.is_some(),
            calls: Vec::new(),
            written: std::collections::BTreeMap::new(),
            lines: Vec::new(),
            samples: Vec::new(),
        };
        let call = self.call(&Value::Object(case.config), now, host);
        Ok(match (case.event, case.request, case.poll) {
            (Some(event), None, None) => {
                let event = self.event(event, now);
                Report::of_output("handle", self.sandbox.handle(&self.guest, event, call).await)
            }
            (None, Some(request), None) => {
                let request = InboundRequest {
                    source_id: "src_1".to_owned(),
                    method: request.method,
                    url: request.url,
                    headers: request.headers.iter().map(|(name, value)| Header::text(name, value)).collect(),
                    body: case::body_bytes(&request.body),
                    received_at_ms: millis(now),
                    ..InboundRequest::default()
                };
                Report::of_received(self.sandbox.receive(&self.guest, request, call).await)
            }
            (None, None, Some(poll)) => {
                let ended = self.sandbox.poll(&self.guest, poll.schedule, poll.cursor, call).await;
                Report::of_poll(ended)
            }
            _ => bail!("a case has exactly one of `event`, `request` and `poll`"),
        }
        .checked(&self.manifest))
    }

    fn check_config(&self, case: &Case) -> anyhow::Result<()> {
        let schema = serde_json::from_str(&self.manifest.config_schema).context("the plugin's config schema")?;
        let validator = compile_schema("config", &schema).map_err(|error| anyhow::anyhow!("{error}"))?;
        check_against(&validator, &Value::Object(case.config.clone()))
            .map_err(|fault| anyhow::anyhow!("config{}: {}", fault.path, fault.message))
    }

    /// What the case grants; without a word everything that the manifest asks for.
    fn grants(&self, granted: Option<&[String]>) -> anyhow::Result<Grants> {
        let all = ["emits:*".to_owned(), "emergency".to_owned()];
        Ok(Grants::decide(&self.manifest, granted.unwrap_or(&all))?)
    }

    fn event(&self, event: EventCase, now: Timestamp) -> HandledEvent {
        HandledEvent {
            id: event.id,
            type_: event.type_,
            source: "switchyard:trial".to_owned(),
            subject: event.subject,
            time_ms: millis(now),
            ordering_key: event.ordering_key,
            data: event.data.to_string(),
            extensions: None,
        }
    }

    fn call(&self, config: &Value, now: Timestamp, host: TrialHost) -> Call {
        let plugin = &self.manifest.id;
        let context = CallContext {
            tenant_id: "trial".to_owned(),
            installation_id: format!("trial/{plugin}"),
            correlation_id: "trial".to_owned(),
            traceparent: "00-00000000000000000000000000000001-0000000000000001-00".to_owned(),
            reference: "00000000000000000000000000000001".to_owned(),
            time_ms: millis(now),
            sources: vec![SourceRef {
                id: "src_1".to_owned(),
                name: "default".to_owned(),
                url: "https://hub.example/in/src_1".to_owned(),
            }],
            config: config.to_string(),
        };
        Call {
            context,
            limits: Limits::resolve(&self.manifest.limits),
            seed: [0; 32],
            clock: VirtualClock::starting_at(millis(now)),
            host: Box::new(host),
            plugin: PluginLabel { name: plugin.clone(), version: self.manifest.version.clone() },
        }
    }
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}
