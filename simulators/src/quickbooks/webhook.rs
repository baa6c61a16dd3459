//! Tells the hub of changes: one request at a time, in either format, signed over its bytes, tried again on a ladder while
//! whatever happens later waits behind it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    company::{Company, keep},
    record::Kind,
};
use crate::{
    client::{self, Outgoing, Patience},
    clock::format_utc,
};

/// The name of webhooks as an operation of faults.
pub(crate) const OPERATION: &str = "webhook.changes";

/// How many changes one request tells of at most.
const BATCH: usize = 100;

/// The hub has this long to answer; real time, since the hub's is.
const PATIENCE: Duration = Duration::from_secs(3);

/// Seconds between tries; the last one repeats.
const LADDER_S: [u64; 8] = [10, 20, 30, 300, 1_200, 7_200, 14_400, 21_600];

/// After so many tries a request is given up: some five days. Where the real ladder ends is not known.
const MOST_TRIES: usize = 27;

/// How a change came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Made.
    Create,
    /// Changed.
    Update,
    /// Removed.
    Delete,
    /// Voided.
    Void,
    /// Mailed to the customer.
    Emailed,
}

impl Operation {
    const fn legacy(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Void => "Void",
            Self::Emailed => "Emailed",
        }
    }

    const fn past(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Delete => "deleted",
            Self::Void => "voided",
            Self::Emailed => "emailed",
        }
    }
}

/// In which form changes are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An array of CloudEvents: what every app gets now.
    #[default]
    CloudEvents,
    /// `eventNotifications`, with times as `-0800`.
    Legacy,
    /// `eventNotifications`, with times as `.000Z`.
    LegacyUtc,
}

/// How a request is spoilt on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// Not at all.
    #[default]
    None,
    /// Signed with a token that nobody configured.
    WrongKey,
    /// The header is missing.
    NoSignature,
    /// The JSON was written anew after signing, with other white space.
    Reserialised,
    /// An id in the body was changed after signing.
    AlteredBody,
}

/// A change that is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) operation: Operation,
    pub(crate) at_ms: i64,
    pub(crate) event_id: String,
}

/// One try of a webhook.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
}

/// A webhook that was sent, kept so that the same bytes can be sent again.
#[derive(Clone, Debug, Serialize)]
pub struct SentWebhook {
    /// Every header that Intuit adds.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// Its tries.
    pub attempts: Vec<Attempt>,
    /// Whether the hub took it in the end.
    pub taken: bool,
}

fn as_text<S: serde::Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

