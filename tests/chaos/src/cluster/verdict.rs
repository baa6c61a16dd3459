use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde_json::Value;
use switchyard::clock::SystemClock;

use super::{BUSY, Cluster, TENANTS, load::Accepted, plain};

/// After the last harm everything must be over within so long.
const DRAINS_WITHIN: Duration = Duration::from_secs(60);

/// What was found. Empty sets are good.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Accepted and not there.
    pub lost: BTreeSet<String>,
    /// Arrived and never accepted.
    pub unexpected: BTreeSet<String>,
    /// Two effects of one command.
    pub doubled: BTreeSet<String>,
    /// First arrivals of a chain out of their order.
    pub disordered: BTreeSet<String>,
    /// Still live when all should have been over.
    pub stuck: BTreeSet<String>,
    /// How many events were accepted.
    pub accepted: usize,
    /// How many arrived more than once under one id, which a subscriber tells by the id.
    pub repeated: usize,
    /// How long it took to drain.
    pub drained_after: Duration,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.unexpected, &self.doubled, &self.disordered, &self.stuck].iter().all(|set| set.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  accepted {}, repeated under their id {}, drained after {:.1} s",
            self.accepted,
            self.repeated,
            self.drained_after.as_secs_f64()
        )?;
        let sets = [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("doubled effects", &self.doubled),
            ("out of order", &self.disordered),
            ("stuck", &self.stuck),
        ];
        for (name, set) in sets {
            writeln!(
                f,
                "  {name}: {}{}",
                set.len(),
                set.iter().take(5).map(|text| format!("\n    {text}")).collect::<String>()
            )?;
        }
        Ok(())
    }
}

/// Waits until all is over, and judges.
pub async fn conclude(cluster: &Cluster, accepted: &Accepted) -> Verdict {
    let mut verdict = Verdict {
        accepted: accepted.plain.len() + accepted.steps.len() + accepted.invoices.len(),
        ..Verdict::default()
    };
    drain(cluster, &mut verdict).await;
    arrivals(cluster, accepted, &mut verdict);
    effects(cluster, accepted, &mut verdict).await;
    verdict
}

async fn drain(cluster: &Cluster, verdict: &mut Verdict) {
    let clock = SystemClock::shared();
    loop {
        let status = cluster.nodes.hubs[0].get("/v1/status").await;
        let counts: Value = if status.status == 200 { status.json()["deliveries"].clone() } else { Value::Null };
        let live = |state: &str| counts[state].as_u64().unwrap_or(0);
        verdict.drained_after = clock.monotonic();
        // A connection's own polls come and go; what was asked does not.
        if !counts.is_null() && ["queued", "running", "waiting"].iter().all(|state| live(state) == 0) {
            return;
        }
        if verdict.drained_after > DRAINS_WITHIN {
            verdict.stuck.insert(counts.to_string());
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn arrivals(cluster: &Cluster, accepted: &Accepted, verdict: &mut Verdict) {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for path in (0..TENANTS).map(plain).chain(["/ordered".to_owned()]) {
        for request in cluster.at.requests(&path) {
            let id = request.webhook_id().unwrap_or_default().to_owned();
            if !seen.insert(id.clone()) {
                verdict.repeated += 1;
            } else if let Some((chain, number)) = id.strip_prefix("s-").and_then(|step| step.split_once('-')) {
                let number = number.parse().unwrap_or(0);
                if last.insert(chain.to_owned(), number).is_some_and(|before| before > number) {
                    verdict.disordered.insert(id);
                }
            }
        }
    }
    let expected = || accepted.plain.iter().chain(&accepted.steps);
    verdict.lost.extend(expected().filter(|id| !seen.contains(*id)).cloned());
    let known: BTreeSet<&String> = expected().collect();
    verdict.unexpected.extend(seen.into_iter().filter(|id| !known.contains(id)));
}

/// Each command made one invoice, which carries the reference of its delivery.
async fn effects(cluster: &Cluster, accepted: &Accepted, verdict: &mut Verdict) {
    let busy = cluster.tenants.iter().find(|tenant| tenant.id == BUSY).expect("the busy tenant");
    let commands = cluster.nodes.on(0, busy).all_of("/deliveries?target=plugin:billy").await;
    let invoices = cluster.billy.invoices();
    let mut accounted = 0;
    for id in &accepted.invoices {
        let command = commands.iter().find(|command| command["event_id"] == id.as_str());
        let reference = command.and_then(|command| command["id"].as_str()?.strip_prefix("dlv_"));
        let is_its =
            |text: Option<&str>| reference.is_some_and(|reference| text.is_some_and(|text| text.contains(reference)));
        match invoices.iter().filter(|invoice| is_its(invoice.contact_message.as_deref())).count() {
            0 => drop(verdict.lost.insert(format!("{id} made no invoice: {command:?}"))),
            1 => accounted += 1,
            count => drop(verdict.doubled.insert(format!("{id} made {count} invoices"))),
        }
    }
    if accounted < invoices.len() && verdict.doubled.is_empty() {
        verdict.unexpected.insert(format!("{} invoices that nobody asked for", invoices.len() - accounted));
    }
}
