use serde::{Deserialize, Serialize};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::read::from_slice;
use switchyard_sdk::sorted::{SortedMap, SortedSet};
use switchyard_sdk::time::rfc3339;

use crate::change::changes;
use crate::client::{self, has_next, invoices, list, read};
use crate::config::Config;
use crate::event::Events;
use crate::model::Invoice;
use crate::payment;
use crate::snapshot::{self, Entry, Snapshot};

/// The schedule's name.
pub const SCHEDULE: &str = "invoices";

/// The ids of the newest payments, as last seen.
const PAYMENTS_KEY: &str = "payments";

/// Those of them that were taken back.
const VOIDED_KEY: &str = "payments_voided";

/// How many of them are remembered, and asked for at once.
const PAYMENTS_KEPT: usize = 200;
const PAYMENTS_PAGE: usize = 50;

/// A full comparison is made once a day.
const FULL_EVERY: u64 = 86_400_000;

/// Approvals are asked for from this long before the last poll, since Billy's clock is not ours.
const OVERLAP: u64 = 300_000;

/// Bounds of one run: records on a page, pages of each kind, invoices fetched one by one, events emitted.
const PAGE: usize = 200;
const PAGES_OF_A_WALK: u32 = 2;
const PAGES_OF_NEWS: u32 = 5;
const PAGES_OF_OPEN: u32 = 10;
const FETCHES: usize = 20;
const EVENTS: usize = 1_000;

/// Where a poll goes on.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    /// The first walk through all invoices is over.
    #[serde(default)]
    ready: bool,
    /// The next page of a walk under way.
    #[serde(default)]
    walk: Option<u32>,
    /// When the last full comparison began.
    #[serde(default)]
    full_at: u64,
    /// When the last poll for news began.
    #[serde(default)]
    news_at: u64,
}

/// One poll. The first ones walk through everything and only remember it; then each looks at what is new, newly
/// approved, newly paid or still open; once a day everything is compared again.
pub fn poll(ctx: &Ctx<Config>, cursor: Option<&str>) -> Result<PollOutput, PluginError> {
    let mut cursor: Cursor = cursor.and_then(|text| from_slice(text.as_bytes()).ok()).unwrap_or_default();
    if !cursor.ready && cursor.walk.is_none() {
        cursor.walk = Some(1);
        cursor.full_at = ctx.time();
    }
    let mut run = Run {
        ctx,
        events: Events::new(ctx),
        snapshot: Snapshot::load(ctx)?,
        silent: !cursor.ready && !ctx.config.emit_existing,
        paid_by: SortedMap::new(),
        found: Vec::new(),
    };
    let mut has_more = false;
    if let Some(page) = cursor.walk {
        cursor.walk = run.walk(page)?;
        has_more = cursor.walk.is_some();
        if !has_more {
            run.payments(true)?;
        }
        if !has_more && !cursor.ready {
            cursor.ready = true;
            cursor.news_at = cursor.full_at;
        }
    } else {
        run.payments(false)?;
        run.newest()?;
        run.approved_since(cursor.news_at.saturating_sub(OVERLAP))?;
        run.open()?;
        // A run that could not look at everything asks for the same approvals again.
        if !run.is_full() {
            cursor.news_at = ctx.time();
        }
        if ctx.time() >= cursor.full_at.saturating_add(FULL_EVERY) {
            cursor.walk = Some(1);
            cursor.full_at = ctx.time();
            has_more = true;
        }
    }
    run.snapshot.save()?;
    has_more |= run.is_full();
    if !has_more {
        snapshot::seen_all(ctx)?;
    }
    let cursor = json::written(&cursor).ok();
    Ok(PollOutput { events: run.found, cursor, has_more, next_in: None })
}

/// One run of a poll.
struct Run<'a> {
    ctx: &'a Ctx<'a, Config>,
    events: Events<'a>,
    snapshot: Snapshot<'a>,
    /// What was never seen is remembered without a word.
    silent: bool,
    paid_by: SortedMap<String, Vec<String>>,
    found: Vec<Emit>,
}

