use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// Ticks of the processor in a second, as `/proc` counts them on Linux.
const TICKS: u64 = 100;

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).ok().and_then(Pid::from_raw);
    number.expect("a process number")
}

/// Stops a process in the middle of whatever it does.
///
/// # Panics
/// There is no such process.
pub fn freeze(number: u32) {
    kill_process(pid(number), Signal::STOP).expect("it is there");
}

/// Lets it go on.
///
/// # Panics
/// There is no such process.
pub fn thaw(number: u32) {
    kill_process(pid(number), Signal::CONT).expect("it is there");
}

/// Sets how large a file may become that the process writes; none takes the bound away.
///
/// # Panics
/// The system refuses.
pub fn bound_files(number: u32, bytes: Option<u64>) {
    bound(number, Resource::Fsize, bytes);
}

/// Sets how many descriptors the process may have; none gives back what it had at most.
///
/// # Panics
/// The system refuses.
pub fn bound_descriptors(number: u32, count: Option<u64>) {
    bound(number, Resource::Nofile, count);
}

/// Changes the soft limit alone, so that it can be raised again.
fn bound(number: u32, resource: Resource, value: Option<u64>) {
    let maximum = hard_limit(number, resource);
    let limit = Rlimit { current: value.or(maximum), maximum };
    prlimit(Some(pid(number)), resource, limit).expect("the limit can be set");
}

/// The hard limit of a process; none is no limit.
fn hard_limit(number: u32, resource: Resource) -> Option<u64> {
    let name = if matches!(resource, Resource::Fsize) { "Max file size" } else { "Max open files" };
    let limits = fs::read_to_string(format!("/proc/{number}/limits")).expect("the limits can be read");
    let columns = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the limit is listed");
    columns.split_whitespace().nth(1)?.parse().ok()
}

/// How many descriptors a process has open.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn descriptors(number: u32) -> usize {
    fs::read_dir(format!("/proc/{number}/fd")).expect("it is there").count()
}

/// How long a process has been on the processor, in all its threads.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn processor_time(number: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).expect("it is there");
    // The name, in brackets, may hold spaces; user and system time are the 12th and 13th column after it.
    let columns: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |column: usize| columns.get(column).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS)
}

/// The most memory that a process has held at once, in bytes.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn peak_memory(number: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{number}/status")).expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A group of processes with a bound on their memory, where this user may make one. It is removed when this is dropped.
pub struct MemoryGroup {
    folder: std::path::PathBuf,
}

impl MemoryGroup {
    /// A group of this name, or none where the system or its rights do not allow one.
    #[must_use]
    pub fn bounded(name: &str, bytes: u64) -> Option<Self> {
        let places = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        places.into_iter().find_map(|(root, limit)| {
            let folder = Path::new(root).join(format!("{name}-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let group = Self { folder };
            fs::write(group.folder.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }

    /// The file into which a process writes its number to become a member.
    #[must_use]
    pub fn members(&self) -> std::path::PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A group that still has a process stays; the system then ends with the machine.
        fs::remove_dir(&self.folder).ok();
    }
}
