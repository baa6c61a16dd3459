//! `events import`: a file's rows become events, once each however often it runs.
//!
//! A row's event has an id that follows from what identifies the row, so the hub itself knows it again: after a crash,
//! in a second run, and in a later file. Nothing else has to be kept for that; the place beside the file only saves time.

use std::path::{Path, PathBuf};

use clap::Args;
use jsonschema::Validator;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::{
    known::{Known, Standing},
    map::{Duplicates, Map},
    report::{Fate, Line, Report},
    source::{Row, Source},
    upload::{Place, Ready, Upload},
};
use super::{
    args::GlobalArgs,
    client::{CliError, HubClient},
    output::Output,
};
use crate::event::catalogue::{check_against, compile_schema};

/// Which rows are the same person.
mod known;

/// Which column becomes which field.
mod map;

/// What became of every row.
mod report;

/// Reading one row.
mod row;

/// Reading the file.
mod source;

/// Sending.
mod upload;

pub use map::MapFault;
pub use source::SourceFault;

/// Rows between two reports of progress.
const REPORTED: u64 = 100;

/// Arguments of `events import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// A table as text, its first line naming the columns: CSV, or with semicolons or tabs
    #[arg(value_name = "FILE.csv")]
    pub file: PathBuf,
    /// Which column becomes which field, and what makes two rows one
    #[arg(long, value_name = "MAP.toml", required_unless_present = "print_map")]
    pub map: Option<PathBuf>,
    /// The tenant
    #[arg(long, required_unless_present = "print_map")]
    pub tenant: Option<String>,
    /// Look at every row and send none
    #[arg(long)]
    pub dry_run: bool,
    /// Write what became of every row to this file, as CSV
    #[arg(long, value_name = "FILE.csv")]
    pub report: Option<PathBuf>,
    /// Print a map to begin with, made from the file's columns
    #[arg(long, conflicts_with_all = ["map", "dry_run", "report"])]
    pub print_map: bool,
}

/// Why an import did not run, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum ImportFault {
    /// The map cannot be used.
    #[error("{file}: {fault}")]
    Map {
        /// The map's file.
        file: String,
        /// What is wrong.
        fault: MapFault,
    },
    /// The table cannot be read.
    #[error("{file}: {fault}")]
    Source {
        /// The table's file.
        file: String,
        /// What is wrong.
        fault: SourceFault,
    },
    /// Some rows are no events.
    #[error(
        "{refused} of {rows} rows were not imported. Mend them and run the same command again: what is there already stays \
         as it is"
    )]
    Refused {
        /// How many.
        refused: u64,
        /// Of how many.
        rows: u64,
    },
}

/// Imports a file, or prints a map for it.
///
/// # Errors
/// See [`CliError`]; a run with refused rows ends with [`ImportFault::Refused`] after the result was printed.
pub(super) async fn import(args: ImportArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let output = Output::new(global.json);
    let file = args.file.display().to_string();
    let source_fault = |fault| ImportFault::Source { file: file.clone(), fault };
    let (Some(map_file), Some(tenant)) = (&args.map, args.tenant.clone()) else {
        let source = Source::open(&args.file, None).map_err(source_fault)?;
        let map = map::suggested(&source.header);
        return output.result(&json!({"map": map}), |_| map.trim_end().to_owned());
    };
    let text = std::fs::read_to_string(map_file)
        .map_err(|reason| CliError::File { file: map_file.display().to_string(), reason })?;
    let map_fault = |fault| ImportFault::Map { file: map_file.display().to_string(), fault };
    let map = Map::parse(&text).map_err(map_fault)?;
    let source = Source::open(&args.file, Some(&map)).map_err(source_fault)?;
    let places = map.places(&source.header).map_err(map_fault)?;
    let mut report = Report::new(args.report.as_deref())?;
    let rows = Rows { known: Known::new(&map), map: &map, places, source, file, output, dry: args.dry_run };
    let note = if args.dry_run {
        let (schema, note) = schema(&map, global).await;
        rows.look(schema.as_ref(), &mut report)?;
        note
    } else {
        let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
        let of = identity(&args.file, &text, &tenant, global)?;
        let path = place_of(&args.file);
        let upload = Upload { hub: &hub, tenant, place: Place::read(&path, &of), path, waiting: Vec::new(), bytes: 0 };
        rows.send(upload, &mut report).await?;
        None
    };
    let mut summary = report.finish()?;
    summary["dry_run"] = args.dry_run.into();
    summary["report"] = args.report.map(|report| report.display().to_string()).into();
    summary["note"] = note.into();
    output.result(&summary, report::told)?;
    match report.refused() {
        0 => Ok(()),
        refused => Err(ImportFault::Refused { refused, rows: report.rows() }.into()),
    }
}

