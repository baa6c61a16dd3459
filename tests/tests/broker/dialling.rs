use std::{
    net::{IpAddr, TcpListener as Blocking},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use switchyard::{
    broker::{
        BrokerAddress,
        dial::{DialError, Dialling, Way, dial},
    },
    outbound::egress::{EgressError, EgressGuard, EgressPolicy, Resolve},
};
use switchyard_tests::broker::{shared_url, until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A name server with one answer.
struct Answers(Vec<IpAddr>);

#[async_trait]
impl Resolve for Answers {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, EgressError> {
        Ok(self.0.clone())
    }
}

fn guard(allow: &[&str], answers: &[&str]) -> Way {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    let answers = answers.iter().map(|address| address.parse().unwrap()).collect();
    Way::Guarded(EgressGuard::new(EgressPolicy::new(allow, Vec::new()), Arc::new(Answers(answers))))
}

async fn dialled(url: &str, way: Way) -> Result<(), DialError> {
    let dialling = Dialling {
        name: "a test".to_owned(),
        way,
        limit: Duration::from_secs(2),
        heartbeat: Duration::from_secs(10),
        trusted: None,
    };
    let link = dial(&BrokerAddress::parse(url).unwrap(), &dialling).await?;
    link.close().await;
    Ok(())
}

fn port_of(url: &str) -> u16 {
    BrokerAddress::parse(url).unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_vetted_address_of_a_name_is_dialled() {
    let port = port_of(&shared_url());
    // The name is nobody's: only the guard's answer can lead to the broker.
    let url = format!("amqp://guest:guest@broker.invalid:{port}");
    assert_eq!(dialled(&url, guard(&["127.0.0.0/8"], &["127.0.0.1"])).await, Ok(()));
    // The second address is tried when nobody listens at the first.
    assert_eq!(dialled(&url, guard(&["127.0.0.0/8"], &["127.0.0.9", "127.0.0.1"])).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_refuses_is_not_dialled() {
    let listener = Blocking::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for (url, way) in [
        (format!("amqp://127.0.0.1:{port}"), guard(&[], &[])),
        (format!("amqps://broker.invalid:{port}"), guard(&[], &["127.0.0.1"])),
        (format!("amqp://broker.invalid:{port}"), guard(&["10.0.0.0/8"], &["127.0.0.1"])),
        (format!("amqp://broker.invalid:{port}"), guard(&["127.0.0.0/8"], &["127.0.0.1", "192.168.0.1"])),
    ] {
        let error = dialled(&url, way).await.unwrap_err();
        assert!(matches!(error, DialError::Egress(EgressError::BlockedAddress(_))), "{url}: {error:?}");
    }
    let accepted = listener.accept().map(|_| ());
    assert_eq!(accepted.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_not_connecting_has_its_name() {
    let free = Blocking::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(dialled(&format!("amqp://127.0.0.1:{free}"), Way::Own).await, Err(DialError::Refused));
    // Connections to it are made by the kernel, and nobody ever answers.
    let silent = Blocking::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    assert_eq!(dialled(&format!("amqp://127.0.0.1:{silent_port}"), Way::Own).await, Err(DialError::Silent));
    assert_eq!(dialled(&format!("amqps://127.0.0.1:{silent_port}"), Way::Own).await, Err(DialError::Tls));
    let talker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let talker_port = talker.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = talker.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    assert_eq!(dialled(&format!("amqp://127.0.0.1:{talker_port}"), Way::Own).await, Err(DialError::NotAmqp));
    assert_eq!(dialled(&format!("amqps://127.0.0.1:{talker_port}"), Way::Own).await, Err(DialError::Tls));
    let port = port_of(&shared_url());
    assert_eq!(dialled(&format!("amqp://guest:wrong@127.0.0.1:{port}"), Way::Own).await, Err(DialError::Denied));
    let error = dialled(&format!("amqp://guest:guest@127.0.0.1:{port}/no-such-vhost"), Way::Own).await.unwrap_err();
    assert!(matches!(&error, DialError::Refusal(said) if said.contains("no-such-vhost")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answers_is_let_go() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://127.0.0.1:{}", silent.local_addr().unwrap().port());
    assert_eq!(dialled(&url, Way::Own).await, Err(DialError::Silent));
    let (mut stream, _) = silent.accept().await.unwrap();
    let mut said = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut said));
    reading.await.expect("the connection is ended").ok();
    assert!(said.starts_with(b"AMQP"), "{said:?}");
    // With one process for each test it is known whose threads these are.
    if std::env::var_os("NEXTEST").is_some() {
        until("its thread ends", Duration::from_secs(10), async || dialling_threads() == 0).await;
    }
}

/// The library has one thread for each connection.
fn dialling_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("lapin-io-loop")).count()
}