impl Run<'_> {
    /// A run that found this much leaves the rest, unseen, to the next.
    fn is_full(&self) -> bool {
        self.found.len() >= EVENTS
    }

    /// Compares some pages of all invoices, oldest first, so that new ones do not move the pages. Returns the page to
    /// go on with.
    fn walk(&mut self, first: u32) -> Result<Option<u32>, PluginError> {
        for page in first..first + PAGES_OF_A_WALK {
            let (more, listed) = self.page(&[("sortDirection", "ASC")], page, PAGE)?;
            self.visit(&listed)?;
            if self.is_full() {
                return Ok(Some(page));
            }
            if !more {
                return Ok(None);
            }
        }
        Ok(Some(first + PAGES_OF_A_WALK))
    }

    /// The newest invoices, until one is known.
    fn newest(&mut self) -> Result<(), PluginError> {
        for page in 1..=PAGES_OF_NEWS {
            let (more, listed) = self.page(&[("sortDirection", "DESC")], page, 50)?;
            self.snapshot.prepare(&listed)?;
            let known = listed.iter().any(|invoice| self.snapshot.get(&invoice.id).is_some());
            self.visit(&listed)?;
            if known || !more || self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// What was approved since.
    fn approved_since(&mut self, since: u64) -> Result<(), PluginError> {
        let since = rfc3339(since).replace('T', " ").replace('Z', "");
        for page in 1..=PAGES_OF_NEWS {
            let (more, listed) = self.page(&[("minApprovedTime", &since)], page, PAGE)?;
            self.visit(&listed)?;
            if !more || self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// All that is unpaid. What was open before and is not among it any more is fetched, some at a time.
    fn open(&mut self) -> Result<(), PluginError> {
        let mut seen: SortedSet<String> = SortedSet::new();
        let mut complete = false;
        for page in 1..=PAGES_OF_OPEN {
            if self.is_full() {
                break;
            }
            let (more, listed) = self.page(&[("isPaid", "false")], page, PAGE)?;
            self.visit(&listed)?;
            seen.extend(listed.into_iter().map(|invoice| invoice.id));
            if !more {
                complete = true;
                break;
            }
        }
        if !complete {
            self.ctx.warn("there are more unpaid invoices than one poll lists; payments show at the next walk", &[]);
            return Ok(());
        }
        let left: Vec<String> = self.snapshot.open_ids().filter(|id| !seen.contains(*id)).map(str::to_owned).collect();
        for id in left.iter().take(FETCHES) {
            if self.is_full() {
                break;
            }
            match client::invoice(self.ctx, id)? {
                Some(invoice) => self.visit(&[invoice])?,
                None => {
                    self.ctx.info("a draft was deleted at Billy", &[]);
                    self.snapshot.forget(id);
                }
            }
        }
        Ok(())
    }

    /// Payments never seen before become events, and say which payment paid an invoice; so do known ones that were
    /// taken back. On the first poll they are remembered only. A thorough look goes beyond those that are known.
    fn payments(&mut self, thorough: bool) -> Result<(), PluginError> {
        let known: Option<Vec<String>> = self.ctx.kv().get_json(PAYMENTS_KEY)?;
        let voided_before: Option<Vec<String>> = self.ctx.kv().get_json(VOIDED_KEY)?;
        let mut voided = voided_before.clone().unwrap_or_default();
        let silent = known.is_none() && !self.ctx.config.emit_existing;
        let known = known.unwrap_or_default();
        let mut newest = Vec::new();
        let mut recorded = Vec::new();
        for page in 1..=PAGES_OF_NEWS {
            let Some(listed) = payment::newest(self.ctx, page, PAYMENTS_PAGE)? else {
                self.ctx.debug("this token may not list payments", &[]);
                return Ok(());
            };
            let (count, mut met) = (listed.len(), false);
            for paid in listed {
                for invoice in paid.invoice_ids.iter().filter(|_| !paid.is_voided) {
                    self.paid_by.or_default(invoice.clone()).push(paid.id.clone());
                }
                let is_known = known.contains(&paid.id);
                met |= is_known;
                if !is_known && !silent && !paid.is_voided {
                    let (amount, date) = (paid.money(&self.ctx.config), paid.entry_date.as_deref());
                    recorded.push(self.events.payment(&paid.id, amount, &paid.invoice_ids, date));
                }
                if paid.is_voided && !voided.contains(&paid.id) {
                    if is_known && voided_before.is_some() {
                        let amount = paid.money(&self.ctx.config);
                        recorded.push(self.events.payment_voided(&paid.id, amount, &paid.invoice_ids));
                    }
                    voided.push(paid.id.clone());
                }
                newest.push(paid.id);
            }
            if (met && !thorough) || silent || count < PAYMENTS_PAGE {
                break;
            }
        }
        let fresh: SortedSet<&String> = newest.iter().collect();
        let older: Vec<String> = known.iter().filter(|id| !fresh.contains(id)).cloned().collect();
        let mut now = newest.clone();
        now.extend(older);
        now.truncate(PAYMENTS_KEPT);
        if now != known || silent {
            self.ctx.kv().set_json(PAYMENTS_KEY, &now, &KvOptions::default())?;
        }
        voided.retain(|id| now.contains(id));
        if voided_before.as_ref() != Some(&voided) {
            self.ctx.kv().set_json(VOIDED_KEY, &voided, &KvOptions::default())?;
        }
        self.found.extend(recorded.into_iter().rev());
        Ok(())
    }

    /// One page of invoices by their creation, and whether there is another.
    fn page(&self, filters: &[(&str, &str)], page: u32, size: usize) -> Result<(bool, Vec<Invoice>), PluginError> {
        let mut request = list(self.ctx, "/invoices").query("sortProperty", "createdTime");
        for (name, value) in filters {
            request = request.query(name, value);
        }
        let request = request.query("pageSize", &size.to_string()).query("page", &page.to_string());
        let answer = read(request.send()?)?;
        let listed = invoices(&answer);
        Ok((has_next(&answer, page, listed.len(), size), listed))
    }

    /// Compares invoices with what was last seen of them.
    fn visit(&mut self, listed: &[Invoice]) -> Result<(), PluginError> {
        self.snapshot.prepare(listed)?;
        for invoice in listed {
            if self.is_full() {
                break;
            }
            let before = self.snapshot.get(&invoice.id);
            let now = if before.is_none() && self.silent {
                Entry::of(invoice, None)
            } else {
                let payment_ids = self.paid_by.get(&invoice.id).map_or(&[][..], Vec::as_slice);
                let (found, now) = changes(&self.events, before, invoice, payment_ids);
                self.found.extend(found);
                now
            };
            self.snapshot.put(&invoice.id, now);
        }
        Ok(())
    }
}
