use secrecy::{ExposeSecret as _, SecretString};

use super::{database::schema, report::Report};
use crate::{
    clock::SharedClock,
    config::Settings,
    store::postgres::{Examined, Options, examine},
};

/// Below it the store does not open.
const OLDEST_SERVER: i64 = 140_000;

/// Signatures and tokens are judged by each node's clock, leases by the server's.
const CLOCKS_APART_MS: i64 = 5_000;

/// Looks at the database of a server; none if it cannot be reached or read. Nothing said holds the password.
pub(super) async fn look(
    url: &SecretString,
    clock: &SharedClock,
    settings: &Settings,
    report: &mut Report,
) -> Option<Examined> {
    let found = match examine(url.expose_secret()).await {
        Ok(found) => found,
        Err(error) => {
            let fix = "look at SWITCHYARD_DATABASE_URL, and whether the server runs and lets this machine in";
            report.fail("database", error.to_string(), fix);
            return None;
        }
    };
    database(&found, report);
    schema(&found.kept.steps, report);
    time(&found, clock, report);
    connections(&found, settings, report);
    Some(found)
}

fn database(found: &Examined, report: &mut Report) {
    let label = &found.label;
    if found.server_number < OLDEST_SERVER {
        let said = format!("{label} is PostgreSQL {}", found.server);
        return report.fail("database", said, format!("use PostgreSQL {} or newer", OLDEST_SERVER / 10_000));
    }
    if !found.takes_writes {
        let said = format!("{label} takes no writes: it is a standby, or default_transaction_read_only is on");
        return report.fail("database", said, "give the primary in SWITCHYARD_DATABASE_URL");
    }
    if let Some(why) = &found.not_a_hub {
        let fix = "have a superuser run: grant switchyard_hub, switchyard_tenant to <the user>";
        return report.fail("database", format!("{label}: the user cannot work as the hub: {why}"), fix);
    }
    if !found.unsafe_settings.is_empty() {
        let said = format!("{label} has {}: a crash can lose what was accepted", found.unsafe_settings.join(", "));
        return report.fail("database", said, "switch it on in postgresql.conf");
    }
    let hubs: Vec<String> = found.nodes.iter().map(|(name, version)| format!("{name} ({version})")).collect();
    let hubs = if hubs.is_empty() { "no hub uses it".to_owned() } else { format!("used by {}", hubs.join(", ")) };
    report.ok("database", format!("{label}, {hubs}, PostgreSQL {}", found.server));
}

fn time(found: &Examined, clock: &SharedClock, report: &mut Report) {
    let apart = clock.now().0 - found.clock.0;
    if apart.abs() > CLOCKS_APART_MS {
        let word = if apart > 0 { "ahead of" } else { "behind" };
        let said = format!("this machine's clock is {} s {word} the server's", apart.abs() / 1000);
        report.fail("clock", said, "set both clocks (`timedatectl`, chrony): signed requests are refused meanwhile");
    } else {
        report.ok("clock", "as the server's".to_owned());
    }
}

fn connections(found: &Examined, settings: &Settings, report: &mut Report) {
    let (used, most) = found.connections;
    // The writer, the listener and the leases have their own.
    let needed = u64::from(Options::default().connections.max(settings.pool.database_readers)) + 3;
    let said = format!("{used} of {most} are used, a node takes up to {needed}");
    if used + needed > most {
        report.warn("connections", said, "raise max_connections on the server, or have fewer nodes");
    } else {
        report.ok("connections", said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        store::examine::Kept,
    };

    const SERVER: Timestamp = Timestamp(1_800_000_000_000);

    fn found() -> Examined {
        Examined {
            label: "db.example:5432/hub".to_owned(),
            server: "15.1".to_owned(),
            server_number: 150_001,
            takes_writes: true,
            unsafe_settings: Vec::new(),
            clock: SERVER,
            connections: (1, 100),
            nodes: Vec::new(),
            not_a_hub: None,
            kept: Kept::default(),
        }
    }

    #[test]
    fn clocks_that_differ_are_told_with_the_way_in_which_they_do() {
        for (ahead_ms, words) in
            [(3_600_000, "3600 s ahead of"), (-3_600_000, "3600 s behind"), (900, "as the server's")]
        {
            let (clock, mut report): (SharedClock, _) =
                (ManualClock::starting_at(Timestamp(SERVER.0 + ahead_ms)), Report::default());
            time(&found(), &clock, &mut report);
            assert!(report.table().contains(words), "{}", report.table());
            assert_eq!(report.failed(), usize::from(ahead_ms.abs() > CLOCKS_APART_MS));
        }
    }

    #[test]
    fn a_database_that_a_hub_cannot_use_is_told_with_the_fix() {
        type Change = fn(&mut Examined);
        let cases: [(Change, &str, &str); 4] = [
            (|found| found.takes_writes = false, "takes no writes", "give the primary"),
            (|found| found.server_number = 130_000, "is PostgreSQL", "PostgreSQL 14 or newer"),
            (|found| found.not_a_hub = Some("permission denied".to_owned()), "cannot work as the hub", "grant"),
            (|found| found.unsafe_settings = vec!["fsync = off".to_owned()], "fsync = off", "postgresql.conf"),
        ];
        for (change, words, fix) in cases {
            let (mut found, mut report) = (found(), Report::default());
            change(&mut found);
            database(&found, &mut report);
            let said = report.table();
            assert!(report.failed() == 1 && said.contains(words) && said.contains(fix), "{said}");
        }
    }
}
