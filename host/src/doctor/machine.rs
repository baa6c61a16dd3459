use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::report::Report;
use crate::{app::key_file, config::Settings, plugin::pagemap_scan_available};

/// Descriptors beside connections and sends: the database, its readers, the log, the sandbox.
const OTHERS: u64 = 128;

/// With fewer a hub cannot do its work.
const FEWEST: u64 = 256;

/// Looks at the kernel and the process's limits.
pub(super) fn look(settings: &Settings, report: &mut Report) {
    if pagemap_scan_available() {
        report.ok("kernel", "PAGEMAP_SCAN is there: a plugin call clears only what the last one wrote".to_owned());
    } else {
        let said = "no PAGEMAP_SCAN: every plugin call clears its whole memory".to_owned();
        report.warn("kernel", said, "use Linux 6.7 or newer for several times cheaper calls");
    }
    let most = settings.limits.connections as u64 + settings.pool.sends as u64 + OTHERS;
    match getrlimit(Resource::Nofile).current {
        None => report.ok("descriptors", "as many as wanted".to_owned()),
        Some(limit) if limit < FEWEST => {
            let fix = format!("raise it to {most}: `ulimit -n {most}`, or LimitNOFILE={most} in the service");
            report.fail("descriptors", format!("at most {limit}"), fix);
        }
        Some(limit) if limit < most => {
            let said = format!("at most {limit}, and the settings allow {most} at once");
            let fix = format!("`ulimit -n {most}` (LimitNOFILE in a service), or lower limits.connections");
            report.warn("descriptors", said, fix);
        }
        Some(limit) => report.ok("descriptors", format!("at most {limit}; {most} can be needed")),
    }
}

/// Looks at who may read the files of the hub.
pub(super) fn files(database: &Path, cache: PathBuf, report: &mut Report) {
    let beside = |ending: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        name.into()
    };
    let files = [database.to_owned(), beside("-wal"), beside("-shm"), key_file(database), cache];
    let mut open = Vec::new();
    let mut seen = 0;
    for file in files {
        let Ok(meta) = std::fs::metadata(&file) else { continue };
        seen += 1;
        if meta.permissions().mode() & 0o077 != 0 {
            open.push(file.display().to_string());
        }
    }
    if seen == 0 {
        return;
    }
    if open.is_empty() {
        report.ok("files", "readable by their owner only".to_owned());
    } else {
        let said = format!("others may read {}", open.join(", "));
        report.fail("files", said, format!("chmod go= {}", open.join(" ")));
    }
}
