use std::time::Duration;

use super::report::Report;
use crate::{
    broker::{
        BrokerAddress,
        dial::{Dialling, Way, dial},
    },
    config::{Database, Settings},
};

/// Time to make a connection.
const LIMIT: Duration = Duration::from_secs(5);

/// The silence after which either side takes the other for gone is twice this; nothing lasts so long here.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Looks whether the broker lets this machine in. Without one the nodes wake each other through the database, so that
/// nothing here keeps a hub from working. Nothing said holds the password.
pub(super) async fn look(settings: &Settings, report: &mut Report) {
    let Some(address) = &settings.broker_url else { return };
    if matches!(settings.database_url, Database::Sqlite(_)) {
        let fix = "leave SWITCHYARD_BROKER_URL out: a hub on a file is alone, and has no other nodes to wake";
        return report.warn("broker", "it is not used with SQLite".to_owned(), fix);
    }
    let place = place(address);
    let dialling = Dialling {
        name: "switchyard doctor".to_owned(),
        way: Way::Own,
        limit: LIMIT,
        heartbeat: HEARTBEAT,
        trusted: None,
    };
    match dial(address, &dialling).await {
        Ok(link) => {
            report.ok("broker", format!("{place} lets this machine in"));
            link.close().await;
        }
        Err(error) => {
            let fix = "look at SWITCHYARD_BROKER_URL, and at the broker; meanwhile the database wakes the nodes, a little later";
            report.warn("broker", format!("{place}: {error}"), fix);
        }
    }
}

/// Where it is, without user and password.
fn place(address: &BrokerAddress) -> String {
    let scheme = if address.tls() { "amqps" } else { "amqp" };
    let host = address.host();
    // An IPv6 address stands in brackets where a port follows.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{scheme}://{host}:{}", address.port())
}
