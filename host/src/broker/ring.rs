use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lapin::{
    BasicProperties, Channel, Confirmation, ExchangeKind, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    types::FieldTable,
};
use tokio::{
    select,
    sync::Notify,
    time::{error::Elapsed, sleep, timeout},
};

use super::{
    bell,
    bells::{BellSettings, Rung},
    dial::Link,
    status::{Board, BrokerState},
    supervisor::{Session, answered, said},
};
use crate::{
    observe::metrics::{self, BellLost},
    queue::lane::{Lane, LaneKey},
};

/// Lanes whose bells wait to be rung, at most.
const MAX_WAITING: usize = 4096;

/// Bells that the broker has not confirmed, at most.
const MAX_UNCONFIRMED: usize = 1024;

/// A bell that waits to be rung.
#[derive(Debug)]
struct Waiting {
    partition: u8,
    text: String,
}

/// Rings on the connection for publishing.
#[derive(Debug)]
pub(super) struct Ringer {
    settings: BellSettings,
    board: Arc<Board>,
    waiting: Mutex<HashMap<LaneKey, Waiting>>,
    moved: Notify,
}

impl Ringer {
    pub(super) fn new(settings: BellSettings, board: Arc<Board>) -> Self {
        Self { settings, board, waiting: Mutex::default(), moved: Notify::new() }
    }

    pub(super) fn ring(&self, lane: &Lane, key: LaneKey) -> Rung {
        if !self.board.is_up() {
            metrics::bell_lost(BellLost::NotUp);
            return Rung::NotUp;
        }
        let mut waiting = self.waiting();
        if waiting.contains_key(&key) {
            return Rung::Taken;
        }
        if waiting.len() >= MAX_WAITING {
            metrics::bell_lost(BellLost::Full);
            return Rung::Full;
        }
        waiting.insert(key, Waiting { partition: key.partition().number(), text: bell::encode(lane) });
        drop(waiting);
        self.moved.notify_one();
        Rung::Taken
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<LaneKey, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, link: &Link, ready: &Notify) -> Result<(), String> {
        let channel = answered(link.connection().create_channel()).await?;
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        declare_exchange(&channel, &self.settings.exchange(), ExchangeKind::Direct).await?;
        ready.notify_one();
        let mut unconfirmed = FuturesUnordered::new();
        loop {
            select! {
                Some(confirmed) = unconfirmed.next() => self.judge(confirmed)?,
                () = self.moved.notified() => {
                    sleep(self.settings.gather).await;
                    let bells = std::mem::take(&mut *self.waiting());
                    for bell in bells.into_values() {
                        if self.is_blocked() {
                            metrics::bell_lost(BellLost::NotUp);
                            continue;
                        }
                        if unconfirmed.len() >= MAX_UNCONFIRMED {
                            metrics::bell_lost(BellLost::Full);
                            continue;
                        }
                        if let Some(confirm) = self.publish(&channel, &bell).await? {
                            unconfirmed.push(timeout(self.settings.confirm_limit, confirm));
                        }
                    }
                }
            }
        }
    }

    /// Sends a bell; nothing comes of it while the broker blocks, which ends by itself.
    async fn publish(&self, channel: &Channel, bell: &Waiting) -> Result<Option<PublisherConfirm>, String> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("text/plain".into());
        let key = bell.partition.to_string();
        let publishing = channel.basic_publish(
            self.settings.exchange().into(),
            key.into(),
            options,
            bell.text.as_bytes(),
            properties,
        );
        match timeout(self.settings.confirm_limit, publishing).await {
            Ok(Ok(confirm)) => Ok(Some(confirm)),
            Ok(Err(error)) => {
                metrics::bell_lost(BellLost::Broken);
                Err(said(&error))
            }
            Err(_) => {
                metrics::bell_lost(BellLost::Late);
                if self.is_blocked() { Ok(None) } else { Err("a bell could not be sent in time".to_owned()) }
            }
        }
    }

    /// Counts what became of a bell. Fails when the connection is not worth keeping.
    fn judge(&self, confirmed: Result<lapin::Result<Confirmation>, Elapsed>) -> Result<(), String> {
        match confirmed {
            Ok(Ok(Confirmation::Ack(None))) => metrics::bell_rung(),
            // Acknowledged and given back: no queue is bound for the partition, so nobody will hear it.
            Ok(Ok(Confirmation::Ack(Some(_)))) => metrics::bell_lost(BellLost::Unroutable),
            Ok(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => metrics::bell_lost(BellLost::Refused),
            Ok(Err(error)) => {
                metrics::bell_lost(BellLost::Broken);
                return Err(said(&error));
            }
            Err(_) => {
                metrics::bell_lost(BellLost::Late);
                // A broker that said that it blocks will go on by itself; one that only fell silent may never.
                if !self.is_blocked() {
                    return Err("a bell was not confirmed in time".to_owned());
                }
            }
        }
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        matches!(self.board.watch().borrow().publish, BrokerState::Blocked { .. })
    }
}

impl Session for Ringer {
    async fn run(&self, link: &Link, ready: &Notify) -> String {
        self.work(link, ready).await.err().unwrap_or_default()
    }
}

/// Declares an exchange that outlives the broker's restart.
pub(super) async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), String> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    answered(channel.exchange_declare(name.into(), kind, options, FieldTable::default())).await
}
