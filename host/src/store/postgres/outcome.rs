//! How a transaction ended whose commit was not answered.

use std::time::Duration;

use sqlx::PgConnection;

use super::open::Place;
use crate::store::{StoreError, StoreResult};

/// How long the end is looked for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Finds out, on a new connection, that a transaction was committed whose connection was lost meanwhile.
///
/// # Errors
/// It was not committed; or that cannot be found out, which the text says.
pub(super) async fn committed(place: &Place, transaction: &str) -> StoreResult<()> {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(mut conn) = place.connect_as_hub().await
                && let Ok(Some(status)) = status(&mut conn, transaction).await
            {
                match &*status {
                    "committed" => return true,
                    "aborted" => return false,
                    // The server has not noticed yet that the connection is gone.
                    _ => {}
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    match found.await {
        Ok(true) => {
            tracing::warn!("the connection was lost during a commit, which has happened");
            Ok(())
        }
        Ok(false) => Err(StoreError::Unavailable("the connection was lost before the commit".to_owned())),
        Err(_) => Err(StoreError::Unavailable(
            "the connection was lost during a commit, and whether it happened could not be found out".to_owned(),
        )),
    }
}

/// How a transaction ended, as long as the server knows it.
async fn status(conn: &mut PgConnection, transaction: &str) -> StoreResult<Option<String>> {
    const STATUS: &str = "select pg_xact_status($1::text::xid8)";
    Ok(sqlx::query_scalar(STATUS).bind(transaction).fetch_one(conn).await?)
}
