//! The list of findings, the worst first. Pure.

use std::{collections::HashSet, fmt};

use serde::Serialize;

use crate::Exit;

/// The page with the sections, unless another one is named.
const PAGE: &str = "docs/operations.md";

/// The severity of a finding, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is wrong there.
    Ok,
    /// It could not be looked at, or is as it is on purpose.
    Note,
    /// It does no harm yet.
    Warning,
    Problem,
}

/// The kind of a problem, the worst first: the exit code is that of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The data is damaged, or not the node's.
    Data,
    /// Settings, files or certificates.
    Config,
    /// An address.
    Listen,
    DiskFull,
    NoLeader,
    Unreachable,
    TimedOut,
    Refused,
    Degraded,
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Data => Self::Data,
            Fault::Config => Self::Config,
            Fault::Listen => Self::Listen,
            Fault::DiskFull => Self::DiskFull,
            Fault::NoLeader => Self::NoLeader,
            Fault::Unreachable => Self::Unreachable,
            Fault::TimedOut => Self::TimedOut,
            Fault::Refused => Self::Refused,
            Fault::Degraded => Self::Degraded,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The thing that was looked at.
    pub subject: &'static str,
    pub text: String,
    pub remedy: Option<String>,
    /// The section of the page about it.
    pub section: Option<&'static str>,
    #[serde(skip)]
    fault: Option<Fault>,
}

impl Finding {
    pub fn new(severity: Severity, subject: &'static str, text: impl Into<String>) -> Self {
        Self {
            severity,
            subject,
            text: text.into(),
            remedy: None,
            section: None,
            fault: None,
        }
    }

    pub fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Ok, subject, text)
    }

    pub fn note(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Note, subject, text)
    }

    pub fn warning(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, subject, text)
    }

    pub fn problem(fault: Fault, subject: &'static str, text: impl Into<String>) -> Self {
        Self {
            fault: Some(fault),
            ..Self::new(Severity::Problem, subject, text)
        }
    }

    /// Adds what to do, and the section that says more.
    pub fn with_remedy(self, remedy: impl Into<String>, section: &'static str) -> Self {
        Self {
            remedy: Some(remedy.into()),
            section: Some(section),
            ..self
        }
    }

    /// Adds the section for an error that says itself what to do.
    pub fn in_section(self, section: &'static str) -> Self {
        Self {
            section: Some(section),
            ..self
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The thing that was looked at: a directory or an endpoint.
    pub about: String,
    pub findings: Vec<Finding>,
    /// The page with the sections.
    #[serde(skip)]
    page: &'static str,
}

impl Diagnosis {
    /// Sorts the worst first, and of one severity as they were found. What two checks have found is told once.
    pub fn new(about: String, mut findings: Vec<Finding>) -> Self {
        let mut seen = HashSet::new();
        findings.retain(|finding| seen.insert((finding.subject, finding.text.clone())));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self {
            about,
            findings,
            page: PAGE,
        }
    }

    /// Has the sections in another page.
    pub fn with_page(self, page: &'static str) -> Self {
        Self { page, ..self }
    }

    /// Returns the worst kind of all problems; none if there is no problem.
    pub fn worst(&self) -> Option<Fault> {
        self.findings.iter().filter_map(|it| it.fault).min()
    }

    fn count(&self, severity: Severity) -> usize {
        let found = self.findings.iter();
        found.filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problems, warnings) = (self.count(Severity::Problem), self.count(Severity::Warning));
        let plural = |count| if count == 1 { "" } else { "s" };
        writeln!(
            f,
            "{}: {problems} problem{}, {warnings} warning{}\n",
            self.about,
            plural(problems),
            plural(warnings)
        )?;
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Ok => "ok",
                Severity::Note => "note",
                Severity::Warning => "WARNING",
                Severity::Problem => "PROBLEM",
            };
            let text = finding.text.replace('\n', "\n         ");
            writeln!(f, "{severity:<8} {}: {text}", finding.subject)?;
            let section = finding.section.map(|it| format!("{}, \"{it}\"", self.page));
            match (&finding.remedy, section) {
                (Some(remedy), Some(section)) => {
                    writeln!(f, "         What to do: {remedy} ({section})")?;
                }
                (Some(remedy), None) => writeln!(f, "         What to do: {remedy}")?,
                (None, Some(section)) => writeln!(f, "         See {section}")?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides() {
        let diagnosis = Diagnosis::new(
            "/d".to_owned(),
            vec![
                Finding::ok("disk", "fine"),
                Finding::problem(Fault::Degraded, "cluster", "one is gone"),
                Finding::problem(Fault::Data, "log", "damaged\nbadly")
                    .with_remedy("restore", "Restore"),
                Finding::warning("backups", "old"),
            ],
        );
        assert_eq!(diagnosis.worst(), Some(Fault::Data));
        let text = diagnosis.to_string();
        assert!(
            text.starts_with("/d: 2 problems, 1 warning\n\nPROBLEM  cluster: "),
            "{text}"
        );
        assert!(
            text.contains(
                "\n         badly\n         What to do: restore (docs/operations.md, \"Restore\")\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("ok       disk: fine\n"), "{text}");
    }

    #[test]
    fn without_a_problem_there_is_no_fault() {
        let findings = vec![Finding::warning("a", "b"), Finding::note("c", "d")];
        assert_eq!(Diagnosis::new(String::new(), findings).worst(), None);
    }
}
