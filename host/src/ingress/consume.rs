//! Sources that are fed from a queue of a broker: each message is a request for the plugin's `receive`.
//!
//! | what it turned out to be | what the broker is told |
//! |---|---|
//! | accepted, or nothing to store | acknowledged, after the commit |
//! | refused | rejected without coming again, so that the queue's dead-letter exchange has it; kept as a rejection |
//! | it could not be judged | acknowledged, after it is parked here |
//! | the database is away | nothing: the connection is given back, and the broker gives the message again later |
//!
//! A source that has used up its rate leaves its messages with the broker until it may go on: a queue can wait, so that
//! nothing of it is refused.
//!
//! Every node that answers HTTP consumes every such source: the broker hands each message to one of them. A message that
//! comes again after a cut is a duplicate by the dedupe keys of the plugin. A plugin that is switched off leaves its
//! messages in the queue.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::{FieldTable, ShortString},
};
use tokio::{select, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{message, verdict::Verdict};
use crate::{
    broker::{
        BrokerAddress,
        dial::{Dialling, Link, Way, dial},
        supervisor::{answered, wait_before},
    },
    directory::{places, view::SourceView},
    hub::Hub,
    id::Key,
    observe::metrics,
    queue::reason::{Failure, ReasonClass},
    store::{
        StoreError,
        ledger::{ParkedRequest, RawRequest},
        registry::{Mode, QueueRow},
    },
};

/// Messages that a broker gives us before any is acknowledged.
const PREFETCH: u16 = 32;

/// The silence after which a broker is taken for gone is twice this.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Time to make a connection.
const DIAL_LIMIT: Duration = Duration::from_secs(10);

/// How often what should be consumed is looked at, also when nobody told of a change.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A source that is fed from a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fed {
    id: String,
    source: SourceView,
    queue: QueueRow,
}

