use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use switchyard_tests::world::build_folder;

use crate::{
    evidence::Evidence,
    ledger::{self, State},
    load::{Load, Shared},
    world::{MARKER, OTHER_MARKER, SECRETS, World},
};

/// Everything has ended so long after the last fault.
const DRAINS_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks at what is still live.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// At most so many of a set are shown.
const SHOWN: usize = 8;

/// What was found. All sets but the counts must be empty.
#[derive(Default)]
pub struct Verdict {
    /// Answered with a 2xx, and not stored, not routed, or said to be delivered without having arrived.
    pub lost: BTreeSet<String>,
    /// Arrived, and never asked for.
    pub unexpected: BTreeSet<String>,
    /// Effects that exist more than once.
    pub doubled: BTreeSet<String>,
    /// Arrived before one that was accepted earlier with the same ordering key.
    pub disordered: BTreeSet<String>,
    /// Endpoints that were sent more at once than they allow.
    pub crowded: BTreeSet<String>,
    /// Requests that carry another tenant's marker.
    pub leaked: BTreeSet<String>,
    /// Places that hold a secret in clear text.
    pub spilled: BTreeSet<String>,
    /// Still not ended after a minute without faults.
    pub stuck: BTreeSet<String>,
    /// Answers that nobody should get.
    pub wrong: BTreeSet<String>,
    /// What SQLite finds wrong with its file.
    pub damaged: BTreeSet<String>,
    /// How many events were accepted.
    pub accepted: usize,
    /// How many deliveries there are, by state.
    pub deliveries: BTreeMap<State, usize>,
    /// Why deliveries are dead.
    pub deaths: BTreeMap<String, usize>,
    /// Requests that arrived again, which is allowed.
    pub repeated: usize,
    /// Where the database and the log lie, if something was found.
    pub kept: Option<PathBuf>,
}

impl Verdict {
    fn sets(&self) -> [(&'static str, &BTreeSet<String>); 10] {
        [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("doubled effects", &self.doubled),
            ("order", &self.disordered),
            ("concurrency", &self.crowded),
            ("leaked", &self.leaked),
            ("spilled", &self.spilled),
            ("stuck", &self.stuck),
            ("wrong answers", &self.wrong),
            ("damaged", &self.damaged),
        ]
    }

    /// Whether every set is empty.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sets().iter().all(|(_, set)| set.is_empty())
    }

    /// Prints the sets.
    ///
    /// # Panics
    /// One of them is not empty.
    #[track_caller]
    pub fn must_be_clean(&self) {
        println!("{self}");
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "accepted {}, deliveries {:?}, dead by cause {:?}, arrived again {}",
            self.accepted, self.deliveries, self.deaths, self.repeated
        )?;
        for (name, set) in self.sets() {
            let shown: Vec<_> = set.iter().take(SHOWN).collect();
            let more = if set.len() > SHOWN { ", ..." } else { "" };
            writeln!(f, "  {name:15} {} {shown:?}{more}", set.len())?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  the database and the log are kept in {}", kept.display())?;
        }
        Ok(())
    }
}

/// Ends the load on a hub that runs, waits until everything has ended, stops the hub, and looks at what is left.
///
/// # Panics
/// The hub does not stop, or its files cannot be read.
pub async fn conclude(world: &mut World, load: Load) -> Verdict {
    let shared = load.end().await;
    drain(world).await;
    let status = world.hub.stop().await;
    assert!(status.success(), "{status}: {}", world.hub.log());
    judge(world, &shared).await
}

/// Waits until nothing is live, for a bounded time; what is live then is found by [`judge`].
pub async fn drain(world: &World) {
    let empty = async {
        loop {
            let status = world.hub.get("/v1/status").await;
            let live = |state: &str| status.json()["deliveries"][state].as_u64().unwrap_or(0);
            let parked = status.json()["parked"].as_u64().unwrap_or(0);
            if status.status == 200 && live("queued") + live("running") + live("waiting") + parked == 0 {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(DRAINS_WITHIN, empty).await.ok();
}

/// Compares what was answered with what a hub left that has stopped.
///
/// # Panics
/// Its files cannot be read.
pub async fn judge(world: &World, shared: &Shared) -> Verdict {
    let file = world.hub.database();
    let entries = ledger::entries(&file).await;
    let mut verdict = Verdict::default();
    {
        let books = shared.books();
        verdict.accepted = books.count();
        verdict.wrong.extend(books.wrong.iter().cloned());
        Evidence::gather(world, &entries, &books).judge(&mut verdict);
    }
    find_spilled(world, &mut verdict);
    verdict.damaged.extend(ledger::damage(&file).await);
    if !verdict.is_clean() {
        verdict.kept = keep(world);
    }
    verdict
}

/// Puts the database and the log of a hub aside, for whoever wants to know what happened.
fn keep(world: &World) -> Option<PathBuf> {
    let folder = build_folder().join(format!("chaos-found-{}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    std::fs::copy(world.hub.database(), folder.join("hub.db")).ok()?;
    std::fs::write(folder.join("hub.log"), world.hub.log()).ok()?;
    Some(folder)
}

/// No log line and no file of the hub holds a secret, and no log line holds what events carry.
fn find_spilled(world: &World, verdict: &mut Verdict) {
    let log = world.hub.log();
    for text in SECRETS.iter().chain(&[MARKER, OTHER_MARKER]) {
        if log.contains(text) {
            verdict.spilled.insert(format!("{text} in the log"));
        }
    }
    for name in ["hub.db", "hub.db-wal"] {
        let bytes = std::fs::read(world.hub.folder().join(name)).unwrap_or_default();
        for secret in SECRETS.iter().filter(|secret| holds(&bytes, secret)) {
            verdict.spilled.insert(format!("{secret} in {name}"));
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let Some(first) = text.bytes().next() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(text.as_bytes()) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Whether a file is there, for messages.
#[must_use]
pub fn size_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |meta| meta.len())
}
