//! Signed webhooks of Twilio: verified and parsed in the sandbox, committed, answered with TwiML. One matching endpoint
//! is paused meanwhile and resumed after, so that everything can be counted.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use serde_json::{Value, json};
use switchyard_simulators::twilio::signature::{self, Algorithm};

use crate::{
    Bench,
    load::ClosedLoop,
    message::Prepared,
    options::Scenario,
    report::{Report, Target},
    sink::Sink,
    stage::{self, CONNECTIONS, Client, PATIENCE},
};

const WEBHOOKS: Scenario = Scenario::Webhooks;

pub(super) const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NUMBER: &str = "+4570000001";

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (hub, sink) = (stage::hub(bench, true).await, Sink::start(bench.clock.clone()).await?);
    let client = Client::new(&hub, "acme").await?;
    let endpoint = client.endpoint(&sink, 1, "sms.received").await?;
    client.endpoint_do(&endpoint, "pause").await?;
    let url = install(&client).await?;
    let (address, server) = (stage::address(&hub)?, stage::watched(&hub)?);
    let count = bench.pick(20_000, 300);
    let send = |from: usize, count: usize| {
        let requests = (from..from + count).map(|n| request(address, &url, n)).collect();
        ClosedLoop::start(address, CONNECTIONS, Arc::new(Prepared::new(requests)), 200, &bench.clock)
    };
    let warm = bench.pick(1000, 50);
    let _ = send(0, warm).finish().await?;
    let (mut rates, mut cpu, mut sent) = (Vec::new(), Vec::new(), warm);
    for _ in 0..bench.runs {
        let load = send(sent, count);
        let (before, began) = (server.usage()?, bench.clock.monotonic());
        let answered = load.finish().await?.count;
        let took = bench.clock.monotonic() - began;
        rates.push(answered as f64 / took.as_secs_f64());
        cpu.push(server.usage()?.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / answered as f64);
        sent += count;
    }
    report.figure(
        WEBHOOKS,
        "signed Twilio webhooks accepted, 32 connections",
        "1/s",
        &rates,
        Some(Target::AtLeast(10_000.0)),
    );
    report.figure(WEBHOOKS, "CPU of the hub per webhook", "us", &cpu, None);
    client.endpoint_do(&endpoint, "resume").await?;
    let arrivals = sink.collect(sent as u64, PATIENCE).await?;
    report.compare_counts(WEBHOOKS, "webhooks accepted, endpoint resumed", sent, &arrivals, 1);
    Ok(())
}

/// Switches Twilio on; answers the URL of its source.
async fn install(client: &Client) -> anyhow::Result<String> {
    let connection = json!({"provider": "twilio", "name": "twilio", "kind": "basic",
        "secret": {"username": ACCOUNT, "password": TOKEN}});
    let connection = client.tenant.connection(&connection).await;
    let wanted = json!({"config": config(), "connections": {"twilio": connection}, "sources": ["default"]});
    let installed = client.install("twilio", &wanted).await?;
    installed["sources"][0]["url"].as_str().map(str::to_owned).context("the installation has no source")
}

/// The settings of the installation.
pub(super) fn config() -> Value {
    json!({"account_sid": ACCOUNT, "from": NUMBER})
}

/// Body and signature of message number `n` to a source.
pub(super) fn message(url: &str, n: usize) -> (String, String) {
    let fields = [
        ("ToCountry", "DK"),
        ("SmsMessageSid", &format!("SM{n:032x}")),
        ("NumMedia", "0"),
        ("FromCountry", "DK"),
        ("SmsSid", &format!("SM{n:032x}")),
        ("SmsStatus", "received"),
        ("Body", "Rørskade i kælderen, vand overalt. Ring hurtigst muligt!"),
        ("To", NUMBER),
        ("NumSegments", "1"),
        ("MessageSid", &format!("SM{n:032x}")),
        ("AccountSid", ACCOUNT),
        ("From", "+4520123456"),
        ("ApiVersion", "2010-04-01"),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    (body, signature::sign(Algorithm::HmacSha1, TOKEN, &signature::base_string(url, &fields)))
}

fn request(hub: SocketAddr, url: &str, n: usize) -> Vec<u8> {
    let (body, signature) = message(url, n);
    let path = url.find("/in/").map_or(url, |at| &url[at..]);
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {hub}\r\nuser-agent: TwilioProxy/1.1\r\naccept: */*\r\n\
         content-type: application/x-www-form-urlencoded; charset=UTF-8\r\nx-twilio-signature: {signature}\r\n\
         i-twilio-idempotency-token: {n:08x}-0000-0000-0000-000000000000\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
