//! Rows on their way to the hub: in batches, tried again while the hub has no room, with a place to go on from.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::report::{Fate, Line, Report};
use crate::cli::client::{CliError, HubClient};

/// Events in one request; the hub takes no more.
const BATCH: usize = 100;

/// Bytes of events in one request, so that it stays under what the hub reads.
const BATCH_BYTES: usize = 512 << 10;

/// How often a batch is sent while the hub has no room or is away.
const TRIES: u32 = 10;

/// The longest wait between two tries, and the first one.
const WAITS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(500));

/// The most refused rows that a place remembers.
const REMEMBERED: usize = 10_000;

const MEDIA: &str = "application/cloudevents-batch+json";

/// How far an import has come, kept beside the file while it runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Names the file's bytes, the map, the tenant and the hub.
    of: String,
    /// All rows up to this one were answered.
    pub(super) up_to: u64,
    /// Of those, the ones that the hub refused.
    refused: Vec<u64>,
}

impl Place {
    /// Where an import of this file ended, if it was this same import.
    pub(super) fn read(path: &Path, of: &str) -> Self {
        let kept = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        kept.filter(|kept| kept.of == of).unwrap_or_else(|| Self { of: of.to_owned(), ..Self::default() })
    }

    /// Whether a row was sent before and taken.
    pub(super) fn has(&self, row: u64) -> bool {
        row <= self.up_to && !self.refused.contains(&row)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, path)
    }
}

/// A row that is an event.
pub(super) struct Ready {
    pub(super) line: Line,
    pub(super) event: Value,
}

/// Sends what is ready.
pub(super) struct Upload<'h> {
    pub(super) hub: &'h HubClient,
    pub(super) tenant: String,
    pub(super) place: Place,
    pub(super) path: PathBuf,
    pub(super) waiting: Vec<Ready>,
    pub(super) bytes: usize,
}

impl Upload<'_> {
    /// Puts a row into the next batch, and sends that when it is full.
    ///
    /// # Errors
    /// See [`send`](Self::send).
    pub(super) async fn add(&mut self, ready: Ready, report: &mut Report) -> Result<(), CliError> {
        let bytes = ready.event.to_string().len();
        if self.waiting.len() == BATCH || (self.bytes + bytes > BATCH_BYTES && !self.waiting.is_empty()) {
            self.send(report).await?;
        }
        self.bytes += bytes;
        self.waiting.push(ready);
        Ok(())
    }

    /// Sends what waits, notes what became of each row, and keeps the place.
    ///
    /// # Errors
    /// The hub refuses the whole batch, or is away for longer than an import waits.
    pub(super) async fn send(&mut self, report: &mut Report) -> Result<(), CliError> {
        self.bytes = 0;
        let mut left = std::mem::take(&mut self.waiting);
        let last = left.last().map_or(self.place.up_to, |ready| ready.line.row);
        let mut tries = 0;
        while !left.is_empty() {
            tries += 1;
            let answers = self.answers(&left, tries).await?;
            let mut again = Vec::new();
            for (ready, answer) in left.into_iter().zip(answers) {
                if tries < TRIES && no_room(answer["status"].as_u64()) {
                    again.push(ready);
                    continue;
                }
                let line = judged(ready.line, &answer);
                if line.fate == Fate::Refused && self.place.refused.len() < REMEMBERED {
                    self.place.refused.push(line.row);
                }
                report.add(line)?;
            }
            if !again.is_empty() {
                tokio::time::sleep(wait(tries, None)).await;
            }
            left = again;
        }
        self.place.up_to = self.place.up_to.max(last);
        self.place.write(&self.path).map_err(|reason| CliError::File { file: self.path.display().to_string(), reason })
    }

    /// The hub's answers, one a row.
    async fn answers(&self, rows: &[Ready], from: u32) -> Result<Vec<Value>, CliError> {
        let body: Value = rows.iter().map(|ready| ready.event.clone()).collect();
        let mut tries = from;
        loop {
            let error = match self.hub.post_as(&["v1", "tenants", &self.tenant, "events"], MEDIA, &body).await {
                Ok(answer) => match answer["data"].as_array() {
                    Some(answers) if answers.len() == rows.len() => return Ok(answers.clone()),
                    _ => return Err(CliError::Senseless("the hub's answer does not fit what was sent; check --url")),
                },
                Err(error) => error,
            };
            let after = match &error {
                CliError::Refused(problem) if no_room(Some(problem.status.as_u16().into())) => {
                    problem.document["retry_after"].as_u64()
                }
                CliError::NotRunning { .. } | CliError::Unreachable { .. } | CliError::TimedOut { .. } => None,
                _ => return Err(error),
            };
            if tries >= TRIES {
                return Err(error);
            }
            tokio::time::sleep(wait(tries, after)).await;
            tries += 1;
        }
    }

    /// Forgets the place: everything was sent.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn finish(&self) -> Result<(), CliError> {
        match std::fs::remove_file(&self.path) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
                Err(CliError::File { file: self.path.display().to_string(), reason })
            }
            _ => Ok(()),
        }
    }
}

fn no_room(status: Option<u64>) -> bool {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    status.is_some_and(|status| busy.iter().any(|busy| u64::from(busy.as_u16()) == status))
}

fn wait(tries: u32, after: Option<u64>) -> Duration {
    let (longest, first) = WAITS;
    after.map_or_else(|| first * 2_u32.saturating_pow(tries.saturating_sub(1)), Duration::from_secs).min(longest)
}

/// What an answer makes of a row.
fn judged(mut line: Line, answer: &Value) -> Line {
    if answer["code"] == "id_reused" {
        line.fate = Fate::Changed;
        line.problem = Some("an earlier import made this event from other data".to_owned());
    } else if answer["id"].is_string() {
        // A duplicate row that is sent stays what it is in the report.
        if line.fate == Fate::New && answer["duplicate"] == true {
            line.fate = Fate::AlreadyThere;
        }
        line.event = answer["id"].as_str().map(str::to_owned);
    } else {
        line.fate = Fate::Refused;
        let said = ["detail", "title"].iter().find_map(|field| answer[*field].as_str());
        line.problem = Some(said.unwrap_or("the hub refused it without a reason").to_owned());
    }
    line
}

/// A row as a CloudEvent.
pub(super) fn event(event_type: &str, id: &str, subject: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "type": event_type, "id": id, "source": "import", "subject": subject, "data": data})
}
