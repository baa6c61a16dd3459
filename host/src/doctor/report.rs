use serde_json::{Value, json};

use crate::cli::table;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

struct Finding {
    check: &'static str,
    verdict: Verdict,
    said: String,
    fix: Option<String>,
}

/// Everything that was found, in the order of looking.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Nothing is to be done.
    pub(super) fn ok(&mut self, check: &'static str, said: String) {
        self.findings.push(Finding { check, verdict: Verdict::Ok, said, fix: None });
    }

    /// A hub works, but not as well or not for as long as it could.
    pub(super) fn warn(&mut self, check: &'static str, said: String, fix: impl Into<String>) {
        self.findings.push(Finding { check, verdict: Verdict::Warn, said, fix: Some(fix.into()) });
    }

    /// A hub does not start, or does not do its work.
    pub(super) fn fail(&mut self, check: &'static str, said: String, fix: impl Into<String>) {
        self.findings.push(Finding { check, verdict: Verdict::Fail, said, fix: Some(fix.into()) });
    }

    /// How many checks failed.
    pub(super) fn failed(&self) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count()
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let shown = |finding: &Finding| json!({"check": finding.check, "verdict": finding.verdict.word(), "said": finding.said, "fix": finding.fix});
        let checks: Vec<Value> = self.findings.iter().map(shown).collect();
        json!({"ok": self.failed() == 0, "checks": checks})
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = Vec::new();
        for finding in &self.findings {
            rows.push(vec![finding.verdict.word().to_owned(), finding.check.to_owned(), finding.said.clone()]);
            if let Some(fix) = &finding.fix {
                rows.push(vec![String::new(), String::new(), format!("-> {fix}")]);
            }
        }
        table(&["", "CHECK", "FOUND"], &rows)
    }
}
