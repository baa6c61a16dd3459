//! What became of every row: a summary for the terminal, and a file with a line for each.

use std::{fs::File, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{client::CliError, output::table};

/// How many rows that need a look the summary names; the report has all.
const SHOWN: usize = 20;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    /// It is an event now; in a dry run, it would be.
    New,
    /// It is an event from an earlier run.
    AlreadyThere,
    /// An earlier import made this event from other data, which stands.
    Changed,
    /// It says who an earlier row is, and was left out or sent about the same subject.
    Duplicate,
    /// It is not an event: something is wrong with it.
    Refused,
}

impl Fate {
    const ALL: [Self; 5] = [Self::New, Self::AlreadyThere, Self::Changed, Self::Duplicate, Self::Refused];

    const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::AlreadyThere => "already_there",
            Self::Changed => "changed",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
        }
    }
}

/// One row of the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    /// The row; the header is row 1.
    pub(super) row: u64,
    pub(super) fate: Fate,
    /// The row that it is like, if one is.
    pub(super) like_row: Option<u64>,
    /// The field in which they agree.
    pub(super) like_by: Option<String>,
    /// The event, if it was sent.
    pub(super) event: Option<String>,
    /// What is wrong, or what a person should look at.
    pub(super) problem: Option<String>,
}

/// Counts, and keeps what a person should see.
pub(super) struct Report {
    file: Option<csv::Writer<File>>,
    counts: [u64; Fate::ALL.len()],
    possible: u64,
    shown: Vec<Line>,
}

impl Report {
    /// Writes to a file too, if one is named.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn new(path: Option<&Path>) -> Result<Self, CliError> {
        let open = |path: &Path| {
            let said = |reason| CliError::File { file: path.display().to_string(), reason };
            File::create(path).map(csv::Writer::from_writer).map_err(said)
        };
        let file = path.map(open).transpose()?;
        Ok(Self { file, counts: [0; Fate::ALL.len()], possible: 0, shown: Vec::new() })
    }

    /// Notes what became of a row.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(&mut self, line: Line) -> Result<(), CliError> {
        let at = Fate::ALL.iter().position(|fate| *fate == line.fate).unwrap_or_default();
        self.counts[at] += 1;
        let possible = line.like_row.is_some() && line.fate != Fate::Duplicate;
        self.possible += u64::from(possible);
        if let Some(file) = &mut self.file {
            file.serialize(&line).map_err(|error| CliError::Output(error.into()))?;
        }
        if self.shown.len() < SHOWN && (possible || matches!(line.fate, Fate::Refused | Fate::Changed)) {
            self.shown.push(line);
        }
        Ok(())
    }

    /// How many rows are not events.
    pub(super) fn refused(&self) -> u64 {
        self.count(Fate::Refused)
    }

    /// How many rows there were.
    pub(super) fn rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn count(&self, wanted: Fate) -> u64 {
        Fate::ALL.iter().zip(&self.counts).filter(|(fate, _)| **fate == wanted).map(|(_, count)| *count).sum()
    }

    /// Finishes the file and says everything in numbers.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(&mut self) -> Result<Value, CliError> {
        if let Some(file) = &mut self.file {
            file.flush().map_err(CliError::Output)?;
        }
        let mut summary = json!({"rows": self.rows(), "possible_duplicates": self.possible, "look_at": self.shown});
        for (fate, count) in Fate::ALL.iter().zip(self.counts) {
            summary[fate.name()] = count.into();
        }
        Ok(summary)
    }
}

/// The summary for people.
pub(super) fn told(summary: &Value) -> String {
    let dry = summary["dry_run"] == true;
    let says = [
        ("new", if dry { "would be imported" } else { "imported" }),
        ("already_there", "there from an earlier run"),
        ("changed", "there from an earlier run, with other data, which stands"),
        ("duplicate", "say who an earlier row is"),
        ("possible_duplicates", "imported, and perhaps one with another row: look at them"),
        ("refused", "not imported"),
    ];
    let counts = says.iter().filter(|(name, _)| summary[*name].as_u64().is_some_and(|count| count > 0));
    let rows: Vec<Vec<String>> =
        counts.map(|(name, says)| vec![summary[*name].to_string(), (*says).to_owned()]).collect();
    let mut text = table(&["ROWS", ""], &rows);
    let shown = summary["look_at"].as_array().map_or(&[][..], Vec::as_slice);
    if !shown.is_empty() {
        let line = |line: &Value| {
            let like = line["like_row"]
                .as_u64()
                .map(|row| format!("like row {row} by {}", line["like_by"].as_str().unwrap_or_default()));
            let problem = line["problem"].as_str().map(str::to_owned);
            let why: Vec<String> = [problem, like].into_iter().flatten().collect();
            vec![line["row"].to_string(), line["fate"].as_str().unwrap_or_default().to_owned(), why.join("; ")]
        };
        text += "\n\n";
        text += &table(&["ROW", "", "WHY"], &shown.iter().map(line).collect::<Vec<_>>());
    }
    let all = summary["report"].as_str().map(|report| format!("\n\nEvery row stands in {report}."));
    text + &all.unwrap_or_default() + &summary["note"].as_str().map(|note| format!("\n\n{note}")).unwrap_or_default()
}