/// `intuit-signature` of a body: base64 of HMAC-SHA256 under the verifier token's own bytes.
#[must_use]
pub fn sign(verifier_token: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(verifier_token.as_bytes()) else { return String::new() };
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Sends what there is to tell, until the simulator stops.
pub(crate) fn start(company: &Arc<Company>) {
    let company = Arc::clone(company);
    tokio::spawn(async move {
        let shutdown = company.shutdown.clone();
        shutdown.run_until_cancelled(tell_all(&company)).await;
    });
}

async fn tell_all(company: &Company) {
    loop {
        let waiting = company.news.notified();
        match next(company).await {
            Some((url, changes)) => tell(company, &url, changes).await,
            None => waiting.await,
        }
    }
}

/// Where to, and the oldest changes; none while nobody listens.
async fn next(company: &Company) -> Option<(String, Vec<Change>)> {
    // Intuit gathers for a while before it tells, so that changes made together come together.
    if !company.books().untold.is_empty() {
        tokio::time::sleep(company.options.time_factor.scale(company.options.gathering)).await;
    }
    let mut books = company.books();
    let url = books.webhook_url.clone()?;
    let count = books.untold.len().min(BATCH);
    if count == 0 { None } else { Some((url, books.untold.drain(..count).collect())) }
}

async fn tell(company: &Company, url: &str, mut changes: Vec<Change>) {
    let plan = company.faults.take_webhook(OPERATION);
    if company.faults.take_out_of_order(OPERATION) {
        changes.reverse();
        if changes.len() == 1 {
            // Alone it changes places with whatever comes next.
            let mut books = company.books();
            if let Some(later) = books.untold.pop_front() {
                books.untold.extend(changes);
                changes = vec![later];
            }
        }
    }
    if !plan.delay.is_zero() {
        tokio::time::sleep(company.options.time_factor.scale(plan.delay)).await;
    }
    let format = company.books().behaviour.format;
    let body = Bytes::from(body(company, format, &changes));
    let mut forged = plan.wrong_signature;
    let mut sent =
        SentWebhook { headers: headers(company, &body, Forgery::None), body, attempts: Vec::new(), taken: false };
    while sent.attempts.len() < MOST_TRIES {
        let attempt = if std::mem::take(&mut forged) {
            let headers = headers(company, &sent.body, Forgery::WrongKey);
            post(company, url, &headers, &sent.body).await
        } else {
            post(company, url, &sent.headers, &sent.body).await
        };
        sent.taken = is_taken(&attempt);
        sent.attempts.push(attempt);
        if sent.taken {
            break;
        }
        let pause = LADDER_S.get(sent.attempts.len() - 1).copied().unwrap_or(LADDER_S[LADDER_S.len() - 1]);
        tokio::time::sleep(company.options.time_factor.scale(Duration::from_secs(pause))).await;
    }
    if plan.duplicate && sent.taken {
        let again = post(company, url, &sent.headers, &sent.body).await;
        sent.attempts.push(again);
    }
    keep(&mut company.books().webhooks, sent);
    company.ended.send_modify(|ended| *ended += 1);
    company.news.notify_one();
}

fn is_taken(attempt: &Attempt) -> bool {
    attempt.status.is_some_and(|status| (200..300).contains(&status))
}

/// Sends these bytes once.
pub(crate) async fn post(company: &Company, url: &str, headers: &[(String, String)], body: &Bytes) -> Attempt {
    let patience = Patience { connect: PATIENCE, total: PATIENCE };
    let outgoing = Outgoing { url, headers, body: body.clone() };
    match client::post(&outgoing, company.options.connect_to, patience).await {
        Ok(answered) => Attempt { status: Some(answered.status), error: None },
        Err(error) => Attempt { status: None, error: Some(error.to_string()) },
    }
}

/// Sends changes of one's own making once, spoilt as told.
pub(crate) async fn forge(company: &Company, url: &str, body: Vec<u8>, forgery: Forgery) -> Attempt {
    let genuine = Bytes::from(body);
    let headers = headers(company, &genuine, forgery);
    let sent = match forgery {
        Forgery::Reserialised => Bytes::from(
            genuine
                .iter()
                .flat_map(|byte| match byte {
                    b':' | b',' => vec![*byte, b' '],
                    other => vec![*other],
                })
                .collect::<Vec<u8>>(),
        ),
        Forgery::AlteredBody => Bytes::from(String::from_utf8_lossy(&genuine).replacen("\"1", "\"2", 1).into_bytes()),
        Forgery::None | Forgery::WrongKey | Forgery::NoSignature => genuine,
    };
    post(company, url, &headers, &sent).await
}

pub(crate) fn headers(company: &Company, body: &[u8], forgery: Forgery) -> Vec<(String, String)> {
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("User-Agent".to_owned(), "intuit_notification_1.0".to_owned()),
        ("intuit-notification-schema-version".to_owned(), "0.1".to_owned()),
    ];
    let token = &company.options.verifier_token;
    match forgery {
        Forgery::NoSignature => {}
        Forgery::WrongKey => headers.push(("intuit-signature".to_owned(), sign(&format!("not-{token}"), body))),
        Forgery::None | Forgery::Reserialised | Forgery::AlteredBody => {
            headers.push(("intuit-signature".to_owned(), sign(token, body)));
        }
    }
    headers
}

/// The body that tells of these changes.
pub(crate) fn body(company: &Company, format: Format, changes: &[Change]) -> Vec<u8> {
    let realm = &company.options.realm_id;
    let value = match format {
        Format::CloudEvents => Value::Array(changes.iter().map(|change| cloud_event(realm, change)).collect()),
        Format::Legacy | Format::LegacyUtc => {
            let entity = |change: &Change| {
                json!({
                    "name": change.kind.name(), "id": change.id, "operation": change.operation.legacy(),
                    "lastUpdated": legacy_time(format, change.at_ms),
                })
            };
            let entities: Vec<Value> = changes.iter().map(entity).collect();
            json!({"eventNotifications": [{"realmId": realm, "dataChangeEvent": {"entities": entities}}]})
        }
    };
    value.to_string().into_bytes()
}

fn cloud_event(realm: &str, change: &Change) -> Value {
    json!({
        "specversion": "1.0", "id": change.event_id, "source": "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=",
        "type": format!("qbo.{}.{}.v1", change.kind.name().to_lowercase(), change.operation.past()),
        "datacontenttype": "application/json", "time": format_utc(change.at_ms, "%Y-%m-%dT%H:%M:%S%.3f851517Z"),
        "intuitentityid": change.id, "intuitaccountid": realm, "data": {},
    })
}

fn legacy_time(format: Format, ms: i64) -> String {
    match format {
        Format::LegacyUtc => format_utc(ms, "%Y-%m-%dT%H:%M:%S.000Z"),
        _ => format_utc(ms - 8 * 3_600_000, "%Y-%m-%dT%H:%M:%S-0800"),
    }
}
