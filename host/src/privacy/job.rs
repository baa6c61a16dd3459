//! Requests step by step, by the node that leads. Requests take turns, one step each, so that a large one keeps none
//! waiting.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    erase::{self, Verdict},
    export,
    list::{self, Line},
    progress::{Progress, WALKS},
    wanted::{Wanted, place_of_piece},
};
use crate::{
    accept::content_hash,
    clock::Timestamp,
    connection::vault::VaultError,
    directory::view::TenantView,
    event::{Event, EventType, Urgency},
    hub::Hub,
    id::Key,
    store::{
        StoreError,
        ledger::{Accept, DedupeKey},
        privacy::{Asked, Emptied, KeptRows, Portion, PrivacyRow, PrivacyStep, Standing},
        records::Touched,
        registry::AuditEntry,
    },
};

/// How much one step looks at.
const PORTION: Portion = Portion { rows: 200, bytes: 4 << 20 };

/// Between two looks for requests that are due.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long an erasure waits for deliveries that are under way, or for a flood of new rows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that take turns in one round.
const AT_ONCE: u32 = 16;

/// How long an export can be fetched.
pub(super) const EXPORT_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// After so many walks an erasure is done although rows still arrive: what comes after the request is not its matter.
const MOST_WALKS: u32 = 4 * WALKS;

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part could not be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The list of erasures beside the database cannot be written.
    #[error("the list of erasures beside the database cannot be written: {0}")]
    List(#[from] std::io::Error),
    /// The search broke off.
    #[error("the search broke off")]
    Broken,
}

/// What a step found.
#[derive(Default)]
struct Found {
    looked: u64,
    named: u64,
    held_up: u64,
    emptied: Vec<Emptied>,
    /// Lines of an export.
    lines: String,
}

impl Hub {
    /// Keeps a request, and an erasure in the list first: what was answered is never forgotten.
    ///
    /// # Errors
    /// The list or the database cannot be written.
    pub async fn ask_privacy(&self, request: PrivacyRow, audit: AuditEntry) -> Result<(), PrivacyError> {
        if let (Asked::Erase, Some(path)) = (request.asked, list::path(&self.settings.database_url)) {
            let line = Line::of(&request);
            let written = tokio::task::spawn_blocking(move || list::append(&path, &[line])).await;
            written.map_err(|_| PrivacyError::Broken)??;
        }
        self.store.begin_privacy(request, audit).await?;
        self.privacy_moved.notify_one();
        Ok(())
    }

    /// Carries erasures out again of which the database does not know, as a copy does that was made before them. And
    /// notes those that the list does not know.
    ///
    /// # Errors
    /// The list cannot be read or written, or the database failed.
    pub async fn recall_erasures(&self) -> Result<(), PrivacyError> {
        let Some(path) = list::path(&self.settings.database_url) else { return Ok(()) };
        let (listed, stored) = (list::read(&path)?, self.store.erasures().await?);
        let view = self.directory.view();
        let now = self.clock.now();
        let forgotten = listed.iter().filter(|line| !stored.iter().any(|row| line.key() == Some(row.key)));
        for request in forgotten.filter_map(|line| line.again(now)) {
            if !view.tenants.contains_key(&request.tenant) {
                continue;
            }
            let action = "privacy.erasure_recalled".to_owned();
            let (actor, target) = ("host".to_owned(), request.key.with_prefix("prv"));
            let tenant = Some(request.tenant.clone());
            tracing::warn!(tenant = %request.tenant, request = %target, "the database is older than an erasure; it is carried out again");
            let audit = AuditEntry { at: now, tenant, actor, action, target, before: None, after: None };
            self.store.begin_privacy(request, audit).await?;
        }
        let unlisted = stored.iter().filter(|row| !listed.iter().any(|line| line.key() == Some(row.key)));
        let unlisted: Vec<Line> = unlisted.map(Line::of).collect();
        if !unlisted.is_empty() {
            list::append(&path, &unlisted)?;
        }
        Ok(())
    }