/// The schema of the events that rows become, or why a dry run goes without it.
async fn schema(map: &Map, global: &GlobalArgs) -> (Option<Validator>, Option<String>) {
    let without = |why: String| (None, Some(format!("The rows were not held against the hub's schema: {why}")));
    let types = match HubClient::of_hub(&global.url, global.key.as_ref()) {
        Ok(hub) => hub.list(&["v1", "event-types"]).await,
        Err(error) => Err(error),
    };
    let types = match types {
        Ok(types) => types,
        Err(error) => return without(error.to_string()),
    };
    let Some(found) = types.iter().find(|entry| entry["name"] == map.event_type.as_str()) else {
        return without(format!("no plugin there knows {}, so any data is taken", map.event_type));
    };
    match &found["schema"] {
        Value::Null => (None, None),
        schema => match compile_schema(&map.event_type, schema) {
            Ok(validator) => (Some(validator), None),
            Err(error) => without(error.to_string()),
        },
    }
}

/// What makes two runs the same import.
fn identity(file: &Path, map: &str, tenant: &str, global: &GlobalArgs) -> Result<String, CliError> {
    let digest = source::digest(file).map_err(|reason| CliError::File { file: file.display().to_string(), reason })?;
    let mut hash = Sha256::new_with_prefix(digest);
    for part in [map, tenant, global.url.as_str()] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    Ok(hex::encode(hash.finalize()))
}

/// Beside the file, so that it is found again and seen.
fn place_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".import");
    file.with_file_name(name)
}

/// The rows of a file on their way through a map.
struct Rows<'m> {
    source: Source,
    map: &'m Map,
    places: Vec<Option<usize>>,
    known: Known<'m>,
    file: String,
    output: Output,
    dry: bool,
}

/// A row that has been looked at.
enum Looked {
    /// It becomes an event.
    Ready { line: Line, id: String, subject: String, data: Value },
    /// It does not.
    Settled(Line),
}

impl Rows<'_> {
    /// Looks at every row, and sends none.
    fn look(mut self, schema: Option<&Validator>, report: &mut Report) -> Result<(), CliError> {
        while let Some(row) = self.next()? {
            let line = match self.looked(row) {
                Looked::Settled(line) => line,
                Looked::Ready { mut line, data, .. } => {
                    if let Some(fault) = schema.and_then(|schema| check_against(schema, &data).err()) {
                        line.fate = Fate::Refused;
                        line.problem = Some(format!("data{fault}"));
                    }
                    line
                }
            };
            report.add(line)?;
            self.progress(report, false);
        }
        self.progress(report, true);
        Ok(())
    }

    /// Sends every row that becomes an event and was not sent before.
    async fn send(mut self, mut upload: Upload<'_>, report: &mut Report) -> Result<(), CliError> {
        while let Some(row) = self.next()? {
            match self.looked(row) {
                Looked::Settled(line) => report.add(line)?,
                Looked::Ready { mut line, id, .. } if upload.place.has(line.row) => {
                    if line.fate == Fate::New {
                        line.fate = Fate::AlreadyThere;
                    }
                    line.event = Some(id);
                    report.add(line)?;
                }
                Looked::Ready { line, id, subject, data } => {
                    let event = upload::event(&self.map.event_type, &id, &subject, data);
                    upload.add(Ready { line, event }, report).await?;
                }
            }
            self.progress(report, false);
        }
        upload.send(report).await?;
        self.progress(report, true);
        upload.finish()
    }

    fn next(&mut self) -> Result<Option<Row>, CliError> {
        let fault = |fault| ImportFault::Source { file: self.file.clone(), fault };
        Ok(self.source.next().map_err(fault)?)
    }

    fn looked(&mut self, row: Row) -> Looked {
        let line = |fate| Line { row: row.number, fate, like_row: None, like_by: None, event: None, problem: None };
        let refused = |problem| Looked::Settled(Line { problem: Some(problem), ..line(Fate::Refused) });
        let cells = match row.cells {
            Ok(cells) => cells,
            Err(problem) => return refused(problem),
        };
        let data = match row::data(self.map, &self.places, &cells) {
            Ok(data) => data,
            Err(faults) => {
                return refused(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
            }
        };
        let found = self.known.add(row.number, &data);
        let ready = |line| Looked::Ready { line, id: found.id, subject: found.subject, data };
        match found.standing {
            Standing::New => ready(line(Fate::New)),
            Standing::Possible { of, by } => ready(Line { like_row: Some(of), like_by: Some(by), ..line(Fate::New) }),
            Standing::Duplicate { of, by } => {
                let line = Line { like_row: Some(of), like_by: Some(by), ..line(Fate::Duplicate) };
                match self.map.duplicates {
                    Duplicates::Skip => Looked::Settled(line),
                    Duplicates::Send => ready(line),
                }
            }
        }
    }

    fn progress(&self, report: &Report, done: bool) {
        let rows = report.rows();
        if !done && !rows.is_multiple_of(REPORTED) {
            return;
        }
        let percent = self.source.position().saturating_mul(100).checked_div(self.source.size).unwrap_or(100).min(100);
        let filled = usize::try_from(percent / 5).unwrap_or(20);
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(20 - filled));
        let verb = if self.dry { "looked at" } else { "done" };
        self.output.progress(&format!("[{bar}] {percent:3} %  {rows} rows {verb}, {} refused", report.refused()), done);
    }
}
