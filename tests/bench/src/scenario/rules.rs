//! What rules cost: fifty of them on one event, of which two match, evaluated in this process; and a tenant whose events go
//! through twenty, two of which emit an event that is delivered.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::ensure;
use serde_json::{Value, json};
use switchyard::{
    clock::Timestamp,
    event::{Event, Urgency, catalogue::Catalogue},
    id::Key,
    route::filter::EventFacts,
    rule::{evaluate::evaluate, facts::RuleFacts, set::RuleSet},
    store::registry::TenantRow,
};

use crate::{
    Bench,
    load::{ClosedLoop, histogram},
    options::Scenario,
    report::{Report, Target},
    sink::Sink,
    stage::{self, CONNECTIONS, Client, PATIENCE},
};

const RULES: Scenario = Scenario::Rules;

/// What the matching rules emit.
const MADE: &str = "bench.made";

/// How many rules match.
const MATCHING: usize = 2;

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (mut routing, mut acting) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let (asked, evaluated) = evaluated(bench)?;
        routing.push(asked);
        acting.push(evaluated);
    }
    report.figure(RULES, "50 rules asked at routing, none matches", "us", &routing, Some(Target::AtMost(200.0)));
    report.figure(RULES, "50 rules evaluated, 2 match, median", "us", &acting, Some(Target::AtMost(250.0)));
    let (hub, sink) = (stage::hub(bench, true).await, Sink::start(bench.clock.clone()).await?);
    let client = Client::new(&hub, "acme").await?;
    let _ = client.endpoint(&sink, 1, MADE).await?;
    let config = json!({"rules": rules(20), "own_types": [stage::SENT, MADE]});
    let _ = client.install("rules", &json!({"config": config, "grants": ["emits:*"]})).await?;
    let _ = burst(bench, &client, &sink, bench.pick(500, 50)).await?;
    let mut rate = Vec::new();
    for _ in 0..bench.runs {
        rate.push(burst(bench, &client, &sink, bench.pick(5_000, 200)).await?);
    }
    report.figure(RULES, "events through 20 rules to 2 deliveries each", "1/s", &rate, None);
    Ok(())
}

/// So many rules with a condition each, of which two match any event of the bench.
fn rules(count: usize) -> Value {
    let rule = |n: usize| {
        let when = if n < MATCHING {
            format!("data.n.startsWith('0') && size(data.pad) > {n}")
        } else {
            format!("data.n == 'order-{n}' || (has(data.total) && data.total > {n}.0)")
        };
        json!({"name": format!("rule-{n}"), "on": stage::SENT, "when": when,
            "emit": [{"type": MADE, "data": format!("{{'rule': {n}, 'n': data.n, 'of': event.id}}")}]})
    };
    (0..count).map(rule).collect()
}

/// Median microseconds to ask fifty rules that do not match, and to evaluate fifty of which two do.
fn evaluated(bench: &Bench) -> anyhow::Result<(f64, f64)> {
    let all = rules(50);
    let silent: Vec<Value> = all.as_array().into_iter().flatten().skip(MATCHING).cloned().collect();
    let compiled = |rules: &Value| RuleSet::of_config(&json!({"rules": rules}).to_string());
    let ((all, faults), (silent, _)) = (compiled(&all), compiled(&json!(silent)));
    ensure!(faults.is_empty(), "{faults:?}");
    let (data, tenant, catalogue) =
        (json!({"n": "000000000017", "pad": "x".repeat(800)}), tenant()?, Catalogue::default());
    let event = event(&data)?;
    let (mut asked, mut acted) = (histogram(), histogram());
    for turn in 0..bench.pick(5_000, 200) {
        let began = bench.clock.monotonic();
        let facts = EventFacts::new(&event, &data);
        ensure!(!silent.wants(&event.event_type, &RuleFacts::new(&facts, &tenant)), "a silent rule matched");
        let between = bench.clock.monotonic();
        let facts = EventFacts::new(&event, &data);
        let matched = evaluate(&all, &event.event_type, &RuleFacts::new(&facts, &tenant), &catalogue);
        let ended = bench.clock.monotonic();
        ensure!(matched.len() == MATCHING, "{} rules matched", matched.len());
        // The first turns warm the caches up.
        if turn >= 20 {
            asked.saturating_record(u64::try_from((between - began).as_nanos())?);
            acted.saturating_record(u64::try_from((ended - between).as_nanos())?);
        }
    }
    let median = |of: &hdrhistogram::Histogram<u64>| of.value_at_quantile(0.5) as f64 / 1000.0;
    Ok((median(&asked), median(&acted)))
}

/// Events per second from the first request to the last delivery of what the rules emitted.
async fn burst(bench: &Bench, client: &Client, sink: &Sink, count: u64) -> anyhow::Result<f64> {
    let expected = count * MATCHING as u64;
    let began = bench.clock.monotonic();
    let requests = Arc::new(client.publications(count)?);
    let _ = ClosedLoop::start(client.address(), CONNECTIONS, requests, 202, &bench.clock).finish().await?;
    let arrivals = sink.collect(expected, PATIENCE).await?;
    ensure!(arrivals.len() as u64 == expected, "{} of {expected} arrived", arrivals.len());
    let ended = arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(began);
    Ok(count as f64 / ended.saturating_sub(began).as_secs_f64())
}

fn tenant() -> anyhow::Result<TenantRow> {
    Ok(TenantRow {
        id: "acme".parse()?,
        name: "Acme".to_owned(),
        time_zone: "Europe/Copenhagen".to_owned(),
        settings: "{}".to_owned(),
        lockdown: false,
        command_handlers: BTreeMap::new(),
        created_at: Timestamp(0),
        lockdown_since: None,
        data_key: Vec::new(),
    })
}

fn event(data: &Value) -> anyhow::Result<Event> {
    Ok(Event {
        key: Key::default(),
        id: "evt_1".into(),
        tenant: "acme".parse()?,
        event_type: stage::SENT.parse()?,
        source: "api".into(),
        subject: None,
        time: Timestamp(0),
        accepted_at: Timestamp(0),
        ordering_key: None,
        correlation_id: "c".into(),
        traceparent: "t".into(),
        cause: None,
        request: None,
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: data.to_string().into(),
    })
}
