//! What an operator does while the hub works: keys change, tenants leave, schemas move, files are copied and looked at.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use switchyard_tests::hub::Hub;

/// Every change leaves its row.
mod audit;

/// Copies and their way back.
mod backup;

/// A tenant that is locked down, or leaves.
mod deletion;

/// What the doctor sees.
mod doctor;

/// One master key after another.
mod master_keys;

/// Schemas up and down.
pub(crate) mod migrations;

/// A keyring of keys named by their letters: `keyring("ba")` seals with `b` and opens what `a` sealed.
fn keyring(names: &str) -> String {
    let key = |name: char| format!("key-{name}:{}", STANDARD.encode([name as u8; 32]));
    names.chars().map(key).collect::<Vec<_>>().join(",")
}

/// Runs SQL on the file of a hub, which may run, and answers the first column of every row.
pub(crate) async fn query(hub: &Hub, statement: &'static str) -> Vec<Vec<u8>> {
    use sqlx::{Connection as _, Row as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.database());
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.expect("the file opens");
    let rows = sqlx::query(statement).fetch_all(&mut conn).await.expect("the statement runs");
    let values = rows.iter().map(|row| row.get_unchecked::<Vec<u8>, _>(0)).collect();
    conn.close().await.expect("closed");
    values
}

/// The rows of a list, of an answer or of a command.
fn rows(list: &Value) -> &[Value] {
    list["data"].as_array().or_else(|| list.as_array()).map_or(&[], Vec::as_slice)
}
