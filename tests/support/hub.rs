use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
};

use crate::{
    api::Api,
    database::Database,
    world::{build_folder, built},
};

/// The operator key of every hub of the tests.
pub const ADMIN_KEY: &str = "an-operator-key-for-black-box-tests";

/// The master key of every hub of the tests on a server, where none is made.
pub const MASTER_KEYS: &str = "tests:Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc=";

/// How long a hub may take to be ready: plugins are compiled at the first start on a folder.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a hub may take to end after it was told to, or because it refuses to start.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at the log of a hub that starts.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a hub is started with. Without further words: no plugins, retries 60 times as fast as in life, and the loopback
/// networks allowed.
pub struct Builder {
    time_factor: u32,
    environment: BTreeMap<String, String>,
    file: Option<String>,
    bundled: bool,
    unread: bool,
    wrapper: Vec<String>,
}

impl Builder {
    /// Runs the hub through a command that ends by executing its further arguments, such as `prlimit`, or
    /// `sh -c 'ulimit -n 256; exec "$0" "$@"'`.
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// How much faster than real time retries, polls and schedules run.
    #[must_use]
    pub const fn time_factor(mut self, factor: u32) -> Self {
        self.time_factor = factor;
        self
    }

    /// Registers the bundled plugins at start, which takes a few seconds on a new folder.
    #[must_use]
    pub const fn with_bundled_plugins(mut self) -> Self {
        self.bundled = true;
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Keeps everything in a database of a server instead of a file.
    #[must_use]
    pub fn on(self, database: &Database) -> Self {
        self.set("SWITCHYARD_DATABASE_URL", &database.url()).set("SWITCHYARD_MASTER_KEYS", MASTER_KEYS)
    }

    /// Leaves a variable of the environment out.
    #[must_use]
    pub fn unset(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Logs into a pipe that nobody reads once the hub is ready.
    #[must_use]
    pub const fn with_unread_log(mut self) -> Self {
        self.unread = true;
        self
    }

    /// Writes `switchyard.toml` into the working directory.
    #[must_use]
    pub fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    /// Makes the hub's folder and does not start it yet.
    #[must_use]
    pub fn prepare(self) -> Hub {
        let folder = tempfile::tempdir().expect("a folder");
        let mut environment = self.environment;
        let plugins = if self.bundled { build_folder().join("plugins") } else { folder.path().join("no-plugins") };
        std::fs::create_dir_all(folder.path().join("no-plugins")).expect("a folder in the folder");
        environment.entry("SWITCHYARD_PLUGIN_DIR".to_owned()).or_insert_with(|| plugins.display().to_string());
        if let Some(text) = self.file {
            std::fs::write(folder.path().join("switchyard.toml"), text).expect("the file can be written");
        }
        let api = Api::new("http://127.0.0.1:0", Some(ADMIN_KEY));
        let log = if self.unread { Log::Unread(None) } else { Log::File };
        Hub {
            folder,
            environment,
            time_factor: self.time_factor,
            wrapper: self.wrapper,
            starts: 0,
            address: None,
            child: None,
            log,
            api,
        }
    }

    /// Starts the hub and waits until it is ready.
    pub async fn start(self) -> Hub {
        let mut hub = self.prepare();
        hub.restart().await;
        hub
    }

    /// Starts a hub that must refuse to; answers what it says.
    pub async fn refuses(self) -> String {
        self.prepare().refuses(&[]).await
    }
}

/// What a command printed, and whether it went well.
#[derive(Debug)]
pub struct Said {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output as JSON, of a command that must have gone well.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        assert!(self.success, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// What a command said that must have failed.
    #[track_caller]
    #[must_use]
    pub fn refusal(&self) -> &str {
        assert!(!self.success, "it went well: {}", self.out);
        &self.err
    }
}

/// Where the hub's log goes.
enum Log {
    File,
    /// A pipe, kept open without being read.
    Unread(Option<BufReader<ChildStderr>>),
}

/// The real binary on its own folder. It is killed when this is dropped.
pub struct Hub {
    folder: TempDir,
    environment: BTreeMap<String, String>,
    time_factor: u32,
    wrapper: Vec<String>,
    starts: u32,
    address: Option<SocketAddr>,
    child: Option<Child>,
    log: Log,
    api: Api,
}

impl Deref for Hub {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Hub {
    /// What a hub is started with.
    #[must_use]
    pub fn builder() -> Builder {
        let settings = [
            ("SWITCHYARD_ADMIN_KEY", ADMIN_KEY),
            ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.0/8"),
            ("SWITCHYARD_LOG", "info,json"),
        ];
        let environment = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Builder { time_factor: 60, environment, file: None, bundled: false, unread: false, wrapper: Vec::new() }
    }

    /// A hub without plugins, ready.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// The folder in which everything of the hub lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("hub.db")
    }

    /// Where it listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// The number of the running process.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// What all its processes have logged.
    #[must_use]
    pub fn log(&self) -> String {
        let one = |number| std::fs::read_to_string(self.log_file(number)).unwrap_or_default();
        (1..=self.starts).map(one).collect()
    }

    fn log_file(&self, number: u32) -> PathBuf {
        self.folder.path().join(format!("hub-{number}.log"))
    }

    /// The binary with the settings of this hub and nothing else.
    fn binary(&self) -> Command {
        let listen = self.address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let executable = built(&build_folder().join("switchyard"));
        let mut command = match self.wrapper.split_first() {
            None => Command::new(executable),
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(executable);
                command
            }
        };
        command
            .current_dir(self.folder.path())
            // Nothing of the developer's environment changes a test.
            .env_clear()
            .env("SWITCHYARD_LISTEN", listen)
            .env("SWITCHYARD_DATABASE_URL", format!("sqlite:{}", self.database().display()))
            .envs(&self.environment)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn command(&mut self) -> Command {
        self.starts += 1;
        let log = File::create(self.log_file(self.starts)).expect("the log can be written");
        let mut command = self.binary();
        command.args(["serve", "--time-factor", &self.time_factor.to_string()]).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Sets a variable of the environment for the next starts.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// A command with the settings of this hub, which may run or not, and its operator key.
    #[must_use]
    pub fn prepared(&self, args: &[&str]) -> Command {
        let mut command = self.binary();
        command.args(args).env("SWITCHYARD_URL", self.url()).env("SWITCHYARD_KEY", ADMIN_KEY);
        if self.address.is_none() {
            command.env_remove("SWITCHYARD_URL");
        }
        command
    }

    /// Runs such a command to its end.
    pub async fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = self.prepared(args);
        let ended = tokio::time::timeout(READY_WITHIN, command.envs(environment.iter().copied()).output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{args:?} did not end in time")).expect("it can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { success: ended.status.success(), out: text(&ended.stdout), err: text(&ended.stderr) }
    }

    /// Leaves a variable of the environment out at the next starts.
    pub fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// Starts the hub again on its files and its port, after `kill` or `stop`.
    pub async fn restart(&mut self) {
        self.begin();
        if let Err(status) = self.ready().await {
            panic!("the hub ended with {status}:\n{}", self.log());
        }
        let _ = self.api.get("/readyz").await.expect(200);
    }

    /// Starts the hub again and does not wait for it.
    pub fn begin(&mut self) {
        assert!(self.child.is_none(), "the hub runs already");
        let mut command = self.command();
        if matches!(self.log, Log::Unread(_)) {
            command.stderr(Stdio::piped());
        }
        let mut child = command.spawn().expect("the hub can be started");
        if let Log::Unread(pipe) = &mut self.log {
            *pipe = child.stderr.take().map(BufReader::new);
        }
        self.child = Some(child);
    }

    /// Waits until the hub that was begun says that it is ready, or gives how it ended instead.
    ///
    /// # Errors
    /// It ended.
    pub async fn ready(&mut self) -> Result<(), ExitStatus> {
        let ready = tokio::time::timeout(READY_WITHIN, self.until_ready()).await;
        let address = ready.unwrap_or_else(|_| panic!("the hub was not ready in time:\n{}", self.log()))?;
        if self.address != Some(address) {
            self.address = Some(address);
            let key = self.environment.get("SWITCHYARD_ADMIN_KEY").map(String::as_str);
            self.api = Api::new(&self.url(), key);
        }
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<SocketAddr, ExitStatus> {
        if let Log::Unread(Some(pipe)) = &mut self.log {
            let mut lines = pipe.lines();
            while let Some(line) = lines.next_line().await.expect("the log can be read") {
                if let Some(address) = ready_address(&line) {
                    return Ok(address);
                }
            }
        }
        loop {
            let log = std::fs::read_to_string(self.log_file(self.starts)).unwrap_or_default();
            if let Some(address) = log.lines().find_map(ready_address) {
                return Ok(address);
            }
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("its state can be read") {
                self.child = None;
                return Err(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The number of the running process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("the hub runs")
    }

    /// Waits until the hub has ended by itself; none if it still runs after that time.
    pub async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the hub was started");
        let status = tokio::time::timeout(within, child.wait()).await.ok()?.expect("its end can be seen");
        self.child = None;
        Some(status)
    }

    /// Ends the hub as a power cut would.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("the hub runs");
        child.kill().await.expect("it can be killed");
    }

    /// Asks the hub to stop and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the hub runs");
        let id = child.id().expect("it has not ended").to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await.expect("`kill` is there");
        assert!(told.success(), "the hub could not be told to stop");
        let ended = tokio::time::timeout(ENDS_WITHIN, child.wait()).await;
        ended.expect("the hub stops in time").expect("its end can be seen")
    }

    /// Starts a second process on the same folder that must end by itself with an error; answers what it says.
    /// The hub itself may run meanwhile.
    pub async fn refuses(&mut self, environment: &[(&str, &str)]) -> String {
        let address = self.address.take();
        let mut command = self.command();
        self.address = address;
        command.envs(environment.iter().copied());
        let mut child = command.spawn().expect("the hub can be started");
        let ended = tokio::time::timeout(ENDS_WITHIN, child.wait()).await;
        let said = std::fs::read_to_string(self.log_file(self.starts)).unwrap_or_default();
        let status = ended.unwrap_or_else(|_| panic!("the hub did not refuse to start:\n{said}")).expect("its end");
        assert!(!status.success(), "the hub ended well:\n{said}");
        said
    }
}

/// The address in the line that says that the hub is ready.
fn ready_address(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = line.to_string();
    if !text.contains("\"ready\"") {
        return None;
    }
    let address = line.get("address").or_else(|| line.get("fields")?.get("address"))?;
    address.as_str()?.parse().ok()
}
