//! What there is to say of a database's schema, whichever database it is.
//!
//! Two versions of switchyard run side by side while nodes are brought to a new one. So a step whose first line is
//! `-- compatible: yes` says that the version before it may go on beside it, and start again; the database remembers that,
//! since the older version does not have the file. Any other step that a version does not know keeps it from the database.

use super::{StoreError, StoreResult};

/// The first line of a step that a version without it can live with.
const COMPATIBLE: &str = "-- compatible: yes";

/// Under which name among the values of the database it stands that a step is compatible.
const MARK: &str = "schema_compatible:";

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStep {
    /// Its number; steps are made in this order.
    pub number: i64,
    /// What it is about.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
    /// Whether this version of switchyard knows it.
    pub known: bool,
    /// Whether a version that does not know it may use the database all the same.
    pub compatible: bool,
}

/// Whether a step says of itself that a version without it may go on.
pub(super) fn says_compatible(sql: &str) -> bool {
    sql.lines().next().is_some_and(|line| line.trim() == COMPATIBLE)
}

/// Which rows of a table are content: the marks of compatible steps are each database's own.
pub(super) fn content_of(table: &str) -> &'static str {
    if table == "meta" { "where name not like 'schema\\_compatible:%' escape '\\'" } else { "" }
}

/// The name of the value that marks a step as compatible.
pub(super) fn mark(number: i64) -> String {
    format!("{MARK}{number:04}")
}

/// The step that such a name marks.
pub(super) fn marked(name: &str) -> Option<i64> {
    name.strip_prefix(MARK)?.parse().ok()
}

/// A database with a step that this version does not know, and that does not let it go on, is left alone.
///
/// # Errors
/// `Refused`, with what to do.
pub(super) fn refuse_unknown(steps: &[SchemaStep]) -> StoreResult<()> {
    let stands_against = steps.iter().filter(|step| step.applied && !step.known && !step.compatible);
    let Some(found) = stands_against.map(|step| step.number).max() else { return Ok(()) };
    let known = steps.iter().filter(|step| step.known).map(|step| step.number).max().unwrap_or(0);
    Err(StoreError::Refused(format!(
        "the database has schema {found}, this version of switchyard knows {known}; start the newer version, or restore \
         the backup from before its update"
    )))
}

/// What going down undid, or would undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The steps, the newest first.
    pub steps: Vec<String>,
    /// Tables that go, with the rows that are in them.
    pub lost: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: i64, known: bool, compatible: bool) -> SchemaStep {
        SchemaStep { number, name: "x".into(), applied: true, known, compatible }
    }

    #[test]
    fn only_a_step_that_says_so_lets_an_older_version_go_on() {
        assert!(says_compatible("-- compatible: yes\nalter table event add column x bigint;"));
        assert!(!says_compatible("-- Shadow runs.\n-- compatible: yes\n"));
        assert_eq!(marked(&mark(12)), Some(12));
        assert_eq!(marked("schema_compatible:x"), None);
        assert!(refuse_unknown(&[step(1, true, false), step(2, false, true)]).is_ok());
        let said = refuse_unknown(&[step(1, true, false), step(2, false, true), step(3, false, false)]).unwrap_err();
        assert!(said.to_string().contains("has schema 3, this version of switchyard knows 1"), "{said}");
    }
}
