//! What the figures were taken on.

use std::fs;

use serde_json::{Value, json};

/// The machine and the build, as one JSON object.
pub(crate) fn describe() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let folder = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.file_name()?.to_owned()));
    json!({
        "cores": cores,
        "model": field("/proc/cpuinfo", "model name"),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": line("/proc/sys/kernel/osrelease"),
        "data_on": file_system(&std::env::temp_dir()),
        "build": folder.map(|name| name.to_string_lossy().into_owned()),
        "load_before": load_average(),
    })
}

/// Processes that wanted to run, on average over 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").trim().to_owned()
}

fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
    found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The type of the file system that a folder is on: on one in memory a sync costs nothing, and the figures say nothing.
fn file_system(folder: &std::path::Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(place).then(|| (place.len(), format!("{kind} ({device})")))
    });
    mounts.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}
