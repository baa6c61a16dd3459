//! A command that writes at a provider, run by a hub that dies at every step of its journal.
//!
//! The first round lets the command through and reads from its journal which provider calls it makes. Then, for each
//! write: the hub dies around the commit of its intent, before its first byte, and after its answer; at the end around
//! the settle. Last it is killed while the provider, having executed a write, withholds the answer. Each round has a
//! command of its own, and ends with one effect at the provider, or with a dead letter that says that nobody knows.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard::failpoint::Point;
use switchyard_simulators::faults::{Fault, Faults};

use crate::{
    api::{Tenant, text},
    hub::Hub,
};

/// What the system calls the end by `abort`.
const ABORTED: i32 = 6;

/// A step is passed within this time. A command may wait for its turn at a slow connection first.
const PASSED_WITHIN: Duration = Duration::from_secs(30);

/// A delivery ends within this time after the hub is back: where a provider recognises no repeat, the look-up waits some
/// seconds for the lost write to show.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// Between two looks at a delivery.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A round whose hub died over something else, such as a poll that fell due, is played again so often.
const REPEATS: u32 = 3;

/// A command as a provider's suite names it. The hub must run in real time ([`crate::hub::Builder::time_factor`] 1), so
/// that no poll counts among the command's steps, and the tenant must be ready.
pub struct WritingCommand<'a> {
    /// The delivery's target: `plugin:billy`.
    pub target: &'a str,
    /// The type of the event that the command emits once when it has been carried out.
    pub emits: Option<&'a str>,
    /// The simulator's faults.
    pub faults: &'a Faults,
    /// The simulator's operations that the command writes with, such as `invoices.create`.
    pub writes: &'a [&'a str],
    /// Whether the provider offers no way to know, so that a dead letter with an unknown outcome is a good end too.
    pub may_stay_unknown: bool,
}

/// What became of one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Where the hub died.
    pub step: String,
    /// The delivery afterwards, with attempts and journal.
    pub delivery: Value,
    /// Effects at the simulator.
    pub effects: usize,
}

/// Plays all rounds and checks each. `order` makes what round `n` needs at the provider and answers its command, `type`
/// and `data`, unlike that of any other round; `effects` counts what the simulator holds of round `n`.
pub async fn at_every_step(
    hub: &mut Hub,
    tenant: &Tenant,
    command: &WritingCommand<'_>,
    mut order: impl AsyncFnMut(u32) -> Value,
    effects: impl Fn(u32) -> usize,
) -> Vec<Round> {
    let first = order(0).await;
    let mut play = Play { hub, tenant, command, kind: text(&first, "type"), round: 0 };
    let _ = play.tenant.publish(&play.named(first)).await;
    let quiet = play.ended().await;
    assert_eq!(quiet["state"], "delivered", "without any trouble: {quiet:#}");
    assert_eq!(effects(0), 1, "without any trouble: {quiet:#}");
    let mut rounds = Vec::new();
    for step in steps(&quiet) {
        let mut left = REPEATS;
        loop {
            play.round += 1;
            let event = order(play.round).await;
            let delivery = play.die_at(step, event).await;
            if was_lost(&delivery) {
                rounds.push(play.judged(step.to_string(), delivery, &effects));
                break;
            }
            left -= 1;
            assert!(left > 0, "{step} was never passed by the command: {delivery:#}");
        }
    }
    for operation in command.writes {
        play.round += 1;
        let event = order(play.round).await;
        let delivery = play.killed_while_held(operation, event).await;
        rounds.push(play.judged(format!("kill -9 while {operation} has no answer"), delivery, &effects));
    }
    // What was right at once is right at the end: nothing came later.
    for round in 0..=play.round {
        let count = effects(round);
        assert!(count <= 1, "round {round} has {count} effects at the end");
    }
    rounds
}

/// A fail point and its passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step(Point, usize);

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}:abort", self.0.name(), self.1)
    }
}

