//! One event to an AMQP endpoint: published with confirm, and refused by the broker if no queue would get it.
//!
//! An endpoint has one connection, which its attempts share: a broker confirms what it gets on one channel in any number.
//! Unlike connections over HTTP it is never shared between endpoints, since its credentials belong to it and not to a
//! message. It ends when it is unused for a while, and when its endpoint is changed, paused or removed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use lapin::{
    BasicProperties, Channel, Confirmation, ErrorKind,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{
        BrokerAddress,
        dial::{DialError, Dialling, Link, Way, dial},
    },
    clock::SharedClock,
    id::Key,
    outbound::egress::EgressGuard,
};

/// Connections to brokers of endpoints at once. Each is a thread; the one that was unused for longest goes first.
const MAX_LINKS: usize = 256;

/// How long an unused connection is kept.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How often unused connections are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The silence after which a broker is taken for gone is twice this.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The longest time for making a connection, within the attempt's own.
const DIAL_LIMIT: Duration = Duration::from_secs(10);

/// Where an endpoint publishes, and with whose rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The broker.
    pub broker: BrokerAddress,
    /// The exchange; empty is the broker's own, whose routing keys are names of queues.
    pub name: String,
    /// The routing key; none is the type of each event.
    pub routing_key: Option<String>,
}

/// One message, complete. `Debug` shows neither fields nor body.
pub struct Message {
    /// The endpoint whose connection it takes.
    pub endpoint: Key,
    /// Where it goes.
    pub exchange: Arc<Exchange>,
    /// The event's type.
    pub event_type: String,
    /// The event's id.
    pub id: String,
    /// What stands in the message's correlation id as well.
    pub correlation_id: String,
    /// When this attempt began, in seconds since 1970.
    pub timestamp: u64,
    /// All fields; `content-type` becomes the message's own.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Time for the whole attempt: name, connection, message, confirm.
    pub timeout: Duration,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Why a broker does not have a message, as far as we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There was no connection.
    #[error("{0}")]
    NoConnection(DialError),
    /// No queue is bound for it.
    #[error("no queue of the broker takes a message with this routing key")]
    Unroutable,
    /// The broker took it and said no.
    #[error("the broker did not accept the message")]
    Nack,
    /// There is no such exchange.
    #[error("the broker has no such exchange")]
    NoExchange,
    /// The user may not publish there.
    #[error("the broker does not let this user publish there")]
    Denied,
    /// The broker takes no messages for now.
    #[error("the broker takes no messages for now: it is short of memory or disk")]
    Blocked,
    /// No confirm in time; the broker may have it.
    #[error("the broker did not confirm the message in time")]
    Timeout,
    /// The connection ended before the confirm; the broker may have it.
    #[error("the connection ended before the broker confirmed the message")]
    Reset,
    /// The routing key is longer than the protocol allows.
    #[error("the routing key is longer than 255 bytes")]
    Key,
}

impl PublishError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoConnection(error) => match error {
                DialError::Egress(error) => error.code(),
                DialError::Refused => "connect_refused",
                DialError::ConnectTimeout => "connect_timeout",
                DialError::Unreachable => "unreachable",
                DialError::Tls => "tls",
                DialError::Silent => "amqp_silent",
                DialError::Denied => "amqp_login_refused",
                DialError::Refusal(_) => "amqp_refused",
                DialError::NotAmqp => "not_amqp",
            },
            Self::Unroutable => "amqp_unroutable",
            Self::Nack => "amqp_nack",
            Self::NoExchange => "amqp_no_exchange",
            Self::Denied => "amqp_denied",
            Self::Blocked => "amqp_blocked",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Key => "amqp_routing_key",
        }
    }

    /// Whether the broker answered for itself: it works, and only this message or endpoint is not welcome.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Unroutable | Self::NoExchange | Self::Denied | Self::Key)
    }
}

/// An open connection with its confirm channel.
struct Open {
    link: Link,
    channel: Channel,
}

impl Open {
    fn works(&self) -> bool {
        self.link.connection().status().connected() && self.channel.status().connected()
    }
}

/// The connection of one endpoint, made when it is first needed.
struct Slot {
    exchange: Arc<Exchange>,
    open: AsyncMutex<Option<Arc<Open>>>,
    /// When an attempt last began or ended here.
    used: Mutex<Duration>,
}

