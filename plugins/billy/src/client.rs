use serde_json::{Value, json};
use switchyard_sdk::http::{RequestBuilder, Response};
use switchyard_sdk::prelude::*;

use crate::CONNECTION;
use crate::config::Config;
use crate::model::{Invoice, parse, records};

/// The code of an answer that cannot be read.
pub const MALFORMED: &str = "malformed_answer";

/// How many refused attributes are shown.
const SHOWN_ATTRIBUTES: usize = 20;

/// A GET of a list of this company.
pub fn list<'a>(ctx: &Ctx<'a, Config>, path: &str) -> RequestBuilder<'a> {
    get(ctx, path).query("organizationId", &ctx.config.organization_id)
}

/// A GET.
pub fn get<'a>(ctx: &Ctx<'a, Config>, path: &str) -> RequestBuilder<'a> {
    english(ctx.http(CONNECTION).get(path))
}

/// A POST of one record.
pub fn post<'a>(ctx: &Ctx<'a, Config>, path: &str, record: &Value) -> RequestBuilder<'a> {
    english(ctx.http(CONNECTION).post(path).json(record))
}

/// A PUT of one record; what it does not name stays.
pub fn put<'a>(ctx: &Ctx<'a, Config>, path: &str, record: &Value) -> RequestBuilder<'a> {
    english(ctx.http(CONNECTION).put(path).json(record))
}

/// Error texts come in one language, for the dead letter's page.
fn english(request: RequestBuilder<'_>) -> RequestBuilder<'_> {
    request.header("accept-language", "en_US")
}

/// The JSON of a successful answer, or the disposition of a refusal.
pub fn read(response: Response) -> Result<Value, PluginError> {
    let body = parse(&response.body);
    match response.status {
        200..=299 => body.ok_or_else(|| malformed("Billy's answer is not JSON.")),
        status @ (400 | 404 | 409 | 422) => Err(refusal(status, &body.unwrap_or_default())),
        status => Err(PluginError::from_status(CONNECTION, status)),
    }
}

/// That a write was taken. What Billy says of it does not matter, so an answer that cannot be read is as good.
pub fn done(response: Response) -> Result<(), PluginError> {
    if (200..=299).contains(&response.status) { Ok(()) } else { read(response).map(drop) }
}

/// What Billy made, where it took a write and its answer cannot be read: that is looked up, since asking the journal
/// again would give the same answer for ever.
pub fn found_if_unreadable<T>(
    made: Result<T, PluginError>,
    find: impl FnOnce() -> Result<Option<T>, PluginError>,
) -> Result<T, PluginError> {
    match made {
        Err(error) if error.detail().code == MALFORMED => find()?.ok_or(error),
        made => made,
    }
}

/// An answer that says nothing that can be read.
pub fn malformed(message: &str) -> PluginError {
    PluginError::retry(Reason::ProviderDown, MALFORMED, message)
}

/// A refusal is final. It names the attributes that Billy does not take, with Billy's words for each.
fn refusal(status: u16, body: &Value) -> PluginError {
    let mut attributes: Vec<Value> = Vec::new();
    let kinds = body.get("validationErrors").and_then(Value::as_object);
    for record in kinds.into_iter().flat_map(|kinds| kinds.values()) {
        for (name, why) in record.get("attributes").and_then(Value::as_object).into_iter().flatten() {
            attributes.push(json!({ "attribute": name, "message": why }));
        }
    }
    attributes.truncate(SHOWN_ATTRIBUTES);
    let names: Vec<&str> = attributes.iter().filter_map(|found| found["attribute"].as_str()).collect();
    let message = match names.as_slice() {
        [] => format!("Billy refused the request with {status}."),
        names => format!("Billy refused the request with {status} at {}.", names.join(", ")),
    };
    PluginError::reject(Reason::BadData, &format!("billy_{status}"), message)
        .with_details(json!({ "status": status, "attributes": attributes }))
}

/// One invoice; none if Billy has it no more.
pub fn invoice(ctx: &Ctx<Config>, id: &str) -> Result<Option<Invoice>, PluginError> {
    let response = get(ctx, &format!("/invoices/{}", segment(id))).send()?;
    if response.status == 404 {
        return Ok(None);
    }
    let answer = read(response)?;
    let found = invoices(&answer).into_iter().find(|invoice| invoice.id == id);
    found.map(Some).ok_or_else(|| malformed("Billy's answer has no readable invoice."))
}

/// The invoices in an answer.
pub fn invoices(answer: &Value) -> Vec<Invoice> {
    records(answer, "invoice", "invoices").into_iter().filter_map(Invoice::read).collect()
}

/// An id as part of a path. Billy's ids need no escaping; one given by a command is not trusted to.
pub fn segment(id: &str) -> String {
    let mut escaped = String::new();
    switchyard_sdk::http::percent_encode(id, &mut escaped);
    escaped
}

/// Whether a list has more pages, by its paging or else by its length.
pub fn has_next(answer: &Value, page: u32, count: usize, page_size: usize) -> bool {
    match answer.pointer("/meta/paging/pageCount").and_then(Value::as_u64) {
        Some(pages) => u64::from(page) < pages,
        None => count >= page_size,
    }
}