/// The steps of a run, from the journal of one that met no trouble.
fn steps(quiet: &Value) -> Vec<Step> {
    let calls = quiet["journal"]["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_http = |call: &&Value| text(call, "call").starts_with(|first: char| first.is_ascii_uppercase());
    let mut steps = Vec::new();
    let mut writes = 0;
    for (number, call) in calls.iter().filter(is_http).enumerate() {
        if call["outcome"] == "read" {
            continue;
        }
        writes += 1;
        steps.push(Step(Point::IntentBeforeCommit, writes));
        steps.push(Step(Point::IntentAfterCommit, writes));
        steps.push(Step(Point::ProviderBeforeSend, number + 1));
        steps.push(Step(Point::ProviderAfterAnswer, number + 1));
    }
    assert!(writes > 0, "the command writes nothing: {quiet:#}");
    steps.push(Step(Point::SettleBeforeCommit, 1));
    steps.push(Step(Point::SettleAfterCommit, 1));
    steps
}

/// Whether the hub died over this delivery. After its settle was committed nothing of it was lost.
fn was_lost(delivery: &Value) -> bool {
    let attempts = delivery["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    attempts.iter().any(|attempt| attempt["outcome"] == "lost") || (attempts.len() == 1 && is_done(delivery))
}

fn is_done(delivery: &Value) -> bool {
    matches!(delivery["state"].as_str(), Some("delivered" | "dead"))
}

struct Play<'a> {
    hub: &'a mut Hub,
    tenant: &'a Tenant,
    command: &'a WritingCommand<'a>,
    /// The command's type.
    kind: String,
    round: u32,
}

impl Play<'_> {
    fn correlation(&self) -> String {
        format!("{}-{}", self.kind.replace('.', "-"), self.round)
    }

    /// The event under an id by which the round is known again.
    fn named(&self, mut event: Value) -> Value {
        event["id"] = json!(self.correlation());
        event["correlation_id"] = json!(self.correlation());
        event
    }

    async fn die_at(&mut self, step: Step, event: Value) -> Value {
        let event = self.named(event);
        self.hub.kill().await;
        self.hub.set("SWITCHYARD_FAILPOINTS", &step.to_string());
        self.hub.restart().await;
        let (accepted, died) = tokio::join!(surely(self.tenant, &event), self.hub.ended(PASSED_WITHIN));
        let status = died.unwrap_or_else(|| panic!("{step} was not passed by {event}"));
        assert_eq!(status.signal(), Some(ABORTED), "at {step} the hub ended with {status}:\n{}", self.hub.log());
        self.hub.unset("SWITCHYARD_FAILPOINTS");
        self.hub.restart().await;
        if !accepted {
            // The hub died before it could answer, so the client asks again; it is the same event.
            let _ = self.tenant.publish(&event).await;
        }
        self.ended().await
    }

    async fn killed_while_held(&mut self, operation: &str, event: Value) -> Value {
        let faults = self.command.faults;
        faults.arm(operation, Fault::HangAfter, 1);
        let _ = self.tenant.publish(&self.named(event)).await;
        faults.wait_held(1, PASSED_WITHIN).await.unwrap_or_else(|error| panic!("{operation}: {error}"));
        self.hub.kill().await;
        assert!(faults.wait_none_held(PASSED_WITHIN).await, "{operation}: the connection outlived the hub");
        self.hub.restart().await;
        self.ended().await
    }

    /// The command's delivery, once it has ended.
    async fn ended(&self) -> Value {
        let (correlation, target) = (self.correlation(), self.command.target);
        let list = format!("/deliveries?target={target}&limit=200");
        let mut seen = Value::Null;
        let looking = async {
            loop {
                let all = self.tenant.list(&list).await;
                let is_command = |delivery: &&Value| {
                    delivery["correlation_id"] == correlation.as_str() && delivery["event_id"] == correlation.as_str()
                };
                let found = all.iter().find(is_command).cloned().unwrap_or_default();
                if is_done(&found) {
                    return text(&found, "id");
                }
                seen = found;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let id = tokio::time::timeout(ENDS_WITHIN, looking).await;
        let id = id.unwrap_or_else(|_| panic!("{correlation} did not end: {seen:#}"));
        self.tenant.get(&format!("/deliveries/{id}")).await.expect(200)
    }

    fn judged(&self, step: String, delivery: Value, effects: &impl Fn(u32) -> usize) -> Round {
        let effects = effects(self.round);
        let unknown = self.command.may_stay_unknown
            && delivery["state"] == "dead"
            && delivery["reason"] == "unknown_outcome"
            && effects <= 1;
        let done = delivery["state"] == "delivered" && effects == 1;
        assert!(done || unknown, "{step}: {effects} effects, and {delivery:#}");
        if let (true, Some(emits)) = (done, self.command.emits) {
            let said = emitted(&delivery, emits);
            assert_eq!(said, 1, "{step}: `{emits}` was emitted {said} times: {delivery:#}");
        }
        Round { step, delivery, effects }
    }
}

/// How many events of a type the attempts of a delivery emitted.
fn emitted(delivery: &Value, event_type: &str) -> usize {
    let attempts = delivery["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let events = attempts.iter().filter_map(|attempt| attempt["detail"]["emitted"].as_array()).flatten();
    events.filter(|event| event["type"] == event_type).count()
}

/// Publishes; false if the hub was gone before it answered.
async fn surely(tenant: &Tenant, event: &Value) -> bool {
    let headers = [("content-type", "application/json")];
    let body = Bytes::from(event.to_string());
    match tenant.api.try_raw("POST", &tenant.path("/events"), &headers, body).await {
        Ok(reply) => {
            assert_eq!(reply.status, 202, "{}", reply.text);
            true
        }
        Err(_) => false,
    }
}