/// A consumer that runs.
struct Running {
    fed: Fed,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What is done with a message.
enum Disposition {
    Ack,
    Reject,
}

/// The database is away: the message stays the broker's.
struct NotTaken;

/// Whether the next message may be taken by the rate of its source.
#[derive(Default)]
struct Turn {
    is_mine: bool,
    /// Each message that waits for its turn is counted once.
    counted: bool,
}

impl Turn {
    /// Takes the turn if it has come, or says how long that takes.
    fn take(&mut self, hub: &Hub, source_id: &str) -> Duration {
        if self.is_mine {
            return Duration::ZERO;
        }
        match Key::parse("src", source_id).map_or(Ok(()), |key| hub.rates.check_source(key)) {
            Ok(()) => {
                self.is_mine = true;
                Duration::ZERO
            }
            Err(limited) => {
                if !std::mem::replace(&mut self.counted, true) {
                    metrics::rate_limited("source");
                }
                limited.retry_after
            }
        }
    }
}

impl Hub {
    /// Consumes every source that is fed from a queue, as admins change them, until `stop`.
    pub async fn run_consumers(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.directory.changes();
        let mut running: HashMap<String, Running> = HashMap::new();
        loop {
            self.adjust_consumers(&mut running);
            select! {
                () = stop.cancelled() => break,
                // A change that was missed is seen with the next one, or at the next look.
                _ = changes.recv() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
        for consumer in running.values() {
            consumer.stop.cancel();
        }
        for consumer in running.into_values() {
            consumer.task.await.ok();
        }
    }

    /// Stops consumers of what is changed or gone, and starts those that are missing.
    fn adjust_consumers(self: &Arc<Self>, running: &mut HashMap<String, Running>) {
        let wanted = self.fed_sources();
        running.retain(|id, consumer| {
            let stays = wanted.get(id).is_some_and(|fed| *fed == consumer.fed) && !consumer.task.is_finished();
            if !stays {
                consumer.stop.cancel();
            }
            stays
        });
        for (id, fed) in wanted {
            running.entry(id).or_insert_with(|| {
                let stop = CancellationToken::new();
                let task = self.tasks.spawn(self.clone().consume(fed.clone(), stop.clone()));
                Running { fed, stop, task }
            });
        }
    }

    /// What is to be consumed now. Messages for a plugin that is switched off stay where they are.
    fn fed_sources(&self) -> HashMap<String, Fed> {
        let view = self.directory.view();
        let installations = view.tenants.values().flat_map(|tenant| tenant.installations.values());
        let live = installations.filter(|installation| installation.row.mode == Mode::Live);
        let fed = live.flat_map(|installation| {
            let row = &installation.row;
            row.sources.iter().filter_map(|source| {
                let view = SourceView {
                    tenant: row.tenant.clone(),
                    plugin: row.plugin.clone(),
                    name: source.name.clone(),
                    fed: true,
                };
                Some((source.id.clone(), Fed { id: source.id.clone(), source: view, queue: source.queue.clone()? }))
            })
        });
        fed.collect()
    }

    /// Consumes one source until `stop`, over as many connections as that takes.
    async fn consume(self: Arc<Self>, fed: Fed, stop: CancellationToken) {
        let (mut failures, mut told) = (0_u32, String::new());
        loop {
            let mut took_some = false;
            let ended = self.consume_once(&fed, &stop, &mut took_some).await;
            let Err(reason) = ended else { return };
            failures = if took_some { 1 } else { failures.saturating_add(1) };
            if reason != told {
                tracing::warn!(source.id = %fed.id, %reason, "a source is not fed from its queue; it is tried again");
                told = reason;
            }
            select! {
                () = stop.cancelled() => return,
                () = sleep(wait_before(failures, self.ids.fraction())) => {}
            }
        }
    }

    /// One connection. Ends well when it was told to stop.
    async fn consume_once(
        self: &Arc<Self>,
        fed: &Fed,
        stop: &CancellationToken,
        took_some: &mut bool,
    ) -> Result<(), String> {
        let address = self.broker_of(fed).ok_or("its address cannot be read; save the installation again")?;
        let dialling = Dialling {
            name: "switchyard source".to_owned(),
            way: Way::Guarded(self.client.guard().clone()),
            limit: DIAL_LIMIT,
            heartbeat: HEARTBEAT,
            trusted: None,
        };
        let link = select! {
            () = stop.cancelled() => return Ok(()),
            link = dial(&address, &dialling) => link.map_err(|error| error.to_string())?,
        };
        let ended = self.take_messages(fed, &link, stop, took_some).await;
        link.close().await;
        ended
    }

    fn broker_of(&self, fed: &Fed) -> Option<BrokerAddress> {
        let tenant = self.directory.tenant(&fed.source.tenant)?;
        let place = places::source_broker(&fed.source.tenant, &fed.id);
        let plain = self.vault.open(&tenant.key, place, &fed.queue.url).ok()?;
        BrokerAddress::parse(std::str::from_utf8(&plain).ok()?).ok()
    }

    /// Takes messages until `stop`, and then ends what it has begun.
    async fn take_messages(
        self: &Arc<Self>,
        fed: &Fed,
        link: &Link,
        stop: &CancellationToken,
        took_some: &mut bool,
    ) -> Result<(), String> {
        let channel: Channel = answered(link.connection().create_channel()).await?;
        answered(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let queue = ShortString::try_new(fed.queue.name.as_str()).map_err(|_| "the queue's name is too long")?;
        let options = BasicConsumeOptions::default();
        let mut consumer = answered(channel.basic_consume(queue, "".into(), options, FieldTable::default())).await?;
        let mut judging = FuturesUnordered::new();
        let mut turn = Turn::default();
        loop {
            let wait = turn.take(self, &fed.id);
            select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = judging.next() => self.conclude(done, took_some).await?,
                () = sleep(wait), if !turn.is_mine => {}
                next = consumer.next(), if turn.is_mine => match next {
                    Some(Ok(delivery)) => {
                        turn = Turn::default();
                        judging.push(self.judge_message(fed, delivery));
                    }
                    Some(Err(error)) => return Err(crate::broker::dial::short(&error.to_string())),
                    None => return Err("the queue was deleted, or its broker went away".to_owned()),
                },
            }
        }
        while let Some(done) = judging.next().await {
            self.conclude(done, took_some).await?;
        }
        Ok(())
    }

    /// Tells the broker what became of a message.
    async fn conclude(
        &self,
        (delivery, done): (Delivery, Result<Disposition, NotTaken>),
        took_some: &mut bool,
    ) -> Result<(), String> {
        match done {
            Ok(Disposition::Ack) => {
                *took_some = true;
                answered(delivery.ack(BasicAckOptions::default())).await.map(|_| ())
            }
            Ok(Disposition::Reject) => {
                *took_some = true;
                answered(delivery.reject(BasicRejectOptions { requeue: false })).await.map(|_| ())
            }
            Err(NotTaken) => {
                *took_some = false;
                Err("the database is away, so nothing is taken for now".to_owned())
            }
        }
    }

    /// Runs one message through `receive`, and keeps what has to be kept.
    async fn judge_message(
        self: &Arc<Self>,
        fed: &Fed,
        delivery: Delivery,
    ) -> (Delivery, Result<Disposition, NotTaken>) {
        let (owner, source_id) = (&fed.source.tenant, fed.id.as_str());
        let limit = self.settings.limits.body_bytes;
        let request = match message::request(&delivery, limit) {
            Ok(request) => request,
            Err(fault) => {
                let (status, code) = (fault.status(), fault.code());
                let size = delivery.data.len() as u64;
                self.note_rejection(owner, source_id, status, code, fault.to_string(), size, None).await;
                return (delivery, Ok(Disposition::Reject));
            }
        };
        let key = self.ids.next();
        let raw = RawRequest {
            key,
            tenant: owner.clone(),
            source_id: fed.id.clone(),
            method: "AMQP".to_owned(),
            url: format!("{}/in/{}/{}", self.public_url, fed.id, request.path),
            headers: request.headers,
            body: request.body,
            received_at: self.clock.now(),
            remote_addr: None,
            correlation_id: key.to_string().into(),
        };
        let worker = (self.clone(), fed.source.clone());
        // As with a request over HTTP: a panic ends this message alone, and what was stored is started.
        let judged = self.tasks.spawn(async move {
            let (hub, source) = worker;
            let verdict = hub.judge_request(&source, &raw, None).await;
            hub.keep_message(&source, raw, verdict).await
        });
        (delivery, judged.await.unwrap_or(Err(NotTaken)))
    }

    async fn keep_message(
        self: &Arc<Self>,
        source: &SourceView,
        raw: RawRequest,
        verdict: Result<Verdict, StoreError>,
    ) -> Result<Disposition, NotTaken> {
        let failure = match verdict {
            Ok(Verdict::Answered(_)) => {
                self.watch_source(&raw.source_id, false);
                return Ok(Disposition::Ack);
            }
            Ok(Verdict::Refused(status, code, reason)) => {
                self.watch_source(&raw.source_id, true);
                let size = raw.body.len() as u64;
                self.note_rejection(&raw.tenant, &raw.source_id, status, code, reason, size, None).await;
                return Ok(Disposition::Reject);
            }
            Ok(Verdict::Neither(failure)) => failure,
            Err(StoreError::Unavailable(_) | StoreError::Overloaded) => return Err(NotTaken),
            // What the database refuses for good would come again for ever; a person sees it when it is parked.
            Err(error) => {
                tracing::error!(%error, source.id = %raw.source_id, "a message could not be stored");
                Failure::new(ReasonClass::PluginBug, "not_stored", "the hub could not store what this message became")
            }
        };
        tracing::warn!(source.id = %raw.source_id, reason = %failure.reason, code = %failure.code, "a message is parked");
        metrics::parked(failure.reason.as_str());
        match self.store.park(ParkedRequest { request: raw, plugin: source.plugin.clone(), failure, tries: 1 }).await {
            Ok(dropped) => {
                metrics::parked_dropped(dropped);
                Ok(Disposition::Ack)
            }
            Err(error) => {
                tracing::error!(%error, "a message could not be parked");
                Err(NotTaken)
            }
        }
    }
}
