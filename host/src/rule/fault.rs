//! Where a rule is wrong.

use std::fmt;

use crate::route::filter::FilterError;

/// One thing that is wrong with a rule: which rule, which field, where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// The place of the rule in the list.
    pub index: usize,
    /// Its name, as it is written.
    pub rule: String,
    /// The field inside the rule: `when`, `emit[0].data`; empty for the rule itself.
    pub field: String,
    /// Line and column in the field's text, counted from 1, where it is an expression.
    pub at: Option<(usize, usize)>,
    /// What is wrong and the fix.
    pub message: String,
}

impl RuleFault {
    /// The field from the list on: `rules[2].emit[0].data`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.rule.is_empty() && self.field == "own_types" {
            return self.field.clone();
        }
        let dot = if self.field.is_empty() { "" } else { "." };
        format!("rules[{}]{dot}{}", self.index, self.field)
    }

    /// Rule, place and message in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let rule = &self.rule;
        match self.at {
            _ if rule.is_empty() => self.message.clone(),
            Some((line, column)) => format!("rule `{rule}`, line {line}, column {column}: {}", self.message),
            None => format!("rule `{rule}`: {}", self.message),
        }
    }
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.sentence())
    }
}

/// Gathers the faults of one rule.
pub(super) struct Faults<'a> {
    pub(super) index: usize,
    pub(super) rule: &'a str,
    pub(super) found: Vec<RuleFault>,
}

impl Faults<'_> {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add_at(field, None, message);
    }

    pub(super) fn add_at(&mut self, field: impl Into<String>, at: Option<(usize, usize)>, message: impl Into<String>) {
        self.found.push(RuleFault {
            index: self.index,
            rule: self.rule.to_owned(),
            field: field.into(),
            at,
            message: message.into(),
        });
    }

    pub(super) fn take<T>(&mut self, field: &str, result: Result<T, FilterError>) -> Option<T> {
        result.map_err(|error| self.add_at(field, Some((error.line, error.column)), error.message)).ok()
    }
}
