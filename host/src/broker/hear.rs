use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Consumer, ExchangeKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
        ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::{
    select,
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    bell,
    bells::{BellSettings, OnBell, Owned},
    dial::Link,
    ring::declare_exchange,
    supervisor::{Session, UNANSWERED, answered, said},
};
use crate::{
    observe::metrics,
    queue::{lane::Lane, partition::PARTITIONS},
};

/// Bells that the broker gives us before we have acknowledged any.
const PREFETCH: u16 = 32;

/// Time for taking notice of one bell.
const NOTICE_LIMIT: Duration = Duration::from_secs(1);

/// A queue whose node is gone for so long goes with it.
const QUEUE_EXPIRES_MS: i32 = 60_000;

/// A bell older than this has long been overtaken by a look at the database.
const BELL_LIVES_MS: i32 = 60_000;

/// Bells that wait in one queue.
const MAX_BELLS: i32 = 100_000;

/// How much garbage is kept, and for how long, for a person to look at.
const MAX_GARBAGE: i32 = 1_000;
const GARBAGE_LIVES_MS: i32 = 7 * 24 * 3_600_000;

/// What a node sends to its own queue to see that it works. No bell begins so.
const PROBE: &[u8] = b"probe";

/// Every partition, and none.
const EVERYTHING: Owned = [true; PARTITIONS as usize];
const NOTHING: Owned = [false; PARTITIONS as usize];

/// Hears on the connection for consuming.
pub(super) struct Hearer {
    settings: BellSettings,
    owned: watch::Receiver<Owned>,
    on_bell: Arc<dyn OnBell>,
    /// How many queues were given up. A queue can be there and answer nobody: RabbitMQ 3.10 elects no leader of a quorum
    /// queue that was asked for something in the first moment after a restart. It does not get better by waiting.
    given_up: AtomicU32,
}

impl Hearer {
    pub(super) fn new(settings: BellSettings, owned: watch::Receiver<Owned>, on_bell: Arc<dyn OnBell>) -> Self {
        Self { settings, owned, on_bell, given_up: AtomicU32::new(0) }
    }

    /// Works on the queue; one that does not answer is left for another, and goes by itself once it is unused.
    async fn work(&self, link: &Link, ready: &Notify) -> Result<(), String> {
        let given_up = self.given_up.load(Ordering::Acquire);
        let channel = answered(link.connection().create_channel()).await?;
        if let Some(before) = given_up.checked_sub(1) {
            // Who rings waits for every queue that gets the bell.
            self.bind(&channel, &self.settings.queue(before), &NOTHING, &EVERYTHING).await?;
        }
        let consuming = self.consume(link, &channel, &self.settings.queue(given_up)).await;
        let (mut consumer, mut bound) = consuming.inspect_err(|error| {
            if error == UNANSWERED {
                self.given_up.store(given_up.wrapping_add(1), Ordering::Release);
            }
        })?;
        let mut owned = self.owned.clone();
        owned.mark_changed();
        ready.notify_one();
        loop {
            select! {
                heard = consumer.next() => match heard {
                    Some(Ok(delivery)) => self.hear(delivery).await?,
                    Some(Err(error)) => return Err(said(&error)),
                    None => return Err("the queue was deleted, or its broker went away".to_owned()),
                },
                changed = owned.changed() => {
                    if changed.is_err() {
                        return Err("the hub stops".to_owned());
                    }
                    let wanted = *owned.borrow_and_update();
                    self.bind(&channel, &self.settings.queue(given_up), &wanted, &bound).await?;
                    bound = wanted;
                }
            }
        }
    }

