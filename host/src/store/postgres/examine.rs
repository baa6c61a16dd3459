//! A look at a database without writing it, also while hubs use it.

use sqlx::{Connection as _, PgConnection};

use super::{
    open::Place,
    registry::{api_key, data_key},
    row::Fields,
    schema,
};
use crate::{
    clock::Timestamp,
    store::{StoreResult, examine::Kept},
};

/// What was found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Where it is, without the password.
    pub label: String,
    /// The version of the server.
    pub server: String,
    /// The number of that version, as 150004.
    pub server_number: i64,
    /// Whether it takes writes; a standby does not.
    pub takes_writes: bool,
    /// Settings of the server under which a crash can lose what it said was stored.
    pub unsafe_settings: Vec<String>,
    /// Its clock at the moment of looking.
    pub clock: Timestamp,
    /// Connections that the server has now, and that it can have at most.
    pub connections: (u64, u64),
    /// Hubs that use it: name and version.
    pub nodes: Vec<(String, String)>,
    /// Why the user who connects cannot work as the hub, if so.
    pub not_a_hub: Option<String>,
    /// What the hub keeps there.
    pub kept: Kept,
}

/// Where the database of this URL is, without the password.
///
/// # Errors
/// The URL cannot be read.
pub fn label(url: &str) -> StoreResult<String> {
    Ok(Place::of(url)?.label().to_owned())
}

/// What the server's clock shows.
///
/// # Errors
/// It cannot be reached.
pub async fn now(url: &str) -> StoreResult<Timestamp> {
    const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
    let mut conn = Place::of(url)?.connect().await?;
    let row = sqlx::query(NOW).fetch_one(&mut conn).await?;
    let now = Fields::of(&row).time()?;
    conn.close().await?;
    Ok(now)
}

/// Reads what there is to know of a database.
///
/// # Errors
/// It cannot be reached or read.
pub async fn examine(url: &str) -> StoreResult<Examined> {
    let place = Place::of(url)?;
    let mut conn = place.connect().await?;
    let mut found = server(&mut conn, place.label().to_owned()).await?;
    found.kept.steps = schema::steps(&mut conn).await?;
    if found.kept.steps.iter().any(|step| step.applied) {
        match sqlx::query("set role switchyard_hub").execute(&mut conn).await {
            Ok(_) => kept(&mut conn, &mut found).await?,
            Err(error) => found.not_a_hub = Some(error.to_string()),
        }
    }
    conn.close().await?;
    Ok(found)
}

async fn server(conn: &mut PgConnection, label: String) -> StoreResult<Examined> {
    const SERVER: &str = "select current_setting('server_version'), current_setting('server_version_num')::int8, \
        current_setting('transaction_read_only') = 'off', (extract(epoch from clock_timestamp()) * 1000)::int8, \
        (select count(*) from pg_stat_activity where datid is not null), \
        current_setting('max_connections')::int8";
    const UNSAFE: &str = "select name || ' = ' || setting from pg_settings \
        where name in ('fsync', 'full_page_writes') and setting = 'off' order by name";
    let row = sqlx::query(SERVER).fetch_one(&mut *conn).await?;
    let mut fields = Fields::of(&row);
    let mut found = Examined {
        label,
        server: fields.text()?,
        server_number: fields.int()?,
        takes_writes: fields.flag()?,
        unsafe_settings: Vec::new(),
        clock: fields.time()?,
        connections: (fields.number()?, fields.number()?),
        nodes: Vec::new(),
        not_a_hub: None,
        kept: Kept::default(),
    };
    for row in &sqlx::query(UNSAFE).fetch_all(conn).await? {
        found.unsafe_settings.push(Fields::of(row).text()?);
    }
    Ok(found)
}

/// Reads the rows, as far as the schema has their tables.
async fn kept(conn: &mut PgConnection, found: &mut Examined) -> StoreResult<()> {
    const NODES: &str = "select name, version from node where expires_at > now() order by name";
    const HAS_NODES: &str = "select to_regclass('node') is not null";
    const FINGERPRINTS: &str = "select substr(name, 12), convert_from(value, 'UTF8') from meta \
        where name like 'master\\_key:%' order by name";
    for row in &sqlx::query(FINGERPRINTS).fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(row);
        found.kept.fingerprints.push((fields.text()?, fields.text()?));
    }
    found.kept.keys = data_key::list(conn).await?;
    found.kept.plugin_cache_key = api_key::meta(conn, "plugin_cache_key").await?.and_then(|key| key.try_into().ok());
    let row = sqlx::query(HAS_NODES).fetch_one(&mut *conn).await?;
    if Fields::of(&row).flag()? {
        for row in &sqlx::query(NODES).fetch_all(conn).await? {
            let mut fields = Fields::of(row);
            found.nodes.push((fields.text()?, fields.text()?));
        }
    }
    Ok(())
}
