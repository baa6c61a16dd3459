//! In process, since a resolver that lies has to be handed in.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use switchyard::outbound::{
    client::{Answer, HttpClient, NotSent, Outgoing, SendError},
    egress::{Blocked, EgressError, EgressGuard, EgressPolicy, RESOLVE_LIMIT, Resolve},
    outcome,
};
use switchyard_tests::sink::{Act, Sink};

/// One answer of a name server.
#[derive(Clone)]
enum Says {
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN, SERVFAIL or a circle of CNAMEs: the system's resolver gives up.
    Fails,
    /// No answer at all.
    Nothing,
}

/// Answers look-ups in turn, the last answer for ever.
struct NameServer(Mutex<VecDeque<Says>>);

impl NameServer {
    fn saying(answers: &[Says]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(answers.iter().cloned().collect())))
    }
}

#[async_trait]
impl Resolve for NameServer {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, EgressError> {
        let says = {
            let mut answers = self.0.lock().expect("no test panics here");
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        };
        match says.unwrap_or(Says::Fails) {
            Says::Addresses(addresses) => Ok(addresses),
            Says::Fails => Err(EgressError::Dns),
            Says::Nothing => std::future::pending().await,
        }
    }
}

fn addresses(texts: &[&str]) -> Says {
    Says::Addresses(texts.iter().map(|text| text.parse().expect("an address")).collect())
}

fn client(policy: &EgressPolicy, answers: &[Says]) -> HttpClient {
    HttpClient::new(EgressGuard::new(policy.clone(), NameServer::saying(answers))).expect("a client")
}

/// Only the loopback address of the tests may be called without TLS.
fn policy() -> EgressPolicy {
    EgressPolicy::new(vec!["127.0.0.1/32".parse().expect("a network")], Vec::new())
}

async fn post(client: &HttpClient, policy: &EgressPolicy, url: &str) -> Result<Answer, SendError> {
    let outgoing = Outgoing {
        method: Method::POST,
        target: policy.check_url(url).expect("a URL that may be saved"),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(30),
        response_cap: 1024,
    };
    client.send(outgoing).await
}

const BLOCKED: SendError = SendError::NotSent(NotSent::Egress(EgressError::BlockedAddress(Blocked::NotPublic)));
const DNS: SendError = SendError::NotSent(NotSent::Egress(EgressError::Dns));

#[tokio::test]
async fn e52_names_that_do_not_resolve_are_an_outage_and_names_that_lead_inside_are_refused() {
    let policy = policy();
    let crowd: Vec<String> = (0..1_000).map(|n| format!("8.8.{}.{}", n / 250, n % 250 + 1)).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let cases = [
        (Says::Fails, DNS),
        (addresses(&[]), DNS),
        (addresses(&crowd), DNS),
        (addresses(&["10.0.0.7"]), BLOCKED),
        (addresses(&["169.254.169.254"]), BLOCKED),
        (addresses(&["::1"]), BLOCKED),
        (addresses(&["::ffff:10.0.0.1"]), BLOCKED),
        (addresses(&["64:ff9b::a9fe:a9fe"]), BLOCKED),
        (addresses(&["2002:7f00:1::"]), BLOCKED),
        (addresses(&["2001:0:4136:e378:8000:63bf:3fff:fdd2"]), BLOCKED),
        // One address inside spoils the answer, wherever it stands.
        (addresses(&["93.184.216.34", "192.168.1.1"]), BLOCKED),
        (addresses(&["fd00::1", "93.184.216.34"]), BLOCKED),
    ];
    for (says, expected) in cases {
        let error =
            post(&client(&policy, &[says]), &policy, "https://hooks.example/").await.expect_err("nothing listens");
        assert_eq!(error, expected);
        let outcome::Outcome::Failed(failure) = outcome::classify(&Err(error), switchyard::clock::Timestamp(0)) else {
            panic!("a refusal was taken for a delivery");
        };
        // An outage is the other side's and is tried again; a blocked name waits for a person.
        let reason = if expected == DNS { "subscriber" } else { "config" };
        assert_eq!(failure.reason.as_str(), reason);
        for address in ["10.0.0", "169.254", "192.168", "fd00", "93.184", "64:ff9b"] {
            assert!(!failure.message.contains(address), "the message tells an address: {}", failure.message);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn e52_a_name_server_that_does_not_answer_is_waited_for_within_its_limit() {
    let policy = policy();
    let client = client(&policy, &[Says::Nothing]);
    // The time is the runtime's own and runs while nothing else does.
    let asking = tokio::time::timeout(RESOLVE_LIMIT * 2, post(&client, &policy, "https://hooks.example/"));
    assert_eq!(asking.await.expect("it is waited for within the limit").expect_err("no name"), DNS);
}

#[tokio::test]
async fn e52_a_name_that_turns_inside_between_two_attempts_is_refused_at_the_second() {
    let inside = Sink::start(vec![Act::ReadRequest, Act::say("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")]).await;
    let port = inside.url("").rsplit(':').next().map(str::to_owned).expect("a port");
    let policy = policy();
    let flips = [addresses(&["127.0.0.1"]), addresses(&["127.0.0.2"]), addresses(&["127.0.0.1", "127.0.0.2"])];
    let client = client(&policy, &flips);
    // 127.0.0.1 stands for a good address, 127.0.0.2 for one inside that listens just as well.
    let url = format!("http://rebind.example:{port}/");
    assert_eq!(post(&client, &policy, &url).await.expect("a good address").status, 200);
    for _ in 0..3 {
        assert_eq!(post(&client, &policy, &url).await.expect_err("inside"), BLOCKED);
    }
    assert_eq!(inside.connections(), 1, "an address that was not vetted was dialled");
}

#[tokio::test]
async fn e52_what_is_dialled_is_what_was_vetted_and_not_a_second_look_up() {
    let good = Sink::start(vec![Act::ReadRequest, Act::say("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")]).await;
    let port = good.url("").rsplit(':').next().map(str::to_owned).expect("a port");
    let policy = policy();
    // A name server that answers well once: whoever looks the name up again for dialling gets another answer.
    let client = client(&policy, &[addresses(&["127.0.0.1"]), addresses(&["10.0.0.1"])]);
    let answer = post(&client, &policy, &format!("http://once.example:{port}/")).await.expect("one look-up");
    assert_eq!((answer.status.as_u16(), good.connections()), (200, 1));
}
