//! A file with credentials, for S3 and Azure.
//!
//! Its lines are `NAME=VALUE`, with the names of the environment's variables or those of AWS's own credentials file, in
//! either case; spaces and quotes around a value do not belong to it. `#` and `;` begin lines that mean nothing. Of a file with
//! sections, what stands before them and in `[default]` counts. Google's file is a JSON document, which is not read here.

use std::path::Path;

use crate::secret_file::{self, SecretFileError};

/// A name in lower case, and its value.
pub type Setting = (String, String);

/// Reads a file, of which `is_known` says which names it may have.
pub fn read(path: &Path, is_known: impl Fn(&str) -> bool) -> Result<Vec<Setting>, SecretFileError> {
    let text = secret_file::read(path)?;
    parse(&text, is_known).map_err(|reason| SecretFileError::content(path, reason))
}

fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Vec<Setting>, String> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut is_ours = true;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            is_ours = section.trim_end_matches(']').trim() == "default";
            continue;
        }
        if !is_ours {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number} is not NAME=VALUE"))?;
        let name = name.trim().to_lowercase();
        if !is_known(&name) {
            return Err(format!("line {number} has a name that means nothing here"));
        }
        if settings.iter().any(|(other, _)| *other == name) {
            return Err(format!("the name in line {number} is there twice"));
        }
        settings.push((name, unquoted(value.trim()).to_owned()));
    }
    match settings.is_empty() {
        true => Err("it holds no credentials".to_owned()),
        false => Ok(settings),
    }
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote);
        if let Some(inner) = inner.and_then(|value| value.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Setting>, String> {
        parse(text, |name| name.starts_with("aws_"))
    }

    #[test]
    fn the_environment_and_aws_write_the_same_settings() {
        let expected = [
            ("aws_access_key_id", "AKID"),
            ("aws_secret_access_key", "a/b=c"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for text in [
            "AWS_ACCESS_KEY_ID=AKID\nAWS_SECRET_ACCESS_KEY='a/b=c'\n",
            "# mine\n[default]\naws_access_key_id = AKID\r\naws_secret_access_key = \"a/b=c\"\n\
             [other]\naws_access_key_id = OTHER\n",
        ] {
            assert_eq!(parsed(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_showing_it() {
        for (text, reason) in [
            ("", "it holds no credentials"),
            ("[other]\naws_x = 1", "it holds no credentials"),
            ("aws_x=1\nhush", "line 2 is not NAME=VALUE"),
            ("hush=1", "line 1 has a name that means nothing here"),
            ("aws_x=1\nAWS_X=2", "the name in line 2 is there twice"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), reason);
        }
    }
}
