use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_event_types::sync;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::read::from_slice;
use switchyard_sdk::sorted::{SortedMap, SortedSet};
use switchyard_sdk::time::rfc3339;

use crate::client::{self, get, malformed, read};
use crate::config::Config;
use crate::model::Meta;
use crate::{instant, observe, snapshot};

/// The schedule's name.
pub const SCHEDULE: &str = "changes";

/// In this order, so that a payment is told before the invoice that it closed.
const ENTITIES: [&str; 4] = ["Customer", "SalesReceipt", "Payment", "Invoice"];

/// Asked for again from this long before, since changes become visible a little late. What was seen is not reported twice.
const OVERLAP: u64 = 120_000;

/// Change data capture looks back 30 days; a little less, since two clocks are at work.
const LOOK_BACK: u64 = 29 * 86_400_000;

/// QuickBooks answers so many objects of an entity and leaves out the rest without a word.
const CAPTURED: usize = 1_000;

/// More changes than one run takes on; they are asked for page by page.
const MOST: usize = 300;
const PAGE: usize = 200;

/// Where a poll goes on.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    /// Everything up to here was seen, by QuickBooks' clock.
    #[serde(default)]
    since: u64,
    /// A walk under way.
    #[serde(default)]
    walk: Option<Walk>,
}

/// Page by page through everything that changed in a time.
#[derive(Serialize, Deserialize)]
struct Walk {
    entity: usize,
    position: usize,
    from: u64,
    until: u64,
}

/// One poll: everything that changed since the last one.
pub fn poll(ctx: &Ctx<Config>, cursor: Option<&str>) -> Result<PollOutput, PluginError> {
    let mut cursor: Cursor = cursor.and_then(|text| from_slice(text.as_bytes()).ok()).unwrap_or_default();
    if cursor.since == 0 {
        cursor.since = snapshot::begin(ctx)?;
    }
    let mut found = Vec::new();
    if cursor.walk.is_none() {
        let from = cursor.since.saturating_sub(OVERLAP);
        if ctx.time().saturating_sub(from) > LOOK_BACK {
            found.push(reset(ctx, from));
            cursor.walk = Some(Walk { entity: 0, position: 1, from, until: ctx.time() });
        } else {
            let capture = capture(ctx, from)?;
            let until = capture.time.unwrap_or_else(|| ctx.time());
            if capture.is_all && capture.records.values().map(Vec::len).sum::<usize>() <= MOST {
                found.extend(report(ctx, &capture.records)?);
                cursor.since = until;
            } else {
                // A walk does not see what was deleted, so that is taken from here.
                found.extend(report(ctx, &capture.deleted())?);
                cursor.walk = Some(Walk { entity: 0, position: 1, from, until });
            }
        }
    }
    if let Some(walk) = &mut cursor.walk {
        found.extend(walk.page(ctx)?);
        if walk.entity >= ENTITIES.len() {
            cursor.since = walk.until;
            cursor.walk = None;
        }
    }
    let has_more = cursor.walk.is_some();
    Ok(PollOutput { events: found, cursor: json::written(&cursor).ok(), has_more, next_in: None })
}

/// What was deleted longer ago than QuickBooks remembers stays unknown, and whoever keeps a copy should be told.
fn reset(ctx: &Ctx<Config>, from: u64) -> Emit {
    let data = sync::Reset {
        reason: "QuickBooks tells of deletions for 30 days, and the last look is longer ago.".to_owned(),
        scope: Some(ctx.config.realm_id.clone()),
        from: Some(rfc3339(from)),
        to: Some(rfc3339(ctx.time())),
    };
    let key = format!("quickbooks:{}:reset:{}", ctx.config.realm_id, rfc3339(from));
    Emit::new(sync::RESET, json!(data)).subject(&ctx.config.realm_id).dedupe(key)
}

/// The records that changed, by entity.
type Records = SortedMap<&'static str, Vec<Value>>;

