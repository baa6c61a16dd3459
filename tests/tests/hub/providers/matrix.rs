//! Every fault at every provider: a tenant is loaded with commands and with what happens at the provider, the fault is
//! armed, and at the end all is done, nothing twice, nothing lost, and nobody lent a hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{faults::Faults, subscriber};
use switchyard_tests::{
    api::{Api, Tenant, text},
    hub::{Builder, Hub},
    world::{bundled, subscriber},
};
use tokio::task::JoinSet;

/// What goes wrong.
mod rows;

/// Every writing command through a hub that dies at every step of its journal.
mod deaths;

/// Text messages.
mod twilio;

/// Invoices and payments at Billy.
mod billy;

/// Invoices and payments at QuickBooks.
mod quickbooks;

/// Subscriptions.
mod stripe;

/// Logins at Google.
mod google;

/// Mail.
mod gmail;

/// Appointments.
mod calendar;

use rows::{Row, Where};

/// A cell ends within this time: ladders run sixty times as fast as in life, but a lost write is looked for some real
/// seconds, and a dripping answer is waited for until the call's own limit.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Classes that a provider's doing may end in; never a bug of ours.
const THEIR_DOING: [&str; 5] = ["provider_down", "rate_limited", "bad_data", "unknown_outcome", "auth"];

/// A provider with a tenant that uses it, as a cell of the matrix loads it. Names of effects and events are the suite's
/// own, such as `command 2`.
#[async_trait]
trait Side: Send + Sync + Sized + 'static {
    /// The plugin.
    const PLUGIN: &'static str;

    /// What the provider's own error document says with a status; none where nothing is asked of it.
    fn words(status: u16) -> Option<&'static str>;

    /// What all cells share on their hub, such as a token endpoint.
    type Shared: Clone + Send + Sync;

    /// Starts what is shared, and sets the hub up for it.
    async fn share(hub: Builder) -> (Self::Shared, Builder);

    /// Starts the provider's simulator and switches the plugin on for a tenant.
    async fn join(shared: &Self::Shared, tenant: &Tenant) -> Self;

    /// The simulator's faults.
    fn faults(&self) -> &Faults;

    /// Lets the provider's clock be wrong.
    fn set_clock_offset_ms(&self, offset_ms: i64);

    /// The simulator's operations of one sort, as the load uses them.
    fn operations(&self, sort: Where) -> &'static [&'static str];

    /// The commands, each with an id.
    fn commands(&self) -> Vec<Value>;

    /// What the provider must hold for a command, and the events that it must cause.
    fn asked(&self, command: &Value) -> (String, Vec<String>);

    /// Lets things happen at the provider; answers the names of the events that they must cause. It runs beside the
    /// commands and may wait for them.
    async fn happen(&self, row: &Row) -> Vec<String>;

    /// What the provider holds, a name for each effect.
    fn effects(&self) -> Vec<String>;

    /// The name of an event at the subscriber; none for one that the suite does not count.
    fn name(&self, event: &Value) -> Option<String>;
}

/// Waits between tries, in seconds of the hub's: a dozen within half a minute at sixty times, so that what can never
/// succeed is dead before the test gives up.
fn patient() -> Value {
    json!([0, 2, 15, 30, 60, 60, 60, 120, 120, 240, 300, 300])
}

