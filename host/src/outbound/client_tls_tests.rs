use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};

use super::*;
use crate::outbound::egress::{EgressPolicy, Resolve};

const AUTHORITY: &[u8] = include_bytes!("testdata/authority.der");
const RECEIVER: &[u8] = include_bytes!("testdata/receiver.der");
const RECEIVER_KEY: &[u8] = include_bytes!("testdata/receiver.key.der");

struct Loopback;

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, EgressError> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

/// A receiver that takes one connection, answers one request on it, and ends.
fn receiver(version: &'static SupportedProtocolVersion) -> SocketAddr {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(RECEIVER_KEY));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(RECEIVER)], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let mut request = [0; 4096];
        // A client that refuses the certificate ends the handshake, which is an error here and the point of the test.
        if matches!(tls.read(&mut request), Ok(1..)) {
            tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    address
}

fn guard() -> EgressGuard {
    EgressGuard::new(EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()), Arc::new(Loopback))
}

fn trusting_the_test_authority() -> HttpClient {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(AUTHORITY)).unwrap();
    HttpClient::trusting(guard(), roots).unwrap()
}

async fn get(client: &HttpClient, host: &str, address: SocketAddr) -> Result<Answer, SendError> {
    let target = guard().policy().check_url(&format!("https://{host}:{}/", address.port())).unwrap();
    let (headers, body, timeout) = (HeaderMap::new(), Bytes::new(), Duration::from_secs(5));
    client.send(Outgoing { method: Method::GET, target, headers, body, timeout, response_cap: 10 }).await
}

#[tokio::test]
async fn a_trusted_certificate_for_the_name_is_accepted_with_tls_1_2_and_1_3() {
    for version in [&TLS12, &TLS13] {
        let answer = get(&trusting_the_test_authority(), "receiver.test", receiver(version)).await.unwrap();
        assert_eq!(answer.status, 204);
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_before_anything_is_sent() {
    let error = get(&trusting_the_test_authority(), "other.test", receiver(&TLS13)).await.unwrap_err();
    assert_eq!(error, SendError::NotSent(NotSent::Tls));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_before_anything_is_sent() {
    let client = HttpClient::new(guard()).unwrap();
    let error = get(&client, "receiver.test", receiver(&TLS13)).await.unwrap_err();
    assert_eq!(error, SendError::NotSent(NotSent::Tls));
}