/// What change data capture told.
struct Capture {
    records: Records,
    /// QuickBooks' own time.
    time: Option<u64>,
    /// Nothing was left out.
    is_all: bool,
}

impl Capture {
    fn deleted(&self) -> Records {
        let is_deleted = |record: &&Value| Meta::read(record).is_some_and(|meta| meta.is_deleted);
        let of = |records: &[Value]| records.iter().filter(is_deleted).take(MOST).cloned().collect();
        self.records.iter().map(|(entity, records)| (*entity, of(records.as_slice()))).collect()
    }
}

fn capture(ctx: &Ctx<Config>, from: u64) -> Result<Capture, PluginError> {
    let request = get(ctx, "/cdc").query("entities", &ENTITIES.join(",")).query("changedSince", &rfc3339(from));
    let answer = match request.send() {
        Ok(response) => read(&response)??,
        // More than fits: page by page it will.
        Err(HttpError::ResponseTooLarge { .. }) => {
            return Ok(Capture { records: Records::new(), time: None, is_all: false });
        }
        Err(error) => return Err(error.into()),
    };
    let responses = answer.pointer("/CDCResponse/0/QueryResponse").and_then(Value::as_array).ok_or_else(malformed)?;
    let mut records = Records::new();
    let mut is_all = true;
    for entity in ENTITIES {
        let listed = responses.iter().filter_map(|response| response.get(entity));
        let mut all: SortedMap<(u64, usize), Value> = SortedMap::new();
        for list in listed {
            for record in list.as_array().ok_or_else(malformed)? {
                let updated = Meta::read(record).map_or(0, |meta| meta.updated);
                all.insert((updated, all.len()), record.clone());
            }
        }
        is_all &= all.len() < CAPTURED;
        records.insert(entity, all.into_iter().map(|(_, record)| record).collect());
    }
    let time = answer.get("time").and_then(Value::as_str).and_then(instant::parse);
    Ok(Capture { records, time, is_all })
}

/// What happened to these records.
fn report(ctx: &Ctx<Config>, records: &Records) -> Result<Vec<Emit>, PluginError> {
    let of = |entity: &str| records.get(entity).map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    for record in of("Customer") {
        found.extend(observe::customer(ctx, record)?);
    }
    for record in of("SalesReceipt") {
        found.extend(observe::receipt(ctx, record)?);
    }
    let invoices: SortedMap<String, Value> =
        of("Invoice").iter().filter_map(|record| Some((Meta::read(record)?.id, record.clone()))).collect();
    let mut touched: SortedSet<String> = SortedSet::new();
    for record in of("Payment") {
        let (told, invoices) = observe::payment(ctx, record)?;
        found.extend(told);
        touched.extend(invoices);
    }
    let touched: Vec<String> = touched.into();
    found.extend(observe::invoices(ctx, &touched, &invoices)?);
    for record in
        of("Invoice").iter().filter(|record| Meta::read(record).is_some_and(|meta| !touched.contains(&meta.id)))
    {
        found.extend(observe::invoice(ctx, record)?);
    }
    Ok(found)
}

impl Walk {
    /// The next page, and the step to the one after it. By id, since a record that changes meanwhile would move among the
    /// pages by time, and take another one's place.
    fn page(&mut self, ctx: &Ctx<Config>) -> Result<Vec<Emit>, PluginError> {
        let Some(entity) = ENTITIES.get(self.entity) else { return Ok(Vec::new()) };
        let rest = format!(
            "where MetaData.LastUpdatedTime >= {} orderby Id startposition {} maxresults {PAGE}",
            client::quoted(&rfc3339(self.from)),
            self.position
        );
        let listed = client::query(ctx, entity, &rest)?;
        if listed.len() < PAGE {
            (self.entity, self.position) = (self.entity + 1, 1);
        } else {
            self.position += PAGE;
        }
        report(ctx, &Records::from_iter([(*entity, listed)]))
    }
}
