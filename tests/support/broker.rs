use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Where the broker is that all tests share.
const URL_VARIABLE: &str = "TEST_AMQP_URL";

/// Where it is when nobody says so.
const USUAL_URL: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

/// How long anything may take that a broker does.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a broker may take to start on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(300);

/// Between two looks at something that should come true.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The URL of the broker that all tests share.
#[must_use]
pub fn shared_url() -> String {
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| USUAL_URL.to_owned())
}

/// A name that no other test has.
#[must_use]
pub fn own_name(what: &str) -> String {
    format!("switchyard-test.{what}.{:016x}", RandomState::new().build_hasher().finish())
}

/// Waits until something is true, but not for ever.
#[track_caller]
pub fn until<F, C>(what: &str, within: Duration, mut is_true: C) -> impl Future<Output = ()>
where
    F: Future<Output = bool>,
    C: FnMut() -> F,
{
    let place = std::panic::Location::caller();
    async move {
        let looking = async {
            while !is_true().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let seen = tokio::time::timeout(within, looking).await;
        assert!(seen.is_ok(), "{place}: {what} did not come true within {within:?}");
    }
}

/// A client of a broker, as a person with a tool would use it.
pub struct Client {
    connection: Connection,
    channel: Channel,
}

impl Client {
    /// A client of the broker that all tests share.
    pub async fn shared() -> Self {
        let url = shared_url();
        Self::of(&url).await.unwrap_or_else(|error| {
            panic!(
                "no RabbitMQ answers at {URL_VARIABLE} (or its default, port 5672 of this machine): {error}; `make test` \
                 starts one, or run `rabbitmq-server` and set {URL_VARIABLE} to its amqp:// URL"
            )
        })
    }

    /// A client of the broker at `url`.
    ///
    /// # Errors
    /// It cannot be reached in time.
    pub async fn of(url: &str) -> Result<Self, String> {
        let connecting = Connection::connect(url, ConnectionProperties::default());
        let connected = tokio::time::timeout(PATIENCE, connecting).await.map_err(|_| "it is silent".to_owned())?;
        let connection = connected.map_err(|error| error.to_string())?;
        let channel = connection.create_channel().await.map_err(|error| error.to_string())?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|error| error.to_string())?;
        Ok(Self { connection, channel })
    }

    /// A channel beside the client's own, for what may make the broker close it.
    pub async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }

    /// Publishes a message and waits until the broker has it; answers whether it went to a queue.
    pub async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) -> bool {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publishing = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirm = publishing.await.expect("it is sent").await.expect("it is confirmed");
        matches!(confirm, lapin::Confirmation::Ack(None))
    }

    /// Declares a durable queue with arguments.
    pub async fn declare_queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.expect("the queue can be declared");
    }

    /// Takes one message out of a queue, if there is one.
    pub async fn take(&self, queue: &str) -> Option<lapin::message::Delivery> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("the queue is there");
        let delivery = got?.delivery;
        delivery.ack(BasicAckOptions::default()).await.expect("it can be acknowledged");
        Some(delivery)
    }

    /// Takes one message out of a queue, and waits for it.
    pub async fn next(&self, queue: &str) -> lapin::message::Delivery {
        let waiting = async {
            loop {
                if let Some(delivery) = self.take(queue).await {
                    return delivery;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("nothing came into {queue}"))
    }

    /// How many messages of a queue nobody has, and how many consume it; none if there is no such queue.
    pub async fn queue(&self, name: &str) -> Option<(u32, u32)> {
        // Asking for a queue that is not there costs the channel.
        let channel = self.channel().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(name.into(), options, FieldTable::default()).await.ok()?;
        Some((queue.message_count(), queue.consumer_count()))
    }

    /// Deletes a queue, whatever is in it.
    pub async fn delete_queue(&self, name: &str) {
        let channel = self.channel().await;
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.expect("the queue can be deleted");
    }

    /// Deletes queues and exchanges at the end of a test, as far as they are there.
    pub async fn clear(&self, queues: &[&str], exchanges: &[&str]) {
        for name in queues {
            let deleting = self.channel().await;
            deleting.queue_delete((*name).into(), QueueDeleteOptions::default()).await.ok();
        }
        for name in exchanges {
            let deleting = self.channel().await;
            deleting.exchange_delete((*name).into(), ExchangeDeleteOptions::default()).await.ok();
        }
    }

    /// The channel itself.
    #[must_use]
    pub const fn raw(&self) -> &Channel {
        &self.channel
    }
}

/// A broker of the test's own, which it may stop, freeze and starve. It is killed when this is dropped.
pub struct OwnBroker {
    folder: TempDir,
    ports: [u16; 3],
    names: Child,
    node: Option<Child>,
}

impl OwnBroker {
    /// Starts a broker from the installed programs.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("enabled_plugins"), "[].").expect("the file can be written");
        for name in ["rabbitmq.conf", "rabbitmq-env.conf"] {
            std::fs::write(folder.path().join(name), "").expect("the file can be written");
        }
        let ports = free_ports();
        let names = Command::new("epmd")
            .args(["-port", &ports[2].to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Erlang's `epmd` is installed: `apt-get install rabbitmq-server` brings it");
        let mut broker = Self { folder, ports, names, node: None };
        broker.restart().await;
        broker
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports[0])
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.ports[0]
    }

    fn command(&self, program: &str) -> Command {
        let place = |name: &str| self.folder.path().join(name);
        let [port, distribution, names] = self.ports;
        let mut command = Command::new(installed(program));
        command
            .env("HOME", self.folder.path())
            .env("ERL_CRASH_DUMP", place("erl_crash.dump"))
            .env("RABBITMQ_CONF_ENV_FILE", place("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", place("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", place("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", place("mnesia"))
            .env("RABBITMQ_LOG_BASE", place("log"))
            .env("RABBITMQ_PID_FILE", place("pid"))
            .env("RABBITMQ_NODENAME", format!("switchyard{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("ERL_EPMD_PORT", names.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // The node is then the very process that was started, so that it can be killed as one.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts it again on its files and ports.
    pub async fn restart(&mut self) {
        assert!(self.node.is_none(), "the broker runs already");
        self.node = Some(self.command("rabbitmq-server").spawn().expect("the broker can be started"));
        let url = self.url();
        until("the broker's start", STARTS_WITHIN, async || Client::of(&url).await.is_ok()).await;
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        let mut node = self.node.take().expect("the broker runs");
        node.kill().await.expect("it can be killed");
    }

    /// Stops it from doing anything, with all its connections open.
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on.
    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.node.as_ref().and_then(Child::id).expect("the broker runs").to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await.expect("`kill` is there");
        assert!(sent.success());
    }

    /// Runs `rabbitmqctl` on it.
    pub async fn control(&self, args: &[&str]) {
        let mut command = self.command("rabbitmqctl");
        let done = tokio::time::timeout(STARTS_WITHIN, command.args(args).status()).await;
        assert!(done.expect("it ends in time").expect("it can be run").success(), "rabbitmqctl {args:?} failed");
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        // A frozen process takes this signal as well.
        if let Some(node) = &mut self.node {
            node.start_kill().ok();
        }
        self.names.start_kill().ok();
    }
}

/// A program of RabbitMQ itself, not the wrapper that Debian puts before it, which wants another user.
fn installed(program: &str) -> PathBuf {
    let own = Path::new("/usr/lib/rabbitmq/bin").join(program);
    if own.exists() { own } else { program.into() }
}

/// Ports that nobody listens at, as far as that can be known.
fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
