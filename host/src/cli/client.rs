//! A small HTTP client for the hub's own interface: JSON in, JSON out, and errors that say the fix.

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error as SendError, connect::HttpConnector},
    rt::TokioExecutor,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

/// The largest answer read.
const LARGEST_ANSWER: usize = 16 << 20;

/// How long an ordinary request may take.
const USUAL: Duration = Duration::from_secs(30);

/// How long an upload may take, compilation included.
const UPLOAD: Duration = Duration::from_secs(300);

/// Bytes of an upload between two reports of progress.
const PIECE: usize = 64 * 1024;

/// Why a command failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody listens.
    #[error("nobody answers at {url}. Is the hub running? Start it with `switchyard serve`, or set --url")]
    NotRunning {
        /// Whom it tried.
        url: Url,
    },
    /// The connection failed otherwise.
    #[error("cannot talk to {url}: {reason}")]
    Unreachable {
        /// Whom it tried.
        url: Url,
        /// What went wrong, innermost cause.
        reason: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s; look at its log", after.as_secs())]
    TimedOut {
        /// Whom it tried.
        url: Url,
        /// How long it waited.
        after: Duration,
    },
    /// No key was given.
    #[error("this needs an API key: set SWITCHYARD_KEY or --key (the first one is printed when a hub first starts)")]
    NoKey,
    /// The key cannot be a header.
    #[error("the API key has characters that no key has; check SWITCHYARD_KEY")]
    MalformedKey,
    /// The other end said no.
    #[error("{0}")]
    Refused(Problem),
    /// The answer makes no sense.
    #[error("{url} answered something that is no answer of a hub ({status}); check --url")]
    NotAHub {
        /// Who answered.
        url: Url,
        /// The status.
        status: StatusCode,
    },
    /// A file cannot be read.
    #[error("cannot read {file}: {reason}")]
    File {
        /// The file, or standard input.
        file: String,
        /// Why not.
        reason: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {file}: {reason}")]
    Written {
        /// The file.
        file: String,
        /// Why not.
        reason: io::Error,
    },
    /// Given JSON is no JSON.
    #[error("{place} is no JSON: {reason}")]
    NotJson {
        /// Where it was given.
        place: String,
        /// What is wrong.
        reason: serde_json::Error,
    },
    /// A file of settings is no TOML.
    #[error("{place} is no TOML: {reason}")]
    NotToml {
        /// The file.
        place: String,
        /// What is wrong.
        reason: Box<toml::de::Error>,
    },
    /// It is not known where a simulator listens.
    #[error(
        "no address of the simulator {name} is known ({place} has none). Start `switchyard dev` in this folder, or set \
         --sim-url or {variable} to the address that `switchyard dev` or `switchyard demo` printed"
    )]
    NoSimulator {
        /// The simulator.
        name: String,
        /// The variable that may name it.
        variable: String,
        /// Where it was looked for last.
        place: String,
    },
    /// What is known of a simulator is no address.
    #[error("{place} says that a simulator listens at `{found}`, which is no URL; write http://127.0.0.1:<port>")]
    NoSimulatorAddress {
        /// Where it stands.
        place: String,
        /// What stands there.
        found: String,
    },
    /// An import did not run, or not wholly.
    #[error(transparent)]
    Import(#[from] super::import::ImportFault),
    /// Arguments that contradict each other.
    #[error("{0}")]
    Senseless(&'static str),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// Standard output is closed.
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

/// A refusal in the other end's words.
#[derive(Debug)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// The problem document, or whatever JSON came.
    pub document: Value,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = ["detail", "title", "error"].iter().find_map(|field| self.document[*field].as_str());
        f.write_str(said.unwrap_or("refused without a reason"))?;
        match self.document["code"].as_str() {
            Some(code) => write!(f, " ({code}, {})", self.status.as_u16())?,
            None => write!(f, " ({})", self.status.as_u16())?,
        }
        for error in self.document["errors"].as_array().into_iter().flatten() {
            let text = |field: &str| error[field].as_str().unwrap_or_default();
            write!(f, "\n  {}: {}", text("field"), text("message"))?;
        }
        match self.status {
            StatusCode::UNAUTHORIZED => f.write_str("\nCheck SWITCHYARD_KEY or --key."),
            StatusCode::FORBIDDEN => f.write_str("\nUse a key with a wider scope; `switchyard keys create` makes one."),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait = self.document["retry_after"].as_u64().unwrap_or(5);
                write!(f, "\nTry again in {wait} s.")
            }
            _ => Ok(()),
        }
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Talks to one server.
pub struct HubClient {
    http: Client<HttpsConnector<HttpConnector>, Body>,
    base: Url,
    key: Option<SecretString>,
}

impl HubClient {
    /// A client of the server at `base`, with a key when it needs one.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(base: Url, key: Option<SecretString>) -> Result<Self, CliError> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(CliError::Tls)?
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, base, key })
    }

    /// A client of a hub.
    ///
    /// # Errors
    ///
    /// No key was given, or TLS cannot be set up.
    pub fn of_hub(base: &Url, key: Option<&SecretString>) -> Result<Self, CliError> {
        Self::new(base.clone(), Some(key.ok_or(CliError::NoKey)?.clone()))
    }

    /// Gets JSON from the path made of these segments.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn get(&self, path: &[&str]) -> Result<Value, CliError> {
        self.send(Method::GET, self.address(path, None), None, empty(), USUAL).await
    }

    /// Gets every entry of a list, page after page.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn list(&self, path: &[&str]) -> Result<Vec<Value>, CliError> {
        let mut entries = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let address = self.address(path, after.as_deref());
            let mut page = self.send(Method::GET, address, None, empty(), USUAL).await?;
            if let Some(data) = page["data"].as_array_mut() {
                entries.append(data);
            }
            match page["next"].as_str() {
                // A page that points to itself would never end.
                Some(next) if after.as_deref() != Some(next) => after = Some(next.to_owned()),
                _ => return Ok(entries),
            }
        }
    }

    /// Posts JSON.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        let json = HeaderValue::from_static("application/json");
        self.send(Method::POST, self.address(path, None), Some(json), full(body.to_string()), USUAL).await
    }

    /// Posts JSON of a kind of its own.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn post_as(&self, path: &[&str], media: &'static str, body: &Value) -> Result<Value, CliError> {
        let media = HeaderValue::from_static(media);
        self.send(Method::POST, self.address(path, None), Some(media), full(body.to_string()), USUAL).await
    }

    /// Puts JSON.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn put(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        let json = HeaderValue::from_static("application/json");
        self.send(Method::PUT, self.address(path, None), Some(json), full(body.to_string()), USUAL).await
    }

    /// Deletes.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn delete(&self, path: &[&str]) -> Result<Value, CliError> {
        self.send(Method::DELETE, self.address(path, None), None, empty(), USUAL).await
    }

    /// Posts a component and reports how many bytes have gone.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn upload(
        &self,
        path: &[&str],
        wasm: Bytes,
        mut sent: impl FnMut(usize) + Send + 'static,
    ) -> Result<Value, CliError> {
        let length = HeaderValue::from(wasm.len());
        let pieces = (0..wasm.len()).step_by(PIECE).map(move |start| {
            let end = (start + PIECE).min(wasm.len());
            sent(end);
            Ok(Frame::data(wasm.slice(start..end)))
        });
        let body = StreamBody::new(stream::iter(pieces)).boxed_unsync();
        let media = HeaderValue::from_static("application/wasm");
        let mut request = self.request(Method::POST, &self.address(path, None), Some(media), body)?;
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
        self.exchange(request, UPLOAD).await
    }

    /// Writes what is at a path into a file, piece by piece, and answers how many bytes came.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub async fn download(&self, path: &[&str], file: std::fs::File, name: &str) -> Result<u64, CliError> {
        let request = self.request(Method::GET, &self.address(path, None), None, empty())?;
        let late = |_| CliError::TimedOut { url: self.base.clone(), after: USUAL };
        let response = timeout(USUAL, self.http.request(request)).await.map_err(late)?;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let whole = Limited::new(body, LARGEST_ANSWER).collect().await;
            let document = whole.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
            return Err(match document {
                Some(document @ Value::Object(_)) => CliError::Refused(Problem { status, document }),
                _ => CliError::NotAHub { url: self.base.clone(), status },
            });
        }
        let mut file = tokio::fs::File::from_std(file);
        let unwritten = |reason| CliError::Written { file: name.to_owned(), reason };
        let mut bytes = 0;
        while let Some(frame) = timeout(USUAL, body.frame()).await.map_err(late)? {
            let frame = frame.map_err(|error| CliError::Unreachable {
                url: self.base.clone(),
                reason: format!("the answer broke off: {error}"),
            })?;
            if let Ok(piece) = frame.into_data() {
                bytes += piece.len() as u64;
                tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await.map_err(unwritten)?;
            }
        }
        file.sync_all().await.map_err(unwritten)?;
        Ok(bytes)
    }

    fn address(&self, path: &[&str], after: Option<&str>) -> Url {
        let mut address = self.base.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if let Some(after) = after {
            address.query_pairs_mut().append_pair("after", after);
        }
        address
    }

    async fn send(
        &self,
        method: Method,
        address: Url,
        media: Option<HeaderValue>,
        body: Body,
        patience: Duration,
    ) -> Result<Value, CliError> {
        let request = self.request(method, &address, media, body)?;
        self.exchange(request, patience).await
    }

    fn request(
        &self,
        method: Method,
        address: &Url,
        media: Option<HeaderValue>,
        body: Body,
    ) -> Result<Request<Body>, CliError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = address
            .as_str()
            .parse()
            .map_err(|_| CliError::Unreachable { url: self.base.clone(), reason: "not a web address".to_owned() })?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(media) = media {
            headers.insert(header::CONTENT_TYPE, media);
        }
        if let Some(key) = &self.key {
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).map_err(|_| CliError::MalformedKey)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Body>, patience: Duration) -> Result<Value, CliError> {
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| CliError::Unreachable {
                url: self.base.clone(),
                reason: format!("the answer broke off: {error}"),
            })?;
            Ok::<_, CliError>((status, body.to_bytes()))
        };
        let (status, body) = timeout(patience, exchange)
            .await
            .map_err(|_| CliError::TimedOut { url: self.base.clone(), after: patience })??;
        let document = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        match document {
            Ok(document) if status.is_success() => Ok(document),
            Ok(document @ Value::Object(_)) => Err(CliError::Refused(Problem { status, document })),
            _ => Err(CliError::NotAHub { url: self.base.clone(), status }),
        }
    }

    fn unreachable(&self, error: &SendError) -> CliError {
        let mut cause: &dyn std::error::Error = error;
        loop {
            let refused = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            if refused == Some(io::ErrorKind::ConnectionRefused) {
                return CliError::NotRunning { url: self.base.clone() };
            }
            match cause.source() {
                Some(inner) => cause = inner,
                None => return CliError::Unreachable { url: self.base.clone(), reason: cause.to_string() },
            }
        }
    }
}

fn empty() -> Body {
    full(Bytes::new())
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
