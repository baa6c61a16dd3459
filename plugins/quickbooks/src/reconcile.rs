use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_event_types::reconcile::{self, Mismatch};
use switchyard_sdk::json;
use switchyard_sdk::money::minor_of;
use switchyard_sdk::prelude::*;
use switchyard_sdk::read::from_slice;
use switchyard_sdk::time::{date, rfc3339};

use crate::client;
use crate::config::Config;
use crate::decimal::Decimal;
use crate::event::{Events, about};
use crate::model::Invoice;
use crate::observe;

/// The schedule's name.
pub const SCHEDULE: &str = "reconcile";

/// How many invoices are compared in one run.
const PAGE: usize = 100;

/// Where the comparison goes on, and what it came to so far.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    #[serde(default)]
    position: usize,
    #[serde(default)]
    checked: u32,
    #[serde(default)]
    mismatched: u32,
    #[serde(default)]
    skipped: u32,
}

/// One run: a page of all invoices is compared with what was last seen, so that whatever webhooks and polls have missed
/// is reported now, and with our own calculation.
pub fn poll(ctx: &Ctx<Config>, cursor: Option<&str>) -> Result<PollOutput, PluginError> {
    let mut cursor: Cursor = cursor.and_then(|text| from_slice(text.as_bytes()).ok()).unwrap_or_default();
    let position = cursor.position.max(1);
    let listed = client::query(ctx, "Invoice", &format!("orderby Id startposition {position} maxresults {PAGE}"))?;
    let mut found = Vec::new();
    for record in &listed {
        found.extend(observe::invoice(ctx, record)?);
        cursor.checked += 1;
        match Invoice::read(record).map(|invoice| (judge(ctx, &invoice, record), invoice)) {
            Some((Some(mismatches), _)) if mismatches.is_empty() => {}
            Some((Some(mismatches), invoice)) => {
                cursor.mismatched += 1;
                found.push(mismatched(ctx, &invoice, mismatches));
            }
            Some((None, _)) | None => cursor.skipped += 1,
        }
    }
    if listed.len() == PAGE {
        cursor.position = position + PAGE;
        let text = json::written(&cursor).ok();
        return Ok(PollOutput { events: found, cursor: text, has_more: true, next_in: None });
    }
    found.push(reconciled(ctx, &cursor));
    Ok(PollOutput { events: found, cursor: None, has_more: false, next_in: None })
}

fn mismatched(ctx: &Ctx<Config>, invoice: &Invoice, mismatches: Vec<Mismatch>) -> Emit {
    let data = reconcile::Mismatched { about: about(invoice), mismatches, checked_at: rfc3339(ctx.time()) };
    // Once per version of the invoice: it stays wrong until somebody changes it.
    let transition = format!("mismatched:{}", invoice.meta.token);
    Events::new(ctx).invoice(reconcile::MISMATCHED, &invoice.meta.id, &transition, json!(data))
}

fn reconciled(ctx: &Ctx<Config>, cursor: &Cursor) -> Emit {
    let data = reconcile::Reconciled {
        checked_at: rfc3339(ctx.time()),
        checked: cursor.checked,
        mismatched: cursor.mismatched,
        skipped: cursor.skipped,
    };
    let key = format!("quickbooks:{}:reconciled:{}", ctx.config.realm_id, date(ctx.time()));
    Emit::new(reconcile::RECONCILED, json!(data)).subject(&ctx.config.realm_id).dedupe(key)
}

/// What of an invoice differs from our own calculation; none if it is made of parts that we do not calculate.
fn judge(ctx: &Ctx<Config>, invoice: &Invoice, record: &Value) -> Option<Vec<Mismatch>> {
    if invoice.is_void {
        return Some(Vec::new());
    }
    let (net, lines) = net(record)?;
    let (tax, taxable) = tax(record)?;
    let mut found = Vec::new();
    let mut compare = |field: &str, expected: i64, actual: i64, leeway: i64| {
        if expected.abs_diff(actual) > leeway.unsigned_abs() {
            found.push(Mismatch {
                field: field.to_owned(),
                expected: Events::new(ctx).money(invoice, expected),
                actual: Events::new(ctx).money(invoice, actual),
            });
        }
    };
    // Tax may be rounded by line or in sum; either is right.
    let leeway = lines / 2 + 1;
    if let Some(taxable) = taxable {
        compare("net", net, taxable, leeway);
    }
    compare("tax", tax, invoice.tax, leeway);
    compare("total", net + invoice.tax, invoice.total, 0);
    compare("balance", invoice.balance.clamp(0, invoice.total.max(0)), invoice.balance, 0);
    Some(found)
}

/// The sum of the lines without tax, each by quantity and price where it has them, and how many there are. None if there
/// are lines of other kinds, such as discounts.
fn net(record: &Value) -> Option<(i64, i64)> {
    let (mut sum, mut count) = (0_i64, 0_i64);
    for line in record.get("Line")?.as_array()? {
        match line.get("DetailType")?.as_str()? {
            "SubTotalLineDetail" | "DescriptionOnly" => {}
            "SalesItemLineDetail" => {
                sum = sum.checked_add(line_net(line)?)?;
                count += 1;
            }
            _ => return None,
        }
    }
    Some((sum, count))
}

fn line_net(line: &Value) -> Option<i64> {
    let amount = line.get("Amount").and_then(minor_of)?;
    let detail = line.get("SalesItemLineDetail")?;
    let number = |name: &str| Decimal::parse(&detail.get(name)?.as_number()?.to_string());
    // Where prices contain tax, only the amount is without it.
    if detail.get("TaxInclusiveAmt").is_some() {
        return Some(amount);
    }
    number("Qty").zip(number("UnitPrice")).and_then(|(quantity, price)| quantity.times(&price)).or(Some(amount))
}

/// The tax by the rates that QuickBooks names, and what it was calculated from, where it says that.
fn tax(record: &Value) -> Option<(i64, Option<i64>)> {
    let Some(details) = record.get("TxnTaxDetail") else { return Some((0, None)) };
    let total = details.get("TotalTax").and_then(minor_of).unwrap_or(0);
    let Some(lines) = details.get("TaxLine").and_then(Value::as_array).filter(|lines| !lines.is_empty()) else {
        return Some((total, None));
    };
    let (mut sum, mut taxable) = (0_i64, 0_i64);
    for line in lines {
        let detail = line.get("TaxLineDetail")?;
        if detail.get("PercentBased").and_then(Value::as_bool) == Some(false) {
            return None;
        }
        let net = detail.get("NetAmountTaxable").and_then(minor_of)?;
        let percent = Decimal::parse(&detail.get("TaxPercent")?.as_number()?.to_string())?;
        sum = sum.checked_add(percent.percent_of(net)?)?;
        taxable = taxable.checked_add(net)?;
    }
    Some((sum, Some(taxable)))
}
