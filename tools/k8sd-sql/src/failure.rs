//! What was tried, and what came of it.

use std::io;

use k8sd::Error;

pub struct Failure {
    what: &'static str,
    text: String,
    /// Whoever reads has had enough.
    pub is_pipe: bool,
}

impl Failure {
    /// In the form of the original.
    pub fn print(&self) {
        eprintln!("Error: {}\n\nThe error was: {}", self.what, self.text);
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            what: "Failed to read or write.",
            text: error.to_string(),
            is_pipe: error.kind() == io::ErrorKind::BrokenPipe,
        }
    }
}

pub fn failed(what: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure {
        what,
        text: error.to_string(),
        is_pipe: false,
    }
}
