//! CPU and memory of a process and its descendants, as the kernel counts them.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// The kernel reports CPU time to programs in hundredths of a second, whatever it counts in itself.
const TICK: Duration = Duration::from_millis(10);

/// A process tree that is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched(u32);

/// What a process tree uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time since each process began.
    pub(crate) cpu: Duration,
    /// Memory that is present now.
    pub(crate) rss_mib: f64,
    /// The most that was present since [`Watched::forget_peak`].
    pub(crate) peak_mib: f64,
}

impl Watched {
    pub(crate) const fn new(root: u32) -> Self {
        Self(root)
    }

    /// What the tree uses now.
    pub(crate) fn usage(self) -> anyhow::Result<Usage> {
        let mut all = Usage::default();
        for id in self.tree()? {
            // A descendant may end between the listing and the look.
            let Ok(one) = usage_of(id) else { continue };
            all.cpu += one.cpu;
            all.rss_mib += one.rss_mib;
            all.peak_mib += one.peak_mib;
        }
        Ok(all)
    }

    /// CPU time of the process itself, without its descendants.
    pub(crate) fn own_cpu(self) -> anyhow::Result<Duration> {
        Ok(usage_of(self.0)?.cpu)
    }

    /// Counts the peak from now on.
    pub(crate) fn forget_peak(self) -> anyhow::Result<()> {
        for id in self.tree()? {
            fs::write(format!("/proc/{id}/clear_refs"), "5").context("the peak cannot be reset")?;
        }
        Ok(())
    }

    fn tree(self) -> anyhow::Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if let Some(parent) = stat(id).and_then(|fields| fields.get(1)?.parse::<u32>().ok()) {
                parents.push((id, parent));
            }
        }
        anyhow::ensure!(parents.iter().any(|(id, _)| *id == self.0), "the watched process has ended");
        let mut tree = vec![self.0];
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
            next += 1;
        }
        Ok(tree)
    }
}

/// The fields of `/proc/<id>/stat` after the name, which may hold anything.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn usage_of(id: u32) -> anyhow::Result<Usage> {
    let fields = stat(id).context("the process has ended")?;
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    };
    Ok(Usage { cpu: TICK * (ticks(11) + ticks(12)), rss_mib: mib("VmRSS:"), peak_mib: mib("VmHWM:") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_the_one_that_is_not_there_is_an_error() {
        let own = Watched::new(std::process::id()).usage().unwrap();
        assert!(own.rss_mib > 0.0 && own.peak_mib >= own.rss_mib * 0.5, "{own:?}");
        assert!(Watched::new(u32::MAX).usage().is_err());
    }
}
