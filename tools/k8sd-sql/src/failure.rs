//! An error, with the action that failed.

use std::io;

use k8sd::Error;

pub struct Failure {
    what: &'static str,
    text: String,
    /// True if the reader of the output has closed it.
    pub is_pipe: bool,
}

impl Failure {
    /// Prints the error in the form of the original.
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
