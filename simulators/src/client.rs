//! The client that carries webhooks to the hub.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header::HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use url::Url;

const MAX_ANSWER: usize = 1 << 20;

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the URL cannot be called: {0}")]
    Url(String),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// One POST on its way.
pub(crate) struct Outgoing<'a> {
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: Bytes,
}

/// How long a webhook may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) total: Duration,
}

/// Sends to the URL's own host, or to one fixed address when the hub's public name does not resolve here.
pub(crate) async fn post(
    outgoing: &Outgoing<'_>,
    connect_to: Option<SocketAddr>,
    patience: Patience,
) -> Result<Answered, SendError> {
    let request = request(outgoing, connect_to)?;
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(patience.connect));
    // A client per webhook: providers do not keep a connection to us, and a hub that restarts must not meet a stale one.
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let exchange = async {
        let response = client.request(request).await.map_err(|error| {
            let text = source_text(&error);
            if error.is_connect() { SendError::Connect(text) } else { SendError::Broken(text) }
        })?;
        let (parts, body) = response.into_parts();
        let content_type = parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        Ok(Answered {
            status: parts.status.as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: body.map_err(|error| SendError::Broken(error.to_string()))?.to_bytes(),
        })
    };
    tokio::time::timeout(patience.total, exchange).await.unwrap_or(Err(SendError::Timeout))
}

fn request(outgoing: &Outgoing<'_>, connect_to: Option<SocketAddr>) -> Result<Request<Full<Bytes>>, SendError> {
    let parsed = Url::parse(outgoing.url).map_err(|error| SendError::Url(error.to_string()))?;
    let host = parsed.host_str().ok_or_else(|| SendError::Url("it has no host".to_owned()))?;
    let host = parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let authority = match connect_to {
        Some(address) => address.to_string(),
        None if parsed.scheme() == "http" => host.clone(),
        None => return Err(SendError::Url("simulators speak plain HTTP only; set connect_to".to_owned())),
    };
    // The target is cut from the text, because parsing would rewrite characters that the signature covers.
    let target = path_and_query(outgoing.url);
    let mut builder = Request::builder().method(Method::POST).uri(format!("http://{authority}{target}"));
    for (name, value) in outgoing.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| SendError::Url(error.to_string()))?;
        let value = HeaderValue::from_str(value).map_err(|error| SendError::Url(error.to_string()))?;
        builder = builder.header(name, value);
    }
    builder = builder.header(HOST, host);
    builder.body(Full::new(outgoing.body.clone())).map_err(|error| SendError::Url(error.to_string()))
}

/// Path and query of `url` exactly as written, without the fragment.
fn path_and_query(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    match after_scheme.find(['/', '?']) {
        Some(at) if after_scheme.as_bytes()[at] == b'/' => after_scheme[at..].to_owned(),
        Some(at) => format!("/{}", &after_scheme[at..]),
        None => "/".to_owned(),
    }
}

fn source_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
