//! How many small signed deliveries per second the outbound client makes over kept loopback connections.
//!
//! Run with `cargo run --release -p switchyard --example outbound_throughput [requests] [concurrency]`. The receiver shares the
//! machine, so the number is a floor.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use switchyard::{
    clock::{SharedClock, SystemClock},
    id::Ids,
    outbound::{
        client::{HttpClient, Outgoing},
        egress::{EgressGuard, EgressPolicy, SystemResolver, Target},
        sign::{self, ActiveSecrets, SigningSecret},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BODY: &[u8] = br#"{"type":"invoice.paid","timestamp":"2026-11-21T09:00:00.000Z","data":{"invoice":"inv_1"}}"#;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let requests: usize = arguments.next().map_or(Ok(200_000), |text| text.parse())?;
    let concurrency: usize = arguments.next().map_or(Ok(32), |text| text.parse())?;
    let clock = SystemClock::shared();
    let receiver = TcpListener::bind("127.0.0.1:0").await?;
    let address = receiver.local_addr()?;
    let accepting = tokio::spawn(accept(receiver));

    let sender = Arc::new(Sender::new(address, clock.clone())?);
    run(&sender, concurrency * 50, concurrency).await?;
    let start = clock.monotonic();
    run(&sender, requests, concurrency).await?;
    let taken = clock.monotonic().saturating_sub(start);
    accepting.abort();
    println!(
        "{requests} requests, {concurrency} at once, in {:.2} s: {:.0} requests/s",
        taken.as_secs_f64(),
        requests as f64 / taken.as_secs_f64()
    );
    Ok(())
}

struct Sender {
    client: HttpClient,
    target: Target,
    secrets: ActiveSecrets,
    clock: SharedClock,
}

impl Sender {
    fn new(address: SocketAddr, clock: SharedClock) -> Result<Self> {
        let policy = EgressPolicy::new(vec!["127.0.0.0/8".parse()?], Vec::new());
        let target = policy.check_url(&format!("http://{address}/hook"))?;
        let client = HttpClient::new(EgressGuard::new(policy, Arc::new(SystemResolver::new())))?;
        let secret = sign::generate_symmetric(&Ids::from_os(clock.clone()));
        let secrets = ActiveSecrets::new(vec![SigningSecret::parse(&secret)?])?;
        Ok(Self { client, target, secrets, clock })
    }

    async fn send(&self) -> Result<()> {
        let signed = self.secrets.sign("evt_0190a1b2c3d4e5f60718293a4b5c6d7e", self.clock.now(), BODY)?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(sign::ID_HEADER, signed.id);
        headers.insert(sign::TIMESTAMP_HEADER, signed.timestamp);
        headers.insert(sign::SIGNATURE_HEADER, signed.signature);
        let outgoing = Outgoing {
            method: Method::POST,
            target: self.target.clone(),
            headers,
            body: Bytes::from_static(BODY),
            timeout: Duration::from_secs(15),
            response_cap: 16 * 1024,
        };
        let answer = self.client.send(outgoing).await?;
        ensure!(answer.status.is_success(), "the receiver answered {}", answer.status);
        Ok(())
    }
}

async fn run(sender: &Arc<Sender>, requests: usize, concurrency: usize) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let sender = sender.clone();
        tasks.spawn(async move {
            for _ in 0..requests / concurrency {
                sender.send().await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a sender stopped")??;
    }
    Ok(())
}

async fn accept(receiver: TcpListener) {
    while let Ok((stream, _)) = receiver.accept().await {
        tokio::spawn(answer(stream));
    }
}

/// Answers every request as soon as its body has come; requests on one connection follow one another.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if buffer[..filled].ends_with(BODY) {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
            filled = 0;
        }
    }
}
