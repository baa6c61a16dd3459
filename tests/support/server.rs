//! A PostgreSQL server of a test's own, from installed programs, that may be killed, started again, or followed by a
//! standby that takes its place.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::api::until_within;

/// How long anything may take that a server does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who owns its files, where the tests run as root, which PostgreSQL refuses to be.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A server that ends when this is dropped.
pub struct OwnServer {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl OwnServer {
    /// Whether one can be run here, else says why not: the programs may be missing, where PostgreSQL runs in a container, or
    /// root may not become anybody else.
    pub async fn can_run() -> bool {
        let tried = unprivileged("initdb").arg("--version").output().await;
        let can = tried.as_ref().is_ok_and(|said| said.status.success());
        if !can {
            eprintln!("no PostgreSQL of the test's own can be run on this machine: {tried:?}");
        }
        can
    }

    /// Makes its files and starts it. A commit is answered once it is synced, as in life.
    pub async fn start() -> Self {
        let mut server = Self::without_files();
        let files = server.files();
        let made = unprivileged("initdb")
            .args(["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--username", "postgres", "--pgdata"])
            .arg(&files)
            .output();
        let made = made.await.expect("`initdb` can be run: it comes with PostgreSQL");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.restart().await;
        server
    }

    /// Copies a running server into one that follows it. From then on that one's commits wait for this one, so that
    /// nothing that was answered is missing when this one takes its place.
    pub async fn following(leader: &Self) -> Self {
        let mut standby = Self::without_files();
        let copied = unprivileged("pg_basebackup")
            .args(["--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--dbname"])
            .arg(format!("{} application_name=standby", leader.conninfo()))
            .arg("--pgdata")
            .arg(standby.files())
            .output();
        let copied = copied.await.expect("`pg_basebackup` can be run: it comes with PostgreSQL");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        standby.restart().await;
        let mut conn = leader.connect().await;
        for statement in ["alter system set synchronous_standby_names = 'standby'", "select pg_reload_conf()"] {
            sqlx::raw_sql(statement).execute(&mut conn).await.expect("the leader takes a setting");
        }
        until_within(PATIENCE, "the standby to follow", async || {
            let states = "select coalesce(string_agg(sync_state, ','), 'nobody') from pg_stat_replication";
            let state: String =
                sqlx::query_scalar(states).fetch_one(&mut leader.connect().await).await.expect("a text");
            if state == "sync" { Ok(()) } else { Err(state) }
        })
        .await;
        standby
    }

    /// A folder and a port.
    fn without_files() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("its own folder");
        std::fs::create_dir(folder.path().join("of")).expect("a folder in the folder");
        if let Some(user) = other_user() {
            own(&folder.path().join("of"), user);
        }
        Self { folder, port, process: None }
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("of").join("files")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The URL of a database on it, for a user who may make others.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("the server takes connections")
    }

    /// Starts it again on its files and its port, and waits until it takes connections.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let sockets = self.folder.path().join("of");
        // As a process of its own group nothing but this ends it; `fsync` stays on, as it is by default.
        let started = unprivileged("postgres")
            .arg("-D")
            .arg(self.files())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={}", self.port)])
            .args(["-c", &format!("unix_socket_directories={}", sockets.display()), "-c", "max_connections=100"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(started.expect("`postgres` can be run"));
        let url = self.url();
        until_within(PATIENCE, "the server to take connections", async || {
            PgConnection::connect(&url).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Ends it at once, as `pg_ctl stop -m immediate` does: nothing is written any more, and the next start recovers.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        quit(&process);
        let ended = tokio::time::timeout(PATIENCE, process.wait()).await;
        ended.expect("it ends in time").expect("its end can be seen");
    }

    /// Lets a standby take the place of what it followed.
    pub async fn promote(&self) {
        let mut conn = self.connect().await;
        let promoted: bool =
            sqlx::query_scalar("select pg_promote(true, 30)").fetch_one(&mut conn).await.expect("it can be promoted");
        assert!(promoted, "the standby was not promoted in time");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            quit(process);
        }
    }
}

/// SIGQUIT: the server's own way of ending at once, with the processes that belong to it.
fn quit(process: &Child) {
    if let Some(id) = process.id() {
        std::process::Command::new("kill").args(["-QUIT", &id.to_string()]).status().ok();
    }
}

/// Somebody who is not root, where the tests run as root.
fn other_user() -> Option<&'static str> {
    let root = std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let is_there =
        |user: &&&str| std::process::Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
    if root { USERS.iter().find(is_there).copied() } else { None }
}

fn own(folder: &Path, user: &str) {
    let given = std::process::Command::new("chown").arg(user).arg(folder).status();
    assert!(given.is_ok_and(|status| status.success()), "{} cannot be given to {user}", folder.display());
}

/// A program of PostgreSQL, run as somebody who is not root.
fn unprivileged(program: &str) -> Command {
    let program = installed(program);
    let mut command = match other_user() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", &group_of(user), "--clear-groups", "--"]).arg(program);
            command
        }
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn group_of(user: &str) -> String {
    let said = std::process::Command::new("id").args(["-g", user]).output().expect("`id` is there");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// The newest version beside which `initdb` lies, or what the path names.
fn installed(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(program)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| program.into())
}