    /// Declares everything, binds the queue and begins to consume it. Answers what it is bound for.
    async fn consume(&self, link: &Link, channel: &Channel, queue: &str) -> Result<(Consumer, Owned), String> {
        self.declare(channel, queue).await?;
        let wanted = *self.owned.borrow();
        // What an earlier connection bound is not known, so every binding is set.
        self.bind(channel, queue, &wanted, &wanted.map(|owned| !owned)).await?;
        answered(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let consumer = answered(consuming).await?;
        self.probe(link, channel, queue).await?;
        Ok((consumer, wanted))
    }

    /// Sees whether the queue takes a message. A queue without a leader may be declared and consumed all the same, and who
    /// rings would wait for it for ever.
    async fn probe(&self, link: &Link, channel: &Channel, queue: &str) -> Result<(), String> {
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let probing = async { channel.basic_publish("".into(), queue.into(), options, PROBE, properties).await?.await };
        match answered(probing).await {
            // A broker short of memory takes no message at all, which says nothing of the queue.
            Err(_) if link.connection().status().blocked() => Ok(()),
            probed => probed.map(|_| ()),
        }
    }

    /// Declares what must be there. A queue that somebody declared otherwise by hand is an error, which a person sees.
    async fn declare(&self, channel: &Channel, queue: &str) -> Result<(), String> {
        let dead = self.settings.dead();
        declare_exchange(channel, &dead, ExchangeKind::Fanout).await?;
        let arguments = [
            ("x-queue-type", text("quorum")),
            ("x-message-ttl", GARBAGE_LIVES_MS.into()),
            ("x-max-length", MAX_GARBAGE.into()),
        ];
        declare_queue(channel, &dead, &arguments).await?;
        let options = QueueBindOptions::default();
        let name = dead.as_str();
        answered(channel.queue_bind(name.into(), name.into(), "".into(), options, FieldTable::default())).await?;
        declare_exchange(channel, &self.settings.exchange(), ExchangeKind::Direct).await?;
        let arguments = [
            ("x-queue-type", text("quorum")),
            ("x-expires", QUEUE_EXPIRES_MS.into()),
            ("x-message-ttl", BELL_LIVES_MS.into()),
            ("x-max-length", MAX_BELLS.into()),
            ("x-overflow", text("reject-publish")),
            ("x-dead-letter-exchange", text(&dead)),
        ];
        declare_queue(channel, queue, &arguments).await
    }

    /// Binds what is wanted and not bound, and the other way round.
    async fn bind(&self, channel: &Channel, queue: &str, wanted: &Owned, bound: &Owned) -> Result<(), String> {
        let exchange = self.settings.exchange();
        for partition in 0..PARTITIONS {
            let (queue, exchange) = (queue.into(), exchange.as_str().into());
            let key = partition.to_string().into();
            let place = usize::from(partition);
            match (wanted[place], bound[place]) {
                (true, false) => {
                    let options = QueueBindOptions::default();
                    answered(channel.queue_bind(queue, exchange, key, options, FieldTable::default())).await?;
                }
                (false, true) => answered(channel.queue_unbind(queue, exchange, key, FieldTable::default())).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn hear(&self, delivery: Delivery) -> Result<(), String> {
        if delivery.data == PROBE {
            return answered(delivery.ack(BasicAckOptions::default())).await.map(|_| ());
        }
        let lane: Lane = match bell::decode(&delivery.data) {
            Ok(lane) => lane,
            Err(error) => {
                metrics::bell_heard("garbage");
                tracing::warn!(%error, bytes = delivery.data.len(), "a message among the bells is none; it is set aside");
                let rejecting = delivery.reject(BasicRejectOptions { requeue: false });
                return answered(rejecting).await.map(|_| ());
            }
        };
        let noticed = timeout(NOTICE_LIMIT, self.on_bell.bell(lane)).await;
        metrics::bell_heard(if noticed.is_ok() { "heard" } else { "given_up" });
        answered(delivery.ack(BasicAckOptions::default())).await.map(|_| ())
    }
}

impl Session for Hearer {
    async fn run(&self, link: &Link, ready: &Notify) -> String {
        self.work(link, ready).await.err().unwrap_or_default()
    }
}

async fn declare_queue(channel: &Channel, name: &str, arguments: &[(&str, AMQPValue)]) -> Result<(), String> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert((*key).into(), value.clone());
    }
    answered(channel.queue_declare(name.into(), options, table)).await.map(|_| ())
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
