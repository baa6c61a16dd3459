//! A PostgreSQL database of its own for a test, made on a real server and dropped afterwards.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

/// Names the server: a URL of a database on it, whose user may make databases and roles.
const SERVER: &str = "TEST_POSTGRES_URL";

/// Where it is looked for if nothing is said.
const USUAL: &str = "postgres://postgres@127.0.0.1:5432/postgres";

/// A database that goes when this is dropped.
pub struct Database {
    server: Url,
    name: String,
    kept: bool,
}

impl Database {
    /// Makes an empty database.
    ///
    /// # Panics
    /// If no server can be reached, with what to do about it: a test of PostgreSQL never passes without one.
    pub async fn fresh() -> Self {
        let url = std::env::var(SERVER).unwrap_or_else(|_| USUAL.to_owned());
        Self::on_server_at(&url).await
    }

    /// Makes an empty database on the server of this URL.
    ///
    /// # Panics
    /// As [`fresh`](Self::fresh).
    pub async fn on_server_at(url: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server: Url = url.parse().expect("the URL of a server");
        let name = format!("switchyard_test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
        let database = Self { server, name, kept: false };
        // One of this name may be left over from a test that was killed.
        database.on_server("drop database if exists {name} with (force)").await;
        database.on_server("create database {name} encoding 'UTF8' template template0").await;
        database
    }

    async fn on_server(&self, statement: &str) {
        let mut conn = PgConnection::connect(self.server.as_str()).await.unwrap_or_else(|error| {
            panic!(
                "no PostgreSQL server at {}: {error}. `make test` starts one; or start one yourself and name it in {SERVER}",
                self.server.host_str().unwrap_or_default()
            )
        });
        // The name is made above.
        let statement = AssertSqlSafe(statement.replace("{name}", &self.name));
        sqlx::raw_sql(statement).execute(&mut conn).await.expect("the server makes and drops databases");
        conn.close().await.ok();
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Its URL by way of a proxy before the server.
    #[must_use]
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        let mut url: Url = self.url().parse().expect("its own URL");
        url.set_ip_host(proxy.ip()).expect("a URL with a host");
        url.set_port(Some(proxy.port())).expect("a URL with a port");
        // In the clear, so that the proxy can find what passes.
        url.query_pairs_mut().append_pair("sslmode", "disable");
        url.into()
    }

    /// Where the server listens.
    pub async fn address(&self) -> SocketAddr {
        let (host, port) = (self.server.host_str().unwrap_or("127.0.0.1"), self.server.port().unwrap_or(5432));
        let mut found = tokio::net::lookup_host((host, port)).await.expect("the server's name is known");
        found.next().expect("the server has an address")
    }

    /// A connection as the user who made it, who sees all if the server's superuser does.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("the database is there")
    }
}

impl Database {
    /// Leaves it where it is, for a server that goes before it does.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // A runtime of its own, since that of the test may be ending.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(self.on_server("drop database if exists {name} with (force)"));
            });
        });
    }
}