/// The connections of all AMQP endpoints. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct Publisher {
    guard: EgressGuard,
    clock: SharedClock,
    slots: Arc<Mutex<HashMap<Key, Arc<Slot>>>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("endpoints", &self.slots().len()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher without connections.
    #[must_use]
    pub fn new(guard: EgressGuard, clock: SharedClock) -> Self {
        Self { guard, clock, slots: Arc::default() }
    }

    /// Publishes one message and waits for the confirm. Nothing is repeated.
    ///
    /// # Errors
    /// The broker does not have it, or it is not known whether it has.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        let slot = self.slot(message.endpoint, &message.exchange);
        let limit = message.timeout;
        let mut open = None;
        let ended = timeout(limit, self.exchange(&slot, message, &mut open)).await;
        *slot.used.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.monotonic();
        ended.unwrap_or_else(|_| {
            Err(match open {
                // Until there is a connection nothing of the message can have been written.
                None => PublishError::NoConnection(DialError::ConnectTimeout),
                Some(open) if open.link.connection().status().blocked() => PublishError::Blocked,
                Some(_) => PublishError::Timeout,
            })
        })
    }

    async fn exchange(
        &self,
        slot: &Slot,
        message: Message,
        opened: &mut Option<Arc<Open>>,
    ) -> Result<(), PublishError> {
        let key = message.exchange.routing_key.as_deref().unwrap_or(&message.event_type);
        let key = ShortString::try_new(key).map_err(|_| PublishError::Key)?;
        let open = self.opened(slot).await.map_err(PublishError::NoConnection)?;
        *opened = Some(open.clone());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = ShortString::try_new(message.exchange.name.as_str()).map_err(|_| PublishError::NoExchange)?;
        let properties = properties(&message);
        let publishing = open.channel.basic_publish(exchange, key, options, &message.body, properties);
        let confirm = publishing.await.map_err(|error| broken(&error))?;
        match confirm.await {
            Ok(Confirmation::Ack(None)) => Ok(()),
            // Acknowledged and given back: the library calls this an acknowledgement, and it is a lost message.
            Ok(Confirmation::Ack(Some(_))) => Err(PublishError::Unroutable),
            Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => Err(PublishError::Nack),
            Err(error) => Err(broken(&error)),
        }
    }

    /// The connection of a slot: the one there is if it works, else a new one, for which others wait.
    async fn opened(&self, slot: &Slot) -> Result<Arc<Open>, DialError> {
        let mut held = slot.open.lock().await;
        if let Some(open) = held.as_ref().filter(|open| open.works()) {
            return Ok(open.clone());
        }
        *held = None;
        let dialling = Dialling {
            name: "switchyard endpoint".to_owned(),
            way: Way::Guarded(self.guard.clone()),
            limit: DIAL_LIMIT,
            heartbeat: HEARTBEAT,
            trusted: None,
        };
        let link = dial(&slot.exchange.broker, &dialling).await?;
        let channel = link.connection().create_channel().await.map_err(|_| DialError::NotAmqp)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|_| DialError::NotAmqp)?;
        let open = Arc::new(Open { link, channel });
        *held = Some(open.clone());
        Ok(open)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of an endpoint as it is set now. One that leads elsewhere is forgotten: its attempts end, then it closes.
    fn slot(&self, endpoint: Key, exchange: &Arc<Exchange>) -> Arc<Slot> {
        let now = self.clock.monotonic();
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&endpoint).filter(|slot| slot.exchange == *exchange) {
            *slot.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
            return slot.clone();
        }
        slots.remove(&endpoint);
        if slots.len() >= MAX_LINKS {
            let longest = slots.iter().min_by_key(|(_, slot)| slot.last_used()).map(|(key, _)| *key);
            longest.and_then(|key| slots.remove(&key));
        }
        let slot = Arc::new(Slot { exchange: exchange.clone(), open: AsyncMutex::new(None), used: Mutex::new(now) });
        slots.insert(endpoint, slot.clone());
        slot
    }

    /// Lets go of every connection whose endpoint is not set so any more. `current` answers where an endpoint publishes
    /// now; nothing if it is gone or takes nothing.
    pub fn keep_only(&self, current: impl Fn(Key) -> Option<Arc<Exchange>>) {
        self.slots().retain(|key, slot| current(*key).is_some_and(|now| now == slot.exchange));
    }

    /// Closes what is unused, until `stop`, and then everything.
    pub async fn tidy(self, stop: CancellationToken) {
        while timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            let now = self.clock.monotonic();
            self.slots().retain(|_, slot| {
                // A slot that an attempt holds is in use, however long ago that began.
                Arc::strong_count(slot) > 1 || now.saturating_sub(slot.last_used()) < IDLE_LIMIT
            });
        }
        // Attempts that run may finish; their slots are theirs until then.
        sleep(Duration::ZERO).await;
        self.slots().clear();
    }
}

impl Slot {
    fn last_used(&self) -> Duration {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The properties of a message. Its fields are those that an endpoint over HTTP gets.
fn properties(message: &Message) -> BasicProperties {
    let mut table = FieldTable::default();
    let mut content_type = ShortString::default();
    for (name, value) in &message.headers {
        if name == http::header::CONTENT_TYPE {
            content_type = value.to_str().ok().and_then(|text| ShortString::try_new(text).ok()).unwrap_or_default();
            continue;
        }
        if let Ok(name) = ShortString::try_new(name.as_str()) {
            table.insert(name, AMQPValue::LongString(LongString::from(value.as_bytes())));
        }
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(content_type)
        .with_timestamp(message.timestamp)
        .with_app_id("switchyard".into())
        .with_headers(table);
    // Each of these is also among the fields, where it may be longer.
    if let Ok(id) = ShortString::try_new(message.id.as_str()) {
        properties = properties.with_message_id(id);
    }
    if let Ok(correlation) = ShortString::try_new(message.correlation_id.as_str()) {
        properties = properties.with_correlation_id(correlation);
    }
    if let Ok(kind) = ShortString::try_new(message.event_type.as_str()) {
        properties = properties.with_type(kind);
    }
    properties
}

/// What a failure of the channel or connection means.
fn broken(error: &lapin::Error) -> PublishError {
    match error.kind() {
        ErrorKind::ProtocolError(refused) if refused.get_id() == 404 => PublishError::NoExchange,
        ErrorKind::ProtocolError(refused) if refused.get_id() == 403 => PublishError::Denied,
        _ => PublishError::Reset,
    }
}