    /// Carries requests out until `stop`.
    pub async fn run_privacy(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let moved = if self.node.leads() { self.privacy_round().await } else { Ok(false) };
            let moved = moved.unwrap_or_else(|error| {
                tracing::warn!(%error, "a privacy request could not go on; it is tried again");
                false
            });
            if moved {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.privacy_moved.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// One step of each request that is due; answers whether one was made.
    async fn privacy_round(self: &Arc<Self>) -> Result<bool, PrivacyError> {
        let now = self.clock.now();
        let due = self.store.privacy_due(now, AT_ONCE).await?;
        if due.is_empty() {
            let old = i64::try_from(EXPORT_LIFE.as_millis()).unwrap_or(i64::MAX);
            self.store.forget_pieces(Timestamp(now.0.saturating_sub(old)), 100).await?;
        }
        let mut moved = false;
        for request in due {
            let tenant = self.directory.view().tenants.get(&request.tenant).cloned();
            // A tenant that was just made is read in a moment; one that was just deleted takes its requests along.
            let Some(tenant) = tenant else { continue };
            self.privacy_step(&tenant, request).await?;
            moved = true;
        }
        Ok(moved)
    }

    async fn privacy_step(self: &Arc<Self>, tenant: &Arc<TenantView>, request: PrivacyRow) -> Result<(), PrivacyError> {
        let progress = Progress::of(&request.progress);
        match (progress.walked(), request.asked) {
            (Some(place), _) => {
                let after = progress.after.as_deref();
                let kept = self.store.kept(&request.tenant, place, after, PORTION).await?;
                self.walk_on(tenant, request, progress, kept).await
            }
            (None, Asked::Export) => self.end_export(tenant, request, progress).await,
            (None, Asked::Erase) => self.end_walk(tenant, request, progress).await,
        }
    }

    async fn walk_on(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        request: PrivacyRow,
        mut progress: Progress,
        kept: KeptRows,
    ) -> Result<(), PrivacyError> {
        let now = self.clock.now();
        let KeptRows { rows, next } = kept;
        let (vault, view) = (self.vault.clone(), tenant.clone());
        // Hashing all that could be a number or an address takes a while, and other tasks go on meanwhile.
        let searching = tokio::task::spawn_blocking(move || {
            let wanted = Wanted::of(&request, &view.key, &vault);
            let found = search(&wanted, request.asked, &rows, now);
            (request, found)
        });
        let (request, found) = searching.await.map_err(|_| PrivacyError::Broken)?;
        progress.note(found.looked, found.named);
        progress.held_up += found.held_up;
        progress.go_on(next);
        let mut step = self.unchanged(&request, now);
        if request.asked == Asked::Export {
            step.piece = self.sealed_piece(tenant, &request, &mut progress, found.lines)?;
        }
        step.emptied = found.emptied;
        self.take_step(&request, step, &mut progress).await
    }

    /// The next part of an export; the first one begins with a line about the export itself.
    fn sealed_piece(
        &self,
        tenant: &TenantView,
        request: &PrivacyRow,
        progress: &mut Progress,
        lines: String,
    ) -> Result<Option<(u32, Vec<u8>)>, PrivacyError> {
        let mut text = String::new();
        if progress.pieces == 0 {
            let head = json!({"record": "export", "tenant": request.tenant, "kind": request.kind.as_str(),
                "person": hex::encode(request.person), "asked_at": request.created_at});
            text = format!("{head}\n");
        }
        text.push_str(&lines);
        if text.is_empty() {
            return Ok(None);
        }
        let place = place_of_piece(&request.tenant, &request.key);
        let sealed = self.vault.seal(&tenant.key, place, text.as_bytes())?;
        let number = progress.pieces;
        progress.pieces += 1;
        progress.bytes += text.len() as u64;
        Ok(Some((number, sealed)))
    }

    async fn end_export(
        self: &Arc<Self>,
        tenant: &TenantView,
        request: PrivacyRow,
        mut progress: Progress,
    ) -> Result<(), PrivacyError> {
        let now = self.clock.now();
        let end = json!({"record": "end", "at": now, "found": progress.found, "looked_at": progress.looked});
        let mut step = self.unchanged(&request, now);
        step.piece = self.sealed_piece(tenant, &request, &mut progress, format!("{end}\n"))?;
        step.standing = Standing::Done;
        step.audit = Some(done(&request, "privacy.exported", &progress, now));
        self.take_step(&request, step, &mut progress).await
    }

    /// A walk through everything is over: if it found something, another one looks whether that is all.
    async fn end_walk(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        request: PrivacyRow,
        mut progress: Progress,
    ) -> Result<(), PrivacyError> {
        let now = self.clock.now();
        let mut step = self.unchanged(&request, now);
        let restless = progress.found_now > 0 && progress.walks < MOST_WALKS;
        if restless || progress.held_up > 0 {
            let pause = progress.held_up > 0 || (progress.walks + 1).is_multiple_of(WALKS);
            if pause {
                step.due_at = now.after(self.time_factor.scale(PATIENCE));
            }
            progress.walk_again();
            return self.take_step(&request, step, &mut progress).await;
        }
        self.tell_erased(tenant, &request).await?;
        // Before it is done, so that it is done again after a crash.
        if !self.store.shred_emptied().await? {
            tracing::info!(request = %request.key.with_prefix("prv"), "what was erased leaves free space when that is used again");
        }
        step.standing = Standing::Done;
        step.ends_exports = Some(Progress::default().to_text());
        step.audit = Some(done(&request, "privacy.erased", &progress, now));
        self.take_step(&request, step, &mut progress).await
    }

    /// Says once that a person was erased, so that plugins and subscribers forget too what they keep.
    async fn tell_erased(self: &Arc<Self>, tenant: &Arc<TenantView>, request: &PrivacyRow) -> Result<(), PrivacyError> {
        let data = json!({"person": hex::encode(request.person), "kind": request.kind.as_str()});
        let (key, now) = (self.ids.next(), self.clock.now());
        let event_type: EventType = "person.erased".parse().map_err(|_| PrivacyError::Broken)?;
        let text: Arc<str> = data.to_string().into();
        let hash = content_hash(&event_type, &text);
        let once = format!("person.erased:{}", request.key.with_prefix("prv"));
        let event = Event {
            key,
            id: key.with_prefix("evt").into(),
            tenant: request.tenant.clone(),
            event_type,
            source: "switchyard:host".into(),
            subject: Some(request.key.with_prefix("prv")),
            time: now,
            accepted_at: now,
            ordering_key: None,
            correlation_id: key.to_string().into(),
            traceparent: crate::observe::trace::new_traceparent(&self.ids).into(),
            cause: None,
            request: None,
            hop: 0,
            urgency: Urgency::Normal,
            expires_at: None,
            private_to: None,
            extensions: None,
            data: text,
        };
        let dedupe = Some(DedupeKey { scope: "host".to_owned(), key: once, hash });
        let prepared = self.prepare(tenant, event, &data, dedupe, None, &crate::policy::Standing::default());
        let accept = Accept { events: vec![prepared.to_new_event()], ..Accept::default() };
        let accepted = self.store.accept(accept).await?;
        self.emitted_stored(vec![prepared], accepted);
        Ok(())
    }

    /// A step that changes nothing yet.
    fn unchanged(&self, request: &PrivacyRow, now: Timestamp) -> PrivacyStep {
        PrivacyStep {
            tenant: request.tenant.clone(),
            request: request.key,
            turn: request.turn,
            progress: request.progress.clone(),
            standing: Standing::Running,
            due_at: now,
            now,
            emptied: Vec::new(),
            piece: None,
            ends_exports: None,
            audit: None,
        }
    }

    async fn take_step(
        self: &Arc<Self>,
        request: &PrivacyRow,
        mut step: PrivacyStep,
        progress: &mut Progress,
    ) -> Result<(), PrivacyError> {
        step.progress = progress.to_text();
        if let Some(Touched { deliveries, lanes }) = self.store.privacy_step(step).await? {
            if !deliveries.is_empty() {
                tracing::info!(
                    request = %request.key.with_prefix("prv"), cancelled = deliveries.len(),
                    "deliveries of an erased person were cancelled"
                );
            }
            self.wake_known(&lanes);
        }
        Ok(())
    }
}

fn search(wanted: &Wanted<'_>, asked: Asked, rows: &[crate::store::privacy::Kept], now: Timestamp) -> Found {
    let mut found = Found { looked: rows.len() as u64, ..Found::default() };
    for kept in rows {
        match asked {
            Asked::Export => {
                if let Some(line) = export::line(wanted, kept) {
                    found.named += 1;
                    found.lines.push_str(&line.to_string());
                    found.lines.push('\n');
                }
            }
            Asked::Erase => match erase::judge(wanted, kept, now) {
                Verdict::Clean => {}
                Verdict::Empty(emptied) => {
                    found.named += 1;
                    found.emptied.push(emptied);
                }
                Verdict::HeldUp(emptied) => {
                    found.held_up += 1;
                    found.emptied.extend(emptied);
                }
            },
        }
    }
    found
}

/// The audit row of a request that is done. Nothing in it says who the person is.
fn done(request: &PrivacyRow, action: &str, progress: &Progress, now: Timestamp) -> AuditEntry {
    let after = json!({"kind": request.kind.as_str(), "person": hex::encode(request.person), "found": progress.found,
        "walks": progress.walks + 1});
    AuditEntry {
        at: now,
        tenant: Some(request.tenant.clone()),
        actor: "host".to_owned(),
        action: action.to_owned(),
        target: request.key.with_prefix("prv"),
        before: None,
        after: Some(after.to_string()),
    }
}

/// A request that begins now.
#[must_use]
pub fn new_request(
    key: Key,
    tenant: &TenantView,
    asked: Asked,
    (kind, person): (crate::connection::vault::PersonKind, [u8; 32]),
    actor: String,
    now: Timestamp,
) -> PrivacyRow {
    PrivacyRow {
        key,
        tenant: tenant.row.id.clone(),
        asked,
        kind,
        person,
        standing: Standing::Running,
        progress: Progress::default().to_text(),
        turn: 0,
        due_at: now,
        created_at: now,
        updated_at: now,
        actor,
    }
}