/// Waits until the two polls of a new installation have run once and `is_ready`, so that what comes now is news.
async fn looked(tenant: &Tenant, plugin: &str, is_ready: impl Fn() -> bool + Send + Sync) {
    let list = format!("/deliveries?target=plugin:{plugin}");
    let looking = async {
        loop {
            let polls = tenant.list(&list).await;
            let ended = polls.iter().filter(|poll| poll["event_type"] == "_poll.due" && poll["state"] == "delivered");
            if ended.count() >= 2 && is_ready() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let looked = tokio::time::timeout(ENDS_WITHIN, looking).await;
    looked.unwrap_or_else(|_| panic!("the first polls of {plugin} for {} did not end well", tenant.id));
}

/// Plays rows at one provider, each with a tenant of its own on one hub, all at the same time.
async fn play<S: Side>(rows: Vec<Row>) {
    let (shared, builder) = S::share(Hub::builder()).await;
    let (hub, at) = (builder.start().await, subscriber().await);
    let _ = hub.push(bundled(S::PLUGIN)).await.expect(201);
    let mut cells = JoinSet::new();
    for row in rows {
        let (api, at, shared) = (Api::clone(&hub), at.clone(), shared.clone());
        cells.spawn(async move {
            let name = row.name;
            let cell = tokio::spawn(async move { Cell::<S>::set_up(&api, at, &shared, row).await.play().await });
            (name, cell.await)
        });
    }
    let mut broken = BTreeMap::new();
    while let Some(ended) = cells.join_next().await {
        let (name, result) = ended.expect("the watcher of a cell ends well");
        if let Err(error) = result {
            let said = error.into_panic();
            let said = said.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without words".to_owned());
            broken.insert(name, said);
        }
    }
    let told: Vec<String> = broken.iter().map(|(name, said)| format!("{} x {name}: {said}", S::PLUGIN)).collect();
    assert!(told.is_empty(), "{} of the cells are wrong:\n{}", told.len(), told.join("\n\n"));
}

/// One fault at one provider.
struct Cell<S> {
    side: S,
    tenant: Tenant,
    at: subscriber::Handle,
    path: String,
    row: Row,
}

impl<S: Side> Cell<S> {
    async fn set_up(api: &Api, at: subscriber::Handle, shared: &S::Shared, row: Row) -> Self {
        let tenant = api.tenant(row.name).await;
        let path = format!("/{}", row.name);
        let _ = tenant.endpoint(&at, &path, &["*"], json!({"concurrency": 8})).await;
        let side = S::join(shared, &tenant).await;
        Self { side, tenant, at, path, row }
    }

    async fn play(self) {
        self.arm();
        let commands = self.side.commands();
        let asking = async {
            for command in &commands {
                let _ = self.tenant.publish(command).await;
            }
        };
        let ((), happened) = tokio::join!(asking, self.side.happen(&self.row));
        let ended = self.ended(&commands).await;
        let (mut effects, mut events) = (BTreeSet::new(), BTreeSet::new());
        let mut doubtful = BTreeSet::new();
        for (command, run) in commands.iter().zip(&ended) {
            let (effect, caused) = self.side.asked(command);
            if run["state"] == "delivered" {
                effects.insert(effect);
                events.extend(caused);
            } else {
                self.may_be_dead(run);
                doubtful.insert(effect);
                doubtful.extend(caused);
            }
        }
        events.extend(happened);
        self.compare(&effects, &events, &doubtful).await;
        self.no_bug_of_ours(&ended).await;
        self.words_of_the_provider(&ended);
    }

    /// Arms the row's faults and sets the provider's clock.
    fn arm(&self) {
        for (place, fault, times) in &self.row.armed {
            for operation in self.side.operations(*place) {
                self.side.faults().arm(operation, fault.clone(), *times);
            }
        }
        self.side.set_clock_offset_ms(self.row.clock_offset_ms);
    }

    /// The commands' deliveries with their attempts, once all of them have ended.
    async fn ended(&self, commands: &[Value]) -> Vec<Value> {
        let list = format!("/deliveries?target=plugin:{}", S::PLUGIN);
        let ids: Vec<String> = commands.iter().map(|command| text(command, "id")).collect();
        let mut seen = String::new();
        let looking = async {
            loop {
                let all = self.tenant.all_of(&list).await;
                let of = |id: &String| all.iter().find(|delivery| delivery["event_id"] == id.as_str()).cloned();
                let runs: Vec<Value> = ids.iter().filter_map(of).collect();
                let is_done = |run: &Value| matches!(run["state"].as_str(), Some("delivered" | "dead"));
                if runs.len() == ids.len() && runs.iter().all(is_done) {
                    return runs;
                }
                seen = json!(runs).to_string();
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let runs = tokio::time::timeout(ENDS_WITHIN, looking).await;
        let runs = runs.unwrap_or_else(|_| panic!("the commands did not end: {seen}"));
        let mut whole = Vec::new();
        for run in runs {
            whole.push(self.tenant.get(&format!("/deliveries/{}", text(&run, "id"))).await.expect(200));
        }
        whole
    }

    /// A command may be dead where nobody can know what became of it, or where the provider said yes in words that
    /// cannot be read.
    fn may_be_dead(&self, run: &Value) {
        let reason = run["reason"].as_str().unwrap_or_default();
        let unreadable = self.row.unreadable && THEIR_DOING.contains(&reason);
        assert!(reason == "unknown_outcome" || unreadable, "a command died: {run:#}");
        assert!(run["message"].as_str().is_some_and(|message| !message.is_empty()), "it does not say why: {run:#}");
    }

    /// Waits until the provider holds and the subscriber has what they must, and sees that it is not more.
    async fn compare(&self, effects: &BTreeSet<String>, events: &BTreeSet<String>, doubtful: &BTreeSet<String>) {
        let mut seen = String::new();
        let looking = async {
            loop {
                let (held, told) = (self.side.effects(), self.told());
                seen = format!("held {held:?}, told {told:?}; wanted {effects:?}, {events:?}; in doubt {doubtful:?}");
                let has = |have: &[String], want: &BTreeSet<String>| want.iter().all(|name| have.contains(name));
                if has(&held, effects) && has(&told, events) && self.is_drained().await {
                    return (self.side.effects(), self.told());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let Ok((held, told)) = tokio::time::timeout(ENDS_WITHIN, looking).await else {
            panic!("something is missing or goes on: {seen}; {}", json!(self.unfinished().await))
        };
        for (what, have, want) in [("held", held, effects), ("told", told, events)] {
            let mut counted = BTreeMap::<&String, usize>::new();
            for name in &have {
                *counted.entry(name).or_default() += 1;
            }
            let twice: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "{what} more than once: {twice:?}");
            let unasked: Vec<_> =
                have.iter().filter(|name| !want.contains(*name) && !doubtful.contains(*name)).collect();
            assert!(unasked.is_empty(), "{what} and never asked for: {unasked:?}; {seen}");
        }
    }

    /// The names of the events that the subscriber took, each delivery once.
    fn told(&self) -> Vec<String> {
        let mut ids = BTreeSet::new();
        let arrived = self.at.requests(&self.path);
        let fresh = arrived.iter().filter(|request| ids.insert(request.webhook_id().map(str::to_owned)));
        fresh.filter_map(|request| self.side.name(&request.json())).collect()
    }

    /// Deliveries that still go on, but for polls, which always do.
    async fn unfinished(&self) -> Vec<Value> {
        let all = self.tenant.all_of("/deliveries?state=queued,running,waiting,held").await;
        all.into_iter().filter(|delivery| delivery["event_type"] != "_poll.due").collect()
    }

    async fn is_drained(&self) -> bool {
        self.unfinished().await.is_empty() && self.tenant.list("/parked").await.is_empty()
    }

    /// No delivery of the tenant, a poll included, failed over a trap, a limit or another bug of ours.
    async fn no_bug_of_ours(&self, ended: &[Value]) {
        for delivery in self.tenant.all_of("/deliveries").await {
            assert!(delivery["reason"] != "plugin_bug" && delivery["reason"] != "config", "{delivery:#}");
            assert!(delivery["state"] != "held", "{delivery:#}");
        }
        for run in ended {
            for attempt in attempts(run) {
                let reason = attempt["reason"].as_str();
                assert!(reason.is_none_or(|reason| THEIR_DOING.contains(&reason)), "{run:#}");
            }
        }
    }

    /// The attempt that met the fault shows what the provider said.
    fn words_of_the_provider(&self, ended: &[Value]) {
        let calls = ended.iter().flat_map(attempts).filter_map(|attempt| attempt["detail"]["calls"].as_array());
        let said: Vec<&str> = calls.flatten().filter_map(|call| call["said"].as_str()).collect();
        // Where nothing is asked of a provider, it has nothing to say.
        let own = self.row.refused_with.and_then(S::words);
        for words in self.row.words.into_iter().chain(own).filter(|_| !ended.is_empty()) {
            assert!(said.iter().any(|text| text.contains(words)), "no attempt shows `{words}`: {ended:#?}");
        }
    }
}

fn attempts(run: &Value) -> &[Value] {
    run["attempts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

macro_rules! providers {
    ($($provider:ident: $side:ty,)*) => {
        $(mod $provider {
            use super::super::{play, rows};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn every_fault_ends_drained_with_nothing_twice_and_nothing_lost() {
                play::<$side>(rows::faults()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn no_hostile_answer_is_a_bug_of_ours() {
                play::<$side>(rows::hostile()).await;
            }
        })*
    };
}

mod each {
    providers! {
        twilio: crate::providers::matrix::twilio::Sms,
        billy: crate::providers::matrix::billy::Books,
        quickbooks: crate::providers::matrix::quickbooks::Company,
        stripe: crate::providers::matrix::stripe::Plans,
        gmail: crate::providers::matrix::gmail::Mail,
        calendar: crate::providers::matrix::calendar::Agenda,
    }
}
