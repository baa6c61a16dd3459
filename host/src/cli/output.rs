//! What a command prints: results on standard output, progress on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::client::CliError;

/// Where results and progress go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or as JSON for programs.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result: the JSON itself, or the lines that say the same.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub fn result(self, value: &Value, human: impl FnOnce(&Value) -> String) -> Result<(), CliError> {
        let text = if self.json { value.to_string() } else { human(value) };
        writeln!(io::stdout(), "{text}").map_err(CliError::Output)
    }

    /// Says how long work is getting on. A terminal shows one changing line, anything else only the last state.
    pub(super) fn progress(self, text: &str, finished: bool) {
        let mut stderr = io::stderr();
        // Progress that cannot be shown is no reason to stop the work.
        let _ = match (self.json, stderr.is_terminal(), finished) {
            (true, ..) | (false, false, false) => Ok(()),
            (false, true, false) => write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()),
            (false, true, true) => writeln!(stderr, "\r\x1b[K{text}"),
            (false, false, true) => writeln!(stderr, "{text}"),
        };
    }
}

/// A field's text, or nothing.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Rows as columns of equal width.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.into_iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}
