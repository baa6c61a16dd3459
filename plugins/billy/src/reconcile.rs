use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_event_types::reconcile::{Mismatch, RECONCILED, Reconciled};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::read::from_slice;
use switchyard_sdk::sorted::{SortedMap, SortedSet};
use switchyard_sdk::time::rfc3339;

use crate::client::{self, has_next, list, read};
use crate::config::Config;
use crate::event::Events;
use crate::figure::{added, net_of, share};
use crate::line::{Line, lines_of};
use crate::model::{Invoice, State, records, text};
use crate::payment;
use crate::refund::credit_notes;
use crate::vat::Rates;

/// The schedule's name.
pub const SCHEDULE: &str = "reconcile";

/// How far back the first round looks, and how far the next ones look behind the last, in milliseconds.
const FIRST_LOOK: u64 = 35 * 86_400_000;
const OVERLAP: u64 = 2 * 86_400_000;

/// Bounds of one run: invoices, invoices whose lines are asked for one by one, pages of payments, look-ups of credit notes.
const PAGE: usize = 50;
const LINES_ASKED: usize = 20;
const PAYMENT_PAGES: u32 = 4;
const PAYMENTS_PAGE: usize = 50;
const CREDIT_LOOKS: usize = 10;

/// Where a round goes on. A round goes through what was approved since the last one, then through all that is unpaid.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    /// When the last finished round began.
    #[serde(default)]
    last: Option<u64>,
    /// When this round began.
    #[serde(default)]
    began: Option<u64>,
    /// The part under way is that of the unpaid ones.
    #[serde(default)]
    unpaid: bool,
    /// The next page of it.
    #[serde(default)]
    page: u32,
    #[serde(default)]
    checked: u32,
    #[serde(default)]
    mismatched: u32,
    #[serde(default)]
    skipped: u32,
}

/// One part of a round. What differs is told as `invoice.mismatched`; a round ends with `books.reconciled`.
pub fn reconcile(ctx: &Ctx<Config>, cursor: Option<&str>) -> Result<PollOutput, PluginError> {
    let mut cursor: Cursor = cursor.and_then(|text| from_slice(text.as_bytes()).ok()).unwrap_or_default();
    let began = *cursor.began.get_or_insert(ctx.time());
    let since = cursor.last.map_or(began.saturating_sub(FIRST_LOOK), |last| last.saturating_sub(OVERLAP));
    let page = cursor.page.max(1);
    let (more, listed) = invoices(ctx, since, cursor.unpaid, page)?;
    let mut run = Run::begin(ctx)?;
    for record in listed {
        run.check(&record)?;
    }
    cursor.checked = cursor.checked.saturating_add(run.checked);
    cursor.mismatched = cursor.mismatched.saturating_add(run.mismatched);
    cursor.skipped = cursor.skipped.saturating_add(run.skipped);
    let mut events = run.found;
    let has_more = more || !cursor.unpaid;
    if more {
        cursor.page = page + 1;
    } else if !cursor.unpaid {
        (cursor.unpaid, cursor.page) = (true, 1);
    } else {
        let checked_at = rfc3339(ctx.time());
        let Cursor { checked, mismatched, skipped, .. } = cursor;
        events.push(Emit::new(RECONCILED, json!(Reconciled { checked_at, checked, mismatched, skipped })));
        cursor = Cursor { last: Some(began), ..Cursor::default() };
    }
    Ok(PollOutput { events, cursor: json::written(&cursor).ok(), has_more, next_in: None })
}

fn invoices(ctx: &Ctx<Config>, since: u64, unpaid: bool, page: u32) -> Result<(bool, Vec<Value>), PluginError> {
    let since = rfc3339(since).replace('T', " ").replace('Z', "");
    let request = list(ctx, "/invoices").query("sortProperty", "createdTime").query("sortDirection", "ASC");
    let request = if unpaid { request.query("isPaid", "false") } else { request.query("minApprovedTime", &since) };
    let request = request.query("include", "invoice.lines:embed");
    let request = request.query("pageSize", &PAGE.to_string()).query("page", &page.to_string());
    let answer = read(request.send()?)?;
    let listed: Vec<Value> = records(&answer, "invoice", "invoices").into_iter().cloned().collect();
    Ok((has_next(&answer, page, listed.len(), PAGE), listed))
}

/// One run of a round.
struct Run<'a> {
    ctx: &'a Ctx<'a, Config>,
    rates: Rates<'a>,
    paid: Paid,
    lines_asked: usize,
    credit_looks: usize,
    checked: u32,
    mismatched: u32,
    skipped: u32,
    found: Vec<Emit>,
}

/// What the newest payments brought each invoice.
#[derive(Default)]
struct Paid {
    sums: SortedMap<String, i64>,
    /// Invoices of which a part cannot be told.
    vague: SortedSet<String>,
    /// The day from which on every payment is here; none means all there are.
    from: Option<String>,
    /// Payments may not be listed.
    hidden: bool,
}

impl Paid {
    fn load(ctx: &Ctx<Config>) -> Result<Self, PluginError> {
        let mut paid = Self::default();
        for page in 1..=PAYMENT_PAGES {
            let Some(listed) = payment::newest(ctx, page, PAYMENTS_PAGE)? else {
                return Ok(Self { hidden: true, ..Self::default() });
            };
            let count = listed.len();
            paid.from = listed.iter().filter_map(|payment| payment.entry_date.clone()).chain(paid.from.take()).min();
            for payment in listed.into_iter().filter(|payment| !payment.is_voided) {
                for (invoice, part) in payment.invoice_ids.into_iter().zip(payment.parts) {
                    match part {
                        Some(part) => {
                            let sum = paid.sums.or_default(invoice);
                            *sum = sum.saturating_add(part);
                        }
                        None => {
                            paid.vague.insert(invoice);
                        }
                    }
                }
            }
            if count < PAYMENTS_PAGE {
                paid.from = None;
                break;
            }
        }
        Ok(paid)
    }

