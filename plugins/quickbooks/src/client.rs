use serde_json::{Value, json};
use switchyard_sdk::http::{RequestBuilder, Response, percent_encode};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::CONNECTION;
use crate::config::Config;
use crate::fault::{self, Fault};

/// The lowest version of the schema that QuickBooks still serves.
const MINOR_VERSION: &str = "75";

/// How much of a body that is no JSON is shown.
const SHOWN: usize = 200;

/// A GET of something of the company.
pub fn get<'a>(ctx: &Ctx<'a, Config>, path: &str) -> RequestBuilder<'a> {
    usual(ctx.http(CONNECTION).get(company_path(ctx, path)))
}

/// A POST of a record; the host adds the request id.
pub fn post<'a>(ctx: &Ctx<'a, Config>, path: &str, record: &Value) -> RequestBuilder<'a> {
    post_text(ctx, path, json::write(record))
}

/// The same of a record that is JSON text.
pub fn post_text<'a>(ctx: &Ctx<'a, Config>, path: &str, record: String) -> RequestBuilder<'a> {
    usual(ctx.http(CONNECTION).post(company_path(ctx, path))).body("application/json", record)
}

/// A POST that only tells QuickBooks to do something.
pub fn order<'a>(ctx: &Ctx<'a, Config>, path: &str) -> RequestBuilder<'a> {
    usual(ctx.http(CONNECTION).post(company_path(ctx, path))).body("application/octet-stream", Vec::new())
}

fn company_path(ctx: &Ctx<Config>, path: &str) -> String {
    format!("/v3/company/{}{path}", ctx.config.realm_id)
}

fn usual(request: RequestBuilder<'_>) -> RequestBuilder<'_> {
    request.query("minorversion", MINOR_VERSION).header("accept", "application/json")
}

/// The JSON of an answer, the fault in it, or the disposition of an answer that is neither.
pub fn read(response: &Response) -> Result<Result<Value, Fault>, PluginError> {
    let body: Option<Value> = json::parse(&response.body).ok();
    if let Some(fault) = body.as_ref().and_then(|body| Fault::read(response.status, body)) {
        return Ok(Err(fault));
    }
    match body {
        Some(body @ Value::Object(_)) if response.is_success() => Ok(Ok(body)),
        _ if response.is_success() => Err(malformed().with_details(words(response))),
        _ => Err(PluginError::from_status(CONNECTION, response.status).with_details(words(response))),
    }
}

/// What the provider said in place of JSON.
fn words(response: &Response) -> Value {
    let said: String = String::from_utf8_lossy(&response.body).chars().take(SHOWN).collect();
    json!({ "connection": CONNECTION, "status": response.status, "said": said })
}

/// An answer that cannot be what it should be.
pub fn malformed() -> PluginError {
    PluginError::retry(Reason::ProviderDown, "malformed_answer", "QuickBooks' answer is not what it should be.")
}

/// One record; none if QuickBooks has it no more.
pub fn fetch(ctx: &Ctx<Config>, entity: &str, id: &str) -> Result<Option<Value>, PluginError> {
    let path = format!("/{}/{}", entity.to_ascii_lowercase(), segment(id));
    match read(&get(ctx, &path).send()?)? {
        Ok(answer) => record(&answer, entity).cloned().map(Some).ok_or_else(malformed),
        Err(fault) if fault.code == fault::NOT_FOUND || fault.status == 404 => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// The record under its name in an answer.
pub fn record<'a>(answer: &'a Value, entity: &str) -> Option<&'a Value> {
    answer.get(entity).filter(|record| record.get("Id").is_some_and(Value::is_string))
}

/// The records that a query finds.
pub fn query(ctx: &Ctx<Config>, entity: &str, rest: &str) -> Result<Vec<Value>, PluginError> {
    let text = format!("select * from {entity} {rest}");
    let answer = read(&get(ctx, "/query").query("query", &text).send()?)??;
    let response = answer.get("QueryResponse").and_then(Value::as_object).ok_or_else(malformed)?;
    match response.get(entity) {
        Some(Value::Array(records)) => Ok(records.clone()),
        None => Ok(Vec::new()),
        Some(_) => Err(malformed()),
    }
}

/// The company's own record, which every login may read.
pub fn company_info(ctx: &Ctx<Config>) -> Result<Value, PluginError> {
    let path = format!("/companyinfo/{}", ctx.config.realm_id);
    let answer = read(&get(ctx, &path).send()?)??;
    answer.get("CompanyInfo").filter(|info| info.is_object()).cloned().ok_or_else(malformed)
}

/// A text of the query language.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// An id as part of a path. One given by a command is not trusted to need no escaping.
pub fn segment(id: &str) -> String {
    let mut escaped = String::new();
    percent_encode(id, &mut escaped);
    escaped
}
