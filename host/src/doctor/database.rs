use std::path::Path;

use super::report::Report;
use crate::{
    clock::SharedClock,
    store::{
        schema::SchemaStep,
        sqlite::{Examined, Options, examine},
    },
};

const MIB: u64 = 1 << 20;

/// A log above this says that somebody keeps it from being brought into the file.
const LARGE_LOG: u64 = 512 * MIB;

/// Free bytes below which a hub will soon refuse events, and below which it does at any moment.
const LITTLE_SPACE: u64 = 1024 * MIB;
const NO_SPACE: u64 = 64 * MIB;

/// A clock that is further back than this would have the queue wait for it.
const CLOCK_BEHIND_MS: i64 = 5_000;

/// Looks at the database; none if it is not there or cannot be read.
pub(super) async fn look(path: &Path, clock: &SharedClock, report: &mut Report) -> Option<Examined> {
    disk(path, report);
    let found = match examine(&path.to_string_lossy(), Options::default().check_up_to).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            report.ok("database", format!("{} is not there yet; the first start makes it", path.display()));
            return None;
        }
        Err(error) => {
            let fix = "run this as the user of the hub; if the file is damaged, restore the latest backup";
            report.fail("database", format!("{}: {error}", path.display()), fix);
            return None;
        }
    };
    file(path, &found, report);
    if found.damage.is_none() {
        schema(&found.kept.steps, report);
        log(&found, report);
        time(&found, clock, report);
    }
    Some(found)
}

fn file(path: &Path, found: &Examined, report: &mut Report) {
    if let Some(damage) = &found.damage {
        let fix = "stop the hub, keep the file aside, and `switchyard restore` the latest backup";
        return report.fail("database", format!("{} is damaged: {damage}", path.display()), fix);
    }
    let pages = if found.checked { "every page is sound" } else { "too large to look at every page here" };
    let user = if found.in_use { "a hub has it open" } else { "no hub has it open" };
    let said = format!("{}, {} MiB, {pages}, {user}, SQLite {}", path.display(), found.bytes / MIB, found.sqlite);
    report.ok("database", said);
}

/// Looks at the schema of any database.
pub(super) fn schema(steps: &[SchemaStep], report: &mut Report) {
    let numbers = |wanted: &dyn Fn(&SchemaStep) -> bool| -> Vec<String> {
        let steps = steps.iter().filter(|step| wanted(step));
        steps.map(|step| format!("{:04}", step.number)).collect()
    };
    let newer = numbers(&|step| step.applied && !step.known && !step.compatible);
    let lived_with = numbers(&|step| step.applied && !step.known && step.compatible);
    let missing = numbers(&|step| !step.applied);
    if !newer.is_empty() {
        let said = format!("the database has step {}, which this version does not know", newer.join(", "));
        report.fail("schema", said, "start the newer version, or go down with it: `switchyard migrate down`");
    } else if !missing.is_empty() {
        let said = match missing.as_slice() {
            [one] => format!("step {one} is missing"),
            several => format!("steps {} are missing", several.join(", ")),
        };
        report.warn("schema", said, "the next start makes it, or `switchyard migrate` does now; take a backup before");
    } else if !lived_with.is_empty() {
        let said = format!("the database has step {}, beside which this version can go on", lived_with.join(", "));
        report.warn("schema", said, "bring this node to the newer version, as the others");
    } else {
        report.ok("schema", format!("all {} steps are made", steps.len()));
    }
}

fn log(found: &Examined, report: &mut Report) {
    let said = format!("{} MiB", found.log_bytes / MIB);
    if found.log_bytes > LARGE_LOG {
        report.warn("log", said, "somebody reads the database without end: look for open copies and backups");
    } else {
        report.ok("log", said);
    }
}

fn time(found: &Examined, clock: &SharedClock, report: &mut Report) {
    let behind = found.last_seen.0 - clock.now().0;
    if behind > CLOCK_BEHIND_MS {
        let said = format!("the clock is {} s behind the latest time in the database", behind / 1000);
        report.fail("clock", said, "set the clock (`timedatectl`, chrony): signed requests are refused meanwhile");
    } else {
        report.ok("clock", "not behind the database".to_owned());
    }
}

/// Looks at the disk of the nearest folder that is there.
fn disk(path: &Path, report: &mut Report) {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(folder) = whole.ancestors().skip(1).find(|folder| folder.is_dir()) else {
        return report.fail("disk", format!("no folder above {} is there", path.display()), "make its folder");
    };
    let stat = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => {
            return report.warn("disk", format!("{}: {error}", folder.display()), "look at its free space by hand");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let said = format!("{} MiB free in {}", free / MIB, folder.display());
    let fix = "free space, or move the database: a full disk refuses events with 503 and loses none";
    match free {
        0..NO_SPACE => report.fail("disk", said, fix),
        NO_SPACE..LITTLE_SPACE => report.warn("disk", said, fix),
        _ => report.ok("disk", said),
    }
}