    /// What was paid of an invoice; none where not every payment of it may be here.
    fn of(&self, invoice: &Invoice) -> Option<i64> {
        let complete = match (&self.from, &invoice.entry_date) {
            (None, _) => true,
            (Some(from), Some(date)) => date > from,
            (Some(_), None) => false,
        };
        let known = complete && !self.hidden && !self.vague.contains(&invoice.id);
        known.then(|| self.sums.get(&invoice.id).copied().unwrap_or(0))
    }
}

impl<'a> Run<'a> {
    fn begin(ctx: &'a Ctx<'a, Config>) -> Result<Self, PluginError> {
        let (rates, paid) = (Rates::load(ctx)?, Paid::load(ctx)?);
        Ok(Self {
            ctx,
            rates,
            paid,
            lines_asked: 0,
            credit_looks: 0,
            checked: 0,
            mismatched: 0,
            skipped: 0,
            found: Vec::new(),
        })
    }

    /// Compares one invoice. Drafts may still change, and what is voided has no figures.
    fn check(&mut self, record: &Value) -> Result<(), PluginError> {
        let Some(invoice) = Invoice::read(record).filter(|invoice| invoice.state == State::Approved) else {
            return Ok(());
        };
        let Some(mut mismatches) = self.figures(&invoice, record)? else {
            self.skipped += 1;
            return Ok(());
        };
        self.checked += 1;
        mismatches.extend(self.balance(&invoice)?);
        if !mismatches.is_empty() {
            self.mismatched += 1;
            self.found.push(Events::new(self.ctx).mismatched(&invoice, mismatches));
        }
        Ok(())
    }

    /// Net, tax and total from the lines. None where they cannot be told.
    fn figures(&mut self, invoice: &Invoice, record: &Value) -> Result<Option<Vec<Mismatch>>, PluginError> {
        if !record.get("lines").is_some_and(Value::is_array) {
            self.lines_asked += 1;
            if self.lines_asked > LINES_ASKED {
                return Ok(None);
            }
        }
        let Some(lines) = lines_of(self.ctx, &invoice.id, record)?.filter(|lines| !lines.is_empty()) else {
            return Ok(None);
        };
        let inclusive = text(record, "taxMode").as_deref() == Some("incl");
        let (mut net, mut tax) = (0_i64, 0_i64);
        for line in &lines {
            let Some(rate) = self.rates.of(line)? else { return Ok(None) };
            let (line_net, line_tax) = split(line, rate, inclusive);
            net = net.saturating_add(line_net);
            tax = tax.saturating_add(line_tax);
        }
        let sign = if invoice.is_credit_note && net < 0 { -1 } else { 1 };
        let (net, tax) = (net * sign, tax * sign);
        // Billy may round each line or their sum: every line can make a difference of a hundredth.
        let slack = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let figures =
            [("net", net, invoice.net), ("tax", tax, invoice.tax), ("total", net.saturating_add(tax), invoice.total())];
        let differs = figures.into_iter().filter(|(_, ours, theirs)| ours.abs_diff(*theirs) > slack.unsigned_abs());
        Ok(Some(differs.map(|(field, ours, theirs)| self.mismatch(invoice, field, ours, theirs)).collect()))
    }

    /// The balance from the total, the payments and the credit notes. Whether Billy takes a credit note off the
    /// balance of its invoice is not known, so that both are taken as right.
    fn balance(&mut self, invoice: &Invoice) -> Result<Option<Mismatch>, PluginError> {
        let Some(paid) = self.paid.of(invoice).filter(|_| !invoice.is_credit_note) else { return Ok(None) };
        let open = invoice.total().saturating_sub(paid);
        if open == invoice.balance {
            return Ok(None);
        }
        self.credit_looks += 1;
        if self.credit_looks > CREDIT_LOOKS {
            return Ok(None);
        }
        let notes = credit_notes(self.ctx, &invoice.id)?;
        let credited = added(notes.iter().filter(|note| note.state == State::Approved).map(Invoice::total));
        if open.saturating_sub(credited).max(0) == invoice.balance {
            return Ok(None);
        }
        // Invoices and payments were read one after the other, and somebody may have paid in between.
        let still = client::invoice(self.ctx, &invoice.id)?.is_some_and(|now| now.balance == invoice.balance);
        Ok(still.then(|| self.mismatch(invoice, "balance", open, invoice.balance)))
    }

    fn mismatch(&self, invoice: &Invoice, field: &str, expected: i64, actual: i64) -> Mismatch {
        let money = |minor| Money::from_minor(minor, invoice.currency.as_deref().unwrap_or(&self.ctx.config.currency));
        Mismatch { field: field.to_owned(), expected: money(expected), actual: money(actual) }
    }
}

/// Net and tax of a line.
fn split(line: &Line, rate: i64, inclusive: bool) -> (i64, i64) {
    if inclusive {
        let net = net_of(line.amount, rate);
        (net, line.amount.saturating_sub(net))
    } else {
        (line.amount, share(line.amount, rate))
    }
}
